"""torch modules and functions that run an LSTM by hand; backwards of one's own are held to autograd."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug.diagnose.forward import Forward

T, B, I, H = 5, 2, 3, 4


def module_of(torch, sigma=None):
    """A Linear per gate over [h, x], batch first, the style of blog posts."""
    sigma = sigma or torch.sigmoid

    class Cells(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.forget_gate, self.input_gate, self.cell_gate, self.output_gate = (
                torch.nn.Linear(H + I, H, dtype=torch.float64) for _ in range(4)
            )

        def forward(self, x):
            h = c = x.new_zeros(len(x), H)
            out = []
            for t in range(x.shape[1]):
                z = torch.cat([h, x[:, t]], dim=1)
                f, i, o = sigma(self.forget_gate(z)), sigma(self.input_gate(z)), sigma(self.output_gate(z))
                c = f * c + i * torch.tanh(self.cell_gate(z))
                h = o * torch.tanh(c)
                out.append(h)
            return torch.stack(out, dim=1), (h, c)

    torch.manual_seed(0)
    return Cells()


def test_a_module(torch):
    net = module_of(torch)
    x = torch.randn(B, T, I, dtype=torch.float64)
    with lc.debug.record(net) as seen:
        y, _ = net(x)
        ((y - 1) ** 2).mean().backward()
    answer = seen.diagnose()
    assert answer.ok, f"{answer}\n{seen}"
    assert answer.forward == "right"
    assert "x is (B, T, I)" in answer.notes
    assert not net._forward_hooks


def test_a_small_step_of_a_module_is_opened_in_the_explorer(torch):
    net = module_of(torch)
    x = torch.randn(B, 3, I, dtype=torch.float64)
    with lc.debug.record(net) as seen:
        y, _ = net(x)
        ((y - 1) ** 2).mean().backward()
    (step,) = lc.debug.explain_case(seen.case(), row=1).steps.values()
    got = [[step.plain.value(f"y[{t},{k}]") for k in range(H)] for t in range(3)]
    assert np.abs(got - y[1].detach().numpy()).max() <= 1e-12  # batch first, as its gradients tell


def test_a_module_that_computes_another_function(torch, monkeypatch):
    net = module_of(torch, lambda a: torch.clamp(0.2 * a + 0.5, 0, 1))
    with lc.debug.record(net) as seen:
        (net(torch.randn(B, T, I, dtype=torch.float64))[0] ** 2).sum().backward()
    answer = seen.diagnose()
    assert "hard sigmoid" in answer.forward, str(answer)
    monkeypatch.setattr(Forward, "found", lambda *_: None)  # no long search for what is not known
    net = module_of(torch, lambda a: torch.sigmoid(a) ** 3)
    with lc.debug.record(net) as seen:
        (net(torch.randn(B, T, I, dtype=torch.float64))[0] ** 2).sum().backward()
    answer = seen.diagnose()
    assert not answer.ok
    assert "no other function known gives it" in answer.forward
    assert "autograd made these gradients from it, so for it they are right" in str(answer)


def by_hand(torch, shape, bug):
    """A torch.autograd.Function with a backward of its own: shape is the function of c that is shown."""

    class ByHand(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, W, U, b):
            h = c = x.new_zeros(x.shape[1], H)
            out, kept = [], []
            for t in range(len(x)):
                i, f, g, o = (x[t] @ W + h @ U + b).chunk(4, dim=1)
                i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
                new = f * c + i * g
                kept.append((h, c, i, f, g, o, new))
                h, c = o * shape(new)[0], new
                out.append(h)
            ctx.save_for_backward(x, W, U)
            ctx.kept = kept
            return torch.stack(out)

        @staticmethod
        def backward(ctx, dy):
            x, W, U = ctx.saved_tensors
            dx, dW, dU, db = torch.zeros_like(x), torch.zeros_like(W), torch.zeros_like(U), W.new_zeros(4 * H)
            dh = dc = 0
            for t in reversed(range(len(x))):
                h, c, i, f, g, o, new = ctx.kept[t]
                dh = dh + dy[t]
                shown, slope = shape(new)
                dn = (0 if bug else dc) + dh * o * slope
                da = torch.cat(
                    [dn * g * i * (1 - i), dn * c * f * (1 - f), dn * i * (1 - g * g), dh * shown * o * (1 - o)], dim=1
                )
                dW, dU, db = dW + x[t].T @ da, dU + h.T @ da, db + da.sum(0)
                dh, dc, dx[t] = da @ U.T, dn * f, da @ W.T
            return dx, dW, dU, db

    return ByHand


@pytest.mark.parametrize("bug", [False, True])
@pytest.mark.parametrize("odd", [False, True])
def test_a_function_with_a_backward_of_its_own(torch, odd, bug):
    torch.manual_seed(1)

    def shape(c):
        s = torch.tanh(c)
        return (s**3, 3 * s**2 * (1 - s * s)) if odd else (s, 1 - s * s)

    function = by_hand(torch, shape, bug)

    def lstm(x, W, U, b):
        return function.apply(x, W, U, b)

    weights = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((I, 4 * H), (H, 4 * H), (4 * H,))]
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    with lc.debug.record(lstm) as seen:
        (seen(x, *weights) ** 2).sum().backward()
    assert np.array_equal(seen.found.grads["W"], weights[0].grad.numpy())
    if not odd:
        answer = seen.diagnose()
        assert answer.names[:1] == (("what came along c is dropped",) if bug else ()), str(answer)
        assert answer.ok is not bug
    else:
        words = "is wrong for it too" if bug else "is right for it"
        assert f"the backward of ByHand {words}, by autograd" in seen.found.own()


def test_what_was_not_done_is_said(torch):
    net = module_of(torch)
    with pytest.raises(RuntimeError, match="Cells was not called inside the with block"), lc.debug.record(net):
        pass
    with pytest.raises(RuntimeError, match=r"no gradient came back: call loss\.backward"), lc.debug.record(net):
        net(torch.zeros(B, T, I, dtype=torch.float64))
