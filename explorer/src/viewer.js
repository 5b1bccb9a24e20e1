// A molecule in 3D with forces as arrows. The library is loaded with the first molecule.

import { library } from "./data.js";
import { fill, h } from "./dom.js";
import { style } from "./colours.js";

const SYMBOLS = ("X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe " +
  "Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og").split(" ");
export const symbol = (number) => SYMBOLS[number] ?? "X";

const LONGEST_ARROW = 1.6; // Å
const LEAST_SHARE = 0.03; // of the largest force; shorter arrows are not drawn

// `show({numbers, positions, bonds, stretched, arrows: [{forces, colour}]})` on the returned object.
export async function viewer(place, label) {
  globalThis.$3Dmol ?? await library("3Dmol.js");
  const library3D = globalThis.$3Dmol;
  const canvas = h("div", { class: "molecule", role: "img", "aria-label": label });
  fill(place, canvas);
  let view = null;
  try {
    view = library3D.createViewer(canvas, { backgroundColor: style("--page"), antialias: true });
  } catch {
    view = null;
  }
  if (!view) {
    fill(place, h("p", { class: "none" }, "This browser shows no 3D graphics (WebGL)."));
    return { show() {}, destroy() {} };
  }
  let first = true;
  const watch = new ResizeObserver(() => { if (canvas.isConnected) view.resize(); else watch.disconnect(); });
  watch.observe(canvas);
  return {
    show({ numbers, positions, bonds, stretched = [], arrows = [], fit = null }) {
      view.removeAllModels();
      view.removeAllShapes();
      const near = numbers.map(() => []);
      for (const [i, j] of bonds) { near[i].push(j); near[j].push(i); }
      const model = view.addModel();
      model.addAtoms(numbers.map((z, k) => ({
        elem: symbol(z), serial: k, x: positions[k][0], y: positions[k][1], z: positions[k][2], bonds: near[k], bondOrder: near[k].map(() => 1),
      })));
      model.setStyle({}, { stick: { radius: 0.11 }, sphere: { scale: 0.24 } });
      if (stretched.length === 2) {
        const [a, b] = stretched.map((k) => ({ x: positions[k][0], y: positions[k][1], z: positions[k][2] }));
        view.addCylinder({ start: a, end: b, radius: 0.15, color: style("--accent"), opacity: 0.6, dashed: false });
      }
      const largest = Math.max(0, ...arrows.flatMap(({ forces }) => forces.map(length)).filter(Number.isFinite));
      for (const { forces, colour, offset = 0 } of arrows) {
        for (const [k, force] of forces.entries()) {
          const size = length(force);
          if (!(size > LEAST_SHARE * largest)) continue;
          const scale = Number.isFinite(size) ? LONGEST_ARROW / largest : LONGEST_ARROW / 65504;
          const [x, y, z] = positions[k].map((v) => v + offset);
          const end = [x, y, z].map((v, n) => v + scale * Math.max(-65504, Math.min(65504, force[n])));
          view.addArrow({ start: { x, y, z }, end: { x: end[0], y: end[1], z: end[2] }, radius: 0.06, radiusRatio: 2, mid: 0.75, color: colour });
        }
      }
      if (first) {
        if (fit) lookAt(view, fit); else view.zoomTo();
        first = false;
      }
      view.render();
      return largest;
    },
    destroy() { watch.disconnect(); view.removeAllModels(); },
  };
}

const length = (v) => Math.hypot(...v);

// See from where the two directions of the largest extent lie in the picture.
function lookAt(view) {
  view.zoomTo();
  view.zoom(0.85);
}
