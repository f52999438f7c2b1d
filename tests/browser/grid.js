// Pictures of every page and state: GRID/SCENE-PAGE-WIDTH-SCHEME.png, and one sheet of each scene and page in GRID/sheets.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";
import { stage } from "./stage.js";

const WIDTHS = [320, 800, 1600];
const SCHEMES = ["light", "dark"];
// Longer pages are cut.
const HEIGHT = 1600;
const SCALE = 0.4;

const states = ["well", "degraded", "incident", "account", "offline", "pending", "fresh"];
const scenes = [2, 12, 60, 200].flatMap((count) => states.map((state) => ({ scene: `${state} ${count}`, pages: { index: "/" } })));
const more = [
  {
    scene: "incident 6",
    pages: {
      incidents: "/incidents",
      incident: "/incidents/900",
      resolved: "/incidents/3",
      endpoint: "/endpoints/openai-chat-0",
      week: "/endpoints/openai-chat-0?range=7d",
      group: "/groups/chat",
      missing: "/endpoints/nobody",
      acknowledge: (show) => show.link,
      expired: (show) => show.expiredLink,
    },
  },
  { scene: "announced 6", pages: { index: "/", endpoint: "/endpoints/openai-chat-0" } },
  { scene: "budget 6", pages: { index: "/" } },
  { scene: "names 6", pages: { index: "/", incident: "/incidents/900" } },
  { scene: "well 0", pages: { index: "/", incidents: "/incidents" } },
  {
    scene: "incident 12 public",
    pages: {
      index: "/",
      incident: "/incidents/900",
      endpoint: "/endpoints/openai-chat-0",
      incidents: "/incidents",
      embed: "/embed",
      subscribe: "/subscribe",
    },
  },
  { scene: "well 12 public", pages: { index: "/", embed: "/embed" } },
  { scene: "incident 12 es", pages: { index: "/", incident: "/incidents/900", endpoint: "/endpoints/openai-chat-0", group: "/groups/chat" } },
  { scene: "account 6 es", pages: { index: "/", incident: "/incidents/900" } },
];

const grid = process.env.GRID;
const wanted = process.argv.slice(2);
const isWanted = ({ scene }) => wanted.length === 0 || wanted.some((start) => scene.startsWith(start));
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
if (wanted.length === 0) rmSync(grid, { recursive: true, force: true });
mkdirSync(join(grid, "sheets"), { recursive: true });

async function picture(address, file, width, colorScheme) {
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
  await page.goto(address);
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.screenshot({ path: file, fullPage: true, clip: { x: 0, y: 0, width, height: Math.min(height, HEIGHT) } });
  await page.close();
}

async function sheet(title, files) {
  const image = ([file, width]) => `<img src="${pathToFileURL(file)}" width="${width * SCALE}">`;
  const row = (scheme) => `<div>${files.filter(([, , s]) => s === scheme).map(image).join("")}</div>`;
  const html = join(grid, "sheets", `${title}.html`);
  writeFileSync(html, `<!doctype html><style>body{margin:8px;background:#999;font:14px sans-serif}div{display:flex;gap:8px;align-items:start;margin-top:8px}</style>
<b>${title}</b>${SCHEMES.map(row).join("")}`);
  const page = await browser.newPage({ viewport: { width: 1130, height: 100 } });
  await page.goto(pathToFileURL(html).href);
  await page.screenshot({ path: join(grid, "sheets", `${title}.png`), fullPage: true });
  await page.close();
  rmSync(html);
}

for (const { scene, pages } of [...scenes, ...more].filter(isWanted)) {
  const show = await stage(scene);
  for (const [name, path] of Object.entries(pages)) {
    const title = `${scene.replaceAll(" ", "-")}-${name}`;
    const address = show.address + (typeof path === "function" ? path(show) : path);
    const files = SCHEMES.flatMap((scheme) => WIDTHS.map((width) => [join(grid, `${title}-${width}-${scheme}.png`), width, scheme]));
    for (const [file, width, scheme] of files) await picture(address, file, width, scheme);
    await sheet(title, files);
    console.log(title);
  }
  await show.end();
}
await browser.close();
