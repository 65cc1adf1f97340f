// The numbered equations of docs/derivation.md, turned into MathML by Temml when the page is built.
import temml from "temml";

const SECTION = /^## (.*)$/;
const EQUATION = /^\((\d+)\)\s+(.*)$/;

const SHOWN = [[1, 43], [63, 64], [78, 91], [113, 118]]; // cells, masks, the loss, peepholes: what the page may cite

/** number -> { math, text, gloss, section }, of the blocks of equations in the text. */
export function equations(markdown) {
  const found = {};
  let section = "";
  let inside = false;
  for (const line of markdown.split("\n")) {
    if (line.startsWith("```")) inside = line === "```text";
    section = SECTION.exec(line)?.[1] ?? section;
    const equation = inside && EQUATION.exec(line);
    if (!equation || !SHOWN.some(([first, last]) => first <= equation[1] && equation[1] <= last)) continue;
    const [text, ...gloss] = equation[2].replace(/^(\S+) +=/, "$1 =").split(/ {3,}/);
    found[equation[1]] = { math: mathml(text), text, gloss: gloss.join("; "), section };
  }
  return found;
}

const NAMES = new Set(["loss", "mask", "new", "state", "target", "end", "mean", "layer"]); // other words are text
const FUNCTIONS = { tanh: "\\tanh", exp: "\\exp", log: "\\log", sigmoid: "\\sigma", min: "\\min", max: "\\max" };

/** `dc_prev = dc * f` as MathML; what is no formula stays text. */
export function mathml(text) {
  return temml.renderToString(latex(text), { throwOnError: false, annotate: false, strict: false });
}

/** The plain notation of the derivation as LaTeX: * entry by entry, @ the matrix product, .T the transpose. */
export function latex(text) {
  const token = /\.T\b|\*\*|[A-Za-z]\w*|\d+(?:\.\d+)?(?:e-?\d+)?|<=|>=|\S|\s+/g;
  const parts = [];
  for (const [part] of text.matchAll(token)) {
    if (/^\s+$/.test(part)) continue;
    if (part === ".T") parts.push("^{\\top}");
    else if (part === "**") parts.push("^");
    else if (part === "*") parts.push("\\odot ");
    else if (part === "@") parts.push("\\,");
    else if (part === "<=") parts.push("\\le ");
    else if (part === ">=") parts.push("\\ge ");
    else if (FUNCTIONS[part]) parts.push(`${FUNCTIONS[part]} `);
    else if (/^[a-z]{2,}$/.test(part) && !NAMES.has(part) && !/^d[a-z]$/.test(part)) parts.push(`\\text{ ${part} }`);
    else if (/^[A-Za-z]/.test(part)) parts.push(symbol(part));
    else parts.push(part === "|" ? "\\vert " : part === "#" ? "\\#" : part);
  }
  return parts.join("");
}

/** `dc_prev` as d c with the index prev; a word of several letters stays upright. */
function symbol(word) {
  const [, d, base, index] = /^(d(?=[A-Za-z]))?([A-Za-z]+)(?:_(\w+))?$/.exec(word) ?? [null, "", word, ""];
  const head = base.length > 1 ? `\\mathrm{${base}}` : base;
  const below = index ? `_{\\mathrm{${index.replaceAll("_", "\\,")}}}` : "";
  return `${d ? "\\mathrm{d}" : ""}{${head}}${below}`;
}
