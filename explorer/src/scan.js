// A scan: curves of the reference and of chosen models, and the molecule at the frame under the cursor.

import { chart } from "./chart.js";
import { colour, style } from "./colours.js";
import { float16, float32, float64, piece, records } from "./data.js";
import { fill, h, number, table } from "./dom.js";
import { csv, digits, extxyz, quoted, save, SINGLE, sum } from "./files.js";
import { address } from "./state.js";
import { symbol, viewer } from "./viewer.js";

const WINDOWS = [["5", "5 eV"], ["10", "10 eV"], ["50", "50 eV"], ["", "all"]];
const FLOOR = 1; // ε² of the FSD, eV²/Å²

export const scans = (index) => records(index.tasks.bonds.scans).map((one, number) => ({ ...one, number }));

// A scan with numbers unpacked.
export async function scan(index, of) {
  const raw = await piece(`bonds/scan-${of.number}`);
  const coordinate = float64(raw.coordinate);
  const n = raw.numbers.length;
  const { minimum } = raw;
  const columns = index.tasks.bonds.columns.map((one) => one.name);
  const unpack = (one) => ({
    zero: one.zero, energy: float32(one.energy), change: float32(one.change), frames: one.frames, forces: triples(float16(one.forces), n),
  });
  return {
    ...of, coordinate, minimum, numbers: raw.numbers, bonds: raw.bonds, atoms: raw.atoms, charge: raw.charge, spin: raw.spin,
    positions: positionsOf(raw, coordinate, n),
    reference: unpack(raw.reference),
    models: raw.models.map((one) => {
      const row = Object.fromEntries([...columns, "status", "message", "extremum"].map((name, k) => [name, one.row[k]]));
      return { number: one.model, name: index.rows[one.model].model, row, ...("energy" in one ? unpack(one) : { energy: null }) };
    }),
  };
}

// Values one after the other as a list of frames of N vectors.
function triples(values, n) {
  const frames = [];
  for (let at = 0; at < values.length; at += 3 * n) {
    frames.push(Array.from({ length: n }, (_, k) => values.slice(at + 3 * k, at + 3 * k + 3)));
  }
  return frames;
}

// Geometry of a frame: the two fragments move apart, each by half of the change of the bond length.
function positionsOf(raw, coordinate, n) {
  if (raw.positions) {
    const all = triples(float32(raw.positions), n);
    return (frame) => all[frame];
  }
  const [start] = triples(float32(raw.start), n);
  const [i, j] = raw.atoms;
  const vector = start[j].map((v, k) => v - start[i][k]);
  const length = Math.hypot(...vector);
  return (frame) => {
    const change = (coordinate[frame] - length) / length / 2;
    return start.map((position, atom) => {
      const side = raw.fragment[atom] === raw.fragment[j] ? change : -change;
      return position.map((v, k) => v + side * vector[k]);
    });
  };
}

// The panel of a scan. `models`: names of the chosen ones, the first is in front.
export async function panel(index, place, of, { models = [], frame = null, onmodels = null, onframe = null } = {}) {
  fill(place, h("p", { role: "status" }, "Loading …"));
  let found;
  try {
    found = await scan(index, of);
  } catch (error) {
    fill(place, h("p", { class: "problem" }, error.message));
    return;
  }
  const having = found.models.filter((one) => one.energy);
  const names = having.map((one) => one.name);
  let chosen = models.filter((name) => names.includes(name));
  if (!chosen.length && !models.length) chosen = names.slice(0, 1);
  const unknown = models.filter((name) => !names.includes(name));
  const last = found.coordinate.length - 1;
  const usual = startFrame(found, chosen[0]);
  const asked = frame === null ? usual : Number.isFinite(frame) ? Math.max(0, Math.min(last, Math.round(frame))) : usual;
  const outside = frame !== null && asked !== frame;
  const state = { window: "10", frame: asked, arrows: having.length ? "model" : "reference" };
  const slots = new Map(); // colour by model, which stays while others come and go
  const colours = (name) => {
    if (!slots.has(name)) {
      const used = new Set(slots.values());
      let k = 0;
      while (used.has(k)) k++;
      slots.set(name, k);
    }
    return colour(slots.get(name));
  };

  const energyPlace = h("div", { class: "plot" }), changePlace = h("div", { class: "plot" });
  const readout = h("div", { class: "readout" });
  const moleculePlace = h("div", { class: "viewer" });
  const slider = h("input", { type: "range", name: "frame", min: 0, max: found.coordinate.length - 1, step: 1, value: state.frame, "aria-label": "frame of the scan",
    oninput: () => move(Number(slider.value), true) });
  const scoresPlace = h("div"), filesPlace = h("div"), forcesNote = h("p", { class: "note" });
  let charts = [];
  let molecule = null;

  const front = () => having.find((one) => one.name === chosen[0]);
  const move = (k, fromSlider = false) => {
    if (k === state.frame && !fromSlider && readout.childElementCount) return;
    state.frame = k;
    slider.value = String(k);
    if (fromSlider) for (const one of charts) one.cursor(k);
    showFrame();
    if (onframe) onframe(k);
  };
  const showFrame = () => {
    const k = state.frame;
    const line = (name, one, dot) => [
      h("th", { scope: "row" }, dot ? h("span", { class: "dot", style: { background: dot } }) : null, name),
      h("td", {}, number(one.energy[k])), h("td", {}, number(one.change[k]))];
    fill(readout, h("table", { class: "small" },
      h("caption", {}, `frame ${k}: ${found.bond.replace("-", "–")} ${found.coordinate[k].toFixed(3)} Å`),
      h("thead", {}, h("tr", {}, h("td"), h("th", { scope: "col" }, "E − E(q) (eV)"), h("th", { scope: "col" }, "ΔF² (eV²/Å²)"))),
      h("tbody", {}, h("tr", {}, line("reference", found.reference, style("--ink"))), chosen.map((name) => h("tr", {}, line(name, having.find((one) => one.name === name), colours(name)))))));
    if (!molecule) return;
    const arrows = [];
    const of = state.arrows === "reference" ? found.reference : state.arrows === "model" ? front() : null;
    const at = of ? of.frames.indexOf(k) : -1;
    if (at >= 0) arrows.push({ forces: of.forces[at], colour: state.arrows === "reference" ? style("--ink") : colours(chosen[0]) });
    const largest = molecule.show({ numbers: found.numbers, positions: found.positions(k), bonds: found.bonds, stretched: found.atoms, arrows });
    fill(forcesNote, !of ? "" : at >= 0
      ? `Arrows: forces of ${state.arrows === "reference" ? "the reference" : chosen[0]}, the longest ${number(largest)} eV/Å.`
      : of.frames.length ? `Forces are kept at the frames ${ranges(of.frames)}; for all of them use the command below.` : "No forces are kept here.");
  };

  const draw = () => {
    for (const one of charts) one.destroy();
    const shown = chosen.map((name) => having.find((one) => one.name === name));
    const ink = style("--ink"), grey = style("--faint");
    const peak = front()?.row.fsd_peak_coordinate;
    const step = (found.coordinate.at(-1) - found.coordinate[0]) / (found.coordinate.length - 1);
    const marks = [{ at: found.coordinate[found.minimum], colour: grey, dash: [8, 3, 2, 3] }];
    const bands = Number.isFinite(peak) ? [{ from: peak - step / 2, to: peak + step / 2, colour: colours(chosen[0]) }] : [];
    const extremum = front()?.row.extremum_coordinate, wall = front()?.row.wall_coordinate;
    if (Number.isFinite(extremum)) marks.push({ at: extremum, colour: colours(chosen[0]), dash: [2, 3] });
    if (Number.isFinite(wall)) marks.push({ at: wall, colour: colours(chosen[0]), dash: [6, 3] });
    const series = (key) => [
      { label: "reference", values: found.reference[key], colour: ink, width: 2 },
      ...[...shown].reverse().map((one) => ({ label: one.name, values: one[key], colour: colours(one.name) })),
    ];
    const limit = Number(state.window) || Infinity;
    const every = [found.reference, ...shown].flatMap((one) => one.energy.filter(Number.isFinite));
    const range = [Math.max(-limit, Math.min(0, ...every)), Math.min(limit, Math.max(1e-3, ...every))];
    const pad = 0.05 * (range[1] - range[0]);
    const x = { label: `${found.bond.replace("-", "–")} distance (Å)`, values: found.coordinate };
    const changes = [found.reference, ...shown].flatMap((one) => one.change.filter((v) => Number.isFinite(v) && v > 0));
    charts = [
      chart(energyPlace, { x: { ...x, label: "" }, series: series("energy"), y: { label: "E − E(q) (eV)", range: [range[0] - pad, range[1] + pad] }, marks, bands, key: "scan", oncursor: (k) => move(k), height: 250 }),
      chart(changePlace, { x, series: series("change"), y: { label: "ΔF² (eV²/Å²)", log: true, range: [0.1 * FLOOR, 3 * Math.max(10, ...changes)] }, marks: [...marks, { at: FLOOR, axis: "y", colour: grey, dash: [2, 3] }], bands, key: "scan", oncursor: (k) => move(k), height: 220 }),
    ];
    showFrame();
    fill(scoresPlace, scoreTable(index, found, chosen));
    fill(filesPlace, downloads(index, found, having, chosen[0]));
    legend();
    if (onmodels) onmodels(chosen);
  };
  const legendPlace = h("fieldset", { class: "chips" });
  const legend = () => fill(legendPlace, h("legend", {}, "Curves"),
    h("span", { class: "chip" }, h("span", { class: "dot", style: { background: style("--ink") } }), "reference"),
    having.map((one) => {
      const on = chosen.includes(one.name);
      return h("label", { class: on ? "chip on" : "chip" },
        h("input", { type: "checkbox", name: `curve-${one.name}`, checked: on, onchange: (event) => {
          chosen = event.target.checked ? [...chosen, one.name] : chosen.filter((name) => name !== one.name);
          if (!event.target.checked) slots.delete(one.name);
          draw();
          legendPlace.querySelector(`[name="curve-${CSS.escape(one.name)}"]`)?.focus();
        } }), h("span", { class: "dot", style: { background: on ? colours(one.name) : "transparent" } }), one.name);
    }));

  fill(place,
    h("h3", {}, h("a", { href: address("scan", [found.scan], { m: models.join(",") }) }, found.scan), ` ${found.formula}`,
      found.system !== found.scan ? [" of ", h("a", { href: address("molecule", [found.system]) }, found.system)] : null),
    found.quality === "marked" ? h("p", { class: "problem" }, `The reference of this scan is marked: ${found.reason}`) : null,
    outside ? h("p", { class: "note", role: "status" }, `The address asks for a frame that this scan has not (0 to ${last}); frame ${asked} is shown.`) : null,
    having.length ? null : h("p", { class: "note", role: "status" }, index.tasks.bonds.curves ? "No model has curves on this scan." : "No evaluations are kept with these results, so that the curves are those of the reference alone."),
    unknown.length && having.length ? h("p", { class: "note", role: "status" }, `Without curves on this scan: ${unknown.join(", ")}.`) : null,
    legendPlace,
    h("div", { class: "scan" },
      h("div", { class: "curves" },
        h("label", {}, "Energies up to ", h("select", { name: "window", onchange: (event) => { state.window = event.target.value; draw(); } },
          WINDOWS.map(([value, text]) => h("option", { value, selected: value === state.window }, text)))),
        energyPlace, changePlace,
        h("p", { class: "note" }, having.length ? "Band: largest slope of the model in front (the first that is chosen). Dotted: its worst false or missing extremum. Dashed: its wall gives way. " : "", "Dash-dotted: reference minimum q. Dotted level: ε², below which ΔF² counts as ε².")),
      h("div", { class: "structure" }, moleculePlace, slider, readout,
        h("label", {}, "Arrows ", h("select", { name: "arrows", onchange: (event) => { state.arrows = event.target.value; showFrame(); } },
          [...(having.length ? [["model", "forces of the model in front"]] : []), ["reference", "forces of the reference"], ["", "none"]].map(([value, text]) => h("option", { value }, text)))),
        forcesNote)),
    scoresPlace, filesPlace);
  draw();
  for (const one of charts) one.cursor(state.frame);
  try {
    molecule = await viewer(moleculePlace, `${found.formula} in 3D`);
  } catch (error) {
    fill(moleculePlace, h("p", { class: "problem" }, error.message));
    return;
  }
  showFrame();
}

// The first frame to look at: the largest slope of the model in front.
function startFrame(found, name) {
  const peak = found.models.find((one) => one.name === name)?.row.fsd_peak_coordinate;
  if (!Number.isFinite(peak)) return found.minimum;
  const at = found.coordinate.findIndex((value) => value > peak);
  return Math.max(0, at - 1);
}

function ranges(frames) {
  const parts = [];
  for (const frame of frames) {
    const last = parts.at(-1);
    if (last && last[1] === frame - 1) last[1] = frame; else parts.push([frame, frame]);
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(", ");
}

export function scoreColumns(index, wanted) {
  return index.tasks.bonds.columns.filter((one) => wanted.includes(one.name)).map((one) => ({
    name: one.name, title: one.title, unit: one.unit, tip: one.help || one.title,
    value: ({ row }) => row[one.name] ?? null,
  }));
}

export const SHOWN = ["fsd_full", "fsd_windowed", "fsd_aligned", "force_mae", "energy_mae_aligned", "spurious_extrema", "fsd_peak_coordinate"];

function scoreTable(index, found, chosen) {
  const rows = found.models;
  return table([
    { name: "model", title: "model", left: true, header: true, value: (one) => one.name, cell: (one) => h("a", { href: address("model", [one.name], { scan: found.scan }) }, one.name) },
    ...scoreColumns(index, SHOWN),
    { name: "what", title: "what", left: true, value: (one) => one.row.extremum || one.row.message, cell: (one) => (one.row.status === "ok" ? one.row.extremum : `${one.row.status}: ${one.row.message}`) },
  ], rows, { caption: "All models on this scan", sort: { name: "fsd_full", descending: false }, rowClass: (one) => (chosen.includes(one.name) ? "chosen" : null) });
}

// --- downloads ------------------------------------------------------------------------------------

function downloads(index, found, having, name) {
  const one = having.find((other) => other.name === name);
  const word = found.scan.replaceAll("/", "_");
  const every = [["reference", found.reference], ...having.map((other) => [other.name, other])];
  const buttons = [
    h("button", { type: "button", onclick: () => save(`${word}.csv`, scanCsv(found, every), "text/csv") }, having.length ? "Curves of all models (CSV)" : "Curve of the reference (CSV)"),
    h("button", { type: "button", onclick: () => save(`${word}_${name ?? "reference"}.extxyz`, scanExtxyz(found, one), "chemical/x-xyz") },
      `This scan with ${name ?? "the reference"} (extxyz)`),
  ];
  const words = name ? command(index, found, name) : null;
  return h("section", { "aria-label": "Downloads" }, h("p", { class: "links" }, buttons),
    h("p", { class: "note" }, "The files hold what is stored here: energies and ΔF² of all frames with 7 digits (energies relative to q), forces at the largest slopes with 3 to 4."),
    words ? [h("p", {}, `This command computes the scan again with ${name}, with the forces of all frames, from where the folder of results stands; where an entry can run code, it says how you consent${words.includes("PATH/TO/") ? "; PATH/TO is the folder in which you keep the file" : ""}:`), h("pre", { tabindex: "0" }, h("code", {}, words))] : null);
}

export function scanCsv(found, every) {
  return csv([
    ["frame", "coordinate_angstrom", ...every.flatMap(([name]) => [`energy_ev ${name}`, `force_change_ev2_per_angstrom2 ${name}`])],
    ...found.coordinate.map((value, k) => [k, value, ...every.flatMap(([, one]) => [sum(one.zero, one.energy[k]), digits(one.change[k], SINGLE)])]),
  ]);
}

export function scanExtxyz(found, one) {
  const symbols = found.numbers.map(symbol);
  return extxyz(found.coordinate.map((value, k) => {
    const arrays = {};
    const own = one ? one.frames.indexOf(k) : -1, reference = found.reference.frames.indexOf(k);
    if (own >= 0) arrays.forces = one.forces[own];
    if (reference >= 0) arrays.reference_forces = found.reference.forces[reference];
    return {
      symbols, positions: found.positions(k), arrays,
      info: {
        scan: found.scan, frame: k, coordinate_angstrom: value, charge: found.charge, spin: found.spin, model: one?.name ?? "reference",
        energy: one ? sum(one.zero, one.energy[k]) : null, reference_energy: sum(found.reference.zero, found.reference.energy[k]),
      },
    };
  }));
}

function command(index, found, name) {
  const words = index.tasks.bonds.commands[index.rows.findIndex((row) => row.model === name)];
  if (!words) return null;
  return ["python", "-m", "pesbench", ...words, "--scans", found.scan, "--out", `${name}.h5`].map(quoted).join(" ");
}
