"""Modules of torch, read and held to what torch computes: the samples that torch tests its own modules with, by hand.

In float64 both sides take the same sums in another order: see tests/interop/test_layouts.py for the bound.
"""

import itertools

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.interop import from_lstmcore, read
from lstmcore.interop.proof import Differs, flat

TOLERANCE = 1e-12
I, H, T, B = 2, 3, 3, 5

FLAGS = list(itertools.product((True, False), repeat=3))


def samples(torch, kind):
    """(module, packed, with a state): bias, batch_first and bidirectional in all combinations; a sequence alone and
    packed rows, each with and without a state."""
    more = {"LSTM": [{"proj_size": 0}, {"proj_size": 2}], "GRU": [{}]}.get(kind)
    more = more or [{"nonlinearity": "tanh"}, {"nonlinearity": "relu"}]
    for (bias, first, both), options in itertools.product(FLAGS, more):
        module = getattr(torch.nn, kind)(
            I, H, 2, bias=bias, batch_first=first, bidirectional=both, dtype=torch.float64, **options
        )
        for packed, stated in itertools.product((False, True), repeat=2):
            yield module, packed, stated


def run_both(torch, module, packed, stated):
    """The largest difference of outputs, final states and all gradients, from random states or from none."""
    generator = torch.Generator().manual_seed(0)
    module.zero_grad()

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    lengths = torch.tensor([3, 1, 2, 3, 2]) if packed else None
    x = draw(T, B, I) if packed else draw(T, I)
    states = module.num_layers * (1 + module.bidirectional)
    widths = [module.proj_size or H, H][: 1 + (module.mode == "LSTM")]
    hx = [draw(states, B, width) if packed else draw(states, width) for width in widths] if stated else []
    given = tuple(hx) if len(hx) == 2 else hx[0] if hx else None
    if packed:
        rows = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, final = module(rows, given)
        y = torch.nn.utils.rnn.pad_packed_sequence(y)[0]
    else:
        y, final = module(x, given)
    finals = list(final) if isinstance(final, tuple) else [final]
    upstream = [draw(*out.shape).detach() for out in (y, *finals)]
    sum((out * d).sum() for out, d in zip((y, *finals), upstream)).backward()

    from lstmcore.interop.read import torch_modules  # which needs torch

    model = read(module, tell=lambda _: None)
    rows = [a.detach().numpy() for a in (x, y, upstream[0])]
    x_np, y_np, dy = rows if packed else [a[:, None] for a in rows]

    def tree(arrays):
        return torch_modules.state_to_lstmcore(module, tuple(a.detach().numpy() for a in arrays))

    mask = lc.mask_from_lengths(lengths.numpy(), T) if packed else None
    got, last, cache = model.forward(x_np, tree(hx) if stated else None, mask)
    dx, dstate0, grads = model.backward(dy, cache, tree(upstream[1:]))
    x_grad = x.grad.numpy() if packed else x.grad.numpy()[:, None]
    pairs = [(got, y_np), (dx, x_grad)]
    pairs += list(zip(flat(last), flat(tree(finals)), strict=True))
    pairs += list(zip(flat(dstate0), flat(tree([h.grad for h in hx])), strict=True)) if stated else []
    theirs = {name: w.grad.numpy() for name, w in module.named_parameters()}
    cell = module.mode.split("_")[0].lower()
    ours = from_lstmcore(grads, "torch", cell, gradients=True)
    pairs += [(ours[name], gradient) for name, gradient in theirs.items()]
    return max(float(np.abs(a - b).max()) for a, b in pairs)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_torchs_own_samples(torch, kind):
    """Each is read and agrees in everything."""
    torch.manual_seed(0)
    errors = {sample: run_both(torch, *sample) for sample in samples(torch, kind)}
    assert len(errors) == {"LSTM": 64, "GRU": 32, "RNN": 64}[kind]
    assert max(errors.values()) < TOLERANCE, max(errors, key=errors.get)


def test_cells(torch):
    torch.manual_seed(1)
    for kind in (torch.nn.LSTMCell, torch.nn.GRUCell, torch.nn.RNNCell):
        cell, said = kind(I, H, dtype=torch.float64), []
        model = read(cell, tell=said.append)
        assert "proved: one step beside torch" in said[0]
        x = torch.randn(B, I, dtype=torch.float64)
        state = cell(x)
        first = state[0] if isinstance(state, tuple) else state
        assert np.abs(model.step(x.numpy())[0] - first.detach().numpy()).max() < TOLERANCE


class Sentence:
    """What people write: words in, a class out. `way`: what of the recurrent layer is used."""

    @staticmethod
    def make(torch, way):
        class Model(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.embedding = torch.nn.Embedding(11, 4)
                self.lstm = torch.nn.LSTM(4, 6, num_layers=2, batch_first=True, dropout=0.2)
                self.dropout = torch.nn.Dropout(0.1)
                self.fc = torch.nn.Linear(6, 3)

            def forward(self, x):
                y, (h, _) = self.lstm(self.embedding(x))
                if way == "backwards":
                    y = y.flip(1)
                y = h[-1] if way == "final" else y[:, -1] if way == "last" else y
                y = self.fc(self.dropout(y))
                return {"softmax": y.softmax(-1), "log": y.log_softmax(-1), "tanh": y.tanh()}.get(way, y)

        return Model()


@pytest.mark.parametrize("way", ["final", "last", "every", "softmax", "tanh", "log"])
def test_whole_models(torch, way):
    torch.manual_seed(2)
    module, said = Sentence.make(torch, way), []
    model = read(module, tell=said.append)
    assert "; proved: run beside torch on random input, batch_first there: here x is (T, B, I)" in said[0]
    assert ("without the log_softmax" in said[0]) == (way == "log")
    x = torch.randint(0, 11, (5, 8))
    want = module.eval()(x).detach().numpy()
    got = model.predict(x.numpy().T)[0]
    got = np.log(lc.softmax(got)) if way == "log" else got
    assert np.abs((got.swapaxes(0, 1) if got.ndim == 3 else got) - want).max() < 1e-5  # float32, fewer than 100 terms
    assert [layer.p for layer in model.layers if isinstance(layer, lc.Dropout)] == [0.2, 0.1]


def test_a_forward_that_does_something_else_is_not_believed(torch):
    with pytest.raises(Differs, match="Model gives something else than its parts in order, Stack"):
        read(Sentence.make(torch, "backwards"))


def test_parts_made_in_another_order_than_they_run(torch):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(H, 4)
            self.dropout = torch.nn.Dropout(0.1)
            self.rnn = torch.nn.GRU(I, H)

        def forward(self, x):
            return self.fc(self.rnn(x)[0])

    said = []
    model = read(Model(), tell=said.append)
    assert "; proved: run beside torch" in said[0]
    assert repr(model) == f"Stack([GRU({I}, {H}), Linear({H}, 4), Dropout(0.1)])"
    apart = torch.nn.ModuleList([torch.nn.Linear(4, H), torch.nn.Linear(5, H)])  # no order is one
    with pytest.raises(ValueError, match="the parts of ModuleList do not read each other in the order in which they"):
        read(apart)


def test_a_forward_of_ones_own_is_run(torch):
    """A layer of torch by its class, and not by what it computes."""

    class Half(torch.nn.LSTM):
        def forward(self, x, hx=None):
            return super().forward(x / 2, hx)

    class Cell(torch.nn.GRUCell):
        def forward(self, x, hx=None):
            return 1 - super().forward(x, hx)

    for kind, words in ((Half, "its parts in order"), (Cell, "a cell of its parameters")):
        with pytest.raises(Differs, match=f"{kind.__name__} gives something else than {words}"):
            read(kind(I, H))


def test_a_forward_that_wants_more_leaves_it_unproved(torch):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = torch.nn.GRU(I, H)

        def forward(self, x, more):
            return self.rnn(x + more)

    said = []
    read(Model(), tell=said.append)
    assert "unproved: its forward does not run on (7, 3, 2) alone" in said[0]


def test_what_lstmcore_has_not_is_called_by_its_name(torch):
    nn = torch.nn

    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.h0 = nn.GRU(I, H), nn.Parameter(torch.zeros(H))

    for module, text in [
        (nn.Sequential(nn.Linear(I, H), nn.BatchNorm1d(H)), "`1` is a BatchNorm1d, which lstmcore lacks"),
        (nn.Sequential(nn.Embedding(4, I, max_norm=1.0)), "`0` is an Embedding with max_norm"),
        (Learned(), r"`module` is a Learned, which has parameters of its own \(`h0` \(3,\)\): what they are for only"),
    ]:
        with pytest.raises(ValueError, match=text):
            read(module)
    with pytest.raises(TypeError, match="`weight_ih_l0` is float16"):
        read(nn.LSTM(I, H, dtype=torch.float16))
    assert read(nn.LSTM(I, H, dtype=torch.bfloat16), dtype="float32").params["W_hh"].dtype == np.float32


def test_weight_norm_is_read_as_what_it_gives(torch):
    torch.manual_seed(3)
    module = torch.nn.utils.parametrizations.weight_norm(torch.nn.LSTM(I, H), "weight_hh_l0")
    said = []
    model = read(module, tell=said.append)
    assert "; proved: " in said[0]
    assert np.array_equal(model.params["W_hh"], module.weight_hh_l0.detach().numpy().T)


def test_what_is_no_model(torch):
    with pytest.raises(TypeError, match=r"`thing` should be a module of torch, Flax .*; got int"):
        read(3)
    with pytest.raises(FileNotFoundError, match=r"nowhere.pt: there is no such file"):
        read("nowhere.pt")
    with pytest.raises(TypeError, match=r"model.gguf should end in .pt, "):
        read("model.gguf")


def test_what_has_no_parameters_is_refused(torch):
    nn = torch.nn
    for module in (nn.Tanh(), nn.Sequential(nn.Tanh()), nn.Sequential(nn.Dropout())):
        with pytest.raises(ValueError, match="has no parameters, so there is nothing to read"):
            lc.interop.read(module)
