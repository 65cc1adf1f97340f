// The state of the page: which step is open, what was edited, what is asked, how far time has come.
import { adjoints, isGradient, opened, parts, run } from "./replay.js";

export class Page {
  data;
  graphs = {}; // "lstm/plain" -> the opened graph
  key = $state("");
  masked = $state(false);
  edits = $state.raw(new Map()); // name of a leaf -> its new value, for the cell that is open
  asked = $state("");
  t = $state(0);
  unit = $state(0);
  moment = $state(Infinity); // how many moments have passed; Infinity: all
  tab = $state("tour");
  mistake = $state(null); // of the catalogue, while "break it" shows it

  graph = $derived.by(() => this.open(this.key, this.masked));
  changed = $derived(
    new Map([...this.edits].filter(([name]) => this.graph.names.has(name)).map(([name, v]) => [this.graph.first.get(name), v])),
  );
  right = $derived(run(this.graph, this.changed));
  values = $derived.by(() => {
    if (!this.mistake) return this.right;
    const values = Float64Array.from(this.right);
    for (const [name, v] of Object.entries(this.mistake.values)) values[this.graph.names.get(name)] = v ?? NaN;
    return values;
  });
  wrong = $derived(new Set(this.mistake ? Object.keys(this.mistake.values) : []));
  slopes = $derived(adjoints(this.graph, this.right));
  moments = $derived(inOrder(this.graph));
  limit = $derived(this.moment >= this.moments.length ? Infinity : (this.moments[this.moment - 1]?.last ?? -1));
  lit = $derived(new Set(this.moment >= this.moments.length ? [] : (this.moments[this.moment - 1]?.ids ?? [])));
  number = $derived(this.asked === "L" ? this.graph.loss : (this.graph.names.get(this.asked) ?? -1));
  operands = $derived(this.number < 0 ? new Set() : namedOperands(this.graph, this.number));

  constructor(data) {
    this.data = data;
    this.key = data.first;
    this.masked = !data.steps[data.first].plain;
    this.asked = this.graph.names.has("c[1,0]") ? "c[1,0]" : "h[0,0]";
    this.t = Math.min(1, this.graph.T - 1);
  }

  open(key, masked) {
    const step = this.data.steps[key];
    const which = (masked && step.masked) || !step.plain ? "masked" : "plain";
    return (this.graphs[`${key}/${which}`] ??= opened(step[which]));
  }

  /** Opens another cell; numbers that it has not are no longer asked. */
  choose(key, masked = this.masked) {
    if (key !== this.key) this.edits = new Map();
    this.mistake = null;
    this.key = key;
    this.masked = masked || !this.data.steps[key].plain;
    this.moment = Infinity;
    this.t = Math.min(this.t, this.graph.T - 1);
    this.unit = Math.min(this.unit, this.graph.H - 1);
    if (!this.graph.names.has(this.asked)) this.asked = "h[0,0]";
  }

  ask(name) {
    if (name !== "L" && !this.graph.names.has(name)) return;
    this.asked = name;
    if (name === "L") return;
    const { base, index } = parts(name);
    const weight = isGradient(base) ? base.slice(1) : base;
    if (index.length === 2 && !this.graph.fed[weight]) {
      this.t = index[0];
      if (!/^d?x$/.test(base)) this.unit = index[1];
    }
  }

  edit(name, value) {
    this.mistake = null;
    this.edits = new Map(this.edits).set(name, value);
  }

  /** Several edits at once, of names that are there. */
  editAll(pairs) {
    this.mistake = null;
    const edits = new Map(this.edits);
    for (const [name, value] of pairs) if (this.graph.names.has(name)) edits.set(name, value);
    this.edits = edits;
  }

  /** The names of the biases of a gate. */
  biases(gate) {
    const block = this.graph.gates.indexOf(gate);
    return Object.entries(this.graph.fed).flatMap(([param, blocks]) => {
      const place = blocks.indexOf(block);
      if (/^W_/.test(param) || place < 0) return [];
      return Array.from({ length: this.graph.H }, (_, k) => `${param}[${place * this.graph.H + k}]`);
    });
  }

  value(name) {
    return this.values[this.graph.names.get(name)];
  }

  /** The equation of the line that made a number, or of the one that named it; 0: none. */
  cited(number) {
    for (const site of this.graph.at[number] ?? []) if (this.graph.sites[site][2]) return this.graph.sites[site][2];
    return 0;
  }

  /** The name that says most: that under which the lines of step t know it, or that of the number's own step. */
  nameOf(number, t = -1) {
    const names = this.graph.namesOf[number];
    const own = names.find((name) => /^\w_prev\[|_along\[/.test(name) && parts(name).index[0] === t);
    const plain = names.find((name) => !/^\w_prev\[|_along\[|^dproduct\[/.test(name));
    return own ?? plain ?? names[0];
  }
}

/** Numbers with a name that a number was made of. */
function namedOperands(graph, number) {
  const found = new Set();
  const look = (id, top) => {
    if (graph.kinds[id] === "constant") return;
    if (!top && (graph.namesOf[id].length || !graph.of[id].length)) found.add(id);
    else graph.of[id].forEach((k) => look(k, false));
  };
  look(number, true);
  return found;
}

/** The order of execution, a moment for each equation of each step: { name, t, ids, last, equation }. */
function inOrder(graph) {
  const found = [];
  const ids = [...new Set(graph.names.values())].filter((id) => graph.of[id].length).sort((a, b) => a - b);
  for (const id of ids) {
    const { base, index } = parts(graph.namesOf[id].find((name) => !/^\w_prev\[|_along\[|^y\[/.test(name)) ?? graph.namesOf[id][0]);
    const t = graph.step[id];
    const site = graph.at[id].find((each) => graph.sites[each][2]);
    const equation = site === undefined ? 0 : graph.sites[site][2];
    const group = base.startsWith("a_") ? "a" : base; // (1) makes all blocks at once
    const last = found.at(-1);
    if (last && last.group === group && last.t === t && (t >= 0 || !index.length || last.base === base)) {
      last.ids.push(id);
      last.last = id;
    } else found.push({ group, base, t, ids: [id], last: id, equation });
  }
  return found;
}
