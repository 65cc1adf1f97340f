"""A bidirectional LSTM: one class, run on x and on x turned round, outputs side by side; PyTorch's names."""

import numpy as np

rng = np.random.default_rng(22)
sigma = np.vectorize(lambda v: 1 / (1 + np.exp(-v)))


class OneWay:
    def __init__(self, I, H):
        self.Wx, self.Wh, self.b = (rng.normal(0, 0.5, s) for s in ((4 * H, I), (4 * H, H), (4 * H,)))

    def run(self, x):
        h = c = np.zeros((x.shape[1], self.Wh.shape[1]))
        self.memory, out = [], []
        for xt in x:
            a = xt @ self.Wx.T + h @ self.Wh.T + self.b
            i, f, g, o = np.split(a, 4, 1)
            i, f, g, o = sigma(i), sigma(f), np.tanh(g), sigma(o)
            new = f * c + i * g
            self.memory.append((xt, h, c, i, f, g, o, new))
            h, c = o * np.tanh(new), new
            out.append(h)
        return np.array(out)

    def back(self, dout):
        self.dWx, self.dWh, self.db = (np.zeros_like(v) for v in (self.Wx, self.Wh, self.b))
        dh = dc = np.zeros_like(dout[0])
        dx = []
        for d, (xt, h, c, i, f, g, o, new) in zip(dout[::-1], self.memory[::-1]):
            dh = dh + d
            dc = dc + dh * o * (1 - np.tanh(new) ** 2)
            da = np.hstack(
                [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), dh * np.tanh(new) * o * (1 - o)]
            )
            self.dWx += da.T @ xt
            self.dWh += da.T @ h
            self.db += da.sum(0)
            dx.insert(0, da @ self.Wx)
            dh, dc = da @ self.Wh, dc * f
        return np.array(dx)


fw, bw = OneWay(3, 4), OneWay(3, 4)
x, dy = rng.normal(size=(5, 2, 3)), rng.normal(size=(5, 2, 8))
y = np.concatenate([fw.run(x), bw.run(x[::-1])[::-1]], axis=-1)
dx = fw.back(dy[..., :4])
dx = dx + bw.back(dy[::-1, :, 4:])[::-1]
weights, grads = {}, {"x": dx}
for way, end in ((fw, ""), (bw, "_reverse")):
    zero = np.zeros_like(way.b)
    names = [name + end for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
    weights |= dict(zip(names, (way.Wx, way.Wh, way.b, zero)))
    grads |= dict(zip(names, (way.dWx, way.dWh, way.db, way.db)))
case = {"weights": weights, "grads": grads, "x": x, "dy": dy, "y": y, "layout": "torch"}
