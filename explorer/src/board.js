// The answer, the leaderboard, and means by bond type.

import { fill, h, number, numeric, table } from "./dom.js";
import { heat } from "./colours.js";
import { csv, save } from "./files.js";
import { address, change, joined, list, read } from "./state.js";
import { explained } from "./words.js";

const MOST_WEIGHT = 100;
const ROLES = { model: "Models", reference: "Reference", perturbed: "Perturbed models", control: "Controls" };
const TOLD = {
  "†": "another level of theory than the reference's: the scores contain the gap between the two",
  "‡": "on the scans it was scored on, its mean of a score is no better than that of zero forces",
  "§": "the training data may overlap with the scan set, so that the scores may be better than those of unseen molecules",
};

export function answers(index) {
  return h("section", { "aria-label": "Answers", class: "answers" },
    h("ul", {}, index.answers.map((one) => h("li", {}, explained(one)))));
}

export function modelLink(index, row, query = {}) {
  const marks = [...(row.marks ?? "")].map((mark) => {
    const told = `${TOLD[mark] ?? ""}${mark === "‡" && row.no_better_than_zero_in ? `: ${row.no_better_than_zero_in}` : ""}`;
    return h("button", { type: "button", class: "mark", tip: `${mark} ${told}`, "aria-label": `${mark}: ${told}` }, mark);
  });
  const name = row.role === "control" ? row.model : h("a", { href: address("model", [row.model], query) }, row.model);
  return [name, marks.length ? " " : null, marks];
}

export function board(index, place) {
  const { query } = read();
  const columns = new Map(index.columns.map((one) => [one.name, one]));
  const usual = index.columns.filter((one) => one.shown).map((one) => one.name);
  const state = {
    q: query.get("q") ?? "",
    family: query.get("family") ?? "",
    element: query.get("element") ?? "",
    roles: query.has("roles") ? list(query.get("roles")) : ["model", "reference"],
    shown: query.has("cols") ? list(query.get("cols")).filter((one) => columns.has(one)) : usual,
    sort: { name: query.get("sort") ?? "rank", descending: query.get("desc") === "1" },
    against: query.get("against") ?? "",
    weights: new Map(list(query.get("w") ?? "").map((one) => one.split(":")).filter(([name, w]) => columns.has(name) && Number(w) > 0).map(([name, w]) => [name, Math.min(MOST_WEIGHT, Number(w))])),
  };
  const remember = () => change({
    q: state.q, family: state.family, element: state.element, against: state.against,
    roles: state.roles.join() === "model,reference" ? "" : joined(state.roles) || "none",
    cols: state.shown.join() === usual.join() ? "" : joined(state.shown) || "none",
    sort: state.sort.name === "rank" ? "" : state.sort.name, desc: state.sort.descending ? "1" : "",
    w: joined([...state.weights].map(([name, weight]) => `${name}:${weight}`)),
  });
  const result = h("div");
  const draw = () => { remember(); fill(result, leaderboard(index, columns, state, remember)); };
  const present = [...new Set(index.rows.map((row) => row.role))];
  const families = [...new Set(index.rows.filter((row) => row.role !== "control").map((row) => row.family))].sort();
  const elements = [...new Set(index.cards.flatMap((card) => split(card.elements)))].sort();
  const choose = (name, label, values, tip = null) => values.length > 1 || state[name] ? h("label", { tip }, `${label} `,
    h("select", { name, onchange: (event) => { state[name] = event.target.value; draw(); } },
      [["", "all"], ...values.map((one) => [one, one])].map(([value, text]) => h("option", { value, selected: state[name] === value }, text)))) : null;
  const controls = index.rows.filter((row) => row.role === "control").map((row) => row.model);
  const tools = h("form", { class: "tools", onsubmit: (event) => event.preventDefault() },
    h("label", {}, "Filter ", h("input", { type: "search", name: "q", value: state.q, placeholder: "name, licence, level …", oninput: (event) => { state.q = event.target.value; draw(); } })),
    choose("family", "Family", families), choose("element", "Knows", elements, "Models that know the element. One that does not say what it knows stays, unless it refused a molecule for the element."),
    h("fieldset", { class: "roles" }, h("legend", {}, "Rows"), present.map((role) => h("label", {},
      h("input", { type: "checkbox", name: `role-${role}`, checked: state.roles.includes(role), onchange: (event) => {
        state.roles = present.filter((one) => (one === role ? event.target.checked : state.roles.includes(one)));
        draw();
      } }), ` ${ROLES[role] ?? role}`))),
    controls.length ? h("label", { tip: "The scores of a known defect of the reference stand as a line in the bars." }, "Read against ",
      h("select", { name: "against", onchange: (event) => { state.against = event.target.value; draw(); } },
        [["", "no control"], ...controls.map((one) => [one, one])].map(([value, text]) => h("option", { value, selected: state.against === value }, text)))) : null);
  draw();
  fill(place,
    answers(index),
    h("section", { "aria-label": "Leaderboard" }, h("h2", {}, "Leaderboard"), tools,
      chooser(index, state, draw), ranking(index, state, draw), result),
    heatMap(index),
    facts(index));
}

const split = (text) => (text ? String(text).split(/,\s*/) : []);

function matches(state, row, card) {
  if (!state.roles.includes(row.role)) return false;
  if (state.family && row.family !== state.family) return false;
  if (state.element && card.elements && !split(card.elements).includes(state.element)) return false;
  if (state.element && split(row.lacking).includes(state.element)) return false; // it does not say what it knows, and met this one
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const text = [row.model, row.family, row.level_of_theory, row.license, row.base, row.defect, ...Object.values(card)].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

function leaderboard(index, columns, state, remember) {
  const rows = index.rows.map((row, k) => ({ ...row, number: k })).filter((row) => matches(state, row, index.cards[row.number] ?? {}));
  if (!rows.length) return h("p", { role: "status" }, "No row fits the filter.");
  const personal = personalRanks(index.rows, state.weights, columns); // of all, whatever is shown
  const against = index.rows.find((row) => row.model === state.against);
  const shown = state.shown.map((name) => columns.get(name));
  const list = [
    { name: "rank", title: "rank", narrow: true, value: (row) => row.rank ?? null, cell: rankCell,
      tip: "Rank on the shared scans, with its 95 % interval where there is one; * it changes among the others when another model takes part." },
    ...(personal ? [{ name: "personal", title: "own rank", tip: "Rank by your weights: the weighted mean of the ranks in these columns, among all models that have a value in each, whatever the filter shows.", value: (row) => personal.get(row.model) ?? null,
      cell: (row) => (personal.has(row.model) ? String(personal.get(row.model)) : "–") }] : []),
    { name: "model", title: "model", left: true, header: true, value: (row) => row.model, cell: (row) => modelLink(index, row), tip: "Name of the entry in config/models.yaml." },
    ...shown.map((one) => column(one, rows, against)),
  ];
  const download = h("button", { type: "button", onclick: () => save("leaderboard.csv", csv([
    ["rank", "model", "role", ...shown.map((one) => one.name)],
    ...rows.map((row) => [row.rank, row.model, row.role, ...shown.map((one) => row[one.name])]),
  ]), "text/csv") }, "Download these rows (CSV)");
  return [
    table(list, rows, {
      caption: `${rows.length} of ${index.rows.length} rows, sorted by column on click; numbers are copied with full precision`,
      sort: state.sort, rowClass: (row) => `role-${row.role}`,
      onsort: (sort) => { state.sort = sort; remember(); },
    }),
    h("p", { class: "links" }, download, " ", h("a", { href: "leaderboard.json" }, "leaderboard.json"), " (all columns, ",
      h("a", { href: "leaderboard.schema.json" }, "schema"), ")"),
  ];
}


function rankCell(row) {
  if (row.rank === undefined) return "–";
  const range = row.rank_low !== undefined && row.rank_low !== row.rank_high ? ` (${row.rank_low}–${row.rank_high})` : "";
  return `${row.rank}${row.rank_changes_with ? "*" : ""}${range}`;
}

export function shownValue(one, value, row) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (value === undefined) return "n/a";
  if (one.of) return `${value} / ${row[one.of]}`;
  if (one.kind === "integer") return String(value);
  return one.kind === "text" ? value : number(typeof value === "number" ? value * (one.scale ?? 1) : value);
}

function column(one, rows, against) {
  const values = rows.flatMap((row) => [row[one.name], row[one.low], row[one.high]]).map(numeric).filter(Number.isFinite);
  const line = against ? numeric(against[one.name]) : NaN;
  const most = Math.max(...values, Number.isFinite(line) && values.length ? Math.min(line, 3 * Math.max(...values)) : -Infinity);
  const least = Math.min(0, ...values);
  const text = one.kind === "text";
  const compared = one.low || (one.better && !one.of && Number.isFinite(line));
  const tip = [one.help, one.better ? `${one.better === "lower" ? "Lower" : "Higher"} is better.` : "", one.low ? "The bar shows the 95 % interval." : ""].filter(Boolean).join(" ");
  return {
    name: one.name, title: one.title, unit: one.unit, left: text, narrow: Boolean(one.of), tip: tip || one.name, higher: one.better === "higher",
    value: (row) => row[one.name] ?? null,
    cell: (row) => {
      const value = row[one.name];
      const low = numeric(row[one.low]), high = numeric(row[one.high]);
      const interval = Number.isFinite(low) && Number.isFinite(high);
      const count = one.count && row[one.count] !== undefined ? `mean of ${row[one.count]} rows` : "";
      const exact = typeof value === "number" ? String(value * (one.scale ?? 1)) : "";
      const range = interval ? `95 % interval ${number(low * (one.scale ?? 1))} to ${number(high * (one.scale ?? 1))}` : "";
      const told = [exact, range, count].filter(Boolean).join("; ");
      const shown = h("span", { class: value === undefined ? "none" : null, tip: told || null }, shownValue(one, value, row));
      if (!compared || !Number.isFinite(numeric(value)) || !(most > least)) return shown;
      const at = (v) => `${Math.max(0, Math.min(100, 100 * (v - least) / (most - least)))}%`;
      const bar = h("span", { class: "bar", "aria-hidden": "true" },
        interval ? h("span", { class: "range", style: { left: at(low), right: `calc(100% - ${at(high)})` } }) : null,
        h("span", { class: "dot", style: { left: at(value) } }),
        Number.isFinite(line) ? h("span", { class: "control", style: { left: at(line) } }) : null);
      return [shown, bar];
    },
  };
}

// Ranks by weights: of models alone, by the weighted mean of their ranks in each column.
function personalRanks(rows, weights, columns) {
  const used = [...weights].filter(([name, weight]) => weight > 0 && columns.get(name)?.better);
  if (!used.length) return null;
  const entered = rows.filter((row) => row.role === "model" && used.every(([name]) => Number.isFinite(numeric(row[name]))));
  const score = new Map(entered.map((row) => [row.model, 0]));
  for (const [name, weight] of used) {
    const higher = columns.get(name).better === "higher";
    for (const row of entered) {
      const better = entered.filter((other) => (higher ? numeric(other[name]) > numeric(row[name]) : numeric(other[name]) < numeric(row[name]))).length;
      score.set(row.model, score.get(row.model) + weight * (1 + better));
    }
  }
  const ordered = [...score.values()].sort((a, b) => a - b);
  return new Map([...score].map(([name, value]) => [name, 1 + ordered.indexOf(value)]));
}

function groups(index) {
  const found = new Map();
  for (const one of index.columns) {
    if (!found.has(one.group)) found.set(one.group, []);
    found.get(one.group).push(one);
  }
  return found;
}

function chooser(index, state, draw) {
  const boxes = [...groups(index)].map(([group, some]) => {
    const singles = some.map((one) => h("label", { tip: one.help || one.name },
      h("input", { type: "checkbox", name: `col-${one.name}`, checked: state.shown.includes(one.name), onchange: (event) => {
        const wanted = new Set(state.shown);
        if (event.target.checked) wanted.add(one.name); else wanted.delete(one.name);
        state.shown = index.columns.map((c) => c.name).filter((name) => wanted.has(name));
        draw();
      } }), ` ${one.title}${one.unit ? ` (${one.unit})` : ""}`));
    const all = h("button", { type: "button", class: "small", onclick: () => {
      const inputs = singles.map((label) => label.firstElementChild);
      const on = !inputs.some((input) => input.checked);
      const usual = some.some((one) => one.shown);
      for (const [n, input] of inputs.entries()) input.checked = on && (usual ? some[n].shown : true);
      const names = some.map((one) => one.name);
      const wanted = new Set([...state.shown.filter((name) => !names.includes(name)), ...names.filter((_, n) => inputs[n].checked)]);
      state.shown = index.columns.map((c) => c.name).filter((name) => wanted.has(name));
      draw();
    } }, "show or hide");
    return h("fieldset", {}, h("legend", {}, group, " ", all), singles);
  });
  return h("details", { class: "chooser" }, h("summary", {}, "Columns"), h("div", { class: "groups" }, boxes));
}

function ranking(index, state, draw) {
  const some = index.columns.filter((one) => one.better);
  return h("details", { class: "chooser", open: state.weights.size > 0 }, h("summary", {}, "Own ranking"),
    h("p", {}, "Give columns weights: models are ranked by the weighted mean of their ranks in these columns, among all that have a value in each, whatever the filter shows. The address keeps the weights, so that the view can be shared."),
    h("div", { class: "groups" }, h("fieldset", {}, h("legend", {}, "Weights"), some.map((one) => h("label", { tip: one.help || null },
      h("input", { type: "number", name: `w-${one.name}`, min: 0, max: MOST_WEIGHT, step: "any", value: state.weights.get(one.name) ?? 0, oninput: (event) => {
        const weight = Math.min(MOST_WEIGHT, Number(event.target.value));
        if (weight > 0) state.weights.set(one.name, weight); else state.weights.delete(one.name);
        draw();
      } }), ` ${one.title}${one.unit ? ` (${one.unit})` : ""}`)))));
}

// --- means by bond type ---------------------------------------------------------------------------

export function heatMap(index) {
  const bonds = index.tasks.bonds;
  if (!bonds) return null;
  const titles = new Map(bonds.columns.map((one) => [one.name, one]));
  const place = h("div");
  const draw = (name) => {
    const of = bonds.heat.values[name];
    const rows = index.rows.map((row, number) => ({ row, cells: of[number] })).filter(({ row, cells }) =>
      cells && (row.role !== "control" || row.model === "control-zero"));
    const all = rows.flatMap(({ cells }) => cells).filter((cell) => cell?.[0] > 0).map(([value]) => Math.log(value)).sort((a, b) => a - b); // the reference scores 0
    const low = all[0] ?? 0, high = all.at(-1) ?? 1;
    const { unit } = titles.get(name);
    const columns = [
      { name: "model", title: "model", left: true, header: true, value: ({ row }) => row.model, cell: ({ row }) => modelLink(index, row) },
      ...bonds.heat.bonds.map((bond, n) => ({
        name: bond, title: bond.replace("-", "–"), value: ({ cells }) => cells[n]?.[0] ?? null,
        tip: `Mean over scans of ${bond} bonds, ${unit}.`,
        cell: ({ row, cells }) => {
          if (!cells[n]) return h("span", { class: "none" }, "–");
          const [value, count] = cells[n];
          const { background, ink } = heat((Math.log(Math.max(value, 1e-6)) - low) / (high - low || 1));
          return h("a", { class: "heat", href: row.role === "control" ? null : address("model", [row.model], { bond }), style: { background, color: ink },
            tip: `${row.model}, ${bond}: ${value} ${unit}, mean of ${count} scans` }, number(value));
        },
      })),
    ];
    fill(place, table(columns, rows, { caption: `Mean ${titles.get(name).title} (${unit}) by bond type; the darker, the larger. A cell of a model leads to the scans behind it.` }));
  };
  draw("fsd_full");
  return h("section", { class: "heatmap", "aria-label": "Models by bond type" }, h("h2", {}, "Models by bond type"),
    h("label", {}, "Score ", h("select", { name: "heat", onchange: (event) => draw(event.target.value) },
      Object.keys(bonds.heat.values).map((name) => h("option", { value: name }, titles.get(name).title)))), place);
}

function facts(index) {
  const pairs = (some) => h("dl", { class: "facts" }, some.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  return [
    h("section", { "aria-label": "What was scored" }, h("h2", {}, "What was scored"), pairs(index.facts)),
    h("section", { "aria-label": "How to read it" }, h("h2", {}, "How to read it"), h("ul", {}, index.notes.map((one) => h("li", {}, explained(one))))),
    h("section", { "aria-label": "How it was made" }, h("h2", {}, "How it was made"), pairs(index.made)),
  ];
}


