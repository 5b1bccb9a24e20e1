// Data: scripts that call `pesbenchData(name, text)`, loaded when they are needed.

const waiting = new Map();
const known = new Map();
const FIRST = "index";

globalThis.pesbenchData = (name, text) => {
  const value = JSON.parse(text);
  known.set(name, value);
  waiting.get(name)?.resolve(value);
};

// A piece of data by its name, such as `bonds/scan-3`. Names are made by this program alone.
export function piece(name) {
  if (known.has(name)) return Promise.resolve(known.get(name));
  if (!waiting.has(name)) {
    let resolve, reject;
    const promise = new Promise((yes, no) => { resolve = yes; reject = no; });
    waiting.set(name, { promise, resolve });
    const script = document.createElement("script");
    script.src = `data/${name}.js`;
    script.onerror = () => {
      waiting.delete(name);
      reject(new Error(`data/${name}.js is missing; build the explorer again`));
    };
    script.onload = () => {
      script.remove();
      if (!known.has(name)) reject(new Error(`data/${name}.js holds something else`));
    };
    document.head.append(script);
  }
  return waiting.get(name).promise;
}

export const index = () => piece(FIRST);

// A library of the assets, once.
const libraries = new Map();
export function library(file) {
  if (!libraries.has(file)) {
    libraries.set(file, new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `assets/${file}`;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`assets/${file} is missing`));
      document.head.append(script);
    }));
  }
  return libraries.get(file);
}

// --- packed numbers -----------------------------------------------------------------------------

function bytes(text) {
  const raw = atob(text);
  const out = new Uint8Array(raw.length);
  for (let k = 0; k < raw.length; k++) out[k] = raw.charCodeAt(k);
  return new DataView(out.buffer);
}

export function float64(text) {
  const view = bytes(text);
  return Array.from({ length: view.byteLength / 8 }, (_, k) => view.getFloat64(8 * k, true));
}

export function float32(text) {
  const view = bytes(text);
  return Array.from({ length: view.byteLength / 4 }, (_, k) => view.getFloat32(4 * k, true));
}

export function float16(text) {
  const view = bytes(text);
  return Array.from({ length: view.byteLength / 2 }, (_, k) => half(view.getUint16(2 * k, true)));
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

// Rows of a table {columns, rows} as objects.
export const records = ({ columns, rows }) =>
  rows.map((row) => Object.fromEntries(columns.map((name, k) => [name, row[k]])));
