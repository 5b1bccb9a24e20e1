// What the tests in a real browser share: pages from disk, axe-core, cases.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const WAIT = 30_000;

// A browser, and a function that opens the page of a folder and collects what goes wrong on it.
export async function opener(executablePath, folder) {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"] });
  const open = async (hash, { at = folder, width = 1400, scheme = "light", ready = "main h2" } = {}) => {
    const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: scheme, acceptDownloads: true, bypassCSP: false });
    context.setDefaultTimeout(WAIT);
    const page = await context.newPage();
    page.problems = [];
    page.on("console", (message) => { if (message.type() === "error") page.problems.push(message.text()); });
    page.on("pageerror", (error) => page.problems.push(String(error.stack)));
    page.on("dialog", (dialog) => { page.problems.push(`dialog ${dialog.message()}`); dialog.dismiss(); });
    page.on("request", (request) => { if (!/^(file|data|blob):/.test(request.url())) page.problems.push(`request ${request.url()}`); });
    await page.goto(pathToFileURL(`${at}/index.html`).href + hash);
    await page.waitForSelector(ready);
    return page;
  };
  return { open, browser };
}

// Serious violations that axe-core finds on a page.
export async function severe(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.filter((one) => ["serious", "critical"].includes(one.impact)).map((one) => `${one.id}: ${one.nodes[0].html.slice(0, 200)} ${one.nodes[0].failureSummary}`);
}

// Runs all cases and prints one JSON object: what failed, by case, "" where nothing did.
export async function runCases(cases, browser) {
  const told = {};
  for (const [name, run] of Object.entries(cases)) {
    const start = Date.now();
    try {
      const page = await run();
      if (page) {
        assert.deepEqual(page.problems, []);
        await page.context().close();
      }
      told[name] = "";
    } catch (error) {
      told[name] = String(error.stack ?? error);
    }
    console.error(`${((Date.now() - start) / 1000).toFixed(1)} s ${name}`);
  }
  await browser.close();
  console.log(JSON.stringify(told));
}
