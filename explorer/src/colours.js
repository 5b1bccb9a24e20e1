// Colours that people with the usual colour blindness tell apart, in light and dark.

const LIGHT = ["#0b6aa8", "#c1480b", "#0a7f5a", "#a8417f", "#7a5c00", "#4d4fb3", "#1c8ba0", "#b3243c"];
const DARK = ["#5db4ef", "#f2935c", "#4fcf9f", "#e28fc4", "#e0bf4a", "#a6a8f5", "#66d0e2", "#f27f92"];

export const isDark = () => {
  const asked = document.documentElement.dataset.theme;
  return asked ? asked === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

export const colour = (k) => (isDark() ? DARK : LIGHT)[k % LIGHT.length];
export const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Background and ink of a cell of a heat map, from 0 (smooth, light) to 1 (rough, dark): the same in
// light and dark pages, and readable throughout.
const SMOOTH = [240, 246, 251], MIDDLE = [107, 174, 214], ROUGH = [8, 40, 100];

export function heat(share) {
  const t = 2 * Math.max(0, Math.min(1, share));
  const [from, to, at] = t < 1 ? [SMOOTH, MIDDLE, t] : [MIDDLE, ROUGH, t - 1];
  const rgb = from.map((v, k) => Math.round(v + at * (to[k] - v)));
  const linear = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return { background: `rgb(${rgb.join(" ")})`, ink: luminance > 0.179 ? "#000000" : "#ffffff" };
}
