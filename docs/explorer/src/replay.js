// A traced step, run again: values forward and back, and the slopes of the loss by each number.

/** The graph as lstmcore traced it, with what is looked up often. */
export function opened(plain) {
  const n = plain.op.length;
  const kinds = plain.op.map((k) => plain.kinds[k]);
  const given = new Float64Array(n);
  const of = plain.of.map((each, id) => {
    if (Array.isArray(each)) return each;
    given[id] = Number(each); // "NaN" and "Infinity" are words in JSON
    return [];
  });
  const names = new Map(); // name -> the number that bears it at the end
  const first = new Map(); // name -> the number that bore it first: behind it a mask may choose anew
  const namesOf = Array.from({ length: n }, () => []);
  for (const [name, ids] of Object.entries(plain.names)) {
    first.set(name, ids[0]);
    names.set(name, ids.at(-1));
    for (const id of new Set(ids)) namesOf[id].push(name);
  }
  const users = Array.from({ length: n }, () => []);
  of.forEach((each, id) => new Set(each).forEach((k) => users[k].push(id)));
  const calls = new Map(Object.entries(plain.calls).map(([id, call]) => [Number(id), call]));
  const graph = { ...plain, // behind `loss` comes the way back
    n, kinds, given, of, names, first, namesOf, users, calls };
  return graph;
}

/** By its name: dc, da_i, dW_hh, but not d0. */
export const isGradient = (name) => /^d[A-Za-z]/.test(name);

/**
 * Every value. edits: leaf -> its new value; forced: any number -> what it is held at;
 * seen: { id, step, kind, value }, what the lines of one step see of a number, while all others see it as it is.
 */
export function run(graph, edits = new Map(), forced = new Map(), seen = null) {
  const values = Float64Array.from(graph.given);
  for (const [id, value] of edits) values[id] = value;
  for (let id = 0; id < graph.n; id++) {
    if (forced.has(id)) {
      values[id] = forced.get(id);
      continue;
    }
    const of = graph.of[id];
    if (!of.length) continue;
    const at =
      seen && graph.step[id] === seen.step && graph.kinds[id] === (seen.kind ?? graph.kinds[id]) ? (k) => (k === seen.id ? seen.value : values[k]) : (k) => values[k];
    values[id] = OPERATIONS[graph.kinds[id]](at, of);
  }
  return values;
}

/** One number, from those before it. */
export const computed = (graph, values, id) => OPERATIONS[graph.kinds[id]]((k) => values[k], graph.of[id]);

const OPERATIONS = {
  "+": (at, [a, b]) => at(a) + at(b),
  "-": (at, [a, b]) => at(a) - at(b),
  "*": (at, [a, b]) => at(a) * at(b),
  "/": (at, [a, b]) => at(a) / at(b),
  neg: (at, [a]) => -at(a),
  exp: (at, [a]) => Math.exp(at(a)),
  tanh: (at, [a]) => Math.tanh(at(a)),
  sqrt: (at, [a]) => Math.sqrt(at(a)),
  ">=": (at, [a, b]) => Number(at(a) >= at(b)),
  "<": (at, [a, b]) => Number(at(a) < at(b)),
  ">": (at, [a, b]) => Number(at(a) > at(b)),
  where: (at, [c, a, b]) => (at(c) ? at(a) : at(b)),
  sum: (at, of) => of.reduce((total, k) => total + at(k), 0),
  dot: (at, of) => {
    let total = 0;
    for (let k = 0; k < of.length; k += 2) total += at(of[k]) * at(of[k + 1]);
    return total;
  },
};

/** The slope of a number by each place of its operands. */
export function slopes(graph, values, id) {
  const of = graph.of[id];
  const v = values[id];
  switch (graph.kinds[id]) {
    case "+": return [1, 1];
    case "-": return [1, -1];
    case "*": return [values[of[1]], values[of[0]]];
    case "/": return [1 / values[of[1]], -v / values[of[1]]];
    case "neg": return [-1];
    case "exp": return [v];
    case "tanh": return [1 - v * v];
    case "sqrt": return [0.5 / v];
    case "where": return values[of[0]] ? [0, 1, 0] : [0, 0, 1];
    case "sum": return of.map(() => 1);
    case "dot": return of.map((_, k) => values[of[k % 2 ? k - 1 : k + 1]]);
    default: return of.map(() => 0);
  }
}

/** dL / d(every number of the way forward), by rule A over the graph itself: a second opinion beside the engine's. */
export function adjoints(graph, values) {
  const found = new Float64Array(graph.n);
  found[graph.loss] = 1;
  for (let id = graph.loss; id >= 0; id--)
    if (found[id]) slopes(graph, values, id).forEach((slope, k) => (found[graph.of[id][k]] += found[id] * slope));
  return found;
}

/**
 * What the gradient of a number should be, by a difference quotient; null for what has none.
 * A gradient answers for the number that it is the gradient of. { of, gradient, engine, numeric, rough, padding };
 * rough: how far the quotient itself may be off, by what one twice as wide says, and by the rounding of the loss.
 */
export function prove(graph, edits, name, h = 1e-5) {
  const { of, gradient, id, step, kind } = pair(graph, name);
  if (id === undefined || id > graph.loss) return null;
  const at = run(graph, edits);
  const moved = (by) =>
    step === null
      ? run(graph, edits, new Map([[id, at[id] + by]]))[graph.loss]
      : run(graph, edits, new Map(), { id, step, kind, value: at[id] + by })[graph.loss];
  const quotient = (h) => (moved(h) - moved(-h)) / (2 * h);
  const held = graph.names.get(gradient);
  const numeric = quotient(h);
  return {
    of,
    gradient: held === undefined ? null : gradient,
    engine: held === undefined ? null : at[held],
    numeric,
    rough: Math.abs(numeric - quotient(2 * h)) + (8 * Number.EPSILON * Math.abs(at[graph.loss])) / h,
    padding: isPadding(graph, at, of) && !/_prev/.test(gradient),
  };
}

/** Whether a number is one of a padded step: what the engine computes there, it throws away. */
function isPadding(graph, at, name) {
  const { base, index } = parts(name);
  const mask = graph.names.get(`mask[${index[0]}]`);
  return index.length === 2 && !/^(x|y|W_\w+)$/.test(base) && mask !== undefined && !at[mask];
}

/** "dc[2,0]" -> { base: "dc", index: [2, 0] } */
export function parts(name) {
  const [, base, index] = /^(\w+)\[(.*)\]$/.exec(name);
  return { base, index: index.split(",").map(Number) };
}

/**
 * The number and its gradient, whichever of the two is asked for: { of, gradient, id }, and who sees the number so:
 * only the lines of one step (null: all; -1: those outside the loop), only operations of one kind.
 */
export function pair(graph, name) {
  const { base, index } = parts(name);
  const [t, unit] = index;
  const at = `[${index}]`;
  const id = (of) => graph.first.get(of);
  if (/^d\w_along$/.test(base)) {
    const later = `d${base[1]}_prev[${t + 1},${unit}]`;
    const of = `${base[1]}${at}`;
    return graph.names.has(later) ? pair(graph, later) : { of, gradient: name, id: id(of), step: -1 };
  }
  if (/^d\w_through$/.test(base)) {
    const of = `${base[1]}${at}`;
    return { of, gradient: name, id: id(of), step: t, kind: "tanh" }; // as (7) alone sees it
  }
  if (/^d\w_prev$/.test(base) || base === "dproduct") {
    const state = base === "dproduct" ? "h" : base[1];
    const before = t ? `${state}[${t - 1},${unit}]` : `${state}0[${unit}]`;
    const kind = base === "dproduct" ? "dot" : undefined;
    return { of: `${state}_prev${at}`, gradient: name, id: graph.names.get(before), step: t, kind };
  }
  if (/^\w_prev$/.test(base)) return pair(graph, t ? `${base[0]}[${t - 1},${unit}]` : `${base[0]}0[${unit}]`);
  const of = isGradient(base) ? base.slice(1) : base;
  const found = { of: `${of}${at}`, gradient: `d${of}${at}`, id: id(`${of}${at}`), step: null };
  if (of === "y") found.step = -1; // h is y outside the loop alone
  const others = found.id === undefined ? [] : graph.namesOf[found.id];
  if (others.filter((each) => parts(each).base === of).length > 1) found.step = t; // one weight, read at every step
  return found;
}
