// The page of a diff: what `pesbench diff` has decided, in its words. Nothing is decided here.

import { colour } from "./colours.js";
import { index as readIndex, piece } from "./data.js";
import { explanations, fill, h, number, numeric, table } from "./dom.js";
import { scatter, spansDecades } from "./scatter.js";
import { address, change, read } from "./state.js";
import { storedTheme, themeButton } from "./theme.js";

const SIDES = ["A", "B"];
const UNCHANGED = "unchanged";
const MOST = 60; // rows before a reader asks for all
const NAMED = 4; // models before a reader asks for all
const DIGEST = /^[0-9a-f]{16,64}$/;
// views of an explorer by what a row of scores is of
const VIEWS = {
  scan: (model, item) => address("model", [model], { scan: item }),
  trajectory: (model, item) => address("trajectory", [model, item]),
  system: (model, item) => address("molecule", [item], { m: model }),
};

const finite = (v) => typeof v === "number" && Number.isFinite(v);
const plural = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
const key = (one, tasks) => [tasks[one.task].model, tasks[one.task].task, one.name];

// Two values, with digits enough to tell them apart.
function apart(a, b) {
  const shown = [3, 6, 9, 12].map((digits) => [number(a, digits), number(b, digits)]);
  return shown.find(([one, other]) => one !== other) ?? shown[0];
}

// --- the answer -----------------------------------------------------------------------------------

function verdict(index) {
  const rest = index.verdict.slice(index.answer.length);
  return h("section", { "aria-label": "Verdict" },
    h("p", { class: `verdict ${index.answer.replaceAll(" ", "-")}` }, h("strong", {}, index.answer), rest),
    h("dl", { class: "facts" },
      index.folders.map((one, k) => [h("dt", {}, SIDES[k]), h("dd", {}, one.path,
        Object.entries(one.links).map(([what, href]) => [" · ", h("a", { href }, what)]))]),
      h("dt", {}, "exit code"), h("dd", {}, String(index.exit)),
      index.tolerance ? [h("dt", {}, "tolerance"), h("dd", {}, `${number(100 * index.tolerance)} % of a value`)] : null,
      index.allow_missing ? [h("dt", {}, "missing"), h("dd", {}, "B may lack models, tasks and scores of A")] : null,
      h("dt", {}, "everything"), h("dd", {}, h("a", { href: "diff.json", download: "" }, "diff.json"))));
}

// --- scores ---------------------------------------------------------------------------------------

function scores(index, place) {
  const { tasks } = index;
  const { query } = read();
  const differ = index.scores.filter((one) => one.verdict !== UNCHANGED);
  const usual = differ.length ? "differ" : "all";
  const state = { show: query.get("show") ?? usual, q: query.get("q") ?? "", open: query.get("score") ?? "", sort: { name: query.get("by") ?? "verdict", descending: query.get("desc") === "1" } };
  const tablePlace = h("div", { class: "scanlist" }), panelPlace = h("div", { class: "panel" });
  const id = (one) => address("", key(one, tasks));
  const open = (one, asked) => {
    state.open = id(one);
    if (asked) change({ score: state.open });
    for (const line of tablePlace.querySelectorAll("tr[data-id]")) line.classList.toggle("chosen", line.dataset.id === state.open);
    panel(index, panelPlace, one);
    if (asked && panelPlace.getBoundingClientRect().top > innerHeight - 120) panelPlace.scrollIntoView({ block: "start" });
  };
  const verdicts = [...new Set(index.scores.map((one) => one.verdict))];
  const choices = [["differ", `that differ (${differ.length})`], ["all", `all (${index.scores.length})`], ...verdicts.map((one) => [one, `${one} (${index.scores.filter((other) => other.verdict === one).length})`])];
  const draw = () => {
    const wanted = index.scores.filter((one) => {
      const { model, task } = tasks[one.task];
      return (state.show === "all" || (state.show === "differ" ? one.verdict !== UNCHANGED : one.verdict === state.show))
        && `${model} ${task} ${one.title} ${one.name}`.toLowerCase().includes(state.q.toLowerCase());
    });
    const move = (one) => (finite(one.before) && finite(one.after) ? one.after - one.before : null);
    const worse = (one) => (!move(one) ? "" : (move(one) > 0) === (one.better === "lower") ? "worse" : "better");
    fill(tablePlace, table([
      { name: "model", title: "model", left: true, header: true, value: (one) => tasks[one.task].model, cell: (one) => h("button", { type: "button", class: "link", "aria-label": `${key(one, tasks).join(" ")}: show its rows`, onclick: () => open(one, true) }, tasks[one.task].model) },
      { name: "task", title: "task", left: true, value: (one) => tasks[one.task].task },
      { name: "score", title: "score", left: true, value: (one) => one.title, cell: (one) => h("span", { tip: [one.help, one.better && `${one.better} is better`].filter(Boolean).join(" ") || null }, one.title, one.unit ? h("span", { class: "unit" }, ` (${one.unit})`) : null) },
      { name: "verdict", title: "verdict", left: true, value: (one) => one.rank, cell: (one) => h("span", { class: `word ${one.verdict.replaceAll(" ", "-")}` }, one.verdict) },
      { name: "before", title: "A", tip: "Mean over the rows that have it in both runs.", value: (one) => one.before, cell: (one) => one.shown[0] },
      { name: "after", title: "B", tip: "Mean over the rows that have it in both runs.", value: (one) => one.after, cell: (one) => one.shown[1] },
      { name: "change", title: "B − A", higher: true, value: move, cell: (one) => (move(one) === null ? "n/a" : [number(move(one)), " ", h("span", { class: worse(one) }, worse(one))]) },
      { name: "ratio", title: "B / A", higher: true, tip: "For a comparison of scores of different units.", value: (one) => (one.before > 0 && finite(one.after) ? one.after / one.before : null) },
      { name: "rows", title: "rows that differ", higher: true, value: (one) => one.differ, cell: (one) => `${one.differ} of ${one.n}` },
      ...(index.scores.some((one) => one.p !== null) ? [{ name: "p", title: "p", tip: "Of no change, of trajectories alone, which part from rounding.", value: (one) => one.p, cell: (one) => (one.p === null ? "–" : number(one.p, 2)) }] : []),
    ], wanted, {
      caption: `${wanted.length} of ${index.scores.length} scores; a model's name shows the rows behind a score`, most: MOST, sort: state.sort,
      onsort: (sort) => { state.sort = sort; change({ by: sort.name === "verdict" ? "" : sort.name, desc: sort.descending ? "1" : "" }); },
      onrow: (line, one) => { line.dataset.id = id(one); line.classList.toggle("chosen", line.dataset.id === state.open); },
    }));
  };
  draw();
  fill(place, h("h2", {}, "Scores"),
    differ.length ? null : h("p", {}, "No score differs."),
    h("form", { class: "tools", onsubmit: (event) => event.preventDefault() },
      h("label", {}, "Filter ", h("input", { type: "search", name: "q", value: state.q, placeholder: "model, task, score", oninput: (event) => { state.q = event.target.value; change({ q: state.q }); draw(); } })),
      h("label", {}, "Show ", h("select", { name: "show", onchange: (event) => { state.show = event.target.value; change({ show: state.show === usual ? "" : state.show }); draw(); } },
        choices.map(([value, text]) => h("option", { value, selected: value === state.show }, text))))),
    h("div", { class: "sidebyside wide" }, tablePlace, panelPlace));
  const asked = index.scores.find((one) => id(one) === state.open);
  const first = asked ?? [...differ].sort((one, other) => one.rank - other.rank)[0];
  if (first) open(first, false);
}

// --- the rows of a score ---------------------------------------------------------------------------

async function panel(index, place, one) {
  const task = index.tasks[one.task];
  const heading = [h("h3", {}, `${task.model}, ${task.task}: ${one.title}`), h("p", {}, one.said), one.note ? h("p", { class: "note" }, one.note) : null];
  if (!one.differ) {
    fill(place, heading, h("p", { class: "note" }, `No row differs; ${task.head}.`));
    return;
  }
  let found;
  try {
    found = await piece(task.piece);
  } catch (error) {
    fill(place, heading, h("p", { class: "problem" }, error.message));
    return;
  }
  const rows = found.scores[one.name].map(([k, a, b], n) => ({ row: found.rows[k], a, b, differs: n < one.differ }));
  const picture = h("div", { class: "plot" }), tablePlace = h("div");
  const links = (row) => {
    const view = VIEWS[task.keys[0]];
    const item = task.keys.length > 1 ? row.slice(0, row.lastIndexOf(" (")) : row;
    return index.folders.map((folder, k) => folder.links.explorer && h("a", { href: folder.links.explorer + (view ? view(task.model, item) : address("model", [task.model])), "aria-label": `${row} in the explorer of ${SIDES[k]}` }, SIDES[k])).filter(Boolean);
  };
  const atHand = index.folders.some((folder) => folder.links.explorer);
  const unit = one.unit ? ` (${one.unit})` : "";
  const change = (row) => (finite(row.a) && finite(row.b) ? row.b - row.a : null);
  fill(tablePlace, table([
    { name: "row", title: task.rows, left: true, header: true, value: (row) => row.row },
    { name: "a", title: `A${unit}`, value: (row) => row.a, cell: (row) => apart(row.a, row.b)[0] },
    { name: "b", title: `B${unit}`, value: (row) => row.b, cell: (row) => apart(row.a, row.b)[1] },
    { name: "change", title: "B − A", higher: true, value: change },
    { name: "differs", title: "differs", left: true, value: (row) => (row.differs ? "yes" : "no") },
    ...(atHand ? [{ name: "look", title: "explorer", left: true, cell: (row) => links(row.row).flatMap((link, k) => (k ? [" ", link] : [link])) }] : []),
  ], rows, { caption: `The ${rows.length} ${task.rows} that have it in A or B, the largest difference first`, most: 20, onrow: (line, row) => { line.dataset.row = row.row; } }));
  const drawn = rows.filter((row) => finite(row.a) && finite(row.b));
  const places = new Map();
  for (const row of drawn) {
    const at = `${row.a} ${row.b} ${row.differs}`;
    if (!places.has(at)) places.set(at, []);
    places.get(at).push(row);
  }
  const show = (row) => {
    tablePlace.querySelector("tr.chosen")?.classList.remove("chosen");
    let line = [...tablePlace.querySelectorAll("tr[data-row]")].find((other) => other.dataset.row === row.row);
    if (!line) {
      tablePlace.querySelector(".scroll + button")?.click(); // shows all rows
      line = [...tablePlace.querySelectorAll("tr[data-row]")].find((other) => other.dataset.row === row.row);
    }
    line?.classList.add("chosen");
    line?.scrollIntoView({ block: "nearest" });
  };
  const log = spansDecades(drawn.flatMap((row) => [row.a, row.b]));
  const points = [...places.values()].map((some) => {
    const [{ a, b, differs }] = some;
    const [left, right] = apart(a, b);
    return { x: a, y: b, size: Math.min(14, 3.5 + 1.5 * Math.sqrt(some.length)), colour: differs ? colour(1) : colour(0), shape: differs ? "diamond" : "circle",
      tip: `${some.slice(0, 3).map((row) => row.row).join(", ")}${some.length > 3 ? ` and ${some.length - 3} more` : ""}: ${left} → ${right}${differs ? "" : ", no difference"}`, onclick: () => show(some[0]), differs };
  }).sort((p, q) => p.differs - q.differs);
  fill(place, heading, drawn.length ? picture : null,
    drawn.length ? h("p", { class: "note" }, "On the broken line both runs are equal. ", mark(1), "a row that differs; ", mark(0), "one that does not. A point shows its row below.",
      drawn.length < rows.length ? ` ${plural(rows.length - drawn.length, "row")} without a finite value in both runs ${rows.length - drawn.length === 1 ? "is" : "are"} in the table alone.` : "") : null,
    tablePlace, h("h4", {}, "What differs between the runs of this model"), ownCauses(index, one.task));
  if (drawn.length) {
    scatter(picture, { label: `${one.title} of ${task.model}: A against B`, x: { title: `A: ${one.title}${unit}`, log }, y: { title: `B: ${one.title}${unit}`, log }, points, diagonal: true });
  }
}

const mark = (k) => h("span", { class: "dot", style: { background: colour(k) } });

// --- why ------------------------------------------------------------------------------------------

const value = (text) => (DIGEST.test(text) ? h("span", { tip: text }, text.slice(0, 12)) : text);
const values = (some) => some.flatMap((one, k) => (k ? [", ", value(one)] : [value(one)]));

function ownCauses(index, at) {
  const own = index.causes.filter((one) => one.changed.includes(at) || one.unchanged.includes(at));
  const { untold } = index.tasks[at];
  return [
    own.length ? h("ul", { class: "causes" }, own.map((one) => h("li", {}, one.what, ": ", values(one.before), " → ", values(one.after)))) : h("p", {}, "Nothing that both runs tell of themselves differs."),
    untold.length ? h("p", { class: "note" }, `Told by one run only: ${untold.join(", ")}.`) : null,
  ];
}

function where(index, some) {
  const models = new Map();
  for (const at of some) {
    const { model, task } = index.tasks[at];
    models.set(model, [...(models.get(model) ?? []), task]);
  }
  const told = [...models].map(([model, tasks]) => `${model} (${tasks.join(", ")})`);
  if (!told.length) return "–";
  if (told.length <= NAMED) return told.join("; ");
  return h("details", {}, h("summary", {}, plural(told.length, "model")), told.join("; "));
}

function why(index) {
  const { causes } = index;
  const several = causes.filter((one) => one.changed.length).length > 1;
  return h("section", { "aria-label": "Why" }, h("h2", {}, "Why"),
    h("p", {}, "What both runs tell of themselves and what differs: weights, code, settings, packages, what decides most first. No proof of the cause.", several ? " Where several differ, change one at a time." : ""),
    causes.length ? table([
      { name: "what", title: "what", left: true, header: true, value: (one) => one.what },
      { name: "before", title: "A", left: true, value: (one) => one.before.join(", "), cell: (one) => values(one.before) },
      { name: "after", title: "B", left: true, value: (one) => one.after.join(", "), cell: (one) => values(one.after) },
      { name: "changed", title: "where rows differ", left: true, value: (one) => one.changed.length, higher: true, cell: (one) => where(index, one.changed) },
      { name: "unchanged", title: "where none does", left: true, value: (one) => one.unchanged.length, higher: true, cell: (one) => where(index, one.unchanged) },
    ], causes, { caption: "What differs, and for which models and tasks", quiet: true, most: MOST }) : h("p", {}, "Nothing that both runs tell of themselves differs."));
}

// --- what is lost ----------------------------------------------------------------------------------

function lost(index) {
  const flips = index.tasks.flatMap((task) => task.flips.map((flip) => ({ ...flip, task })));
  const rows = SIDES.map((_, k) => index.tasks.filter((task) => task.only[k].length));
  if (!flips.length && !index.only.some((some) => some.length) && !rows.some((some) => some.length)) return null;
  return h("section", { "aria-label": "Lost" }, h("h2", {}, "What only one run has, and what ended in another way"),
    SIDES.map((side, k) => [
      index.only[k].length ? [h("h3", {}, `Models, tasks and scores only in ${side}`), h("ul", {}, index.only[k].map((one) => h("li", {}, one)))] : null,
      rows[k].length ? [h("h3", {}, `Rows only in ${side}`), rows[k].map((task) =>
        h("details", { open: task.only[k].length <= 10 }, h("summary", {}, `${task.model}, ${task.task}: ${task.only[k].length} ${task.rows}`), h("p", {}, task.only[k].join(", "))))] : null,
    ]),
    flips.length ? [h("h3", {}, "Ended in another way"), table([
      { name: "model", title: "model", left: true, header: true, value: (one) => one.task.model },
      { name: "task", title: "task", left: true, value: (one) => one.task.task },
      { name: "row", title: "row", left: true, value: (one) => one.row },
      { name: "before", title: "A", left: true, value: (one) => one.before },
      { name: "after", title: "B", left: true, value: (one) => one.after },
      { name: "message", title: "message", left: true, value: (one) => one.message },
    ], flips, { caption: `${plural(flips.length, "row")} that ended in another way`, most: MOST })] : null);
}

// --- the page --------------------------------------------------------------------------------------

async function start() {
  storedTheme();
  const main = document.querySelector("main");
  let index;
  try {
    index = await readIndex();
  } catch (error) {
    fill(main, h("p", { class: "problem" }, error.message));
    return;
  }
  const bar = h("nav", { "aria-label": "Page" });
  document.body.insertBefore(h("header", {}, h("h1", {}, "Two runs side by side"), bar), main);
  explanations();
  for (const one of index.scores) Object.assign(one, index.metrics[index.tasks[one.task].task][one.name]);
  const draw = () => {
    const scoresPlace = h("section", { "aria-label": "Scores" });
    fill(bar, h("span", {}, `pesbench diff, version ${index.program}`), themeButton(draw));
    fill(main, verdict(index), scoresPlace, lost(index), why(index));
    scores(index, scoresPlace);
  };
  addEventListener("hashchange", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}

start();
