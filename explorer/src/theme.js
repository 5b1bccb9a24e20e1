// Colours: as the system has them, unless a reader asks for dark or light.

import { h } from "./dom.js";

const THEMES = ["", "dark", "light"];
const NAMES = { "": "as the system", dark: "dark", light: "light" };

function set(name) {
  if (name) document.documentElement.dataset.theme = name; else delete document.documentElement.dataset.theme;
  try { localStorage.setItem("pesbench-theme", name); } catch { /* a browser may forbid it for files */ }
}

export function storedTheme() {
  try { set(localStorage.getItem("pesbench-theme") ?? ""); } catch { /* as above */ }
}

// A button that takes the next colours and calls `again`.
export function themeButton(again) {
  const now = document.documentElement.dataset.theme ?? "";
  return h("button", { type: "button", class: "theme", tip: "Colours", onclick: () => {
    set(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
    again();
  } }, `Colours: ${NAMES[now]}`);
}
