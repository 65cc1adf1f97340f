// A plain RNN in JavaScript: a class over Float64Array with flat indices, toPrecision(10).
let seed = 35;
const rnd = () => { seed = (seed * 16807) % 2147483647; return +((seed / 2147483647 - 0.5) * 2).toFixed(6); };
const draw = (n) => Float64Array.from({ length: n }, rnd);
const T = 6, I = 3, H = 4;
class Rnn {
  constructor() { this.w = draw(H * I); this.u = draw(H * H); this.b = draw(H); }
  forward(x) {
    this.x = x;
    this.h = new Float64Array((T + 1) * H);
    for (let t = 0; t < T; t++) for (let j = 0; j < H; j++) {
      let s = this.b[j];
      for (let k = 0; k < I; k++) s += this.w[j * I + k] * x[t * I + k];
      for (let k = 0; k < H; k++) s += this.u[j * H + k] * this.h[t * H + k];
      this.h[(t + 1) * H + j] = Math.tanh(s);
    }
    return this.h.slice(H);
  }
  backward(dy) {
    this.dw = new Float64Array(H * I); this.du = new Float64Array(H * H); this.db = new Float64Array(H);
    this.dx = new Float64Array(T * I);
    let carry = new Float64Array(H);
    for (let t = T - 1; t >= 0; t--) {
      const next = new Float64Array(H);
      for (let j = 0; j < H; j++) {
        const v = this.h[(t + 1) * H + j], d = (dy[t * H + j] + carry[j]) * (1 - v * v);
        this.db[j] += d;
        for (let k = 0; k < I; k++) { this.dw[j * I + k] += d * this.x[t * I + k]; this.dx[t * I + k] += d * this.w[j * I + k]; }
        for (let k = 0; k < H; k++) { this.du[j * H + k] += d * this.h[t * H + k]; next[k] += d * this.u[j * H + k]; }
      }
      carry = next;
    }
  }
}
const rows = (a, n) => Array.from({ length: a.length / n }, (_, r) => Array.from(a.slice(r * n, (r + 1) * n), (v) => +v.toPrecision(10)));
const flat = (a) => Array.from(a, (v) => +v.toPrecision(10));
const net = new Rnn(), x = draw(T * I), dy = draw(T * H), y = net.forward(x);
net.backward(dy);
console.log(JSON.stringify({
  weights: { w_in: rows(net.w, I), w_rec: rows(net.u, H), bias: flat(net.b) },
  grads: { w_in: rows(net.dw, I), w_rec: rows(net.du, H), bias: flat(net.db), x: rows(net.dx, I) },
  x: rows(x, I), dy: rows(dy, H), y: rows(y, H),
}));
