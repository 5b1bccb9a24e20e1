// Tests of the explorer in a real browser: `node test/page.mjs CHROMIUM FOLDER HOSTILE_FOLDER`.
// Prints one JSON object: what failed, by case, "" where nothing did. tests/report/test_explorer_page.py runs it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { opener, runCases, severe } from "./browser.mjs";

const [executablePath, folder, hostile] = process.argv.slice(2);
const { open, browser } = await opener(executablePath, folder);

const column = (page, k, region = 0) => page.evaluate(([n, r]) =>
  [...document.querySelectorAll("main section[aria-label=Leaderboard] .scroll")[r].querySelectorAll("tbody tr")].map((row) => row.cells[n].textContent), [k, region]);
const models = (page) => column(page, 1);
const saved = async (page, name) => {
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name }).first().click()]);
  return readFileSync(await download.path(), "utf8");
};
const ready = { ready: ".readout table" };
// every view, with what must be there before it is looked at
const VIEWS = [["", {}], ["#/models", {}], ["#/model/ours", ready], ["#/molecules", {}], ["#/molecule/b", ready], ["#/scan/C-N%2Fb", ready],
  ["#/dynamics", ready], ["#/trajectory/ours/a_300K_0", { ready: ".uplot canvas" }], ["#/atlas", {}], ["#/section/bonds", {}], ["#/section/plots", { ready: "svg.scatter" }]];

const CASES = {
  async "the answer and the leaderboard open from disk"() {
    const page = await open("");
    assert.ok((await page.textContent(".answers")).includes("ranked models"));
    assert.deepEqual(await models(page), ["theirs", "ours", "truth"]);
    return page;
  },
  async "columns sort by click and by keyboard"() {
    const page = await open("");
    const head = page.locator("section[aria-label=Leaderboard] th", { hasText: /^FSD \(/ });
    await head.locator("button").click();
    assert.equal(await head.getAttribute("aria-sort"), "ascending");
    assert.deepEqual(await models(page), ["truth", "theirs", "ours"]);
    await head.locator("button").press("Enter");
    assert.equal(await head.getAttribute("aria-sort"), "descending");
    assert.deepEqual(await models(page), ["ours", "theirs", "truth"]);
    assert.match(page.url(), /sort=fsd_full/);
    return page;
  },
  async "rows are filtered by text and role, and controls stand as lines"() {
    const page = await open("");
    await page.fill("input[name=q]", "their");
    assert.deepEqual(await models(page), ["theirs"]);
    await page.fill("input[name=q]", "");
    await page.check("input[name=role-control]");
    assert.ok((await models(page)).includes("control-zero"));
    await page.selectOption("select[name=against]", "control-zero");
    // also in a column without an interval
    assert.equal(await page.locator("section[aria-label=Leaderboard] tbody tr").first().locator(".bar .control").count() > 1, true);
    assert.ok(await page.locator(".bar .control").count() > 0);
    return page;
  },
  async "rows are filtered by what a model knows, says and was refused for"() {
    const page = await open("");
    await page.selectOption("select[name=element]", "P");
    assert.deepEqual(await models(page), ["ours", "truth"]);
    await page.selectOption("select[name=element]", "C");
    assert.deepEqual(await models(page), ["theirs", "ours", "truth"]);
    return page;
  },
  async "an address brings back what it shows"() {
    const page = await open("");
    await page.check("input[name=role-control]");
    await page.locator("summary", { hasText: "Own ranking" }).click();
    await page.fill("input[name=w-force_mae]", "2");
    await page.locator("summary", { hasText: "Columns" }).click();
    await page.uncheck("input[name=col-fsd_compress]");
    const before = await page.evaluate(() => document.querySelector("main section[aria-label=Leaderboard] table").innerText);
    assert.match(before, /own rank/);
    assert.doesNotMatch(before, /compressed/);
    const again = await open(new URL(page.url()).hash);
    assert.equal(await again.evaluate(() => document.querySelector("main section[aria-label=Leaderboard] table").innerText), before);
    await again.context().close();
    return page;
  },
  async "the own rank of a model is the same whatever the filter shows"() {
    const page = await open("#/?w=fsd_full:1&q=ours");
    assert.deepEqual(await column(page, 1), ["2"]);
    assert.match(await page.textContent("main section[aria-label=Leaderboard] thead"), /own rank/);
    return page;
  },
  async "an address out of range shows what there is, and says so"() {
    for (const [frame, shown] of [["9999", 12], ["-1", 0], ["2.4", 2], ["x", null]]) {
      const page = await open(`#/scan/C-N%2Fb?m=theirs,nobody&frame=${frame}`, ready);
      if (shown !== null) assert.match(await page.textContent(".readout caption"), new RegExp(`frame ${shown}:`));
      const told = (await page.locator(".panel [role=status]").allTextContents()).join(" ");
      assert.match(told, /a frame that this scan has not \(0 to 12\)/);
      assert.match(told, /Without curves on this scan: nobody/);
      assert.deepEqual(page.problems, []);
      await page.context().close();
    }
    const page = await open("#/?w=fsd_full:1e300,force_mae:1&sort=nothing&against=nobody");
    assert.deepEqual((await column(page, 1)).sort(), ["1", "2", "–"]);
    return page;
  },
  async "explanations show on focus and on click"() {
    const page = await open("");
    await page.locator("section[aria-label=Leaderboard] th", { hasText: /^FSD \(/ }).locator("button").focus();
    assert.match(await page.textContent("[role=tooltip]"), /Force Smoothness Deviation/);
    await page.keyboard.press("Escape");
    assert.equal(await page.isVisible("[role=tooltip]"), false);
    await page.locator(".answers span.word", { hasText: "FSD" }).first().focus();
    assert.match(await page.textContent("[role=tooltip]"), /changes of the forces along a bond scan/);
    return page;
  },
  async "numbers are copied with full precision"() {
    const page = await open("");
    const copied = await page.evaluate(() => {
      const table = document.querySelector("main section[aria-label=Leaderboard] table");
      getSelection().selectAllChildren(table.tBodies[0].rows[1]);
      const data = new DataTransfer();
      table.dispatchEvent(new ClipboardEvent("copy", { clipboardData: data, bubbles: true, cancelable: true }));
      return data.getData("text/plain");
    });
    assert.match(copied, /ours\t.*\d\.\d{8,}/s);
    return page;
  },
  async "the curves of a scan follow the cursor, and a model is switched on"() {
    const page = await open("#/model/ours", ready);
    // a part of a number says of how many, as on the leaderboard
    assert.match(await page.textContent("section[aria-label=Card]"), /training dataFrames of a fair/);
    const scored = page.locator("main section[aria-label=Scores] dt").filter({ hasText: "scored / planned" }).first();
    assert.match(await scored.evaluate((dt) => dt.nextElementSibling.textContent), /^\d+ \/ \d+$/);
    await page.locator("button.link", { hasText: "C-O/c" }).click();
    await page.waitForFunction(() => document.querySelector(".panel h3")?.textContent.startsWith("C-O/c"));
    await page.waitForSelector(".readout table");
    assert.match(page.url(), /scan=C-O%2Fc/);
    const box = await page.locator(".plot .u-over").first().boundingBox();
    const captions = new Set();
    for (const share of [0.15, 0.5, 0.85]) {
      await page.mouse.move(box.x + share * box.width, box.y + box.height / 2);
      captions.add(await page.textContent(".readout caption"));
    }
    assert.equal(captions.size, 3);
    assert.equal(await page.locator(".readout tbody tr").count(), 2);
    await page.check("input[name=curve-theirs]");
    assert.equal(await page.locator(".readout tbody tr").count(), 3);
    assert.match(page.url(), /m=ours%2Ctheirs/);
    const before = await page.textContent(".readout caption");
    await page.locator("input[name=frame]").press("ArrowLeft");
    assert.notEqual(await page.textContent(".readout caption"), before);
    return page;
  },
  async "a permalink opens a scan at a frame with its models"() {
    const page = await open("#/scan/C-N%2Fb?m=theirs,ours&frame=3", ready);
    await page.waitForSelector(".readout tbody tr:nth-child(3)");
    assert.match(await page.textContent(".readout caption"), /frame 3:/);
    return page;
  },
  async "a molecule is drawn, with forces"() {
    const page = await open("#/molecule/b", ready);
    await page.waitForSelector(".molecule canvas");
    await page.waitForTimeout(1000);
    const colours = await page.evaluate(() => {
      const canvas = document.querySelector(".molecule canvas");
      const copy = document.createElement("canvas");
      [copy.width, copy.height] = [canvas.width, canvas.height];
      return new Promise((resolve) => requestAnimationFrame(() => {
        document.querySelector("input[name=frame]").dispatchEvent(new Event("input")); // draws anew
        const context = copy.getContext("2d");
        context.drawImage(canvas, 0, 0);
        const { data } = context.getImageData(0, 0, copy.width, copy.height);
        const seen = new Set();
        for (let k = 0; k < data.length; k += 4) seen.add(`${data[k]},${data[k + 1]},${data[k + 2]}`);
        resolve(seen.size);
      }));
    });
    assert.ok(colours > 20, `${colours} colours`);
    assert.match(await page.textContent(".structure"), /the longest/);
    return page;
  },
  async "a scan is downloaded as CSV and extxyz, with the command that makes it again"() {
    const page = await open("#/model/ours?scan=C-O%2Fc", ready);
    const csv = (await saved(page, /CSV/)).trim().split("\n");
    assert.equal(csv.length, 14);
    assert.match(csv[0], /^frame,coordinate_angstrom,energy_ev reference,/);
    const changes = csv.slice(1).map((line) => line.split(",")[3]).filter(Boolean);
    assert.ok(changes.length > 5);
    for (const text of changes) assert.ok(Number(text) === Number(Number(text).toPrecision(7)), `${text} claims more than is stored`);
    const frames = (await saved(page, /extxyz/)).trim().split("\n");
    assert.equal(frames.length, 13 * 4);
    assert.match(frames[1], /scan="C-O\/c"/);
    const vectors = frames.filter((line) => /^[A-Z][a-z]? /.test(line) && line.split(" ").length > 4);
    assert.ok(vectors.length);
    for (const line of vectors) for (const text of line.split(" ").slice(4)) assert.equal(Number(text), Number(Number(text).toPrecision(4)));
    return page;
  },
  async "survival curves and runs are shown, and a failure is played"() {
    const page = await open("#/dynamics", ready);
    assert.equal(await page.locator(".readout tbody tr").count(), 2);
    await page.fill("input[name=q]", "long bond");
    await page.getByRole("link", { name: "a_300K_0" }).click();
    await page.waitForSelector(".molecule canvas");
    assert.match(await page.textContent("main"), /The last 10 steps/);
    assert.match(await page.textContent("pre"), /export a_300K_0 --trajectories .*--last-steps/);
    await page.getByRole("button", { name: "Play" }).click();
    await page.waitForFunction(() => document.querySelector(".structure").textContent.includes("; 0 steps before the end"));
    await page.check("input[name=curve-theirs]");
    assert.match(page.url(), /m=ours%2Ctheirs/);
    return page;
  },
  async "runs that failed come first, and each tells its whole reason once"() {
    const page = await open("#/dynamics", ready);
    const rows = page.locator("section[aria-label=Runs] tbody tr");
    assert.equal(await rows.first().locator("td").nth(1).textContent(), "failed");
    assert.match(await rows.first().locator("td").nth(2).textContent(), /^long bond: step 29 \(0.0145 ps\): C0-N1 at/);
    assert.equal(await rows.last().locator("td").nth(2).textContent(), "unsupported: unknown: P");
    return page;
  },
  async "the atlas leads from a count to the scan at its frame"() {
    const page = await open("#/atlas");
    await page.locator("main table").first().locator("button.link[aria-label]").first().click();
    assert.match(page.url(), /model=.*&kind=/);
    await page.locator("main table").nth(1).locator("tbody a").first().click();
    await page.waitForSelector(".readout table");
    assert.match(page.url(), /#\/scan\/.*frame=\d+/);
    return page;
  },
  async "a molecule tells what happens on it, of all models, and leads there"() {
    const page = await open("#/molecule/b", ready);
    const failed = page.locator("section[aria-label='What happened']");
    await failed.locator("tbody a[href^='#/scan/']").first().waitFor();
    assert.deepEqual(await failed.locator("tbody th").allTextContents().then((all) => all.sort()), ["ours", "theirs", "truth"]);
    await failed.locator("tbody a[href^='#/scan/']").first().click();
    await page.waitForFunction(() => /#\/scan\/C-N%2Fb.*frame=\d+/.test(location.hash));
    return page;
  },
  async "the atlas says of how many, and what happens where the reference is low"() {
    const page = await open("#/atlas");
    const counts = page.locator("main table").first();
    assert.match(await counts.locator("caption").textContent(), /for \d+ models; in brackets, where the reference is at most 10 eV/);
    const row = counts.locator("tbody tr", { hasText: "ours" });
    const [asked, none] = await row.locator("td").allTextContents();
    assert.equal(asked, "6");
    assert.match(none, /^[0-5] \(\d\)$/);
    await page.check("input[name=below]");
    assert.match(page.url(), /below=1/);
    assert.match(await counts.locator("caption").textContent(), /models, where the reference/);
    for (const text of await page.locator("main table").nth(1).locator("tbody tr td:nth-child(7)").allTextContents()) assert.match(text, /^(n\/a|\d)/);
    return page;
  },
  async "a point of a figure tells its numbers and leads to the model, by mouse and by keyboard"() {
    const page = await open("#/section/plots", { ready: "svg.scatter a.point" });
    const first = page.locator("figure").first().locator("a.point").first();
    await first.hover();
    assert.equal(await page.textContent("[role=tooltip]"), "ours (all): dose (eV) 1.000, MAE (meV) 500.0");
    assert.equal(await page.locator("figure").first().locator("svg g[data-tip]").count(), 1); // of no model here
    assert.match(await page.locator("figure").first().textContent(), /Broken line: base/);
    await page.selectOption("select[name=figure-1-panel]", "dip");
    assert.match(page.url(), /figure-1=/);
    const again = await open(new URL(page.url()).hash, { ready: "svg.scatter a.point" });
    assert.equal(await again.inputValue("select[name=figure-1-panel]"), "dip");
    assert.match(await again.locator("figure").first().locator("a.point").first().getAttribute("aria-label"), /^ours \(all\): dose \(<b>Å<\/b>\) 1000, /);
    await again.context().close();
    await page.locator("figure").nth(1).locator('a.point[tabindex="0"]').focus();
    await page.keyboard.press("ArrowRight");
    assert.equal(await page.textContent("[role=tooltip]"), "theirs: MAE (eV) 1.500");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => location.hash.startsWith("#/model/theirs"));
    return page;
  },
  async "a figure has other axes for the asking, cells lead to the model, CSV and picture stand beside"() {
    const page = await open("#/section/plots", { ready: "svg.scatter a.point" });
    const second = page.locator("figure").nth(1);
    assert.match(await second.locator("svg").textContent(), /ours.*elsewhere/);
    await page.selectOption("select[name=figure-2-y]", "dose");
    assert.match(await second.locator("svg").textContent(), /dose/);
    const third = page.locator("figure").nth(2);
    assert.deepEqual(await third.locator("tbody tr").first().locator("a").evaluateAll((links) => links.map((a) => a.getAttribute("href"))), ["#/model/ours", "#/model/ours"]);
    assert.deepEqual(await third.locator("figcaption a").evaluateAll((links) => links.map((a) => a.getAttribute("href"))), ["sections/plots/figure2.png", "sections/plots/holes.csv"]);
    const all = page.locator("p.links", { hasText: "All numbers:" }).locator("a");
    assert.ok((await all.allTextContents()).includes("holes.csv"));
    return page;
  },
  async "sections and other views open"() {
    for (const [hash, text] of [["#/models", "Models"], ["#/molecules", "C-N/b"], ["#/section/bonds", "Sections"], ["#/model/nobody", "No such model"], ["#/nothing", "Leaderboard"]]) {
      const page = await open(hash);
      await page.waitForFunction((wanted) => document.querySelector("main").innerText.includes(wanted), text);
      assert.deepEqual(page.problems, [], hash);
      await page.context().close();
    }
  },
  async "every view: nothing serious for axe-core, no scrolling to the side at 400 px, dark ink on white on paper"() {
    const found = [];
    for (const [hash, how] of VIEWS) {
      const page = await open(hash, how);
      const look = async (what, expected, actual) => {
        let told;
        for (let turn = 0; turn < 20; turn++) { // colours fade and charts take their new width in their own time
          await page.waitForTimeout(300);
          told = JSON.stringify(await actual());
          if (told === JSON.stringify(expected)) return;
        }
        found.push(`${hash} ${what}: ${told}`);
      };
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        await look(colorScheme, [], () => severe(page));
      }
      await page.setViewportSize({ width: 400, height: 900 });
      await look("narrow", 400, () => page.evaluate(() => document.documentElement.scrollWidth));
      await page.setViewportSize({ width: 720, height: 1000 }); // A4 between its margins, in CSS pixels
      await page.emulateMedia({ media: "print", colorScheme: "dark" });
      await look("print", ["rgb(255, 255, 255)", 0, 720], () => page.evaluate(() => [getComputedStyle(document.body).backgroundColor,
        [...document.querySelectorAll(".tools")].filter((one) => one.checkVisibility()).length, document.documentElement.scrollWidth]));
      await page.context().close();
    }
    assert.deepEqual(found, []);
  },
  async "what is hostile is shown as text"() {
    for (const hash of ["", "#/models", "#/molecules", "#/molecule/c?m=raw", "#/dynamics", "#/atlas", "#/section/bonds", "#/section/plots", "#/section/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E", "#/model/%3Cscript%3Ealert(1)%3C%2Fscript%3E"]) {
      const page = await open(hash, { at: hostile });
      await page.waitForTimeout(300);
      assert.deepEqual(page.problems, [], hash);
      const odd = await page.evaluate(() => [...document.querySelectorAll("main *")].filter((one) =>
        ["SCRIPT", "IFRAME", "OBJECT", "EMBED", "FORM"].includes(one.tagName) && !one.classList.contains("tools")
        || [...one.attributes].some((a) => a.name.startsWith("on"))
        || (one.tagName === "IMG" && !one.getAttribute("src").startsWith("sections/"))
        || (one.tagName === "A" && one.hasAttribute("href") && !/^(#\/|sections\/|leaderboard\.)/.test(one.getAttribute("href")))).map((one) => one.outerHTML.slice(0, 200)));
      assert.deepEqual(odd, [], hash);
      await page.context().close();
    }
    const page = await open("#/model/raw", { at: hostile });
    assert.match(await page.textContent("main"), /<script>alert\(1\)<\/script>/);
    return page;
  },
  async "no cell of a download is a formula"() {
    const page = await open("#/?cols=license,level_of_theory,fsd_full", { at: hostile });
    const csv = await saved(page, /Download these rows/);
    assert.match(csv, /"'=cmd\(\)/);
    assert.doesNotMatch(csv, /(^|,)"?[=+@]/m);
    return page;
  },
};

await runCases(CASES, browser);
