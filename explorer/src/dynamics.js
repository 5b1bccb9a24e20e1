// Dynamics: survival curves, and any run with its energy, temperature and the steps before it failed.

import { chart } from "./chart.js";
import { colour, style } from "./colours.js";
import { float16, float32, float64, piece, records } from "./data.js";
import { fill, h, number, table } from "./dom.js";
import { csv, digits, quoted, save, SINGLE } from "./files.js";
import { address, change, joined, list, read } from "./state.js";
import { viewer } from "./viewer.js";

const MOST = 100;
const SHOWN = 4; // curves before a reader chooses
const FRAME_MS = 50;

const runsOf = (index) => records(index.tasks.dynamics.runs).map((one) => ({ ...one, name: index.rows[one.model].model }));

// A choice of models by name, each with a colour that stays. `draw(chosen, colourOf)`.
function chooser(names, chosen, draw) {
  const slots = new Map();
  const colourOf = (name) => {
    if (!slots.has(name)) {
      let k = 0;
      while ([...slots.values()].includes(k)) k++;
      slots.set(name, k);
    }
    return colour(slots.get(name));
  };
  const place = h("fieldset", { class: "chips" });
  const show = () => {
    for (const name of chosen) colourOf(name);
    fill(place, h("legend", {}, "Models"), names.map((name) => {
      const on = chosen.includes(name);
      return h("label", { class: on ? "chip on" : "chip" }, h("input", { type: "checkbox", name: `curve-${name}`, checked: on, onchange: (event) => {
        chosen = event.target.checked ? [...chosen, name] : chosen.filter((one) => one !== name);
        if (!event.target.checked) slots.delete(name);
        show();
        place.querySelector(`[name="curve-${CSS.escape(name)}"]`)?.focus();
      } }), h("span", { class: "dot", style: { background: on ? colourOf(name) : "transparent" } }), name);
    }));
    draw(chosen, colourOf);
  };
  return { place, show };
}

// --- all runs -------------------------------------------------------------------------------------

export function dynamics(index, place) {
  const { query } = read();
  const runs = runsOf(index);
  const curves = new Map(Object.entries(index.tasks.dynamics.survival).map(([k, one]) => [index.rows[k].model, {
    ...one, time: float32(one.time), share: float32(one.share), low: one.low ? float32(one.low) : null, high: one.high ? float32(one.high) : null,
  }]));
  const failed = (name) => runs.filter((one) => one.name === name && one.outcome === "failed").length;
  const names = [...curves.keys()];
  const asked = query.has("m") ? list(query.get("m")).filter((name) => curves.has(name)) : [...names].sort((a, b) => failed(b) - failed(a)).slice(0, SHOWN);
  const plot = h("div", { class: "plot" }), told = h("div", { class: "readout" });
  let shown = null;
  const choice = chooser(names, asked, (chosen, colourOf) => {
    change({ m: joined(chosen) });
    shown?.destroy();
    fill(plot);
    const own = chosen.map((name) => [name, curves.get(name)]);
    if (!own.length) { shown = null; fill(told); return; }
    const { time } = own[0][1];
    const at = (one, values) => (values ? time.map((t) => values[Math.max(0, one.time.findLastIndex((v) => v <= t + 1e-9))]) : null);
    const read1 = (k) => fill(told, h("table", { class: "small" }, h("caption", {}, h("span", {}, `at ${number(time[k])} ps`)),
      h("thead", {}, h("tr", {}, h("td"), h("th", { scope: "col", tabindex: "0", tip: "Share of the runs at risk whose molecule is whole." }, "alive"), h("th", { scope: "col" }, "95 % interval"), h("th", { scope: "col" }, "runs"))),
      h("tbody", {}, own.map(([name, one]) => h("tr", {}, h("th", { scope: "row" }, h("span", { class: "dot", style: { background: colourOf(name) } }), name),
        h("td", {}, number(at(one, one.share)[k])), h("td", {}, one.low ? `${number(at(one, one.low)[k])}–${number(at(one, one.high)[k])}` : "n/a"), h("td", {}, String(one.n)))))));
    shown = chart(plot, {
      x: { label: "time (ps)", values: time }, y: { label: "share alive", range: [0, 1.03] }, height: 280,
      series: own.flatMap(([name, one]) => [
        { label: name, values: at(one, one.share), colour: colourOf(name), width: 2.2, stepped: true },
        ...(one.low ? [one.low, one.high].map((values) => ({ label: `${name} interval`, values: at(one, values), colour: colourOf(name), width: 1, dash: [3, 4], stepped: true })) : []),
      ]),
      oncursor: read1,
    });
    read1(time.length - 1);
  });
  const { left_out: rest, most } = index.tasks.dynamics;
  const bounded = [...curves.values()].some((one) => one.low);
  const hasReference = runs.some((one) => index.rows[one.model].role === "reference");
  const says = ["Share of the runs at risk whose molecule is whole (Kaplan–Meier), up to the shortest planned run.",
    bounded ? "Dashed: 95 % interval over molecules, by the bootstrap, and exact (Clopper–Pearson) where that has no width, as while all live; it never rises, as the curve never does." : "",
    hasReference ? "Failures of the reference are not taken off here; the survival on the leaderboard counts those in excess of it." : "The reference ran no dynamics, so that every failure counts, here and on the leaderboard."].filter(Boolean).join(" ");
  fill(place, h("h2", {}, "Dynamics"),
    h("section", { "aria-label": "Survival" }, h("h3", {}, "Survival"), choice.place, h("div", { class: "scan" }, h("div", {}, plot), h("div", { class: "structure" }, told)),
      h("p", { class: "note" }, says)),
    runList(index, runs, query),
    rest.curves || runs.some((one) => one.piece !== null) ? null : h("p", { class: "note" }, "No trajectories are kept with these results, so that no run has curves."),
    rest.curves ? h("p", { class: "note" }, `The curves of ${rest.curves} more runs are in the files of results alone: at most ${most.curves} a model are here, failures first. "python -m pesbench export" writes any of them.`) : null,
    rest.animations ? h("p", { class: "note" }, `The last steps of ${rest.animations} more runs that ended early are in the files of results alone, so that this folder stays small.`) : null);
  choice.show();
}

// What became of a run; its message begins with the step and repeats the failure.
const what = (one) => [one.failure.replaceAll("_", " "), one.status === "ok" ? "" : one.status, one.failure ? one.message.replace(`${one.failure}: `, "") : one.message].filter(Boolean).join(": ");

const ORDER = ["failed", "censored", "survived", "not_at_risk"];

function runList(index, runs, query) {
  const { help } = index.tasks.dynamics;
  const state = { q: query.get("q") ?? "", outcome: query.get("outcome") ?? "" };
  const inOrder = [...runs].sort((a, b) => ORDER.indexOf(a.outcome) - ORDER.indexOf(b.outcome) || a.time_ps - b.time_ps);
  const outcomes = [...new Set(runs.map((one) => one.outcome))].sort();
  const place = h("div");
  const draw = () => {
    const wanted = inOrder.filter((one) => (!state.outcome || one.outcome === state.outcome)
      && `${one.name} ${one.trajectory} ${one.failure.replaceAll("_", " ")} ${one.status} ${one.message}`.toLowerCase().includes(state.q.toLowerCase()));
    fill(place, table([
      { name: "trajectory", title: "run", left: true, header: true, value: (one) => one.trajectory, cell: (one) => (one.piece === null ? one.trajectory : h("a", { href: address("trajectory", [one.name, one.trajectory]) }, one.trajectory)) },
      { name: "model", title: "model", left: true, value: (one) => one.name, cell: (one) => h("a", { href: address("model", [one.name]) }, one.name) },
      { name: "outcome", title: "outcome", left: true, value: (one) => one.outcome.replaceAll("_", " ") },
      { name: "failure", title: "what", left: true, value: what },
      { name: "temperature_k", title: "nominal", unit: "K", tip: "The velocities at the start have twice this temperature, of which a molecule at its minimum keeps about half.", value: (one) => one.temperature_k },
      { name: "time_ps", title: "time", unit: "ps", value: (one) => one.time_ps },
      { name: "spike", title: "temperature spike", unit: "σ", tip: `${help.temperature_spike} σ is such a width.`, value: (one) => one.temperature_spike, higher: true },
      { name: "drift", title: "drift", tip: help.energy_drift_mev_per_atom_ps, unit: "meV/atom/ps", value: (one) => one.energy_drift_mev_per_atom_ps, higher: true },
      { name: "rms", title: "RMS", tip: help.energy_rms_mev_per_atom, unit: "meV/atom", value: (one) => one.energy_rms_mev_per_atom, higher: true },
    ], wanted, { caption: `${wanted.length} of ${runs.length} runs`, most: MOST }));
  };
  draw();
  return h("section", { "aria-label": "Runs" }, h("h3", {}, "Runs"),
    h("form", { class: "tools", onsubmit: (event) => event.preventDefault() },
      h("label", {}, "Filter ", h("input", { type: "search", name: "q", value: state.q, placeholder: "run, model, what", oninput: (event) => { state.q = event.target.value; change({ q: state.q }); draw(); } })),
      h("label", {}, "Outcome ", h("select", { name: "outcome", onchange: (event) => { state.outcome = event.target.value; change({ outcome: state.outcome }); draw(); } },
        [["", "all"], ...outcomes.map((one) => [one, one.replaceAll("_", " ")])].map(([value, text]) => h("option", { value, selected: value === state.outcome }, text))))), place);
}

// --- one run --------------------------------------------------------------------------------------

const QUANTITIES = [["energy", "E − E(0) (meV/atom)"], ["temperature", "temperature (K)"]];

export async function run(index, place, name, trajectory) {
  const same = runsOf(index).filter((one) => one.trajectory === trajectory && one.piece !== null);
  const own = same.find((one) => one.name === name);
  if (!own) {
    fill(place, h("h2", {}, "No such run"), h("p", {}, h("a", { href: address("dynamics") }, "To the dynamics")));
    return;
  }
  const pieces = new Map();
  const load = async (wanted) => {
    for (const one of same.filter((other) => wanted.includes(other.name))) if (!pieces.has(one.name)) pieces.set(one.name, await piece(`dynamics/run-${one.piece}`));
  };
  const { query } = read();
  const asked = query.has("m") ? list(query.get("m")) : [name];
  const plots = new Map(QUANTITIES.map(([key]) => [key, h("div", { class: "plot" })]));
  let charts = [], turn = 0;
  const choice = chooser(same.map((one) => one.name), asked.filter((one) => same.some((other) => other.name === one)), async (chosen, colourOf) => {
    change({ m: chosen.join() === name ? "" : joined(chosen) });
    const mine = ++turn;
    await load(chosen);
    if (mine !== turn) return;
    for (const one of charts) one.destroy();
    charts = QUANTITIES.map(([key, label]) => drawRuns(plots.get(key), key, label, chosen.map((one) => [one, pieces.get(one), colourOf(one)])));
  });
  await load([name]);
  const first = pieces.get(name);
  const told = [["outcome", own.outcome.replaceAll("_", " ")], ["what", what(own)], ["time (ps)", number(own.time_ps)], ["nominal temperature (K)", number(own.temperature_k)],
    ["alarms", first.alarms.length ? `${first.n_alarms}, the first at ${number(first.alarms[0], 5)} ps${first.n_alarms > first.alarms.length ? `; ${first.alarms.length === 1 ? "this one is" : `the first ${first.alarms.length} are`} drawn` : ""}` : ""],
    ["start", first.relaxed ? "a minimum of the model's own" : "the geometry of the scan set"]].filter(([, value]) => value);
  const animation = h("section", { "aria-label": "The last steps" });
  const words = ["python", "-m", "pesbench", "export", trajectory, "--trajectories", first.file, ...(first.keeps_last ? ["--last-steps"] : []), "--out", `${trajectory}.extxyz`].map(quoted).join(" ");
  fill(place, h("p", {}, h("a", { href: address("dynamics") }, "← all runs")), h("h2", {}, trajectory, " with ", h("a", { href: address("model", [name]) }, name)),
    h("dl", { class: "facts" }, told.map(([title, value]) => [h("dt", {}, title), h("dd", {}, value)])), choice.place,
    h("div", { class: "scan" }, h("div", {}, ...plots.values(), h("p", { class: "note" }, "Of 100 spans of a run the smallest and the largest value are drawn. Line: the failure; dotted: alarms, and the nominal temperature.")), h("div", { class: "structure" }, animation)),
    h("p", { class: "links" }, h("button", { type: "button", onclick: () => save(`${trajectory}.csv`, runCsv(pieces), "text/csv") }, "These curves (CSV)")),
    h("p", {}, `This command writes ${first.keeps_last ? "the last steps" : "the stored frames"} of the run for other programs, from where the folder of results stands:`), h("pre", { tabindex: "0" }, h("code", {}, words)));
  choice.show();
  if (first.last) await animate(animation, first, trajectory);
  else fill(animation, h("p", { class: "note" }, first.keeps_last ? "The last steps of this run are in the files of results alone." : "Only runs that fail, or that an alarm ends, keep all of their last steps."));
}

function drawRuns(place, key, label, some) {
  const sets = some.map(([, one]) => [float32(one.series[key].time), float32(one.series[key].values)]);
  const times = [...new Set(sets.flatMap(([time]) => time))].sort((a, b) => a - b);
  const marks = [];
  for (const [, one, ink] of some) {
    if (one.failure_ps !== null) marks.push({ at: one.failure_ps, colour: ink, width: 1.6 });
    for (const alarm of one.alarms) marks.push({ at: alarm, colour: ink, dash: [2, 3] });
  }
  if (key === "temperature" && some.length) marks.push({ at: some[0][1].nominal_k, axis: "y", colour: style("--faint"), dash: [2, 3] });
  if (!times.length) { fill(place); return { destroy() {} }; }
  const levels = marks.filter((one) => one.axis === "y").map((one) => one.at);
  const heights = [...levels, ...sets.flatMap(([, values]) => values.filter(Number.isFinite))];
  const [low, high] = [Math.min(...heights), Math.max(...heights)];
  const range = levels.length && high > low ? [low - (high - low) / 20, high + (high - low) / 20] : undefined; // with the level that is marked
  return chart(place, {
    x: { label: "time (ps)", values: times }, y: { label, range }, height: 210, key: "run", marks,
    series: some.map(([name, , ink], k) => {
      const of = new Map(sets[k][0].map((time, n) => [time, sets[k][1][n]]));
      return { label: name, colour: ink, values: times.map((time) => of.get(time) ?? NaN), spanGaps: true };
    }),
  });
}

const runCsv = (pieces) => csv([["model", "quantity", "time_ps", "value"], ...[...pieces].flatMap(([name, one]) => QUANTITIES.flatMap(([key]) => {
  const time = float32(one.series[key].time), values = float32(one.series[key].values);
  return time.map((t, k) => [name, key, digits(t, SINGLE), digits(values[k], SINGLE)]);
}))]);

async function animate(place, one, label) {
  const time = float64(one.last.time);
  const values = float16(one.last.positions);
  const n = one.numbers.length;
  const frames = time.map((_, f) => one.numbers.map((_, k) => values.slice(3 * (f * n + k), 3 * (f * n + k) + 3)));
  const whole = frames.map((frame) => frame.flat().every(Number.isFinite));
  const last = whole.lastIndexOf(true);
  const at = h("p", { class: "note", "aria-live": "off" });
  const canvas = h("div", { class: "viewer" });
  let frame = 0, timer = null, molecule = null;
  const slider = h("input", { type: "range", name: "step", min: 0, max: Math.max(0, last), step: 1, value: 0, "aria-label": "step before the failure", oninput: () => { stop(); show(Number(slider.value)); } });
  const button = h("button", { type: "button", onclick: () => (timer ? stop() : play()) }, "Play");
  const show = (k) => {
    frame = k;
    slider.value = String(k);
    fill(at, `Step ${one.last.step[k]}, ${number(time[k], 5)} ps; ${one.last.step.at(-1) - one.last.step[k]} steps before the end.`);
    if (molecule && whole[k]) molecule.show({ numbers: one.numbers, positions: frames[k], bonds: one.bonds });
  };
  const stop = () => { clearInterval(timer); timer = null; fill(button, "Play"); };
  const play = () => {
    if (frame >= last) frame = -1;
    fill(button, "Pause");
    timer = setInterval(() => { if (!place.isConnected || frame >= last) stop(); else show(frame + 1); }, FRAME_MS);
  };
  fill(place, h("h3", {}, `The last ${time.length} steps`), canvas, slider, button, at, h("p", { class: "note" }, "Bonds are those of the start, however long they are."));
  if (last < 0) { fill(canvas, h("p", { class: "note" }, "No position of these steps is a number.")); return; }
  try {
    molecule = await viewer(canvas, `${label}, the steps before it failed`);
  } catch (error) {
    fill(canvas, h("p", { class: "problem" }, error.message));
    return;
  }
  show(0);
}
