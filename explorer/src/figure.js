// A figure of a section to point at: what its `Plot` names of the CSV beside it. Nothing of a task is
// known here (pesbench.core.section.Plot).

import { colour, heat } from "./colours.js";
import { records } from "./data.js";
import { fill, h, number, table } from "./dom.js";
import { scatter, SHAPE_NAMES, sign, spansDecades } from "./scatter.js";
import { change, read } from "./state.js";

const ROW = 22; // pixels of a row that has a line of its own
const NONE = "each in a line";

const numberOf = (text) => (text === "" || !Number.isFinite(Number(text)) ? NaN : Number(text));

// `hrefOf(label)`: where a row leads, or null. `key`: what the address calls the figure.
export function figure(place, plot, { hrefOf, key }) {
  const kept = records(plot).filter((row) => !plot.left_out[0] || row[plot.left_out[0]] !== plot.left_out[1]);
  if (plot.kind === "cells") fill(place, cells(plot, kept, hrefOf));
  else points(place, plot, kept, { hrefOf, key });
}

function cells(plot, rows, hrefOf) {
  const most = Math.max(...rows.flatMap((row) => Object.keys(plot.x).map((name) => numberOf(row[name]))).filter(Number.isFinite), 0);
  return h("div", { class: "heatmap" }, table([
    { name: "label", title: plot.label, left: true, header: true, value: (row) => row[plot.label], cell: (row) => linked(row[plot.label], hrefOf) },
    ...Object.entries(plot.x).map(([name, title]) => ({
      name: `cell ${name}`, title, higher: true, value: (row) => (Number.isNaN(numberOf(row[name])) ? null : numberOf(row[name])),
      cell: (row) => {
        const value = numberOf(row[name]);
        if (Number.isNaN(value)) return h("span", { class: "none" }, "n/a");
        const { background, ink } = heat(value / (most || 1));
        return h("a", { class: "heat", href: hrefOf(row[plot.label]), style: { background, color: ink }, tip: `${row[plot.label]}, ${title}: ${value}` }, number(value));
      },
    })),
  ], rows, { caption: plot.title }));
}

const linked = (text, hrefOf) => (hrefOf(text) ? h("a", { href: hrefOf(text) }, text) : text);

function points(place, plot, rows, { hrefOf, key }) {
  const scaled = (row, name) => numberOf(row[name]) * (plot.scales[name] ?? 1);
  const panels = plot.panel ? [...new Set(rows.filter((row) => !isBase(plot, row)).map((row) => row[plot.panel]))] : [""];
  const ups = { ...plot.y, ...(Object.keys(plot.y).length ? {} : { "": NONE, ...plot.x }) };
  const asked = (read().query.get(key) ?? "").split("~");
  const known = (value, some) => (some.includes(value) ? value : some[0]);
  const state = { x: known(asked[0], Object.keys(plot.x)), y: known(asked[1], Object.keys(ups)), panel: known(asked[2], panels) };
  const groups = plot.group ? [...new Set(rows.filter((row) => !isBase(plot, row)).map((row) => row[plot.group]))] : [];
  const looks = (row) => { const k = Math.max(0, groups.indexOf(row[plot.group])); return { colour: colour(k), shape: SHAPE_NAMES[k % SHAPE_NAMES.length] }; };
  const picture = h("div", { class: "plot" }), said = h("p", { class: "note" });
  const choose = (name, label, options) => (options.length > 1 ? h("label", {}, `${label} `, h("select", { name: `${key}-${name}`, onchange: (event) => {
    state[name] = event.target.value;
    change({ [key]: [state.x, state.y, state.panel].join("~") });
    draw();
  } }, options.map(([value, text]) => h("option", { value, selected: value === state[name] }, text)))) : null);

  const draw = () => {
    const own = rows.filter((row) => !isBase(plot, row) && (!plot.panel || row[plot.panel] === state.panel));
    const base = rows.filter((row) => isBase(plot, row));
    const inLines = state.y === "";
    const titleOf = (name, row) => (name === state.x && plot.unit && row?.[plot.unit] ? `${plot.x[name]} (${row[plot.unit]})` : plot.x[name] ?? plot.y[name]);
    const drawn = own.map((row, k) => ({ row, x: scaled(row, state.x), y: inLines ? k : scaled(row, state.y) })).filter((one) => Number.isFinite(one.x) && Number.isFinite(one.y));
    const ends = plot.intervals[state.y];
    const marks = drawn.map(({ row, x, y }) => ({
      x, y, ...looks(row), size: 5.5, href: hrefOf(row[plot.label]),
      ...(ends ? { low: scaled(row, ends[0]), high: scaled(row, ends[1]) } : {}),
      tip: `${row[plot.label]}${plot.group && row[plot.group] !== row[plot.label] ? ` (${row[plot.group]})` : ""}: ${titleOf(state.x, row)} ${number(x, 4)}${inLines ? "" : `, ${titleOf(state.y)} ${number(y, 4)}`}`,
    }));
    const lines = plot.joined ? groups.map((group) => ({ colour: looks({ [plot.group]: group }).colour,
      points: drawn.filter((one) => one.row[plot.group] === group).sort((a, b) => a.x - b.x).map((one) => [one.x, one.y]) })) : [];
    const rules = base.map((row) => (inLines ? { axis: "x", at: scaled(row, state.x) } : { axis: "y", at: scaled(row, state.y) })).filter((one) => Number.isFinite(one.at));
    const values = (name) => drawn.map((one) => one[name]);
    scatter(picture, {
      label: `${titleOf(state.x, own[0])} and ${inLines ? plot.label : titleOf(state.y)}: ${marks.length} points`,
      x: { title: titleOf(state.x, own[0]), log: spansDecades(values("x")) },
      y: inLines ? { title: "", names: own.map((row) => row[plot.label]) } : { title: titleOf(state.y), log: spansDecades(values("y")) },
      points: marks, lines, rules, height: inLines ? ROW * own.length + 60 : 360,
    });
    const there = groups.filter((group) => own.some((row) => row[plot.group] === group));
    fill(said,
      there.length > 1 ? there.map((group) => [sign(looks({ [plot.group]: group })), `${group} `]) : null,
      rules.length ? ` Broken line: ${base.map((row) => row[plot.label]).join(", ")}. ` : null,
      drawn.length < own.length ? ` ${own.length - drawn.length} of ${own.length} have no number here.` : null);
  };
  fill(place, h("form", { class: "tools", onsubmit: (event) => event.preventDefault() },
    choose("panel", plot.panel, panels.map((one) => [one, one])), choose("y", "Vertical", Object.entries(ups)), choose("x", "Horizontal", Object.entries(plot.x))),
  picture, said);
  draw();
}

const isBase = (plot, row) => Boolean(plot.base[0]) && row[plot.base[0]] === plot.base[1];
