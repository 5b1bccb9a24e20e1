// The failure atlas: counts model × kind, and the failures behind each count.

import { fill, h, table } from "./dom.js";
import { piece, records } from "./data.js";
import { csv, save } from "./files.js";
import { address, change, read } from "./state.js";

const MOST = 200;
const LOW = "the reference is at most 10 eV above its minimum";
const SOURCES = { scans: "bond scans", trajectories: "trajectories" };

// A number of the table, whose cells are text; null where there is none.
const numberOf = (text) => (text === "" || !Number.isFinite(Number(text)) ? null : Number(text));

// Whether it happens where the reference is low, too; what has no answer has none there either.
const isLow = (row) => row.n_below !== "0";

export async function atlas(index, place) {
  const found = await piece(index.atlas);
  const rows = records(found);
  const { query } = read();
  const sources = Object.keys(found.asked);
  const state = { source: query.get("source") ?? "", model: query.get("model") ?? "", kind: query.get("kind") ?? "", pair: query.get("pair") ?? "", below: query.get("below") === "1" };
  if (!sources.includes(state.source)) state.source = sources[0] ?? "";
  const result = h("div");
  const choose = (some) => {
    Object.assign(state, some);
    change({ source: state.source === sources[0] ? "" : state.source, model: state.model, kind: state.kind, pair: state.pair, below: state.below ? "1" : "" });
    draw();
  };
  const draw = () => {
    const asked = found.asked[state.source] ?? {};
    const here = rows.filter((row) => row.source === state.source);
    const every = new Set(here.map((row) => row.kind));
    const kinds = [...new Set([...Object.keys(found.kinds), ...every])].filter((kind) => every.has(kind));
    const names = index.rows.map((row) => row.model).filter((name) => Object.hasOwn(asked, name));
    const pairs = [...new Set(here.map((row) => row.pair).filter(Boolean))].sort();
    const isScans = state.source === "scans";
    const low = isScans && state.below;
    const counted = here.filter((row) => (!low || isLow(row)) && (!state.pair || row.pair === state.pair));
    const items = (some) => new Set(some.map((row) => row.item)).size;
    const count = (name, kind) => items(counted.filter((row) => row.model === name && row.kind === kind));
    const countLow = (name, kind) => items(counted.filter((row) => row.model === name && row.kind === kind && isLow(row)));
    const without = (name, some = counted) => asked[name] - items(some.filter((row) => row.model === name));
    const inBrackets = (n, below) => (isScans && !low ? `${n} (${below})` : String(n));
    const wanted = counted.filter((row) => (!state.model || row.model === state.model) && (!state.kind || row.kind === state.kind));
    const told = [state.kind, state.model && `of ${state.model}`, state.pair && `at ${state.pair}`].filter(Boolean).join(" ");
    const words = SOURCES[state.source] ?? state.source;
    const cell = (name, kind) => {
      const n = count(name, kind);
      if (!n) return "0";
      const answered = counted.some((row) => row.model === name && row.kind === kind && row.n_below !== "");
      const text = answered ? inBrackets(n, countLow(name, kind)) : String(n);
      return h("button", { type: "button", class: "link", "aria-label": `${n} of ${asked[name]}: ${kind} of ${name}`, onclick: () => choose({ model: name, kind }) }, text);
    };
    fill(result,
      h("form", { class: "tools", onsubmit: (event) => event.preventDefault() },
        sources.length > 1 ? h("label", {}, "Of ", h("select", { name: "source", onchange: (event) => choose({ source: event.target.value, model: "", kind: "", pair: "" }) },
          sources.map((one) => h("option", { value: one, selected: one === state.source }, SOURCES[one] ?? one)))) : null,
        pairs.length ? h("label", {}, "Pair of elements ", h("select", { name: "pair", onchange: (event) => choose({ pair: event.target.value }) },
          [["", "all"], ...pairs.map((one) => [one, one])].map(([value, text]) => h("option", { value, selected: value === state.pair }, text)))) : null,
        isScans ? h("label", {}, h("input", { type: "checkbox", name: "below", checked: state.below, onchange: (event) => choose({ below: event.target.checked }) }), ` only where ${LOW}`) : null),
      table([
        { name: "model", title: "model", left: true, header: true, value: (name) => name, cell: (name) => h("button", { type: "button", class: "link", onclick: () => choose({ model: name, kind: "" }) }, name) },
        { name: "asked", title: words, value: (name) => asked[name], cell: (name) => String(asked[name]), tip: `Number of ${words} that the counts of a row are of.` },
        { name: "none", title: "none", value: without, cell: (name) => inBrackets(without(name), without(name, counted.filter(isLow))), higher: true, tip: `Number of ${words} that show none of the kinds${state.pair ? ` at ${state.pair}` : ""}${low ? ` where ${LOW}` : ""}.` },
        ...kinds.map((kind) => ({ name: kind, title: kind, tip: found.kinds[kind], value: (name) => count(name, kind), higher: true, cell: (name) => cell(name, kind) })),
      ], names, { caption: `Number of ${words} by model and kind, for ${names.length} models${low ? `, where ${LOW}` : isScans ? `; in brackets, where ${LOW}` : ""}; one may be of two kinds, and a number leads to them` }),
      h("h3", {}, told || "All", " ", told ? h("button", { type: "button", class: "small", onclick: () => choose({ model: "", kind: "", pair: "" }) }, "show all") : null),
      table([
        { name: "item", title: isScans ? "scan" : "trajectory", left: true, header: true, value: (row) => row.item, cell: (row) => itemLink(index, row) },
        { name: "model", title: "model", left: true, value: (row) => row.model, cell: (row) => h("a", { href: address("model", [row.model], isScans ? { scan: row.item } : {}) }, row.model) },
        { name: "kind", title: "kind", left: true, value: (row) => row.kind, cell: (row) => h("span", { tabindex: "0", tip: found.kinds[row.kind] }, row.kind) },
        { name: "pair", title: "pair", left: true, value: (row) => row.pair, tip: "Elements of the two atoms that it happened to." },
        { name: "reduced", title: "distance / covalent sum", value: (row) => numberOf(row.reduced), tip: "Distance of the two atoms over the sum of their covalent radii." },
        ...(isScans
          ? [{ name: "coordinate", title: "bond length", unit: "Å", value: (row) => numberOf(row.coordinate_angstrom) },
            { name: "reference", title: "reference energy", unit: "eV", value: (row) => numberOf(row.reference_ev), tip: "Energy of the reference above its minimum, at the largest event of the kind." }]
          : [{ name: "time", title: "time", unit: "ps", value: (row) => numberOf(row.time_ps) }]),
        { name: "size", title: "size", tip: "Slope, depth, height or energy, in the unit beside it.", value: (row) => numberOf(row.size), higher: true },
        { name: "unit", title: "unit", left: true, value: (row) => row.unit },
        { name: "note", title: "note", left: true, value: (row) => row.note },
      ], wanted, { caption: `${wanted.length} of ${here.length} rows`, most: MOST }),
      h("p", { class: "links" }, h("button", { type: "button", onclick: () => save("atlas.csv", csv([found.columns, ...rows.map((row) => found.columns.map((name) => row[name]))]), "text/csv") }, "All rows (CSV)")));
  };
  draw();
  fill(place, h("h2", {}, "Failures"), h("p", {}, sentenceOf(index)), h("p", { class: "note" }, "The rules of the kinds are in ", h("a", { href: address("section", ["atlas"]) }, "the section"), "."), result);
}

const sentenceOf = (index) => index.sections.find((one) => one.name === index.atlas)?.sentence ?? "";

// All models on a molecule: what happened in each of its scans, and in its trajectories.
export async function onMolecule(index, place, system, scans) {
  const found = await piece(index.atlas);
  const rows = records(found).filter((row) => row.system === system);
  const names = index.rows.map((row) => row.model).filter((name) => Object.values(found.asked).some((asked) => Object.hasOwn(asked, name)));
  const column = (title, source, wanted, tip) => {
    const of = (name) => rows.filter((row) => row.model === name && row.source === source && wanted(row));
    return {
      name: title, title, left: true, tip, higher: true, value: (name) => of(name).length,
      cell: (name) => (of(name).length ? of(name).map((row, k) => [k ? ", " : "", itemLink(index, row, row.kind, found.kinds[row.kind])]) : Object.hasOwn(found.asked[source] ?? {}, name) ? "–" : "n/a"),
    };
  };
  const runs = rows.some((row) => row.source === "trajectories");
  fill(place, h("h3", {}, "What happened on this molecule"), table([
    { name: "model", title: "model", left: true, header: true, value: (name) => name, cell: (name) => h("a", { href: address("model", [name]) }, name) },
    ...scans.map((scan) => column(scan, "scans", (row) => row.item === scan, "Kinds of event on this scan, each with a link to where it is largest.")),
    ...(runs ? [column("trajectories", "trajectories", () => true, "Kinds of event, each with a link to the trajectory.")] : []),
  ], names, { caption: "By model and scan, as the failure atlas names it; –: nothing, n/a: not asked" }));
}

function itemLink(index, row, text = row.item, tip = null) {
  if (row.source === "trajectories") return index.tasks.dynamics ? h("a", { href: address("trajectory", [row.model, row.item]), tip }, text) : text;
  return h("a", { href: address("scan", [row.item], { m: row.model, frame: row.frame }), tip }, text);
}
