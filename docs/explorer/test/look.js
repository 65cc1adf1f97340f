// Pictures of pages as readers see them: node test/look.js PAGES FOLDER CHROMIUM
//
// PAGES is a JSON file, { name: address of a page, ... }. FOLDER gets a picture of each at three widths, light and dark,
// name-width-scheme.webp. What spoils a page is told, and ends with an error: a page that scrolls sideways, letters that
// are hard to read, and what else axe finds; a complaint of the browser.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { launch, violations } from "./chromium.js";

const [, , list, folder, executablePath] = process.argv;
const pages = JSON.parse(readFileSync(list, "utf-8"));
const found = [];
// What the theme of the site decides, and its tables of Markdown; and what Chromium does by itself: whatever scrolls can be
// reached by the keyboard.
const LEFT = ["aria-required-attr", "landmark-unique", "empty-table-header", "page-has-heading-one", "scrollable-region-focusable"];
const TALLEST = 12000; // pixels of one picture: the format holds 16,383

/** What is wider than the window, by the innermost elements that are. */
function tooWide() {
  const wide = document.documentElement.scrollWidth - innerWidth;
  if (wide <= 0) return null;
  const out = [...document.querySelectorAll("body *")].filter((each) => each.getBoundingClientRect().right > innerWidth + 1);
  const inner = out.filter((each) => !out.some((other) => each !== other && each.contains(other)));
  return `${wide} px too wide: ${inner.slice(0, 3).map((each) => each.outerHTML.slice(0, 120)).join("   ")}`;
}

mkdirSync(folder, { recursive: true });
const browser = await launch(executablePath);
try {
  for (const [name, address] of Object.entries(pages))
    for (const width of [360, 768, 1440])
      for (const colorScheme of ["light", "dark"]) {
        const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, reducedMotion: "reduce" });
        const page = await context.newPage();
        const here = `${name}-${width}-${colorScheme}`;
        page.on("console", (message) => ["error", "warning"].includes(message.type()) && found.push(`${here}: ${message.text()}`));
        page.on("pageerror", (error) => found.push(`${here}: ${error}`));
        await page.goto(address);
        const wide = await page.evaluate(tooWide);
        if (wide) found.push(`${here}: ${wide}`);
        if (here.endsWith("-360-light") || here.endsWith("-1440-dark")) found.push(...(await violations(page, null, LEFT)).map((each) => `${here}: ${each}`));
        const session = await context.newCDPSession(page);
        const tall = await page.evaluate(() => document.documentElement.scrollHeight);
        for (let y = 0, part = 1; y < tall; y += TALLEST, part++) {
          const clip = { x: 0, y, width, height: Math.min(TALLEST, tall - y), scale: 1 };
          const how = { format: "webp", quality: 70, captureBeyondViewport: true, clip };
          const { data } = await session.send("Page.captureScreenshot", how);
          writeFileSync(`${folder}/${here}${tall > TALLEST ? `-${part}` : ""}.webp`, data, "base64");
        }
        await context.close();
      }
} finally {
  await browser.close();
}
console.log([...found, `${found.length} faults`].join("\n"));
process.exit(found.length ? 1 : 0);
