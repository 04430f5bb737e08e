// The page in a real browser: node test/page.test.mjs PLANT [FOLDER FOR SCREENSHOTS]
//
// PLANT is the example of that name, built. The test starts it, looks at its page and ends it.
import { chromium } from "playwright-core";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import assert from "node:assert/strict";

const [plant, folder] = process.argv.slice(2);
assert(plant, "usage: node test/page.test.mjs PLANT [FOLDER]");
const shots = folder ?? mkdtempSync(join(tmpdir(), "aimdb-page-"));
mkdirSync(shots, { recursive: true });

// A test that fails leaves no plant behind.
const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** Starts the plant, and returns its address and how to end it. */
async function start(records = 0, port = 0) {
  const runtime = mkdtempSync(join(tmpdir(), "aimdb-plant-"));
  const child = spawn(plant, [String(records), String(port)], { env: { ...process.env, XDG_RUNTIME_DIR: runtime }, stdio: ["ignore", "pipe", "inherit"] });
  running.add(child);
  const [line] = await once(createInterface(child.stdout), "line");
  return { url: line.trim(), stop: async () => { child.kill("SIGKILL"); await once(child, "exit"); running.delete(child); } };
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-background-networking", "--disable-gpu"],
});

/** A page that fails the test at any error, and at any request to another host. */
async function open(url, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => {
    // A refused PUT and an unhealthy database are answers with an error's status.
    if (message.type() === "error" && !/status of (400|503)/.test(message.text())) faults.push(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) faults.push(`a request to ${request.url()}`);
  });
  await page.goto(url);
  await page.waitForFunction(() => /running/.test(document.getElementById("state")?.textContent), null, { timeout: 20_000 });
  return { page, context, faults };
}

const shot = (page, name) => page.screenshot({ path: join(shots, `${name}.png`) });
const cases = {
  async "the graph shows faults, a record its value, its plot and its readers"() {
    const { url, stop } = await start();
    const { page, context, faults } = await open(url, { viewport: { width: 1440, height: 900 }, colorScheme: "light" });
    await page.waitForFunction(() => /1 failed, 1 down, 1 blocked/.test(document.getElementById("state")?.textContent), null, { timeout: 20_000 });
    assert.equal(await page.locator("#graph .record").count(), 8);
    assert.equal(await page.locator("#graph .record.failed").count(), 1);
    assert.equal(await page.locator("#graph .record.down").count(), 1);
    assert.equal(await page.locator("#graph .record.blocked").count(), 1);
    await page.waitForSelector("#graph .record.lossy");
    await page.waitForSelector("#graph .record.silent");
    // Text does not leave its box.
    const wide = await page.locator("#graph .record").evaluateAll((nodes) => nodes.filter((node) =>
      [...node.querySelectorAll("text")].some((text) => text.getBBox().x + text.getBBox().width > 190)).map((node) => node.textContent));
    assert.deepEqual(wide, []);
    await page.locator("#graph .record", { hasText: "climate.hall" }).click();
    await page.waitForSelector("#detail canvas");
    await page.waitForFunction(() => /celsius/.test(document.querySelector("#detail .value")?.textContent));
    await page.waitForFunction(() => Number((document.querySelector("#detail .stamp")?.textContent ?? "").replace(/\D/g, "")) > 0);
    const before = await page.textContent("#detail .stamp");
    await page.waitForFunction((old) => document.querySelector("#detail .stamp")?.textContent !== old, before);
    assert.match(await page.textContent("#detail .readers"), /climate.smooth\/scan/);
    await page.waitForTimeout(2500);
    await shot(page, "light");
    await page.locator("#graph .record", { hasText: "tank.pump" }).click();
    await page.getByRole("button", { name: "Why?" }).click();
    await page.waitForFunction(() => /does not answer on bus 3/.test(document.querySelector(".why")?.textContent));
    await shot(page, "failed");
    await page.locator("#graph .record", { hasText: "tank.level" }).click();
    await page.waitForFunction(() => /archive.*lagged/.test(document.querySelector("#detail")?.textContent));
    assert.deepEqual(faults, []);
    await context.close();
    await stop();
  },

  async "a record is set, and a wrong value is refused with its reason"() {
    const { url, stop } = await start();
    const { page, context, faults } = await open(url, { viewport: { width: 1280, height: 900 }, colorScheme: "dark" });
    await page.locator("#graph .record", { hasText: "tank.limits" }).click();
    const text = page.getByLabel("Set this record (JSON)");
    await text.fill('{"high": 90, "low": 10}');
    await page.getByRole("button", { name: "Set", exact: true }).click();
    await page.waitForFunction(() => /"high": 90/.test(document.querySelector("#detail .value")?.textContent));
    await text.fill('{"high": "much", "low": 10}');
    await page.getByRole("button", { name: "Set", exact: true }).click();
    await page.waitForFunction(() => /invalid type: string "much"/.test(document.querySelector("#detail form .fault")?.textContent));
    await shot(page, "dark");
    assert.deepEqual(faults, []);
    await context.close();
    await stop();
  },

  async "a phone has one column, and the keyboard chooses records"() {
    const { url, stop } = await start();
    const { page, context, faults } = await open(url, { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(wide <= 0, `the page is ${wide} pixels too wide`);
    await page.locator("nav summary", { hasText: "tank" }).focus();
    await page.keyboard.press("Enter");
    await page.locator("nav button", { hasText: "tank.level" }).focus();
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelector("#detail h2")?.textContent === "tank.level");
    await page.locator("#graph .record").first().focus();
    await page.keyboard.press("Enter");
    // Each control has a name.
    const nameless = await page.evaluate(() => [...document.querySelectorAll("button, input, textarea, [role=button]")]
      .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.length)).length);
    assert.equal(nameless, 0);
    await page.evaluate(() => scrollTo(0, 0));
    await shot(page, "phone");
    await page.locator("#detail").scrollIntoViewIfNeeded();
    await page.evaluate(() => document.getElementById("detail").scrollIntoView());
    await shot(page, "phone-record");
    assert.deepEqual(faults, []);
    await context.close();
    await stop();
  },

  async "a thousand records are searched and drawn in groups"() {
    const { url, stop } = await start(1000);
    const { page, context, faults } = await open(url, { viewport: { width: 1440, height: 900 }, colorScheme: "light" });
    await page.waitForFunction(() => /1,008 records/.test(document.getElementById("totals")?.textContent));
    assert.ok(await page.locator("#graph .record").count() <= 60);
    await page.getByLabel("Search records").fill("line7*02");
    await page.waitForFunction(() => document.querySelectorAll("nav li button").length === 11, null, { timeout: 5000 }).catch(async () => {
      assert.fail(`${await page.locator("nav li button").count()} records match`);
    });
    // The graph shows what matches, and a record in the middle of a large group is drawn when it is chosen.
    await page.waitForFunction(() => document.querySelectorAll("#graph .record").length === 11);
    assert.match(await page.textContent("#graph-note"), /matching/);
    await page.getByLabel("Search records").fill("line7.sensor049");
    await page.locator("nav li button").first().click();
    await page.waitForSelector("#graph .record.selected");
    await page.waitForSelector("#detail canvas", { timeout: 20_000 });
    await shot(page, "thousand");
    assert.deepEqual(faults, []);
    await context.close();
    await stop();
  },

  async "the end of the program is shown, and another one in its place"() {
    const { url, stop } = await start();
    const { page, context, faults } = await open(url, { viewport: { width: 1280, height: 800 } });
    await page.locator("#graph .record", { hasText: "climate.hall" }).click();
    await page.waitForSelector("#detail canvas");
    await stop();
    await page.waitForFunction(() => /offline/.test(document.getElementById("state")?.textContent), null, { timeout: 20_000 });
    // Another process at the same address: its counters begin anew, and the record is still chosen.
    const again = await start(3, new URL(url).port);
    await page.waitForFunction(() => /11 records/.test(document.getElementById("totals")?.textContent), null, { timeout: 30_000 });
    await page.waitForFunction(() => document.querySelector("#detail h2")?.textContent === "climate.hall");
    await page.waitForFunction(() => /celsius/.test(document.querySelector("#detail .value")?.textContent));
    assert.deepEqual(faults.filter((fault) => !/ERR_CONNECTION|ERR_INCOMPLETE|net::|status of 503/.test(fault)), []);
    await context.close();
    await again.stop();
  },
};

try {
  for (const [name, run] of Object.entries(cases)) {
    await run();
    console.log(`ok: ${name}`);
  }
} finally {
  await browser.close();
}
console.log(`screenshots: ${shots}`);
