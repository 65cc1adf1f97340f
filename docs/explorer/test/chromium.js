// A quiet Chromium, and what axe says of a page in it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf-8");
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]; // prettier-ignore

export const launch = (executablePath) => chromium.launch({ executablePath, args: QUIET });

/** One sentence for each rule of accessibility, but for some, that a page, or the part of it at `where`, breaks. */
export async function violations(page, where, but = []) {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axe);
  const rules = Object.fromEntries(but.map((name) => [name, { enabled: false }]));
  const options = { rules, preload: false }; // what a page has loaded is there already
  const found = await page.evaluate(([where, options]) => window.axe.run(where ?? document, options), [where, options]);
  return found.violations.map(({ id, nodes }) => `${id}, ${nodes.length} times: ${nodes[0].html.slice(0, 200)} ${nodes[0].failureSummary}`);
}
