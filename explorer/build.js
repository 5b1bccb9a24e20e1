// Builds the assets of the package from src/: `npm ci && npm run build`.

import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const assets = join(here, "../workflow/pesbench/report/explorer/assets");
const ofDiff = join(here, "../workflow/pesbench/commands/diff/assets");
const source = join(here, "src");
const modules = join(here, "node_modules");

// The sources and the versions of libraries, by which a test knows that the build is of these.
export function digest() {
  const sum = createHash("sha256");
  for (const name of [...readdirSync(source).sort().map((one) => `src/${one}`), "package.json", "build.js"]) {
    sum.update(`${name}\n`).update(readFileSync(join(here, name)));
  }
  return sum.digest("hex");
}

const read = (...place) => readFileSync(join(...place), "utf8");

// A page of its own: `<name>.js` and `<name>.css` of src/, bundled, and its HTML as it is.
async function page(folder, name, { script, html, styles, banner = "" }) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await build({
    entryPoints: [join(source, script)], outfile: join(folder, `${name}.js`),
    bundle: true, format: "iife", minify: true, charset: "ascii", target: "es2022", legalComments: "none",
    banner: { js: `/* pesbench ${name}${banner} */` },
  });
  const style = await build({ stdin: { contents: styles.join(""), loader: "css" }, minify: true, write: false });
  writeFileSync(join(folder, `${name}.css`), style.outputFiles[0].text);
  copyFileSync(join(source, html), join(folder, "index.html"));
}

const own = [read(source, "explorer.css"), read(source, "figures.css")];
await page(assets, "explorer", {
  script: "main.js", html: "index.html", banner: "; licences of the libraries: LICENSES.txt",
  styles: [read(modules, "uplot/dist/uPlot.min.css"), ...own],
});
await page(ofDiff, "diff", { script: "diff.js", html: "diff.html", styles: own }); // without a library
// as published: 3Dmol.js is loaded with the first molecule
copyFileSync(join(modules, "3dmol/build/3Dmol-min.js"), join(assets, "3Dmol.js"));
const { packages } = JSON.parse(readFileSync(join(here, "package-lock.json"), "utf8"));
const shipped = Object.entries(packages).filter(([place, one]) => place && !one.dev);
const licence = ([place, { version }]) => `${place.split("node_modules/").at(-1)} ${version}\n\n${readFileSync(join(here, place, "LICENSE"), "utf8")}`;
writeFileSync(join(assets, "LICENSES.txt"), shipped.map(licence).join(`\n${"-".repeat(80)}\n\n`));
writeFileSync(join(assets, "sources.sha256"), `${digest()}\n`);
