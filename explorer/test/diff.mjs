// Tests of the page of a diff in a real browser: `node test/diff.mjs CHROMIUM CHANGED UNCHANGED`.
// tests/commands/test_diff_page.py runs it.

import assert from "node:assert/strict";
import { opener, runCases, severe } from "./browser.mjs";

const [executablePath, folder, unchanged] = process.argv.slice(2);
const { open, browser } = await opener(executablePath, folder);

const scoreRows = (page) => page.locator("section[aria-label=Scores] .scanlist tbody tr");
const picture = "svg.scatter";

const CASES = {
  async "the verdict comes first, in the words of the terminal"() {
    const page = await open("", { ready: picture });
    assert.match(await page.textContent("main > section:first-child"), /^changed: \d+ scores of 2 models changed \(gfn1-xtb, mace-mini\); 3 rows ended in another way; /);
    const same = await open("", { at: unchanged });
    assert.match(await same.textContent(".verdict"), /^unchanged: \d+ scores compared$/);
    assert.match(await same.textContent("section[aria-label=Scores]"), /No score differs/);
    assert.deepEqual(same.problems, []);
    await same.context().close();
    return page;
  },
  async "scores are sorted and filtered, and an address brings back what it shows"() {
    const page = await open("", { ready: picture });
    const models = () => scoreRows(page).evaluateAll((rows) => rows.map((row) => row.cells[0].textContent));
    const few = (await models()).length;
    assert.deepEqual([...new Set(await models())].sort(), ["gfn1-xtb", "mace-mini"]);
    const head = page.locator("section[aria-label=Scores] .scanlist th", { hasText: /^rows that differ/ });
    await head.locator("button").press("Enter");
    assert.equal(await head.getAttribute("aria-sort"), "descending");
    await page.selectOption("select[name=show]", "all");
    assert.ok((await models()).length > few);
    await page.fill("input[name=q]", "gfn1-xtb dynamics");
    assert.deepEqual([...new Set(await models())], ["gfn1-xtb"]);
    const shown = await page.locator("section[aria-label=Scores] .scanlist").innerText();
    const again = await open(new URL(page.url()).hash, { ready: picture });
    assert.equal(await again.locator("section[aria-label=Scores] .scanlist").innerText(), shown);
    await again.context().close();
    return page;
  },
  async "a score leads to its rows, the differing ones apart, and a point to its row"() {
    const page = await open("", { ready: picture });
    await page.getByRole("button", { name: "mace-mini bonds fsd_full: show its rows" }).click();
    await page.waitForFunction(() => document.querySelector(".panel h3")?.textContent.startsWith("mace-mini, bonds: FSD"));
    await page.waitForSelector(".panel tbody tr");
    assert.match(page.url(), /score=/);
    const differ = await page.locator(".panel tbody tr").evaluateAll((rows) => rows.map((row) => row.cells[4].textContent));
    assert.deepEqual(differ.slice(0, 4), ["yes", "yes", "yes", "no"]);
    assert.ok(await page.locator(`${picture} a`).count() > 10);
    const first = page.locator(`${picture} a[tabindex="0"]`);
    await first.focus();
    await page.keyboard.press("ArrowRight");
    const name = await page.evaluate(() => document.activeElement.getAttribute("aria-label"));
    assert.equal(await page.textContent("[role=tooltip]"), name);
    await page.keyboard.press("Enter");
    assert.ok(name.startsWith(await page.locator(".panel tr.chosen th").textContent()), name);
    return page;
  },
  async "why stands beside the score and for all"() {
    const page = await open("", { ready: picture });
    assert.match(await page.textContent("section[aria-label=Why]"), /device.*cpu.*cuda/s);
    await page.getByRole("button", { name: "mace-mini bonds fsd_full: show its rows" }).click();
    await page.waitForFunction(() => document.querySelector(".panel .causes")?.textContent.includes("device: cpu → cuda"));
    return page;
  },
  async "rows lead to the explorers that are at hand"() {
    const page = await open("", { ready: picture });
    await page.getByRole("button", { name: "mace-mini bonds fsd_full: show its rows" }).click();
    await page.waitForFunction(() => document.querySelector(".panel h3")?.textContent.startsWith("mace-mini, bonds: FSD"));
    const link = page.locator(".panel tbody a").first();
    const [row] = (await link.getAttribute("aria-label")).split(" in the explorer");
    assert.equal(await link.getAttribute("href"), `../b%20%23%27/explorer/index.html#/model/mace-mini?scan=${encodeURIComponent(row)}`);
    return page;
  },
  async "what is hostile is shown as text"() {
    const page = await open("", { ready: picture });
    assert.match(await page.textContent("section[aria-label=Lost]"), /=cmd\|'<script>alert\(1\)<\/script>"/);
    const odd = await page.evaluate(() => [...document.querySelectorAll("main *")].filter((one) =>
      ["SCRIPT", "IFRAME", "OBJECT", "EMBED", "IMG"].includes(one.tagName)
      || [...one.attributes].some((a) => a.name.startsWith("on"))
      || (one.tagName === "A" && !/^(\.\.\/|diff\.json)/.test(one.getAttribute("href")))).map((one) => one.outerHTML.slice(0, 200)));
    assert.deepEqual(odd, []);
    return page;
  },
  async "a narrow window needs no scrolling to the side"() {
    const page = await open("", { width: 400, ready: picture });
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 400);
    return page;
  },
  async "a page is printed in dark ink on white, with its picture and without its tools"() {
    const page = await open("", { scheme: "dark", ready: picture });
    await page.emulateMedia({ media: "print", colorScheme: "dark" });
    assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(255, 255, 255)");
    assert.equal(await page.isVisible(".tools"), false);
    assert.equal(await page.isVisible(picture), true);
    return page;
  },
  async "nothing serious for axe-core, in light and dark"() {
    const all = [];
    const page = await open("", { ready: picture });
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await page.waitForTimeout(300);
      all.push(...(await severe(page)).map((one) => `${colorScheme} ${one}`));
    }
    await page.context().close(); // axe-core asks for the style sheet, which the policy forbids
    assert.deepEqual(all, []);
  },
};

await runCases(CASES, browser);
