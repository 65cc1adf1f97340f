"""torch.nn.LSTM, GRU and RNN in float64, and PyTorch's autograd: outputs, final states and all gradients to 1e-12.

The tolerance: rounding leaves about 4e-14 of an array's largest entry on either side, as test_truth.py derives it;
1e-12 is what the project promises. Masks are held to torch row by row: each row's real steps alone, for torch's own
packed sequences know right padding only.
"""

import numpy as np
import pytest
from cases import CELLS, MASKS, Problem, flatten, recurrent_parts, run, worst_relative_error

SPECS = {
    "lstm": ("lstm", 3, 4),
    "gru": ("gru", 3, 4),
    "rnn": ("rnn", 3, 4),
    "lstm, three layers": ("stack", ("lstm", 3, 4), ("lstm", 4, 4), ("lstm", 4, 4)),
    "gru, two layers": ("stack", ("gru", 3, 4), ("gru", 4, 4)),
    "lstm, bidirectional": ("bidirectional", ("lstm", 3, 4), ("lstm", 3, 4)),
    "gru, bidirectional": ("bidirectional", ("gru", 3, 4), ("gru", 3, 4)),
    "rnn, bidirectional": ("bidirectional", ("rnn", 3, 4), ("rnn", 3, 4)),
    "lstm, bidirectional, two layers": (
        "stack",
        ("bidirectional", ("lstm", 3, 4), ("lstm", 3, 4)),
        ("bidirectional", ("lstm", 8, 4), ("lstm", 8, 4)),
    ),
}


def torch_names(spec: tuple) -> list[tuple[str, str]]:
    """(prefix of our parameters, suffix of torch's) for every direction of every layer, in torch's order of states."""
    layers = [("", spec)] if spec[0] != "stack" else [(f"{k}.", inner) for k, inner in enumerate(spec[1:])]
    names = []
    for k, (prefix, inner) in enumerate(layers):
        if inner[0] == "bidirectional":
            names += [(f"{prefix}fw.", f"l{k}"), (f"{prefix}bw.", f"l{k}_reverse")]
        else:
            names.append((prefix, f"l{k}"))
    return names


class TorchTwin:
    """The problem's network in torch, with its parameters, and its results in our layout."""

    def __init__(self, torch, problem: Problem):
        self.torch, self.problem = torch, problem
        self.names = torch_names(problem.spec)
        cell, I, self.H = recurrent_parts(problem.spec)[0]
        self.cell = cell
        self.bidirectional = "fw" in "".join(prefix for prefix, _ in self.names)
        network = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
        layers = len(self.names) // (2 if self.bidirectional else 1)
        self.net = network(I, self.H, num_layers=layers, bidirectional=self.bidirectional).double()
        with torch.no_grad():
            for ours, theirs in self.names:
                p = {name: torch.from_numpy(problem.params[ours + name]) for name in self.own_names()}
                getattr(self.net, f"weight_ih_{theirs}").copy_(p["W_ih"].T)
                getattr(self.net, f"weight_hh_{theirs}").copy_(p["W_hh"].T)
                getattr(self.net, f"bias_ih_{theirs}").copy_(p["b"])
                second = getattr(self.net, f"bias_hh_{theirs}")
                second.zero_()  # one bias here, two there; a GRU's second is needed, for its candidate
                if cell == "gru":
                    second[2 * self.H :] = p["b_hn"]

    def own_names(self) -> list[str]:
        return ["W_ih", "W_hh", "b"] + (["b_hn"] if self.cell == "gru" else [])

    def results(self) -> dict[str, np.ndarray]:
        """As cases.run gives them."""
        problem = self.problem
        rows = [slice(None)] if problem.mask is None else [slice(b, b + 1) for b in range(problem.B)]
        states, dstates = (leaves(tree) for tree in (problem.state, problem.dstate))
        out = {"y": np.zeros_like(problem.dy), "dx": np.zeros_like(problem.x)}
        last, dstate0 = [s.copy() for s in states], [d.copy() for d in dstates]  # of rows without a step: as they came
        for row in rows:
            steps = np.arange(problem.T) if problem.mask is None else np.flatnonzero(problem.mask[:, row.start])
            if len(steps):
                self.run_rows(row, steps, states, dstates, out, last, dstate0)
        names = list(flatten({"state": problem.state}))
        out |= dict(zip(names, last, strict=True))
        out |= {name.replace("state", "dstate0", 1): value for name, value in zip(names, dstate0, strict=True)}
        return out | {f"grads.{name}": value for name, value in self.gradients().items()}

    def run_rows(self, row, steps, states, dstates, out, last, dstate0) -> None:
        """The real steps of one row, or of all; parameter gradients add up in torch."""
        torch, count = self.torch, 2 if self.cell == "lstm" else 1
        x = torch.from_numpy(self.problem.x[steps, row]).requires_grad_()
        given = [torch.from_numpy(np.stack([s[row] for s in states[k::count]])).requires_grad_() for k in range(count)]
        y, final = self.net(x, tuple(given) if count == 2 else given[0])
        final = final if count == 2 else (final,)
        loss = (torch.from_numpy(self.problem.dy[steps, row]) * y).sum()
        for k in range(count):
            loss = loss + (torch.from_numpy(np.stack([d[row] for d in dstates[k::count]])) * final[k]).sum()
        loss.backward()
        out["y"][steps, row], out["dx"][steps, row] = y.detach().numpy(), x.grad.numpy()
        for k in range(count):
            for j in range(len(self.names)):
                last[j * count + k][row] = final[k][j].detach().numpy()
                dstate0[j * count + k][row] = given[k].grad[j].numpy()

    def gradients(self) -> dict[str, np.ndarray]:
        found = {}
        for ours, theirs in self.names:

            def gradient(name: str, theirs: str = theirs) -> np.ndarray:
                parameter = getattr(self.net, f"{name}_{theirs}")
                return np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy()

            found[f"{ours}W_ih"] = gradient("weight_ih").T
            found[f"{ours}W_hh"] = gradient("weight_hh").T
            found[f"{ours}b"] = gradient("bias_ih")
            if self.cell == "gru":
                found[f"{ours}b_hn"] = gradient("bias_hh")[2 * self.H :]
        return found


def leaves(tree) -> list[np.ndarray]:
    return [tree] if isinstance(tree, np.ndarray) else [leaf for part in tree for leaf in leaves(part)]


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", SPECS)
def test_agrees_with_torch(engine, torch, name, mask):
    engine.skip_if_unsupported(recurrent_parts(SPECS[name])[0][0])
    problem = Problem(SPECS[name], 5, 4, mask, seed=1)
    worst, array = worst_relative_error(run(problem, engine), TorchTwin(torch, problem).results())
    assert worst <= 1e-12, array


@pytest.mark.parametrize("cell", CELLS)
def test_agrees_on_a_long_sequence(engine, torch, cell):
    """100 steps, 16 units: sums of up to 1,600 terms, whose errors, of random sign, stay below 100 u of their size."""
    engine.skip_if_unsupported(cell)
    problem = Problem((cell, 8, 16), 100, 16, "none", seed=2)
    worst, array = worst_relative_error(run(problem, engine), TorchTwin(torch, problem).results())
    assert worst <= 1e-12, array


@pytest.mark.parametrize("masked", [False, True])
def test_cross_entropy(torch, masked):
    """Loss and gradient; torch leaves masked targets out by ignore_index. A few roundings of numbers near 1: 1e-14."""
    import lstmcore as lc

    rng = np.random.default_rng(3)
    logits, targets = 5 * rng.normal(size=(6, 4, 7)), rng.integers(0, 7, size=(6, 4))
    mask = rng.random((6, 4)) < 0.5 if masked else None
    loss, dlogits = lc.softmax_cross_entropy(logits, targets, mask=mask)
    theirs = torch.from_numpy(logits).requires_grad_()
    marked = torch.from_numpy(targets if mask is None else np.where(mask, targets, -100))
    value = torch.nn.functional.cross_entropy(theirs.reshape(-1, 7), marked.reshape(-1))
    value.backward()
    assert abs(float(loss) - value.item()) <= 1e-14 * value.item() * 4
    assert np.max(np.abs(dlogits - theirs.grad.numpy())) <= 1e-14


@pytest.mark.parametrize("masked", [False, True])
def test_squared_error(torch, masked):
    """mse_loss over the valid items, without a half."""
    import lstmcore as lc

    rng = np.random.default_rng(4)
    y, targets = rng.normal(size=(2, 5, 3, 4))
    mask = rng.random((5, 3, 4)) < 0.5 if masked else np.ones((5, 3, 4), bool)
    loss, dy = lc.squared_error(y, targets, mask=mask if masked else None)
    theirs = torch.from_numpy(y).requires_grad_()
    value = torch.nn.functional.mse_loss(theirs[torch.from_numpy(mask)], torch.from_numpy(targets[mask]))
    value.backward()
    assert abs(float(loss) - value.item()) <= 1e-14
    assert np.max(np.abs(dy - theirs.grad.numpy())) <= 1e-14
