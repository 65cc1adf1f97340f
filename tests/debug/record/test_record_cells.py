"""A torch cell called for each step, and models whose head stands inside."""

import pytest

import lstmcore as lc

T, B, I, H, V = 5, 2, 3, 4, 6


def cell_of(torch, kind):
    """An LSTM cell by hand; kind: what a call takes and gives."""

    class Cell(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.Wx, self.Wh = torch.nn.Linear(I, 4 * H).double(), torch.nn.Linear(H, 4 * H).double()

        def step(self, x, h, c):
            i, f, g, o = (self.Wx(x) + self.Wh(h)).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            return torch.sigmoid(o) * torch.tanh(c), c

    class Pair(Cell):
        def forward(self, x, state):
            return self.step(x, *state)

    class Apart(Cell):
        def forward(self, x, h, c):
            h, c = self.step(x, h, c)
            return h, (h, c)

    torch.manual_seed(2)
    return Pair() if kind == "pair" else Apart()


@pytest.mark.parametrize("kind", ["pair", "apart"])
def test_a_cell_that_is_called_for_each_step(torch, kind):
    cell, x = cell_of(torch, kind), torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    h = c = torch.zeros(B, H, dtype=torch.float64)
    loss = 0
    with lc.debug.record(cell) as seen:
        for x_t in x:
            h, c = cell(x_t, (h, c)) if kind == "pair" else cell(x_t, h, c)[1]
            loss = loss + (h**3).sum()
        (loss + c.sum()).backward()
    answer = seen.diagnose()
    assert answer.ok, f"{answer}\n{seen}"
    assert answer.forward == "right"
    assert "called 5 times" in str(seen)


@pytest.mark.parametrize("last", [False, True])
def test_a_model_with_a_head_inside(torch, last):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.fc = cell_of(torch, "pair"), torch.nn.Linear(H, V).double()

        def forward(self, x):
            h = c = x.new_zeros(x.shape[1], H)
            out = []
            for x_t in x:
                h, c = self.cell(x_t, (h, c))
                out.append(h)
            return self.fc(h if last else torch.stack(out))

    model, x = Model(), torch.randn(T, B, I, dtype=torch.float64)
    with lc.debug.record(model) as seen:
        model(x).logsumexp(-1).sum().backward()
    answer = seen.diagnose()
    assert answer.ok, f"{answer}\n{seen}"
    assert "what fc read" in str(seen)
    assert "fc.weight" not in seen.found.weights


def test_two_calls_of_a_whole_layer_are_refused(torch):
    layer, x = torch.nn.Linear(I, H).double(), torch.zeros(T, B, I, dtype=torch.float64)
    twice = pytest.raises(RuntimeError, match="Linear was called 2 times: record one call over all steps")
    with twice, lc.debug.record(layer):
        (layer(x) + layer(x)).sum().backward()
