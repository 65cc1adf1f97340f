"""An autograd.Function for one step with a backward by hand; a Module around it, whose .grad autograd collects."""

import torch


class Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, h, c, W, U, b):
        i, f, g, o = (x @ W + h @ U + b).chunk(4, 1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        new = f * c + i * g
        ctx.save_for_backward(x, h, c, W, U, i, f, g, o, new)
        return o * torch.tanh(new), new

    @staticmethod
    def backward(ctx, dh, dc):
        x, h, c, W, U, i, f, g, o, new = ctx.saved_tensors
        th = torch.tanh(new)
        dc = dc + dh * o * (1 - th * th)
        da = torch.cat([dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * th * o * (1 - o)], 1)
        return da @ W.t(), da @ U.t(), dc * f, x.t() @ da, h.t() @ da, da.sum(0)


class Lstm(torch.nn.Module):
    def __init__(self, n, k):
        super().__init__()
        self.W = torch.nn.Parameter(torch.randn(n, 4 * k).double() / 2)
        self.U = torch.nn.Parameter(torch.randn(k, 4 * k).double() / 2)
        self.b = torch.nn.Parameter(torch.randn(4 * k).double() / 3)

    def forward(self, x):
        h = c = torch.zeros(x.shape[0], self.U.shape[0], dtype=x.dtype)
        out = []
        for t in range(x.shape[1]):
            h, c = Step.apply(x[:, t], h, c, self.W, self.U, self.b)
            out.append(h)
        return torch.stack(out, 1)


torch.manual_seed(18)
lstm = Lstm(3, 4)
x, dy = torch.randn(2, 6, 3).double().requires_grad_(), torch.randn(2, 6, 4).double()
y = lstm(x)
y.backward(dy)
case = {
    "weights": {name: p.detach() for name, p in lstm.named_parameters()},
    "grads": {name: p.grad for name, p in lstm.named_parameters()} | {"x": x.grad},
    "x": x.detach(),
    "dy": dy,
    "y": y.detach(),
}
