"""A node for each step that knows its diffs, one sample, wi wf wo wg over (x, h) in 1-D vectors and np.outer."""

import numpy as np

rng = np.random.RandomState(15)


class Param:
    def __init__(self, cells, dim):
        for k in "gifo":
            setattr(self, "w" + k, rng.uniform(-0.9, 0.9, (cells, dim + cells)))
            setattr(self, "b" + k, rng.uniform(-0.4, 0.4, cells))
            setattr(self, f"w{k}_diff", np.zeros((cells, dim + cells)))
            setattr(self, f"b{k}_diff", np.zeros(cells))


class Node:
    def __init__(self, param):
        self.p = param

    def bottom_data_is(self, x, s_prev, h_prev):
        self.s_prev, self.xc = s_prev, np.hstack((x, h_prev))
        self.g = np.tanh(np.dot(self.p.wg, self.xc) + self.p.bg)
        self.i, self.f, self.o = (
            1 / (1 + np.exp(-(getattr(self.p, "w" + k).dot(self.xc) + getattr(self.p, "b" + k)))) for k in "ifo"
        )
        self.s = self.g * self.i + s_prev * self.f
        self.h = np.tanh(self.s) * self.o

    def top_diff_is(self, top_diff_h, top_diff_s):
        ds = self.o * (1 - np.tanh(self.s) ** 2) * top_diff_h + top_diff_s
        do = np.tanh(self.s) * top_diff_h
        di = self.g * ds
        dg = self.i * ds
        df = self.s_prev * ds
        d = {"i": self.i * (1 - self.i) * di, "f": self.f * (1 - self.f) * df, "o": self.o * (1 - self.o) * do}
        d["g"] = (1 - self.g**2) * dg
        dxc = np.zeros_like(self.xc)
        for k in "ifog":
            setattr(self.p, f"w{k}_diff", getattr(self.p, f"w{k}_diff") + np.outer(d[k], self.xc))
            setattr(self.p, f"b{k}_diff", getattr(self.p, f"b{k}_diff") + d[k])
            dxc += np.dot(getattr(self.p, "w" + k).T, d[k])
        self.bottom_diff_s = ds * self.f
        self.bottom_diff_x, self.bottom_diff_h = dxc[: len(dxc) - len(self.h)], dxc[len(dxc) - len(self.h) :]


param, xs, diffs = Param(4, 3), rng.randn(6, 3), rng.randn(6, 4)
nodes, s, h = [], np.zeros(4), np.zeros(4)
for x in xs:
    nodes.append(Node(param))
    nodes[-1].bottom_data_is(x, s, h)
    s, h = nodes[-1].s, nodes[-1].h
diff_h, diff_s = np.zeros(4), np.zeros(4)
for node, diff in zip(nodes[::-1], diffs[::-1]):
    node.top_diff_is(diff + diff_h, diff_s)
    diff_h, diff_s = node.bottom_diff_h, node.bottom_diff_s
found = vars(param)
case = {
    "weights": {k: v for k, v in found.items() if "diff" not in k},
    "grads": {k: v for k, v in found.items() if "diff" in k} | {"x": np.array([n.bottom_diff_x for n in nodes])},
    "x": xs,
    "dy": diffs,
    "y": np.array([n.h for n in nodes]),
}
