"""A cell that keeps what it saw in self, float64, two gates' weights with long names, initial states that are learned."""

import numpy as np

rng = np.random.default_rng(213)
T, B, I, H = 6, 2, 3, 4
names = ("forget_gate", "input_gate", "cell_gate", "output_gate")
W = {f"{n}_weights_input": rng.normal(0, 0.6, (H, I)) for n in names}
W |= {f"{n}_weights_hidden": rng.normal(0, 0.6, (H, H)) for n in names} | {
    f"{n}_bias": rng.normal(0, 0.3, H) for n in names
}
h0, c0 = rng.normal(size=(B, H)), rng.normal(size=(B, H))
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))
sg = lambda v: 1 / (1 + np.exp(-v))
h, c, log, ys = h0, c0, [], []
for t in range(T):
    a = {n: x[t] @ W[n + "_weights_input"].T + h @ W[n + "_weights_hidden"].T + W[n + "_bias"] for n in names}
    act = {n: np.tanh(v) if n == "cell_gate" else sg(v) for n, v in a.items()}
    new = act["forget_gate"] * c + act["input_gate"] * act["cell_gate"]
    log.append({"h": h, "c": c, "new": new, **act})
    h, c = act["output_gate"] * np.tanh(new), new
    ys.append(h)
G = {k: 0 * v for k, v in W.items()}
dh, dc, dx = np.zeros((B, H)), np.zeros((B, H)), 0 * x
steps = {k: np.zeros_like(dy) for k in ("dh", "dc", "da_f", "da_i", "da_g", "da_o")}
for t in reversed(range(T)):
    s = log[t]
    dh = dh + dy[t]
    dc = dc + dh * s["output_gate"] * (1 - np.tanh(s["new"]) ** 2)
    d = {
        "forget_gate": dc * s["c"] * s["forget_gate"] * (1 - s["forget_gate"]),
        "input_gate": dc * s["cell_gate"] * s["input_gate"] * (1 - s["input_gate"]),
        "cell_gate": dc * s["input_gate"] * (1 - s["cell_gate"] ** 2),
        "output_gate": dh * np.tanh(s["new"]) * s["output_gate"] * (1 - s["output_gate"]),
    }
    for k, a in zip(("dh", "dc", "da_f", "da_i", "da_g", "da_o"), (dh, dc, *d.values())):
        steps[k][t] = a
    for n in names:
        G[n + "_weights_input"] += d[n].T @ x[t]
        G[n + "_weights_hidden"] += d[n].T @ s["h"]
        G[n + "_bias"] += d[n].sum(0)
    dx[t] = sum(d[n] @ W[n + "_weights_input"] for n in names)
    dh = sum(d[n] @ W[n + "_weights_hidden"] for n in names)
    dc = dc * s["forget_gate"]
case = {"weights": W, "grads": {"d_" + k: v for k, v in G.items()} | {"dx": dx, "dh0": dh, "dc0": dc}}
case |= {"x": x, "dy": dy, "y": np.array(ys), "state": {"h0": h0, "c0": c0}}
