// The failure atlas: counts model × kind, and the failures behind each count.

import { fill, h, table } from "./dom.js";
import { piece, records } from "./data.js";
import { address, change, read } from "./state.js";

const MOST = 200;

export async function atlas(index, place) {
  const rows = records(await piece(index.atlas)).map((row) => ({ ...row, kinds: String(row.kinds).split(/[;,]\s*/).filter(Boolean) }));
  const { query } = read();
  const state = { model: query.get("model") ?? "", kind: query.get("kind") ?? "", all: false };
  const kinds = [...new Set(rows.flatMap((row) => row.kinds))].sort();
  const names = [...new Set(rows.map((row) => row.model))];
  const counts = h("div"), failures = h("div");
  const choose = (model, kind) => { state.model = model; state.kind = kind; state.all = false; change({ model, kind }); draw(); };
  const draw = () => {
    const wanted = rows.filter((row) => (!state.model || row.model === state.model) && (!state.kind || row.kinds.includes(state.kind)));
    const some = state.all ? wanted : wanted.slice(0, MOST);
    fill(failures, h("h3", {}, [state.kind || "all kinds", state.model ? ` of ${state.model}` : ""], " ", state.kind || state.model ? h("button", { type: "button", class: "small", onclick: () => choose("", "") }, "show all") : null),
      table([
        { name: "model", title: "model", left: true, value: (row) => row.model, cell: (row) => h("a", { href: address("model", [row.model]) }, row.model) },
        { name: "system", title: "molecule", left: true, value: (row) => row.system, cell: (row) => h("a", { href: address("molecule", [row.system], { m: row.model }) }, row.system) },
        { name: "bond", title: "bond", left: true, value: (row) => row.bond },
        { name: "kinds", title: "kinds", left: true, value: (row) => row.kinds.join(", ") },
        { name: "pair", title: "pair of elements", left: true, value: (row) => row.pair },
        { name: "coordinate", title: "coordinate", unit: "Å", value: (row) => Number(row.coordinate) },
        { name: "share", title: "distance over covalent sum", value: (row) => Number(row.share) },
      ], some, { caption: `${wanted.length} of ${rows.length} failures` }),
      some.length < wanted.length ? h("button", { type: "button", onclick: () => { state.all = true; draw(); } }, `Show all ${wanted.length}`) : null);
  };
  fill(counts, table([
    { name: "model", title: "model", left: true, header: true, value: (name) => name, cell: (name) => h("button", { type: "button", class: "link", onclick: () => choose(name, "") }, name) },
    ...kinds.map((kind) => {
      const count = (name) => rows.filter((row) => row.model === name && row.kinds.includes(kind)).length;
      return { name: kind, title: kind, value: count, higher: true, cell: (name) => (count(name) ? h("button", { type: "button", class: "link", onclick: () => choose(name, kind) }, String(count(name))) : "0") };
    }),
  ], names, { caption: "Failures by model and kind; a failure may be of two kinds" }));
  draw();
  fill(place, h("h2", {}, "Failures"), counts, failures);
}
