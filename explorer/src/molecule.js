// A molecule with all models on it, and the list of molecules.

import { onMolecule } from "./atlas.js";
import { fill, h, table } from "./dom.js";
import { panel, scans } from "./scan.js";
import { address, change, joined, list, read } from "./state.js";

const MOST = 200;

export async function molecule(index, place, name) {
  const own = scans(index).filter((one) => one.system === name);
  if (!own.length) {
    fill(place, h("h2", {}, "No such molecule"), h("p", {}, h("a", { href: address("molecules") }, "To the molecules")));
    return;
  }
  const { query } = read();
  const chosen = own.find((one) => one.scan === query.get("scan")) ?? own[0];
  const body = h("div", { class: "panel" }), happened = h("section", { "aria-label": "What happened" });
  fill(place, h("p", {}, h("a", { href: address("molecules") }, "← all molecules")), h("h2", {}, name), h("p", {}, own[0].formula, own[0].smiles ? [", SMILES ", h("code", {}, own[0].smiles)] : null),
    own.length > 1 ? h("ul", { class: "tabs" }, own.map((one) => h("li", {}, h("a", { href: address("molecule", [name], { scan: one.scan }), "aria-current": one === chosen ? "page" : null }, one.scan)))) : null, body, happened);
  await panel(index, body, chosen, asked(query));
  if (index.atlas) await onMolecule(index, happened, name, own.map((one) => one.scan));
}

export async function oneScan(index, place, id) {
  const found = scans(index).find((one) => one.scan === id);
  if (!found) {
    fill(place, h("h2", {}, "No such scan"), h("p", {}, h("a", { href: address("molecules") }, "To the molecules")));
    return;
  }
  const body = h("div", { class: "panel" });
  fill(place, h("h2", {}, "Scan"), body);
  await panel(index, body, found, asked(read().query));
}

const asked = (query) => ({
  models: list(query.get("m") ?? ""), frame: query.has("frame") ? Number(query.get("frame")) : null,
  onmodels: (models) => change({ m: joined(models) }), onframe: (frame) => change({ frame }),
});

export function molecules(index, place) {
  const { query } = read();
  const all = scans(index);
  const state = { q: query.get("q") ?? "" };
  const result = h("div");
  const draw = () => {
    const wanted = all.filter((one) => `${one.scan} ${one.formula} ${one.smiles} ${one.bond}`.toLowerCase().includes(state.q.toLowerCase()));
    fill(result, table([
      { name: "scan", title: "scan", left: true, header: true, value: (one) => one.scan, cell: (one) => h("a", { href: address("scan", [one.scan]) }, one.scan) },
      { name: "system", title: "molecule", left: true, value: (one) => one.system, cell: (one) => h("a", { href: address("molecule", [one.system], { scan: one.scan }) }, one.system) },
      { name: "bond", title: "bond", left: true, value: (one) => one.bond },
      { name: "formula", title: "formula", left: true, value: (one) => one.formula },
      { name: "n_atoms", title: "atoms", value: (one) => one.n_atoms, cell: (one) => String(one.n_atoms) },
      { name: "quality", title: "reference", left: true, value: (one) => one.quality, cell: (one) => (one.reason ? `${one.quality}: ${one.reason}` : one.quality) },
    ], wanted, { caption: `${wanted.length} of ${all.length} scans`, most: MOST }));
  };
  draw();
  fill(place, h("h2", {}, "Molecules"), h("form", { class: "tools", onsubmit: (event) => event.preventDefault() },
    h("label", {}, "Filter ", h("input", { type: "search", name: "q", value: state.q, placeholder: "scan, formula, SMILES, bond", oninput: (event) => { state.q = event.target.value; change({ q: state.q }); draw(); } }))), result);
}
