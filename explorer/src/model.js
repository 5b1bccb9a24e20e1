// A model: card, scores, where it breaks, and its scans with their curves.

import { heatMap, modelLink, shownValue } from "./board.js";
import { piece, records } from "./data.js";
import { fill, h, number, table } from "./dom.js";
import { panel, scans, scoreColumns } from "./scan.js";
import { section } from "./section.js";
import { address, change, joined, list, read } from "./state.js";

const SHORT = ["fsd_full", "fsd_windowed", "force_mae", "fsd_peak_coordinate"];
const MOST = 60; // rows before a reader asks for all
const CARD = [
  ["role", "role"], ["family", "family"], ["level_of_theory", "level of theory"], ["license", "licence"], ["conservative", "conservative forces"],
  ["parameters", "checksum of the parameters"], ["precision", "precision"], ["lacking", "elements of the set that it lacks"], ["overlap", "overlap of its training data"],
  ["base", "made from"], ["defect", "defect"], ["dose", "dose"], ["cost_device", "device of the cost"], ["cost_ms_per_step", "ms per step"], ["missing", "scans without a score"], ["md_missing", "trajectories not finished"],
];
const OF_CARD = { training_data: "training data", training_dispersion: "dispersion in the training data", elements: "elements", description: "description", citation: "citation", url: "page" };

export async function model(index, place, name) {
  const k = index.rows.findIndex((row) => row.model === name);
  if (k < 0) {
    fill(place, h("h2", {}, "No such model"), h("p", {}, "The address names no model of this run. ", h("a", { href: address("board") }, "To the leaderboard")));
    return;
  }
  const row = index.rows[k];
  const card = index.cards[k] ?? {};
  const told = [
    ...CARD.filter(([key]) => row[key] !== undefined && row[key] !== "").map(([key, title]) => [title, row[key]]),
    ...Object.entries(OF_CARD).filter(([key]) => card[key]).map(([key, title]) => [title, card[key]]),
    ...(index.tasks.bonds?.ran[k] ?? []),
  ];
  const scansPlace = h("div");
  fill(place,
    h("p", {}, h("a", { href: address("board") }, "← all models")),
    h("h2", {}, modelLink(index, row)),
    h("div", { class: "cardandscores" },
      h("section", { "aria-label": "Card", class: "card" }, h("h3", {}, "Card"),
        h("dl", { class: "facts" }, told.map(([title, value]) => [h("dt", {}, title), h("dd", {}, typeof value === "number" ? number(value) : typeof value === "boolean" ? (value ? "yes" : "no") : value)]))),
      scores(index, row, k)),
    scansPlace, h("div", { id: "sections" }));
  if (index.tasks.bonds) await scanList(index, scansPlace, row, k);
  const own = index.of_models[k] ?? [];
  const sections = place.querySelector("#sections");
  for (const one of own) {
    const part = h("section", {});
    sections?.append(part);
    await section(index, part, one.piece, { model: name });
  }
}

function scores(index, row, k) {
  const bonds = index.tasks.bonds;
  const groups = new Map();
  for (const one of index.columns) {
    if (row[one.name] === undefined || one.kind === "text" || one.kind === "flag" || !one.shown) continue;
    if (!groups.has(one.group)) groups.set(one.group, []);
    groups.get(one.group).push(one);
  }
  const cell = (one) => {
    const end = (name) => shownValue({ scale: one.scale }, row[name], row);
    return [shownValue(one, row[one.name], row), one.low && row[one.low] !== undefined ? ` (${end(one.low)}–${end(one.high)})` : ""];
  };
  const byBond = bonds && bonds.heat.bonds.map((bond, n) => ({ bond, values: Object.fromEntries(Object.entries(bonds.heat.values).map(([name, of]) => [name, of[k]?.[n] ?? null])) }))
    .filter((one) => Object.values(one.values).some(Boolean));
  return h("section", { "aria-label": "Scores" }, h("h3", {}, "Scores"),
    h("div", { class: "columns" }, [...groups].map(([group, some]) => h("div", {}, h("h4", {}, group),
      h("dl", { class: "facts" }, some.map((one) => [h("dt", { tip: one.help || null }, one.title, one.unit ? ` (${one.unit})` : ""), h("dd", { data: { value: String(row[one.name]) } }, cell(one))]))))),
    byBond?.length ? table([
      { name: "bond", title: "bond", left: true, header: true, value: (one) => one.bond, cell: (one) => h("a", { href: address("model", [row.model], { bond: one.bond }) }, one.bond.replace("-", "–")) },
      ...Object.keys(bonds.heat.values).map((name) => {
        const told = bonds.columns.find((one) => one.name === name);
        return { name, title: told.title, unit: told.unit, tip: told.help, value: (one) => one.values[name]?.[0] ?? null };
      }),
      { name: "n", title: "scans", value: (one) => Math.max(...Object.values(one.values).map((v) => v?.[1] ?? 0)), cell: (one) => String(Math.max(...Object.values(one.values).map((v) => v?.[1] ?? 0))) },
    ], byBond, { caption: "Means by bond type" }) : null);
}

async function scanList(index, place, row, k) {
  const { query } = read();
  const all = scans(index);
  const own = records(await piece(`bonds/model-${k}`).then((found) => ({ columns: ["number", ...found.columns], rows: found.rows.map((one, n) => [found.scans[n], ...one]) })));
  const rows = own.map((one) => ({ scan: all[one.number], row: one }));
  const bonds = [...new Set(rows.map((one) => one.scan.bond))].sort();
  const state = { bond: query.get("bond") ?? "", q: query.get("scans") ?? "", scan: query.get("scan") ?? "", models: list(query.get("m") ?? row.model), frame: query.has("frame") ? Number(query.get("frame")) : null,
    sort: { name: query.get("by") ?? "fsd_full", descending: query.get("asc") !== "1" } };
  const tablePlace = h("div", { class: "scanlist" }), panelPlace = h("div", { class: "panel" });
  let shown = null, later = null;
  const open = (one, { pin }) => {
    if (shown === one.number && !pin) return;
    const same = shown === one.number;
    shown = one.number;
    if (pin) { state.scan = one.scan; change({ scan: one.scan }); mark(); }
    if (same) return;
    panel(index, panelPlace, one, {
      models: state.models, frame: state.frame,
      onmodels: (models) => { state.models = models; change({ m: models.join() === row.model ? "" : joined(models) }); },
      onframe: (frame) => { if (state.scan === one.scan) change({ frame }); },
    });
    state.frame = null;
  };
  const mark = () => { for (const line of tablePlace.querySelectorAll("tr[data-scan]")) line.classList.toggle("chosen", line.dataset.scan === state.scan); };
  const draw = () => {
    const wanted = rows.filter((one) => (!state.bond || one.scan.bond === state.bond) && (!state.q || `${one.scan.scan} ${one.scan.formula} ${one.scan.smiles} ${one.row.extremum} ${one.row.message}`.toLowerCase().includes(state.q.toLowerCase())));
    const columns = [
      { name: "scan", title: "scan", left: true, header: true, value: (one) => one.scan.scan, cell: (one) => h("button", { type: "button", class: "link", onclick: () => open(one.scan, { pin: true }) }, one.scan.scan) },
      { name: "formula", title: "molecule", left: true, value: (one) => one.scan.formula, cell: (one) => h("a", { href: address("molecule", [one.scan.system]) }, one.scan.formula) },
      ...scoreColumns(index, SHORT),
      { name: "what", title: "what", left: true, value: (one) => one.row.extremum || one.row.message, cell: (one) => (one.row.status === "ok" ? one.row.extremum : `${one.row.status}: ${one.row.message}`) },
    ];
    fill(tablePlace, table(columns, wanted, {
      caption: `${wanted.length} scans of ${row.model}${state.bond ? ` of ${state.bond.replace("-", "–")} bonds` : ""}; pointing at one shows ${index.tasks.bonds.curves ? "its curves" : "it"}, a click keeps ${index.tasks.bonds.curves ? "them" : "it"}`,
      most: MOST, sort: state.sort,
      onsort: (sort) => { state.sort = sort; change({ by: sort.name === "fsd_full" ? "" : sort.name, asc: sort.descending ? "" : "1" }); },
      onrow: (line, one) => {
        line.dataset.scan = one.scan.scan;
        line.classList.toggle("chosen", one.scan.scan === state.scan);
        line.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") { clearTimeout(later); later = setTimeout(() => open(one.scan, { pin: false }), 250); } });
        line.addEventListener("pointerleave", () => clearTimeout(later));
      },
    }));
  };
  fill(place, h("section", { "aria-label": "Scans" }, h("h3", {}, "Scans, the worst first"),
    h("form", { class: "tools", onsubmit: (event) => event.preventDefault() },
      h("label", {}, "Bond ", h("select", { name: "bond", onchange: (event) => { state.bond = event.target.value; change({ bond: state.bond }); draw(); } },
        [["", "all"], ...bonds.map((one) => [one, one.replace("-", "–")])].map(([value, text]) => h("option", { value, selected: value === state.bond }, text)))),
      h("label", {}, "Filter ", h("input", { type: "search", name: "scans", value: state.q, placeholder: "scan, formula, SMILES, what", oninput: (event) => { state.q = event.target.value; change({ scans: state.q }); draw(); } }))),
    h("div", { class: "sidebyside" }, tablePlace, panelPlace)));
  draw();
  const asked = rows.find((one) => one.scan.scan === state.scan);
  const first = asked ?? rows.find((one) => one.scan.scan === tablePlace.querySelector("tr[data-scan]")?.dataset.scan);
  if (first) open(first.scan, { pin: Boolean(asked) });
}

const MANY = 12;

function elements(text) {
  const found = text ? text.split(/,\s*/) : [];
  return found.length > MANY ? h("span", { tip: text, tabindex: "0" }, `${found.slice(0, 3).join(", ")} … ${found.at(-1)} (${found.length})`) : text ?? "";
}

// All models, for a reader who comes without one.
export function models(index, place) {
  fill(place, h("h2", {}, "Models"), table([
    { name: "model", title: "model", left: true, header: true, value: ({ row }) => row.model, cell: ({ row }) => modelLink(index, row) },
    { name: "role", title: "role", left: true, value: ({ row }) => row.role },
    { name: "family", title: "family", left: true, value: ({ row }) => row.family },
    { name: "level", title: "level of theory", left: true, value: ({ row }) => row.level_of_theory ?? "" },
    { name: "elements", title: "elements", left: true, value: ({ card }) => card.elements ?? "", cell: ({ card }) => elements(card.elements) },
    { name: "license", title: "licence", left: true, value: ({ card }) => card.license ?? "" },
    { name: "about", title: "description", left: true, value: ({ card }) => card.description ?? card.citation ?? "" },
  ], index.rows.map((row, k) => ({ row, card: index.cards[k] ?? {} })).filter(({ row }) => row.role !== "control"), { caption: "Models, reference and perturbed models" }), heatMap(index));
}
