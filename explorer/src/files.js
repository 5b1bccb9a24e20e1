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
export function extxyz(frames) {
  return frames.map(({ symbols, positions, info, arrays }) => {
    const names = Object.keys(arrays);
    const properties = ["species:S:1:pos:R:3", ...names.map((name) => `${name}:R:3`)].join(":");
    const told = Object.entries(info).filter(([, v]) => v !== null && !Number.isNaN(v)).map(([name, value]) =>
      `${name}=${typeof value === "number" ? value : `"${String(value).replace(/[\\"]/g, "\\$&").replace(/[\r\n]+/g, " ")}"`}`);
    const atoms = symbols.map((symbol, k) =>
      [symbol, ...positions[k], ...names.flatMap((name) => arrays[name][k])].map((v) => (typeof v === "number" ? v.toPrecision(9) : v)).join(" "));
    return [symbols.length, `Properties=${properties} ${told.join(" ")} pbc="F F F"`, ...atoms].join("\n");
  }).join("\n") + "\n";
}
