// A long sequence: the lines of the first traced step, run again for each step. So they are those of any cell.
import { computed } from "./replay.js";

/**
 * The sizes of the gradients after 1, 2, ... steps back, when one of 1 in every unit enters at the last state: of each
 * state, `dh` and `dc`; and what the gate that keeps the state leaves by itself, `alone` (68). Null of a single step.
 * edits: leaf -> its value. xs: the inputs of each step.
 */
export function long(graph, edits, xs) {
  if (graph.T < 2) return null;
  const units = Array.from({ length: graph.H }, (_, k) => k);
  const at = (name) => units.map((k) => graph.names.get(`${name}[0,${k}]`));
  const before = graph.states.map((state) => units.map((k) => graph.names.get(`${state}0[${k}]`)));
  const after = graph.states.map(at);
  const arrives = graph.states.map((state, n) => at(n ? `d${state}_along` : `d${state}`)); // from step 1 and from y
  const leaves = graph.states.map((state) => at(`d${state}_prev`));
  const forth = cone(graph, after.flat(), before.flat());
  const back = cone(graph, leaves.flat(), [...arrives.flat(), ...before.flat(), ...forth]);
  const given = Float64Array.from(graph.given);
  for (const [id, value] of edits) given[id] = value;
  if (graph.masked) given[graph.first.get("mask[0]")] = 1;

  let state = graph.states.map(() => units.map(() => 0));
  const kept = xs.map((x) => {
    const values = Float64Array.from(given);
    x.forEach((v, i) => (values[graph.first.get(`x[0,${i}]`)] = v));
    put(values, before, state);
    for (const id of forth) values[id] = computed(graph, values, id);
    state = after.map((ids) => ids.map((id) => values[id]));
    return values;
  });
  let d = graph.states.map((_, n) => units.map(() => (n === graph.states.length - 1 ? 1 : 0)));
  const gate = at(keeper(graph));
  let alone = units.map(() => 1);
  return kept.reverse().map((values) => {
    put(values, arrives, d);
    for (const id of back) values[id] = computed(graph, values, id);
    d = leaves.map((ids) => ids.map((id) => values[id]));
    alone = alone.map((v, k) => v * values[gate[k]]);
    return { ...Object.fromEntries(graph.states.map((state, n) => [`d${state}`, Math.hypot(...d[n])])), alone: Math.hypot(...alone) };
  });
}

/** The gate that says how much of the old state stays; "" where there is none. */
export const keeper = (graph) => ["f", "z"].find((gate) => graph.gates.includes(gate)) ?? "";

/** What has to be computed for `targets`, in order, when the numbers of `cuts` are known. */
function cone(graph, targets, cuts) {
  const known = new Set(cuts);
  const found = [];
  const look = (id) => {
    if (known.has(id) || !graph.of[id].length) return;
    known.add(id);
    graph.of[id].forEach(look);
    found.push(id);
  };
  targets.forEach(look);
  return found;
}

const put = (values, places, arrays) => places.forEach((ids, n) => ids.forEach((id, k) => (values[id] = arrays[n][k])));

/** The input of step s. */
export const input = (s, I) => Array.from({ length: I }, (_, i) => Math.cos(s + i));
