// How numbers and names are written.
import { isGradient, parts } from "./replay.js";

/** Four decimals, or a power of ten where these would show nothing. */
export function shown(v) {
  if (Number.isNaN(v)) return "NaN";
  if (!Number.isFinite(v)) return v > 0 ? "∞" : "−∞";
  const size = Math.abs(v);
  const text = Number.isInteger(v) && size < 1e4 ? String(v) : size < 5e-4 || size >= 1e4 ? v.toExponential(1) : v.toFixed(4);
  return text.replaceAll("-", "−");
}

/** All the digits there are. */
export const exact = (v) => String(v).replaceAll("-", "−");

/** "dc_prev[1,0]" -> { letter: "dc", below: "prev", index: "1,0" } */
export function symbol(name) {
  if (name === "L") return { letter: "L", below: "", index: "" };
  const { base, index } = parts(name);
  const [letter, ...below] = base.split("_");
  return { letter, below: below.join("_"), index: index.join(",") };
}

const LEGEND = {
  x: "input", y: "output", h: "output of the cell", c: "cell state", target: "what y should be", mask: "1 on real steps, 0 on padding",
  h_prev: "h of the step before", c_prev: "c of the step before", h0: "initial h", c0: "initial c",
  W_ih: "weight from an input", W_hh: "weight from the last output", b: "bias", b_hn: "bias of the recurrent part", p: "peephole",
  tanh_c: "tanh(c), computed again on the way back", psi_c: "tanh(c), computed again on the way back",
  dc_along: "the part of dc that comes along c", dc_through: "the part of dc that comes through h", dproduct: "what comes back through W_hh", dh: "gradient of h, all of it: from y and from step t+1",
  dc: "gradient of c, all of it: along c and through h", dc_prev: "what goes along c to the step before",
  dh_prev: "what goes through h to the step before",
};

/** What a number is, in words. */
export function meaning(graph, name) {
  const { base } = parts(name);
  if (LEGEND[base]) return LEGEND[base];
  const plain = isGradient(base) ? base.slice(1) : base;
  const gate = /^a_(\w)$/.exec(plain)?.[1] ?? plain;
  const word = LEGEND[plain] ?? (graph.words[gate] && (plain === gate ? graph.words[gate] : `pre-activation of the ${graph.words[gate]}`));
  return isGradient(base) ? `gradient of ${plain}${word ? `, ${word}` : ""}` : (word ?? "");
}

/** Where it stands: "step 1, unit 0", or for a weight which block and unit it feeds. */
export function place(graph, name) {
  const { base, index } = parts(name);
  const weight = isGradient(base) ? base.slice(1) : base;
  const blocks = graph.fed[weight];
  if (blocks) {
    const column = index.at(-1);
    const to = `feeds ${graph.blocks[blocks[Math.floor(column / graph.H)]] ?? "the step"} of unit ${column % graph.H}`;
    return index.length === 1 ? to : `from ${weight === "W_ih" ? "input" : "unit"} ${index[0]}, ${to}`;
  }
  if (index.length === 1) return base === "mask" ? `step ${index[0]}` : `unit ${index[0]}`;
  return `step ${index[0]}, ${/^d?x$/.test(base) ? "input" : "unit"} ${index[1]}`;
}
