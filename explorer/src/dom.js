// Elements, numbers and explanations. Text of others becomes text nodes and attributes alone: no
// markup is ever parsed.

const PLAIN = /^(?:aria-.*|role|type|name|value|min|max|step|for|id|href|title|download|scope|colspan|rowspan|tabindex|placeholder|alt|src|loading|lang|open|selected|checked|disabled|multiple)$/;

// An element: `h("a", {class: "x", href: "#/", onclick: f}, "text", otherElement)`.
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "style") for (const [k, v] of Object.entries(value)) element.style.setProperty(k, v);
    else if (name === "data") for (const [k, v] of Object.entries(value)) element.dataset[k] = v;
    else if (name === "tip") element.dataset.tip = value;
    else if (PLAIN.test(name)) element.setAttribute(name, value === true ? "" : String(value));
    else throw new Error(`no attribute ${name}`);
  }
  add(element, children);
  return element;
}

export function add(element, children) {
  for (const one of children.flat(Infinity)) {
    if (one === null || one === undefined || one === false) continue;
    element.append(one instanceof Node ? one : document.createTextNode(String(one)));
  }
  return element;
}

export function fill(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

// --- numbers ------------------------------------------------------------------------------------

export function number(value, digits = 3) {
  if (value === null || value === undefined || value === "") return "n/a";
  if (value === "inf") return "∞";
  if (value === "-inf") return "−∞";
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "n/a" : "∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e6) return value.toExponential(digits - 1).replace("-", "−");
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return value.toFixed(decimals).replace("-", "−");
}

// A value as a number that sorts: text of infinities too; NaN for none.
export function numeric(value) {
  if (value === "inf") return Infinity;
  if (value === "-inf") return -Infinity;
  if (typeof value === "boolean") return Number(value);
  return typeof value === "number" ? value : NaN;
}

// Order for a sort; what has no value comes last in both directions.
export function compare(one, other, descending) {
  const blank = (v) => v === null || v === undefined || v === "" || Number.isNaN(v);
  if (blank(one) || blank(other)) return Number(blank(one)) - Number(blank(other));
  const a = numeric(one), b = numeric(other);
  const order = Number.isNaN(a) || Number.isNaN(b)
    ? String(one).localeCompare(String(other), "en", { numeric: true })
    : a - b || 0;
  return descending ? -order : order;
}

// --- explanations on hover, focus and touch -----------------------------------------------------

export function explanations() {
  const box = h("div", { class: "tip", role: "tooltip", id: "tip" });
  box.hidden = true;
  document.body.append(box);
  let of = null;
  const show = (event) => {
    const target = event.target instanceof Element ? event.target.closest("[data-tip]") : null;
    if (target === of && event.type !== "click") return;
    if (of) of.removeAttribute("aria-describedby");
    of = target;
    box.hidden = !target || !target.dataset.tip;
    if (box.hidden) return;
    fill(box, target.dataset.tip);
    target.setAttribute("aria-describedby", "tip");
    const place = target.getBoundingClientRect();
    const width = Math.min(340, innerWidth - 16);
    box.style.maxWidth = `${width}px`;
    box.style.left = `${Math.max(8, Math.min(place.left, innerWidth - box.offsetWidth - 8))}px`;
    const below = place.bottom + 6;
    const fits = below + box.offsetHeight < innerHeight;
    box.style.top = `${fits ? below : Math.max(4, place.top - box.offsetHeight - 6)}px`;
  };
  for (const kind of ["mouseover", "focusin", "click"]) document.addEventListener(kind, show);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") box.hidden = true; });
  document.addEventListener("scroll", () => { box.hidden = true; of = null; }, true);
}

// --- tables -------------------------------------------------------------------------------------

// A table that sorts. Columns: {name, title, unit, tip, left, cell(row) -> child, value(row)}.
// `sort` is {name, descending}; `onsort(sort)` is told of a new one. Of more than `most` rows, the
// first in order are shown until a reader asks for all. A `quiet` caption is for screen readers: a
// heading above says the same.
export function table(columns, rows, { sort, onsort, caption, quiet, rowClass, onrow, most = Infinity } = {}) {
  const state = { ...(sort ?? { name: "", descending: false }) };
  const body = h("tbody");
  let limit = most;
  const more = h("button", { type: "button", onclick: () => { limit = Infinity; draw(); } }, `Show all ${rows.length}`);
  const heads = new Map();
  const draw = () => {
    const by = columns.find((one) => one.name === state.name);
    const ordered = by ? [...rows].sort((a, b) => compare(by.value(a), by.value(b), state.descending)) : rows;
    for (const [name, head] of heads) {
      if (name === state.name) head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    more.hidden = ordered.length <= limit;
    fill(body, ordered.slice(0, limit).map((row) => {
      const line = h("tr", { class: rowClass ? rowClass(row) : null }, columns.map((one) => {
        const value = one.value ? one.value(row) : null;
        const cell = h(one.header ? "th" : "td", { class: one.left ? "left" : one.narrow ? "narrow" : null, scope: one.header ? "row" : null },
          one.cell ? one.cell(row) : one.left ? value ?? "" : number(value));
        if (typeof value === "number") cell.dataset.value = String(value);
        return cell;
      }));
      if (onrow) onrow(line, row);
      return line;
    }));
  };
  const head = h("tr", {}, columns.map((one) => {
    const cell = h("th", { scope: "col", class: one.left ? "left" : null },
      one.value
        ? h("button", { type: "button", class: "sort", tip: one.tip || null, onclick: () => {
            state.descending = state.name === one.name ? !state.descending : Boolean(one.higher);
            state.name = one.name;
            draw();
            if (onsort) onsort({ ...state });
          } }, one.title, one.unit ? h("span", { class: "unit" }, ` (${one.unit})`) : null)
        : one.title);
    heads.set(one.name, cell);
    return cell;
  }));
  draw();
  const whole = h("table", {}, caption ? h("caption", { class: quiet ? "quiet" : null }, h("span", {}, caption)) : null, h("thead", {}, head), body);
  whole.addEventListener("copy", copyExactly);
  return [h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption || "table" }, whole), more];
}

// Numbers are copied with full precision, whatever is shown.
export function copyExactly(event) {
  const chosen = getSelection();
  const lines = [];
  for (const row of event.currentTarget.rows) {
    const cells = [...row.cells].filter((cell) => chosen.containsNode(cell, true));
    if (cells.length) lines.push(cells.map((cell) => cell.dataset.value ?? cell.textContent.trim()));
  }
  if (lines.length < 2 && (lines[0]?.length ?? 0) < 2) {
    const only = chosen.toString();
    const cell = chosen.anchorNode?.parentElement?.closest("td,th");
    if (!cell?.dataset.value || only.trim() !== cell.textContent.trim()) return;
  }
  event.preventDefault();
  event.clipboardData.setData("text/plain", lines.map((line) => line.join("\t")).join("\n"));
}
