// Points in a plane: each tells what it is on hover and focus, and leads somewhere. Drawn as SVG, so
// that it prints, is read by screen readers and follows the colours of the page.

import { number } from "./dom.js";

const SVG = "http:" + "//www.w3.org/2000/svg"; // a name and no address: nothing is loaded
const EDGE = { left: 62, right: 14, top: 10, bottom: 46 };
const LETTER = 6.8; // pixels, about, of a letter
const NARROW = 480; // pixels, below which there are fewer ticks

function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (name === "tip") element.dataset.tip = value;
    else if (name === "onclick") element.addEventListener("click", value);
    else element.setAttribute(name, String(value));
  }
  element.append(...children.filter((one) => one !== null));
  return element;
}

// --- axes ---------------------------------------------------------------------------------------

// Whether values span so much that only a logarithm shows them all: more, where some are zero, which
// it has no place for.
export const spansDecades = (values) => {
  const positive = values.filter((v) => v > 0);
  const least = positive.length < values.length ? 1000 : 20;
  return positive.length > 0 && values.every((v) => v >= 0) && Math.max(...positive) / Math.min(...positive) > least;
};

// A scale: `to(value)` from 0 to 1, and ticks. On a logarithmic one zero has a place of its own, below.
export function scale(values, { log = false, ticks = 6 } = {}) {
  const shown = values.filter((v) => Number.isFinite(v) && (!log || v >= 0));
  if (!shown.length) return { to: () => 0.5, ticks: [] };
  if (!log) {
    let low = Math.min(...shown), high = Math.max(...shown);
    const pad = 0.05 * (high - low) || 0.1 * Math.abs(high) || 1;
    [low, high] = [low - pad, high + pad];
    return { to: (v) => (v - low) / (high - low), ticks: even(low, high, ticks) };
  }
  const positive = shown.filter((v) => v > 0).map(Math.log10);
  if (!positive.length) return { to: () => 0.5, ticks: [0] };
  const least = Math.min(...positive), most = Math.max(...positive);
  const pad = 0.05 * (most - least) || 0.5;
  const zero = shown.includes(0);
  const low = least - pad - (zero ? 0.1 * (most - least) + pad : 0), high = most + pad;
  const at = decades(least - pad, high, ticks);
  return { to: (v) => (v === 0 ? 0.03 : (Math.log10(v) - low) / (high - low)), ticks: zero ? [0, ...at] : at };
}

// Places of names, the first at the top.
const inOrder = (n) => ({ to: (v) => 1 - (v + 0.5) / n, ticks: Array.from({ length: n }, (_, k) => k) });
const cut = (name, most) => (name.length > most ? `${name.slice(0, most - 1)}…` : name);

function even(low, high, most) {
  const raw = (high - low) / most;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((k) => k * size >= raw) * size;
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, k) => Number(((first + k) * step).toPrecision(12)));
}

function decades(low, high, most) {
  const every = Math.max(1, Math.ceil((high - low) / most));
  const first = Math.ceil(low / every);
  const powers = Array.from({ length: Math.max(0, Math.floor(high / every) - first + 1) }, (_, k) => 10 ** ((first + k) * every));
  if (powers.length > 2) return powers;
  const fine = [];
  for (let k = Math.floor(low); k <= high; k++) for (const m of [1, 2, 5]) if (k + Math.log10(m) >= low && k + Math.log10(m) <= high) fine.push(m * 10 ** k);
  return fine.length > 1 ? fine : even(10 ** low, 10 ** high, most);
}

// --- the plot -------------------------------------------------------------------------------------

const SHAPES = {
  circle: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`,
  square: (r) => `M${-r * 0.9},${-r * 0.9}h${r * 1.8}v${r * 1.8}h${-r * 1.8}z`,
  diamond: (r) => `M0,${-1.3 * r}L${1.3 * r},0L0,${1.3 * r}L${-1.3 * r},0z`,
  triangle: (r) => `M0,${-1.2 * r}L${1.1 * r},${0.8 * r}L${-1.1 * r},${0.8 * r}z`,
  cross: (r) => `M${-r},${-0.3 * r}h${0.7 * r}v${-0.7 * r}h${0.6 * r}v${0.7 * r}h${0.7 * r}v${0.6 * r}h${-0.7 * r}v${0.7 * r}h${-0.6 * r}v${-0.7 * r}h${-0.7 * r}z`,
};
export const SHAPE_NAMES = Object.keys(SHAPES);

// Options: label (of the whole, for screen readers), x and y {title, log}, points [{x, y, tip, href
// or onclick, colour, shape, size, low, high}], lines [{points: [[x, y]], colour, dash}], rules across
// the plot [{axis, at}], diagonal, height. y may have `names`: y of a point is then a number of one.
// Points that no scale has a place for are left to the caller.
export function scatter(place, options) {
  const draw = () => place.replaceChildren(drawn(options, Math.max(260, place.clientWidth || 600)));
  let width = 0;
  watchers.get(place)?.disconnect();
  const watch = new ResizeObserver(() => {
    if (!place.isConnected) { watch.disconnect(); return; }
    if (Math.abs(place.clientWidth - width) < 2) return;
    width = place.clientWidth;
    draw();
  });
  draw();
  watch.observe(place);
  watchers.set(place, watch);
}

const watchers = new WeakMap(); // one a place: another plot may be drawn where one stands

// The sign of a group, for a legend.
export const sign = ({ colour, shape }) =>
  s("svg", { width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true", class: "sign" }, s("path", { d: SHAPES[shape](5), fill: colour }));

function drawn({ label, x, y, points, lines = [], rules = [], diagonal = false, height = 340 }, width) {
  const letters = y.names ? Math.min(Math.max(...y.names.map((one) => one.length)), Math.floor(0.42 * width / LETTER)) : 0;
  const left = y.names ? LETTER * letters + 12 : EDGE.left;
  const inner = { left, top: EDGE.top, width: width - left - EDGE.right, height: height - EDGE.top - EDGE.bottom };
  const all = (name, more) => [...points.flatMap((p) => [p[name], ...more(p)]), ...lines.flatMap((one) => one.points.map((p) => p[name === "x" ? 0 : 1]))].filter((v) => v !== null && v !== undefined);
  const ticks = width < NARROW ? 4 : 6;
  const both = diagonal ? [...all("x", () => []), ...all("y", () => [])] : null;
  const ruled = (axis) => rules.filter((one) => one.axis === axis).map((one) => one.at);
  const across = scale(both ?? [...all("x", () => []), ...ruled("x")], { log: x.log, ticks });
  const up = y.names ? inOrder(y.names.length) : scale(both ?? [...all("y", (p) => [p.low, p.high]), ...ruled("y")], { log: y.log, ticks });
  const px = (v) => inner.left + across.to(v) * inner.width;
  const py = (v) => inner.top + (1 - up.to(v)) * inner.height;
  const text = (content, attributes) => s("text", { fill: "var(--ink)", "font-size": 12, ...attributes }, document.createTextNode(content));
  const tick = (v) => number(v, 3).replace(/(\.\d*?)0+(e|$)/, "$1$2").replace(/\.(e|$)/, "$1");
  const grid = s("g", { "aria-hidden": "true" },
    ...across.ticks.flatMap((v) => [s("line", { x1: px(v), x2: px(v), y1: inner.top, y2: inner.top + inner.height, stroke: "var(--line)" }), text(tick(v), { x: px(v), y: inner.top + inner.height + 16, "text-anchor": "middle" })]),
    ...up.ticks.flatMap((v) => [s("line", { x1: inner.left, x2: inner.left + inner.width, y1: py(v), y2: py(v), stroke: "var(--line)" }), text(y.names ? cut(y.names[v], letters) : tick(v), { x: inner.left - 6, y: py(v) + 4, "text-anchor": "end" })]),
    text(x.title, { x: inner.left + inner.width / 2, y: height - 8, "text-anchor": "middle" }),
    text(y.title, { transform: `translate(13 ${inner.top + inner.height / 2}) rotate(-90)`, "text-anchor": "middle" }),
    ...rules.map(({ axis, at }) => s("line", { ...(axis === "x" ? { x1: px(at), x2: px(at), y1: inner.top, y2: inner.top + inner.height } : { x1: inner.left, x2: inner.left + inner.width, y1: py(at), y2: py(at) }), stroke: "var(--faint)", "stroke-dasharray": "5 4", "stroke-width": 1.3 })),
    diagonal ? s("line", { x1: inner.left, y1: inner.top + inner.height, x2: inner.left + inner.width, y2: inner.top, stroke: "var(--faint)", "stroke-dasharray": "5 4" }) : null,
    ...lines.map((one) => s("polyline", { points: one.points.map(([a, b]) => `${px(a)},${py(b)}`).join(" "), fill: "none", stroke: one.colour ?? "var(--faint)", "stroke-width": 1.4, "stroke-dasharray": one.dash ?? null })),
    ...points.filter((p) => Number.isFinite(p.low) && Number.isFinite(p.high)).map((p) => s("line", { x1: px(p.x), x2: px(p.x), y1: py(p.low), y2: py(p.high), stroke: p.colour, "stroke-opacity": 0.5, "stroke-width": 2 })));
  const marks = points.map((p) => {
    const mark = s("path", { d: SHAPES[p.shape ?? "circle"](p.size ?? 5), transform: `translate(${px(p.x).toFixed(1)} ${py(p.y).toFixed(1)})`, fill: p.colour, "fill-opacity": 0.8, stroke: "var(--page)", "stroke-width": 0.8 });
    if (!p.href && !p.onclick) return s("g", { role: "img", "aria-label": p.tip, tip: p.tip, tabindex: -1, class: "point" }, mark);
    return s("a", { ...(p.href ? { href: p.href } : { role: "button" }), "aria-label": p.tip, tip: p.tip, tabindex: -1, onclick: p.onclick, class: "point" }, mark);
  });
  const active = marks.filter((one) => one.getAttribute("tabindex"));
  active[0]?.setAttribute("tabindex", "0");
  const root = s("svg", { role: "group", "aria-label": label, width, height, viewBox: `0 0 ${width} ${height}`, class: "scatter" }, grid, ...marks);
  root.addEventListener("keydown", (event) => walk(event, active));
  return root;
}

// One stop of the tabulator key for all points; arrow keys go from one to the next.
function walk(event, marks) {
  const at = marks.indexOf(document.activeElement);
  if (at < 0) return;
  if (event.key === "Enter" || event.key === " ") {
    if (marks[at].getAttribute("role") !== "button") return;
    event.preventDefault();
    marks[at].dispatchEvent(new MouseEvent("click", { bubbles: true }));
    return;
  }
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const next = marks[(at + step + marks.length) % marks.length];
  marks[at].setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
}
