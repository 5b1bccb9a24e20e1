// A section of a task or a comparison as its manifest has it: sentence, tables, figures, notes.

import { piece } from "./data.js";
import { fill, h, table } from "./dom.js";
import { figure } from "./figure.js";
import { address } from "./state.js";
import { explained } from "./words.js";

export async function section(index, place, name, { model = "" } = {}) {
  let found;
  try {
    found = await piece(name);
  } catch (error) {
    fill(place, h("p", { class: "problem" }, error.message));
    return;
  }
  const models = new Set(index.rows.filter((row) => row.role !== "control").map((row) => row.model));
  const scans = new Set((index.tasks.bonds?.scans.rows ?? []).map((row) => row[0]));
  const link = (text) => {
    if (models.has(text)) return h("a", { href: address("model", [text]) }, text);
    if (scans.has(text)) return h("a", { href: model ? address("model", [model], { scan: text }) : address("scan", [text]) }, text);
    return text;
  };
  const hrefOf = (text) => (models.has(text) ? address("model", [text]) : null);
  fill(place, h("h3", {}, found.title), found.sentence ? h("p", {}, explained(found.sentence)) : null,
    found.tables.map((one) => [
      one.title ? h("h4", {}, one.title) : null, one.notes.map((note) => h("p", { class: "note" }, explained(note))),
      one.rows.length ? [
        table(one.columns.map((title, k) => ({
          name: title, title, left: !looksNumeric(one.rows, k), header: k === 0, value: (row) => sortable(row[k]), cell: (row) => (title === "family" ? row[k] : link(row[k])),
        })), one.rows, { caption: one.title || found.title, quiet: true }),
        h("p", { class: "links" }, h("a", { href: `${found.folder}/${encodeURIComponent(one.file)}`, download: "" }, `${one.file}`)),
      ] : null,
    ]),
    found.figures.map((one, k) => drawing(one, `${found.folder}/`, { hrefOf, key: `figure-${k + 1}` })),
    found.files.length ? h("p", { class: "links" }, "All numbers: ", found.files.map((name) => [h("a", { href: `${found.folder}/${encodeURIComponent(name)}`, download: "" }, name), " "])) : null,
    found.notes.map((note) => h("p", { class: "note" }, explained(note))));
}

// A figure: to point at where it says how, and its picture, CSV beside them.
function drawing(one, folder, how) {
  const file = (name) => h("a", { href: folder + encodeURIComponent(name), download: "" }, name);
  const picture = h("img", { src: folder + encodeURIComponent(one.file), alt: one.caption, loading: "lazy" });
  if (!one.plot) return h("figure", {}, picture, h("figcaption", {}, explained(one.caption), " ", file(one.file)));
  const place = h("div");
  const whole = h("figure", {}, place, h("details", { open: Boolean(one.plot.panel) }, h("summary", {}, "Picture"), picture),
    h("figcaption", {}, explained(one.caption), " ", file(one.file), " ", file(one.plot.file)));
  queueMicrotask(() => figure(place, one.plot, how)); // once it has a width
  return whole;
}

// The number that a cell begins with, else its text.
function sortable(text) {
  const plain = text.replace(/[\u202f\u00a0]/g, "").replace("−", "-");
  const found = /^[-+]?\d+(\.\d+)?(e[-+]?\d+)?/i.exec(plain);
  if (found) return Number(found[0]);
  return text === "n/a" || text === "–" ? null : text;
}

const looksNumeric = (rows, k) => rows.every((row) => typeof sortable(row[k]) !== "string");

export async function sections(index, place, name) {
  const all = index.sections;
  const chosen = all.find((one) => one.name === name) ?? null;
  const body = h("div");
  fill(place, h("h2", {}, "Sections"),
    h("ul", { class: "tabs" }, all.map((one) => h("li", {}, h("a", { href: address("section", [one.name]), "aria-current": one === chosen ? "page" : null }, one.title)))), body);
  if (chosen) await section(index, body, chosen.piece);
  else fill(body, all.map((one) => [h("h3", {}, h("a", { href: address("section", [one.name]) }, one.title)), one.sentence ? h("p", {}, explained(one.sentence)) : null]));
}
