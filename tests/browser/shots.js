// Screenshots of every state at three sizes in both schemes, for a person to look at: shots/STATE-PAGE-WIDTH-SCHEME.png
import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";
import { stage } from "./stage.js";

const states = process.argv.slice(2);
const pages = { index: "/", incidents: "/incidents", incident: "/incidents/900", endpoint: "/endpoints/openai-chat-0?range=7d" };
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"] });
mkdirSync("shots", { recursive: true });
for (const wanted of states) {
  const [state, only] = wanted.split(":");
  const show = await stage(state);
  for (const width of (process.env.WIDTHS ?? "320,800,1600").split(",").map(Number)) {
    for (const colorScheme of (process.env.SCHEMES ?? "light,dark").split(",")) {
      const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
      for (const [name, path] of Object.entries(pages)) {
        if (only && name !== only) continue;
        await page.goto(show.address + path);
        await page.screenshot({ path: `shots/${state}-${name}-${width}-${colorScheme}.png`, fullPage: true });
      }
      await page.close();
    }
  }
  await show.end();
}
await browser.close();
