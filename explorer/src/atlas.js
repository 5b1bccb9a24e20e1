// The failure atlas: counts model × kind, and the failures behind each count.

import { fill, h, table } from "./dom.js";
import { piece, records } from "./data.js";
import { address, change, read } from "./state.js";

const MOST = 200;
const SOURCES = { scans: "bond scans", trajectories: "trajectories" };

// A number of the table, whose cells are text; null where there is none.
const numberOf = (text) => (text === "" || !Number.isFinite(Number(text)) ? null : Number(text));

export async function atlas(index, place) {
  const rows = records(await piece(index.atlas));
  const { query } = read();
  const sources = [...new Set(rows.map((row) => row.source))];
  const state = { source: query.get("source") ?? sources[0] ?? "", model: query.get("model") ?? "", kind: query.get("kind") ?? "", pair: query.get("pair") ?? "" };
  const result = h("div");
  const choose = (some) => {
    Object.assign(state, some);
    change({ source: state.source === sources[0] ? "" : state.source, model: state.model, kind: state.kind, pair: state.pair });
    draw();
  };
  const draw = () => {
    const here = rows.filter((row) => row.source === state.source);
    const kinds = [...new Set(here.map((row) => row.kind))];
    const names = index.rows.map((row) => row.model).filter((name) => here.some((row) => row.model === name));
    const pairs = [...new Set(here.map((row) => row.pair).filter(Boolean))].sort();
    const count = (name, kind) => new Set(here.filter((row) => row.model === name && row.kind === kind).map((row) => row.item)).size;
    const wanted = here.filter((row) => (!state.model || row.model === state.model) && (!state.kind || row.kind === state.kind) && (!state.pair || row.pair === state.pair));
    const told = [state.kind, state.model && `of ${state.model}`, state.pair && `at ${state.pair}`].filter(Boolean).join(" ");
    fill(result,
      h("form", { class: "tools", onsubmit: (event) => event.preventDefault() },
        sources.length > 1 ? h("label", {}, "Of ", h("select", { name: "source", onchange: (event) => choose({ source: event.target.value, model: "", kind: "", pair: "" }) },
          sources.map((one) => h("option", { value: one, selected: one === state.source }, SOURCES[one] ?? one)))) : null,
        pairs.length ? h("label", {}, "Pair of elements ", h("select", { name: "pair", onchange: (event) => choose({ pair: event.target.value }) },
          [["", "all"], ...pairs.map((one) => [one, one])].map(([value, text]) => h("option", { value, selected: value === state.pair }, text)))) : null),
      table([
        { name: "model", title: "model", left: true, header: true, value: (name) => name, cell: (name) => h("button", { type: "button", class: "link", onclick: () => choose({ model: name, kind: "" }) }, name) },
        ...kinds.map((kind) => ({
          name: kind, title: kind, value: (name) => count(name, kind), higher: true,
          cell: (name) => (count(name, kind) ? h("button", { type: "button", class: "link", "aria-label": `${count(name, kind)} ${kind} of ${name}`, onclick: () => choose({ model: name, kind }) }, String(count(name, kind))) : "0"),
        })),
      ], names, { caption: `Number of ${SOURCES[state.source] ?? state.source} by model and kind; one may be of two kinds, and a number leads to them` }),
      h("h3", {}, told || "All", " ", told ? h("button", { type: "button", class: "small", onclick: () => choose({ model: "", kind: "", pair: "" }) }, "show all") : null),
      table([
        { name: "item", title: state.source === "trajectories" ? "trajectory" : "scan", left: true, header: true, value: (row) => row.item, cell: (row) => itemLink(index, row) },
        { name: "model", title: "model", left: true, value: (row) => row.model, cell: (row) => h("a", { href: address("model", [row.model], row.source === "scans" ? { scan: row.item } : {}) }, row.model) },
        { name: "kind", title: "kind", left: true, value: (row) => row.kind },
        { name: "pair", title: "pair", left: true, value: (row) => row.pair, tip: "Elements of the two atoms that it happened to." },
        { name: "reduced", title: "distance / covalent sum", value: (row) => numberOf(row.reduced), tip: "Distance of the two atoms over the sum of their covalent radii." },
        state.source === "trajectories"
          ? { name: "time", title: "time", unit: "ps", value: (row) => numberOf(row.time_ps) }
          : { name: "coordinate", title: "bond length", unit: "Å", value: (row) => numberOf(row.coordinate_angstrom) },
        { name: "size", title: "size", value: (row) => numberOf(row.size), higher: true },
        { name: "unit", title: "unit", left: true, value: (row) => row.unit },
        { name: "note", title: "note", left: true, value: (row) => row.note },
      ], wanted, { caption: `${wanted.length} of ${here.length} rows`, most: MOST }));
  };
  draw();
  fill(place, h("h2", {}, "Failures"), h("p", {}, "What happened where models failed; the rules of the kinds are in ", h("a", { href: address("section", ["atlas"]) }, "the section"), "."), result);
}

function itemLink(index, row) {
  if (row.source === "trajectories") return index.tasks.dynamics ? h("a", { href: address("trajectory", [row.model, row.item]) }, row.item) : row.item;
  return h("a", { href: address("scan", [row.item], { m: row.model, frame: row.frame }) }, row.item);
}
