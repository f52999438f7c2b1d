// The pages in a real browser: every state, three sizes, both schemes. Prints `N passed, N failed`.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { stage } from "./stage.js";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const PATIENCE = 60_000;
const WEIGHT = 60 * 1024;
let browser = await launch();
function launch() {
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
}
let passed = 0;
const failed = [];

async function test(name, work) {
  try {
    await work();
    passed += 1;
  } catch (error) {
    failed.push(name);
    console.log(`FAILED ${name}\n  ${String(error.message ?? error).replaceAll("\n", "\n  ")}`);
  }
}

// A page that notes everything that a page of ours must not do.
async function open(show, path, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const sins = [];
  page.on("console", (message) => message.type() !== "log" && sins.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => sins.push(`error: ${error.message}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(show.address)) sins.push(`external request: ${request.url()}`);
  });
  page.on("dialog", (dialog) => {
    sins.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.addInitScript(() => {
    window.shift = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) window.shift += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
    document.addEventListener("securitypolicyviolation", (e) => console.warn(`policy: ${e.violatedDirective} ${e.blockedURI}`));
  });
  await page.goto(show.address + path);
  const close = async () => {
    await context.close();
    assert.deepEqual(sins, []);
  };
  return { page, close };
}

async function audit(page) {
  // Through the debugger, which our own policy does not bind.
  await page.evaluate(axe);
  const result = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  const said = result.violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.html + " " + n.failureSummary).join(" | ")}`);
  assert.deepEqual(said, []);
}

async function wide(page) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(over <= 0, `${over} px wider than the window`);
}

// The providers of a long list start folded; the endpoints of the one that is asked for are shown.
async function unfold(page, endpoint) {
  const provider = page.locator("details.provider", { has: page.locator(`a[href='/endpoints/${endpoint}']`) });
  if (!(await provider.evaluate((group) => group.open))) await provider.locator("summary").click();
}

// Scrolls first: the detail of the bars hides when they scroll away from under the pointer.
async function hoverBars(page, endpoint) {
  const bars = page.locator(`a[data-bars="${endpoint}"]`);
  await bars.scrollIntoViewIfNeeded();
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  await bars.hover({ position: { x: 3, y: 5 } });
}

const states = {
  "well 0": ["No endpoint is configured."],
  "well 1": ["openai-chat-0 is operational."],
  "well 2": ["Both endpoints are operational."],
  "well 30": ["All 30 endpoints are operational."],
  "well 200": ["All 200 endpoints are operational."],
  names: ["1 outage and 1 degradation."],
  incident: ["1 outage and 1 degradation."],
  "incident 60": ["1 outage and 1 degradation."],
  account: ["OpenAI is rejecting your requests."],
  fresh: ["No probe has completed yet."],
  pending: ["Checking 2 endpoints."],
  announced: ["2 of 6 endpoints in maintenance."],
  budget: ["Today’s probing budget is used up."],
  offline: ["This monitor is offline."],
};
for (const [state, sentences] of Object.entries(states)) {
  const show = await stage(state);
  const first = "openai-chat-0";
  const paths = ["/", "/incidents"];
  if (state !== "well 0") {
    const long = state === "names" ? "-a-name-as-long-as-names-may-be-0123456789-abcdefgh" : "";
    paths.push(`/endpoints/${first}${long}`, `/endpoints/${first}${long}?range=90d`);
  }
  if (["incident", "names", "account", "incident 60"].includes(state)) paths.push("/incidents/900");
  if (state !== "well 0" && state !== "fresh") paths.push("/incidents/3");
  if (["well 2", "incident"].includes(state)) paths.push("/groups/chat");
  for (const path of paths) {
    await test(`${state} ${path}`, async () => {
      const { page, close } = await open(show, path);
      if (path === "/") {
        const sentence = await page.textContent("h1");
        for (const wanted of sentences) assert.ok(sentence.includes(wanted), sentence);
      }
      for (const width of [320, 800, 1600]) {
        await page.setViewportSize({ width, height: 900 });
        await wide(page);
      }
      await audit(page);
      await page.emulateMedia({ colorScheme: "dark" });
      if (path === "/") await audit(page);
      await close();
    });
  }
  await test(`${state}: the first page is light`, async () => {
    const { page, close } = await open(show, "/");
    await page.waitForLoadState("load");
    const bytes = await page.evaluate(() =>
      [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
        .filter((e) => e.initiatorType !== "fetch" && !e.name.endsWith("/events"))
        .reduce((sum, e) => sum + e.encodedBodySize, 0));
    assert.ok(bytes > 0 && bytes <= WEIGHT, `${bytes} bytes`);
    await close();
  });
  await show.end();
  // A fresh one for each state: a browser that runs for long takes ever more room.
  await browser.close();
  browser = await launch();
}

const show = await stage("well 30");
await test("a live change arrives, without a layout shift and without losing the focus", async () => {
  const { page, close } = await open(show, "/");
  await page.waitForSelector("#live.on");
  await unfold(page, "gemini-25");
  await page.focus('a[data-bars="gemini-25"]');
  const before = await page.evaluate(() => window.shift);
  show.say("fail");
  await page.waitForFunction(() => document.querySelector("h1").textContent.includes("OpenAI (openai-chat-0) is down"));
  assert.equal(await page.evaluate(() => document.activeElement.dataset.bars), "gemini-25");
  // The problem is inserted above the list; nothing else moves. Below 0.1, a shift counts as good.
  const shift = (await page.evaluate(() => window.shift)) - before;
  assert.ok(shift < 0.1, `a layout shift of ${shift}`);
  const row = await page.textContent("tr:has(a[href='/endpoints/openai-chat-0'])");
  assert.ok(row.includes("openai-chat-0, down"), row);
  await close();
});
await test("the keyboard reaches everything and walks along the bars", async () => {
  const { page, close } = await open(show, "/");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  for (let presses = 0; presses < 20; presses += 1) {
    await page.keyboard.press("Tab");
    const bars = await page.evaluate(() => document.activeElement.dataset.bars);
    if (bars) break;
    const folded = await page.evaluate(() => document.activeElement.matches("details.provider:not([open]) > summary"));
    if (folded) await page.keyboard.press("Enter");
  }
  const reached = await page.evaluate(() => document.activeElement.dataset.bars);
  assert.match(reached ?? "nothing", /-0$/);
  await page.waitForSelector("#tip:not([hidden])");
  const today = await page.textContent("#tip b");
  await page.keyboard.press("ArrowLeft");
  await page.waitForFunction((today) => document.querySelector("#tip b").textContent !== today, today);
  assert.match(await page.textContent("#tip"), /available|measured/);
  // The page is refreshed meanwhile, which takes away what the server did not write: the chosen day stays chosen.
  await page.evaluate(() => {
    document.querySelector("main").dataset.before = "refresh";
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await page.waitForFunction(() => !document.querySelector("main").dataset.before);
  await page.keyboard.press("Enter");
  await page.waitForURL(new RegExp(`/endpoints/${reached}\\?range=24h&until=`));
  await close();
});
await test("bars that the keyboard scrolls to show their day, and it stays beside them", async () => {
  const { page, close } = await open(show, "/", { viewport: { width: 1280, height: 300 } });
  const scrolled = () => page.evaluate(() => new Promise((done) => {
    addEventListener("scroll", () => requestAnimationFrame(() => done(scrollY)), { once: true });
    scrollBy(0, 40);
  }));
  const beside = () => page.evaluate(() => {
    const tip = document.getElementById("tip").getBoundingClientRect();
    const bars = document.activeElement.getBoundingClientRect();
    return Math.min(Math.abs(tip.top - bars.bottom), Math.abs(bars.top - tip.bottom));
  });
  await unfold(page, "gemini-25");
  await page.focus("a[href='/endpoints/gemini-25']");
  await page.evaluate(() => scrollTo(0, 0));
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.dataset.bars), "gemini-25");
  await page.waitForSelector("#tip:not([hidden])");
  assert.ok((await scrolled()) > 40);
  assert.equal(await page.evaluate(() => document.getElementById("tip").hidden), false);
  assert.ok((await beside()) < 12);
  await close();
});
await test("a bar shows its day under the pointer", async () => {
  const { page, close } = await open(show, "/");
  await unfold(page, "azure-chat-8");
  await hoverBars(page, "azure-chat-8");
  await page.waitForSelector("#tip:not([hidden]) svg");
  await close();
});
await test("tables stay legible on a phone, and names in a headline are not broken", async () => {
  const show = await stage("incident");
  const phone = { viewport: { width: 320, height: 900 } };
  const { page, close } = await open(show, "/incidents/900", phone);
  // A short cell is on one line, and nothing reaches beyond the page.
  const broken = await page.evaluate(() => {
    const lines = (cell) => {
      const text = document.createRange();
      text.selectNodeContents(cell);
      return new Set([...text.getClientRects()].map((box) => Math.round(box.bottom))).size;
    };
    const cells = [...document.querySelectorAll(".plain th, .plain td")].filter((cell) => cell.offsetWidth > 0);
    return cells.length === 0 ? ["no cell"] : cells.filter((cell) => cell.textContent.trim().length <= 10 && lines(cell) > 1).map((cell) => cell.textContent.trim());
  });
  assert.deepEqual(broken, []);
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 320, "the page scrolls sideways");
  await page.goto(show.address + "/endpoints/openai-chat-0");
  const lines = await page.evaluate(() => {
    const name = document.createRange();
    name.selectNodeContents(document.querySelector("h1 > :first-child"));
    return new Set([...name.getClientRects()].map((box) => box.top)).size;
  });
  assert.equal(lines, 1);
  await close();
  await show.end();
});
await test("a deploy is marked in every chart, and dragging across one zooms in", async () => {
  const show = await stage("incident 6");
  const { page, close } = await open(show, "/endpoints/openai-chat-0");
  const marks = await page.evaluate(() => [...document.querySelectorAll("svg path.note-mark")].map((e) => e.getAttribute("d").split("M").length - 1));
  // The deploy, and a note on the incident.
  assert.deepEqual(marks, [2, 2, 2, 2]);
  assert.match(await page.textContent(".marked"), /deployed the gateway 2\.3/);
  const chart = await page.locator("svg.zoom").first().boundingBox();
  const at = (share) => [chart.x + chart.width * share, chart.y + chart.height / 2];
  await page.mouse.move(...at(0.5));
  await page.mouse.down();
  await page.mouse.move(...at(0.6));
  await page.mouse.move(...at(0.75));
  await page.mouse.up();
  await page.waitForURL(/since=.*&until=/);
  const { since, until } = await page.evaluate(() => document.querySelector(".charts").dataset);
  // A quarter of 24 hours, and what the steps round up.
  assert.ok(Math.abs((until - since) / 3_600_000 - 6) < 0.6, `${(until - since) / 3_600_000} h`);
  await close();
  await show.end();
});
await test("the pages work without a script", async () => {
  const { page, close } = await open(show, "/", { javaScriptEnabled: false });
  await unfold(page, "azure-chat-8");
  await page.click("a[href='/endpoints/azure-chat-8']");
  await page.click("nav a[title='90 days']");
  assert.match(page.url(), /range=90d/);
  await page.click("text=← earlier");
  await page.click("nav[aria-label=Pages] >> text=Incidents");
  await page.click("ol.incidents a");
  assert.match(await page.textContent("h2"), /.+/);
  await close();
});
await test("what is not there is said so", async () => {
  const { page, close } = await open(show, "/");
  for (const path of ["/endpoints/nobody", "/incidents/77777", "/endpoints/%3Cscript%3E"]) {
    const answer = await page.request.get(show.address + path);
    assert.equal(answer.status(), 404, path);
    assert.ok((await answer.text()).includes("There is no such"), path);
  }
  await close();
});
await test("with a token a browser asks for a password and stays live", async () => {
  const show = await stage("token");
  const httpCredentials = { username: "anyone", password: "sesame" };
  const { page, close } = await open(show, "/", { httpCredentials });
  await page.waitForSelector("#live.on");
  assert.match(await page.textContent("h1"), /operational/);
  await hoverBars(page, "azure-chat-2");
  await page.waitForSelector("#tip:not([hidden]) svg");
  await close();
  const stranger = await browser.newContext({ httpCredentials: { ...httpCredentials, password: "guess" } });
  const answer = await stranger.request.get(show.address);
  assert.equal(answer.status(), 401);
  assert.ok(!(await answer.text()).includes("openai-chat"));
  await stranger.close();
  await show.end();
});
await show.end();
await browser.close();
console.log(`${passed} passed, ${failed.length} failed`);
process.exitCode = failed.length ? 1 : 0;
