// What is shown follows from the address alone, so that an address can be shared.

export function read() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").filter(Boolean).map(decoded);
  return { view: parts[0] || "board", rest: parts.slice(1), query: new URLSearchParams(query ?? "") };
}

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

export function address(view, rest = [], query = {}) {
  const asked = new URLSearchParams();
  const given = query instanceof URLSearchParams ? [...query] : Object.entries(query);
  for (const [name, value] of given) if (value !== "" && value !== null && value !== undefined) asked.set(name, value);
  const text = asked.toString();
  return `#/${[view, ...rest].map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

// Change some of what the address asks for, without a new page in the history.
export function change(query) {
  const { view, rest, query: now } = read();
  for (const [name, value] of Object.entries(query)) {
    if (value === "" || value === null || value === undefined) now.delete(name);
    else now.set(name, value);
  }
  history.replaceState(null, "", address(view, rest, now));
}

export const list = (text) => (text ? text.split(",").filter(Boolean).map(decoded) : []);
export const joined = (values) => values.map(encodeURIComponent).join(",");
