"""PyTorch's tensors without its autograd: float32, two biases, names and orientation of nn.LSTM, chunk and cat."""

import torch

torch.manual_seed(17)
T, B, I, H = 5, 2, 3, 4
p = {"weight_ih_l0": (4 * H, I), "weight_hh_l0": (4 * H, H), "bias_ih_l0": (4 * H,), "bias_hh_l0": (4 * H,)}
p = {name: 0.5 * torch.randn(shape) for name, shape in p.items()}
x, dout = torch.randn(T, B, I), torch.randn(T, B, H)
with torch.no_grad():
    hs, cs, saved = [torch.zeros(B, H)], [torch.zeros(B, H)], []
    for t in range(T):
        pre = x[t] @ p["weight_ih_l0"].t() + p["bias_ih_l0"] + hs[-1] @ p["weight_hh_l0"].t() + p["bias_hh_l0"]
        i, f, g, o = pre.chunk(4, dim=1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        cs.append(f * cs[-1] + i * g)
        hs.append(o * cs[-1].tanh())
        saved.append((i, f, g, o))
    grad = {name: torch.zeros_like(value) for name, value in p.items()}
    dx, dh, dc = torch.zeros_like(x), torch.zeros(B, H), torch.zeros(B, H)
    for t in reversed(range(T)):
        i, f, g, o = saved[t]
        tc = cs[t + 1].tanh()
        dh = dh + dout[t]
        dc = dc.addcmul(dh * o, 1 - tc.pow(2))
        di = dc * g * i * (1 - i)
        df = dc * cs[t] * f * (1 - f)
        dg = dc * i * (1 - g.pow(2))
        do = dh * tc * o * (1 - o)
        dpre = torch.cat([di, df, dg, do], dim=1)
        grad["weight_ih_l0"].addmm_(dpre.t(), x[t])
        grad["weight_hh_l0"].addmm_(dpre.t(), hs[t])
        grad["bias_ih_l0"] += dpre.sum(0)
        grad["bias_hh_l0"] += dpre.sum(0)
        dx[t] = dpre @ p["weight_ih_l0"]
        dh = dpre @ p["weight_hh_l0"]
        dc = dc * f
case = {"weights": p, "grads": grad | {"x": dx}, "x": x, "dy": dout, "y": torch.stack(hs[1:]), "layout": "torch"}
