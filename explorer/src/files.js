// Files to download, made in the browser.

const FORMULA = /^[=+\-@]/;

// A cell that no spreadsheet takes for a formula.
export function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return Number.isNaN(value) ? "" : String(value);
  let text = String(value);
  if (FORMULA.test(text.trimStart().normalize("NFKC")) && !(text.trim() !== "" && Number.isFinite(Number(text)))) text = `'${text}`;
  return /[",\n\r;\t]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// Significant digits of what is stored as float32, and as float16.
export const SINGLE = 7, HALF = 4;

// A number with no more digits than are known of it.
export const digits = (value, n) => (Number.isFinite(value) ? Number(value.toPrecision(n)) : value);

// A zero with all its digits plus a float32, with the decimals that the latter has.
export function sum(zero, value) {
  if (!Number.isFinite(value)) return value;
  const decimals = SINGLE - 1 - Math.floor(Math.log10(Math.max(Math.abs(value), 1e-9)));
  return Number((zero + value).toFixed(Math.max(0, Math.min(9, decimals))));
}

export const csv = (rows) => rows.map((row) => row.map(csvCell).join(",")).join("\n") + "\n";

export function save(name, text, type = "text/plain") {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name.replace(/[^A-Za-z0-9._+-]+/g, "_");
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// A word of a shell.
export const quoted = (text) => (/^[A-Za-z0-9_./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);

// Frames as extxyz. Each frame: {symbols, positions (N of 3), info: {name: value}, arrays: {name: N of 3}}.
// Positions are float32, arrays float16.
export function extxyz(frames) {
  return frames.map(({ symbols, positions, info, arrays }) => {
    const names = Object.keys(arrays);
    const properties = ["species:S:1:pos:R:3", ...names.map((name) => `${name}:R:3`)].join(":");
    const told = Object.entries(info).filter(([, v]) => v !== null && !Number.isNaN(v)).map(([name, value]) =>
      `${name}=${typeof value === "number" ? value : `"${String(value).replace(/[\\"]/g, "\\$&").replace(/[\r\n]+/g, " ")}"`}`);
    const atoms = symbols.map((symbol, k) =>
      [symbol, ...positions[k].map((v) => digits(v, SINGLE)), ...names.flatMap((name) => arrays[name][k].map((v) => digits(v, HALF)))].join(" "));
    return [symbols.length, `Properties=${properties} ${told.join(" ")} pbc="F F F"`, ...atoms].join("\n");
  }).join("\n") + "\n";
}
