"""Wrong gradients that somebody has planted in a torch module: each is found, and the arrays are named."""

import contextlib

import pytest

from lstmcore.debug import watch

T, B, I, H = 6, 3, 4, 5
KINDS = ["LSTM", "GRU", "RNN", "RNN relu", "LSTM projected", "LSTM dropped", "LSTM packed", "LSTM without biases",
         "LSTM in bfloat16", "LSTMCell", "GRUCell", "RNNCell"]  # fmt: skip
OPTIONS = {
    "relu": {"nonlinearity": "relu"},
    "projected": {"proj_size": 2},
    "dropped": {"num_layers": 2, "dropout": 0.5},
    "without": {"bias": False},
}


def made(torch, kind):
    torch.manual_seed(4)
    name, _, what = kind.partition(" ")
    return getattr(torch.nn, name)(I, H, dtype=torch.float64, **OPTIONS.get(what.split(" ")[0], {}))


def train(torch, kind, module):
    """A step, watched."""
    coarse = torch.autocast("cpu", torch.bfloat16) if "bfloat16" in kind else contextlib.nullcontext()
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    if "bfloat16" in kind:
        x, module = x.float().detach().requires_grad_(), module.float()
    with watch(module) as seen:
        with coarse:
            if "packed" in kind:
                y = module(torch.nn.utils.rnn.pack_padded_sequence(x, (4, 6, 1), enforce_sorted=False))[0].data
            elif "Cell" in kind:
                state, outputs = None, []
                for x_t in x:
                    state = module(x_t, state)
                    outputs.append(state[0] if isinstance(state, tuple) else state)
                y = torch.stack(outputs)
            else:
                y = module(x)[0]
        y.float().sin().sum().backward()
    return seen


def hidden(module):
    return module.weight_hh if hasattr(module, "weight_hh") else module.weight_hh_l0


def larger_grad(weight):
    weight.grad.mul_(1.5)


PLANTS = {
    "nothing": lambda module: None,
    "a hook on a weight": lambda module: hidden(module).register_hook(lambda g: 1.5 * g),
    "a hook that changes .grad": lambda module: hidden(module).register_post_accumulate_grad_hook(larger_grad),
    "a hook on the module": lambda module: module.register_full_backward_hook(
        lambda module, dx, dy: tuple(d if d is None else 1.5 * d for d in dx)
    ),
}


@pytest.mark.parametrize(
    ("kind", "plant"),
    [(kind, plant) for kind in KINDS for plant in PLANTS if (kind, plant) != ("LSTM packed", "a hook on the module")],
)  # torch hands packed input past such hooks
def test_a_hook_is_found(torch, kind, plant):
    module = made(torch, kind)
    PLANTS[plant](module)
    seen = train(torch, kind, module)
    wrong = [row.name for row in seen.rows if not row.ok]
    if plant == "nothing":
        assert seen.ok, str(seen)
        assert seen.precision == ("bfloat16" if "bfloat16" in kind else "float64")
        return
    assert seen.ok is False, str(seen)
    if plant == "a hook on the module":  # a cell's state goes through it too: then all that is before it is wrong
        assert wrong[0].startswith("dx")
        return
    name = "weight_hh" if "Cell" in kind else "weight_hh_l0"
    assert wrong == [next(row.name for row in seen.rows if row.name.endswith("dW_hh"))]
    assert f"changed by a hook on the weight, after the layer gave its gradient: {name}" in str(seen)
    assert f"differ in {wrong[0]}" in str(seen)


def by_hand(torch, phi, cut):
    """A layer of somebody's own, with the weights of an LSTM and a loop in Python."""

    class ByHand(torch.nn.LSTM):
        def forward(self, x, hx=None):
            h = c = x.new_zeros(x.shape[1], self.hidden_size)
            outputs = []
            for x_t in x:
                a = x_t @ self.weight_ih_l0.T + self.bias_ih_l0 + h @ self.weight_hh_l0.T + self.bias_hh_l0
                i, f, g, o = a.chunk(4, 1)
                c = f.sigmoid() * c + i.sigmoid() * phi(g)
                h = o.sigmoid() * c.tanh()
                outputs.append(h)
                h, c = cut(h, c)
            return torch.stack(outputs), (h[None], c[None])

    torch.manual_seed(5)
    return ByHand(I, H, dtype=torch.float64)


@pytest.mark.parametrize("mistake", ["none", "the slope of tanh", "h detached", "c detached"])
def test_a_mistake_in_a_backward_of_ones_own(torch, mistake):
    class Tanh(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            ctx.save_for_backward(a)
            return a.tanh()

        @staticmethod
        def backward(ctx, dy):
            (a,) = ctx.saved_tensors
            return dy * (1 - a.tanh() ** 2) if mistake == "none" else dy * (1 - a.tanh())

    phi = Tanh.apply if mistake in ("none", "the slope of tanh") else torch.tanh
    cuts = {"h detached": lambda h, c: (h.detach(), c), "c detached": lambda h, c: (h, c.detach())}
    seen = train(torch, "LSTM", by_hand(torch, phi, cuts.get(mistake, lambda h, c: (h, c))))
    if mistake == "none":
        assert seen.ok, str(seen)
        return
    assert seen.ok is False
    wrong = {row.name for row in seen.rows if not row.ok}
    assert {"dx", "dW_ih", "dW_hh", "db"} <= wrong
    assert "y" not in wrong
    names = {"h detached": "the gradient of h goes nowhere through W_hh", "c detached": "what came along c is dropped"}
    if mistake in names:
        assert names[mistake] in seen.diagnose().names


def test_a_wrong_output_is_found_too(torch):
    """A hook that scales the outputs: its layer is no LSTM any more."""
    module = made(torch, "LSTM")
    module.register_forward_hook(lambda module, x, out: (1.01 * out[0], out[1]))
    seen = train(torch, "LSTM", module)
    assert "y" in {row.name for row in seen.rows if not row.ok}
