// One LSTM in JavaScript: objects of Float64Array, gates i f o g, numbers written with toFixed(6).
let seed = 8;
const rnd = (s) => { let q = 0; for (let k = 0; k < 12; k++) { seed = (seed * 16807) % 2147483647; q += seed / 2147483647; } return +(s * (q - 6)).toFixed(6); };
const mat = (n, d, s) => Array.from({ length: n }, () => Array.from({ length: d }, () => rnd(s)));
const zeros = (n, d) => Array.from({ length: n }, () => new Array(d).fill(0));
const sig = (v) => 1 / (1 + Math.exp(-v));
const T = 5, I = 2, H = 3;
const gates = ["i", "f", "o", "c"], m = {}, d = {};
for (const k of gates) {
  m["Wx" + k] = mat(H, I, 0.7); m["Wh" + k] = mat(H, H, 0.7); m["b" + k] = mat(1, H, 0.3)[0];
  d["Wx" + k] = zeros(H, I); d["Wh" + k] = zeros(H, H); d["b" + k] = new Array(H).fill(0);
}
const x = mat(T, I, 1), dy = mat(T, H, 1), h = [new Array(H).fill(0)], c = [new Array(H).fill(0)], kept = [];
for (let t = 0; t < T; t++) {
  const g = {};
  for (const k of gates) {
    g[k] = m["b" + k].map((b, r) => {
      let s = b;
      for (let q = 0; q < I; q++) s += m["Wx" + k][r][q] * x[t][q];
      for (let q = 0; q < H; q++) s += m["Wh" + k][r][q] * h[t][q];
      return k === "c" ? Math.tanh(s) : sig(s);
    });
  }
  c.push(c[t].map((v, j) => g.f[j] * v + g.i[j] * g.c[j]));
  h.push(c[t + 1].map((v, j) => g.o[j] * Math.tanh(v)));
  kept.push(g);
}
let dh = new Array(H).fill(0), dc = new Array(H).fill(0);
const dx = zeros(T, I);
for (let t = T - 1; t >= 0; t--) {
  const g = kept[t], da = { i: [], f: [], o: [], c: [] }, next = new Array(H).fill(0);
  for (let j = 0; j < H; j++) {
    const e = dh[j] + dy[t][j], th = Math.tanh(c[t + 1][j]);
    const s = dc[j] + e * g.o[j] * (1 - th * th);
    da.o[j] = e * th * g.o[j] * (1 - g.o[j]);
    da.i[j] = s * g.c[j] * g.i[j] * (1 - g.i[j]);
    da.f[j] = s * c[t][j] * g.f[j] * (1 - g.f[j]);
    da.c[j] = s * g.i[j] * (1 - g.c[j] * g.c[j]);
    dc[j] = s * g.f[j];
  }
  for (const k of gates) {
    for (let r = 0; r < H; r++) {
      d["b" + k][r] += da[k][r];
      for (let q = 0; q < I; q++) { d["Wx" + k][r][q] += da[k][r] * x[t][q]; dx[t][q] += da[k][r] * m["Wx" + k][r][q]; }
      for (let q = 0; q < H; q++) { d["Wh" + k][r][q] += da[k][r] * h[t][q]; next[q] += da[k][r] * m["Wh" + k][r][q]; }
    }
  }
  dh = next;
}
const short = (a) => a.map((v) => (Array.isArray(v) ? short(v) : +v.toFixed(6)));
const all = (o) => Object.fromEntries(Object.entries(o).map(([k, v]) => [k, short(v)]));
console.log(JSON.stringify({ weights: m, grads: { ...all(d), x: short(dx) }, x, dy, y: short(h.slice(1)) }));
