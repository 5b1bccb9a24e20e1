// The explorer: reads the address, shows the view that it names.

import { atlas } from "./atlas.js";
import { board } from "./board.js";
import { index as readIndex } from "./data.js";
import { dynamics, run } from "./dynamics.js";
import { explanations, fill, h } from "./dom.js";
import { model, models } from "./model.js";
import { molecule, molecules, oneScan } from "./molecule.js";
import { sections } from "./section.js";
import { address, read } from "./state.js";
import { storedTheme, themeButton } from "./theme.js";

const VIEWS = {
  board: (index, place) => board(index, place),
  models: (index, place) => models(index, place),
  model: (index, place, [name]) => model(index, place, name),
  molecules: (index, place) => molecules(index, place),
  molecule: (index, place, [name]) => molecule(index, place, name),
  scan: (index, place, [id]) => oneScan(index, place, id),
  dynamics: (index, place) => dynamics(index, place),
  trajectory: (index, place, [name, trajectory]) => run(index, place, name, trajectory),
  section: (index, place, [name]) => sections(index, place, name),
  atlas: (index, place) => atlas(index, place),
};
const NEEDS = { molecules: "bonds", molecule: "bonds", scan: "bonds", dynamics: "dynamics", trajectory: "dynamics" };
const TAB_OF = { model: "models", molecule: "molecules", scan: "molecules", trajectory: "dynamics" };

function tabs(index) {
  const bonds = Boolean(index.tasks.bonds);
  return [["board", "Leaderboard"], ["models", "Models"], bonds && ["molecules", "Molecules"], index.tasks.dynamics && ["dynamics", "Dynamics"], index.atlas && ["atlas", "Failures"], index.sections.length && ["section", "Sections"]].filter(Boolean);
}

let turn = 0;

async function show(index, main, nav) {
  const mine = ++turn;
  const { view, rest } = read();
  const known = Object.hasOwn(VIEWS, view) && !(NEEDS[view] && !index.tasks[NEEDS[view]]) && !(view === "atlas" && !index.atlas);
  const current = known ? view : "board";
  fill(nav, tabs(index).map(([name, title]) => h("a", { href: address(name), "aria-current": (TAB_OF[current] ?? current) === name ? "page" : null }, title)), themeButton(() => show(index, main, nav)));
  const place = h("div");
  fill(main, place);
  document.title = [rest[0], index.title].filter(Boolean).join(" · ");
  try {
    await VIEWS[current](index, place, rest);
  } catch (error) {
    if (mine === turn) fill(main, h("p", { class: "problem" }, `This view cannot be shown: ${error.message}`));
    console.error(error);
  }
}

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
  const nav = h("nav", { "aria-label": "Views" });
  document.body.insertBefore(h("header", {}, h("h1", {}, h("a", { href: address("board") }, index.title)), nav), main);
  explanations();
  let before = "";
  const update = () => {
    const { view, rest, query } = read();
    const now = JSON.stringify([view, rest, query.toString()]);
    if (now === before) return;
    before = now;
    show(index, main, nav);
    scrollTo(0, 0);
  };
  addEventListener("hashchange", update);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(index, main, nav));
  update();
}

start();
