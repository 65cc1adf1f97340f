// Plain loops over many steps, for the picture of vanishing: LSTM and plain RNN, one row, (2) to (18) and (38) to (41).
const sigmoid = (a) => 1 / (1 + Math.exp(-a));

/** a[j] = x @ W_ih + h @ W_hh + b */
const product = (x, h, { W_ih, W_hh, b }) =>
  b.map((bias, j) => bias + x.reduce((s, v, i) => s + v * W_ih[i][j], 0) + h.reduce((s, v, i) => s + v * W_hh[i][j], 0));

/** |dc[s]|, |dh[s]| for s = T-1 ... 0 when a gradient of 1 in every unit enters at the last state; and (68), f alone. */
export function lstm(params, xs) {
  const H = params.W_hh.length;
  let [h, c] = [new Array(H).fill(0), new Array(H).fill(0)];
  const kept = xs.map((x) => {
    const a = product(x, h, params);
    const block = (k) => a.slice(k * H, (k + 1) * H);
    const [i, f, g, o] = [block(0).map(sigmoid), block(1).map(sigmoid), block(2).map(Math.tanh), block(3).map(sigmoid)];
    const before = c;
    c = f.map((v, j) => v * before[j] + i[j] * g[j]);
    h = o.map((v, j) => v * Math.tanh(c[j]));
    return { i, f, g, o, before, c };
  });
  let [dh, dc, alone] = [new Array(H).fill(0), new Array(H).fill(1), new Array(H).fill(1)];
  const found = [];
  for (const { i, f, g, o, before, c: now } of kept.reverse()) {
    const t = now.map(Math.tanh);
    const all = dc.map((v, j) => v + dh[j] * o[j] * (1 - t[j] * t[j])); // (8)
    const da = [
      all.map((v, j) => v * g[j] * i[j] * (1 - i[j])),
      all.map((v, j) => v * before[j] * f[j] * (1 - f[j])),
      all.map((v, j) => v * i[j] * (1 - g[j] * g[j])),
      dh.map((v, j) => v * t[j] * o[j] * (1 - o[j])),
    ].flat();
    dc = all.map((v, j) => v * f[j]); // (12)
    dh = params.W_hh.map((row) => row.reduce((s, w, j) => s + w * da[j], 0)); // (18)
    alone = alone.map((v, j) => v * f[j]);
    found.push({ dc: Math.hypot(...dc), dh: Math.hypot(...dh), alone: Math.hypot(...alone) });
  }
  return found;
}

export function rnn(params, xs) {
  const H = params.W_hh.length;
  let h = new Array(H).fill(0);
  const kept = xs.map((x) => (h = product(x, h, params).map(Math.tanh)));
  let dh = new Array(H).fill(1);
  const found = [];
  for (const n of kept.reverse()) {
    const da = dh.map((v, j) => v * (1 - n[j] * n[j]));
    dh = params.W_hh.map((row) => row.reduce((s, w, j) => s + w * da[j], 0));
    found.push({ dh: Math.hypot(...dh) });
  }
  return found;
}

/** The input of step s. */
export const input = (s, I) => Array.from({ length: I }, (_, i) => Math.cos(s + i));
