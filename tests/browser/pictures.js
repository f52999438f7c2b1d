// Makes the pictures of the README, so that they show what the program shows: the page from the stage, the mail and the
// terminal from `llmwatch demo`. Writes docs/pictures/{page.png,mail.png,demo.svg}.
import { spawn } from "node:child_process";
import { mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { stage } from "./stage.js";

const to = join(import.meta.dirname, "../../docs/pictures");
const scratch = mkdtempSync(join(tmpdir(), "llmwatch-pictures-"));
mkdirSync(to, { recursive: true });

// The lines of the demo, each with the second in which it came.
function demo() {
  const child = spawn(process.env.LLMWATCH, ["demo", "--save", scratch], { env: { ...process.env, NO_COLOR: "1" }, stdio: ["ignore", "pipe", "inherit"] });
  const began = Date.now();
  const lines = [];
  let rest = "";
  child.stdout.on("data", (data) => {
    const parts = (rest + data).split("\n");
    rest = parts.pop();
    for (const line of parts) lines.push({ at: (Date.now() - began) / 1000, line });
  });
  return new Promise((done, fail) => child.on("exit", (code) => (code === 0 ? done(lines) : fail(new Error(`the demo ended with ${code}`)))));
}

const escape = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// The first lines of each mail: the rest scrolls by too quickly to be read.
function shortened(lines) {
  const MAIL = 12;
  let n = 0;
  return lines.flatMap((l) => {
    n = l.line.startsWith("  │") ? n + 1 : 0;
    return n <= MAIL ? [l] : n === MAIL + 1 ? [{ at: l.at, line: "  │ …" }] : [];
  });
}

// A window of 24 lines that scrolls as the lines come, as an SVG that moves without a script.
function recording(lines) {
  const [rows, width, height, left] = [24, 90, 17, 14];
  const shown = lines.flatMap(({ at, line }) => (line.match(/.{1,88}(?:\s|$)/gu) ?? [""]).map((part) => ({ at, line: part })));
  const end = shown.at(-1).at + 6;
  const share = (at) => `${((at / end) * 100).toFixed(2)}%`;
  const times = [...new Set(shown.map((s) => s.at))];
  const steps = times.map((at) => [at, Math.max(0, shown.findLastIndex((s) => s.at <= at) + 1 - rows) * height]);
  const scroll = steps.map(([at, up]) => `${share(at)}{transform:translateY(-${up}px)}`).join("");
  const rules = times.map((at, n) => `@keyframes k${n}{0%,${share(Math.max(0, at - 0.01))}{opacity:0}${share(at)},100%{opacity:1}}.k${n}{animation:k${n} ${end}s infinite}`);
  const tone = (line) => (line.includes("OUTAGE") ? "#ff8a82" : /RECOVERED|RESOLVED|operational|arrived/.test(line) ? "#5cc792" : "#e6eaee");
  const text = shown.map(({ at, line }, n) => `<text class="k${times.indexOf(at)}" y="${n * height}" fill="${tone(line)}">${escape(line)}</text>`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width * 8.1 + 2 * left} ${rows * height + 2 * left}" role="img" aria-label="A recording of llmwatch demo: an outage is injected, detected, mailed, and its recovery is mailed">
<style>text{font:13px/1 ui-monospace,Menlo,Consolas,monospace;white-space:pre}@keyframes scroll{0%{transform:translateY(0)}${scroll}100%{transform:translateY(-${Math.max(0, shown.length - rows) * height}px)}}.all{animation:scroll ${end}s infinite;animation-timing-function:step-end}${rules.join("")}</style>
<rect width="100%" height="100%" rx="8" fill="#151a1e"/><svg x="${left}" y="${left}" width="${width * 8.1}" height="${rows * height}" viewBox="0 -13 ${width * 8.1} ${rows * height}"><g class="all">
${text.join("\n")}
</g></svg></svg>
`;
}

// The HTML part of one of our own mails.
function html(mail) {
  const part = mail.replaceAll("\r\n", "\n").split("\n--").find((p) => p.includes("text/html"));
  const at = part.indexOf("\n\n");
  const body = part.slice(at + 2);
  if (!/quoted-printable/i.test(part.slice(0, at))) return /base64/i.test(part.slice(0, at)) ? Buffer.from(body, "base64").toString() : body;
  const bytes = body.replaceAll("=\n", "").replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return Buffer.from(bytes, "latin1").toString();
}

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
try {
  writeFileSync(join(to, "demo.svg"), recording(shortened(await demo())));
  const show = await stage("incident");
  const page = await browser.newPage({ viewport: { width: 1100, height: 720 } });
  await page.goto(show.address + "/");
  await page.waitForSelector("#live.on");
  await page.screenshot({ path: join(to, "page.png") });
  await show.end();
  const mail = await browser.newPage({ viewport: { width: 660, height: 820 } });
  await mail.setContent(html(readFileSync(join(scratch, "alert.eml"), "utf8")));
  await mail.screenshot({ path: join(to, "mail.png") });
} finally {
  await browser.close();
  rmSync(scratch, { recursive: true });
}
