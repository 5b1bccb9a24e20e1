// Curves against one coordinate, whose cursors move together.

import uPlot from "uplot";
import { style } from "./colours.js";
import { number } from "./dom.js";

// A chart. Options: title, x {label, values}, series [{label, values, colour, width, dash}],
// y {label, log, range}, marks [{at, colour, dash, label}], bands [{from, to, colour}], height,
// key (that of a shared cursor), oncursor(index).
export function chart(place, { title, x, series, y, marks = [], bands = [], height = 240, key, oncursor }) {
  const ink = style("--ink"), line = style("--line");
  const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif" };
  const drawMarks = (u) => {
    const { ctx } = u;
    const { left, top, width, height: tall } = u.bbox;
    ctx.save();
    ctx.beginPath(); ctx.rect(left, top, width, tall); ctx.clip();
    for (const band of bands) {
      const from = u.valToPos(band.from, "x", true), to = u.valToPos(band.to, "x", true);
      ctx.fillStyle = band.colour; ctx.globalAlpha = 0.22;
      ctx.fillRect(from, top, Math.max(2, to - from), tall);
      ctx.globalAlpha = 1;
    }
    for (const mark of marks) {
      const at = mark.axis === "y" ? u.valToPos(mark.at, "y", true) : u.valToPos(mark.at, "x", true);
      ctx.strokeStyle = mark.colour; ctx.lineWidth = devicePixelRatio * (mark.width ?? 1.2);
      ctx.setLineDash((mark.dash ?? []).map((d) => d * devicePixelRatio));
      ctx.beginPath();
      if (mark.axis === "y") { ctx.moveTo(left, at); ctx.lineTo(left + width, at); }
      else { ctx.moveTo(at, top); ctx.lineTo(at, top + tall); }
      ctx.stroke();
    }
    ctx.restore();
  };
  const options = {
    width: Math.max(240, place.clientWidth), height, title: title || undefined, pxAlign: 0,
    cursor: { y: false, sync: key ? { key, setSeries: false } : undefined, drag: { x: true, y: false }, points: { size: 6 }, focus: { prox: -1 } },
    legend: { show: false },
    scales: { x: { time: false }, y: { distr: y.log ? 3 : 1, range: y.range ? () => y.range : undefined } },
    axes: [{ ...axis, label: x.label, labelSize: 22 }, { ...axis, grid: y.log ? { ...axis.grid, filter: decades } : axis.grid, ticks: y.log ? { ...axis.ticks, filter: decades } : axis.ticks, label: y.label, labelSize: 22, size: 58, values: (_, all) => all.map((v) => (v === null ? "" : number(v, y.log ? 1 : 3))) }],
    series: [{ label: x.label }, ...series.map((one) => ({
      label: one.label, stroke: one.colour, width: one.width ?? 1.6, dash: one.dash, points: { show: one.points ?? false, size: 5 }, spanGaps: one.spanGaps ?? false,
      paths: one.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
    }))],
    hooks: { drawClear: [], drawAxes: [drawMarks], setCursor: [(u) => { if (oncursor && u.cursor.idx !== null && u.cursor.idx !== undefined && u.cursor.left >= 0) oncursor(u.cursor.idx); }] },
  };
  const u = new uPlot(options, [x.values, ...series.map((one) => one.values.map((v) => (Number.isFinite(v) && !(y.log && v <= 0) ? v : null)))], place);
  const watch = new ResizeObserver(() => {
    if (!place.isConnected) { watch.disconnect(); return; }
    const width = Math.max(240, place.clientWidth);
    if (Math.abs(width - u.width) > 1) u.setSize({ width, height });
  });
  watch.observe(place);
  return {
    cursor(index) {
      const go = () => u.setCursor({ left: u.valToPos(x.values[index], "x"), top: u.over.clientHeight / 2 }, false, false);
      if (u.status) go(); else queueMicrotask(go); // scales exist from the first turn on
    },
    destroy() { watch.disconnect(); u.destroy(); },
  };
}

const decades = (u, splits) => splits.map((v) => (Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-6 ? v : null));
