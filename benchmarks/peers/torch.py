"""PyTorch, eager: torch.nn.LSTM and autograd. Rows of unequal length go through packed sequences. The variant "bf16"
runs under autocast, where torch rounds x, h, c and the weights to bfloat16.
"""

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.peers import Job
from benchmarks.problem import CLASSES, Batch, Piece, Problem, Recipe, Text
from lstmcore.interop.convert import from_lstmcore, to_lstmcore


class Peer:
    modes = ("forward", "full", "train")

    def __init__(self, threads: int, variant: str):
        torch.set_num_threads(threads)
        self.version, self.bf16 = torch.__version__, variant == "bf16"
        if self.bf16:
            self.modes = ("forward", "full")

    def forward(self, problem: Problem) -> Job:
        lstm, (x, _, lengths) = _lstm(problem), place(problem.batch)

        def call():
            with torch.no_grad(), self._autocast():
                return outputs(lstm, x, lengths)

        def results(outcome):
            y, (h, c) = outcome
            return {"y": _host(y), "h": _host(h[0]), "c": _host(c[0])}

        return Job(call, results)

    def full(self, problem: Problem) -> Job:
        lstm, (x, _, lengths) = _lstm(problem), place(problem.batch)
        x.requires_grad_()
        dy = torch.from_numpy(problem.dy)

        def call():
            x.grad = None
            lstm.zero_grad()
            with self._autocast():
                y, _ = outputs(lstm, x, lengths)
            y.backward(dy.to(y.dtype))
            return y

        def results(y):
            return {
                "y": _host(y),
                "dx": x.grad.numpy(),
                "dW_ih": lstm.weight_ih_l0.grad.numpy().T,
                "dW_hh": lstm.weight_hh_l0.grad.numpy().T,
                "db": lstm.bias_ih_l0.grad.numpy(),
            }

        return Job(call, results)

    def trainer(self, problem: Problem, recipe: Recipe) -> "Trainer":
        return Trainer(problem, recipe)

    def writer(self, text: Text) -> "Writer":
        return Writer(text)

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bf16)


class Trainer:
    def __init__(self, problem: Problem, recipe: Recipe):
        self.lstm, self.clip = _lstm(problem), recipe.clip
        self.lstm.bias_hh_l0.requires_grad_(False)  # one bias, as everybody else has: a second would learn too
        self.head = torch.nn.Linear(len(problem.head["W"]), CLASSES, dtype=self.lstm.weight_ih_l0.dtype)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(problem.head["W"].T))
            self.head.bias.copy_(torch.from_numpy(problem.head["b"]))
        self.params = [p for part in (self.lstm, self.head) for p in part.parameters() if p.requires_grad]
        betas = (recipe.beta1, recipe.beta2)
        self.adam = torch.optim.Adam(self.params, recipe.lr, betas, recipe.eps, fused=True)  # its fastest

    def place(self, batch: Batch) -> tuple:
        return place(batch)

    def update(self, batch: tuple) -> float:
        x, targets, lengths = batch
        self.adam.zero_grad()
        _, (h, _) = outputs(self.lstm, x, lengths, padded=False)
        loss = torch.nn.functional.cross_entropy(self.head(h[0]), targets)
        loss.backward()
        if self.clip is not None:
            clip(self.params, self.clip)
        self.adam.step()
        return loss.item()

    def weights(self) -> dict[str, np.ndarray]:
        names = ("W_ih", "W_hh", "b", "head.W", "head.b")
        return {name: p.detach().numpy().T for name, p in zip(names, self.params, strict=True)}


class Writer:
    def __init__(self, text: Text):
        p = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in text.params.items()}
        self.embedding = torch.nn.Embedding.from_pretrained(p["0.W"].clone(), freeze=False)
        arrays = from_lstmcore({name: text.params[f"1.{name}"] for name in ("W_ih", "W_hh", "b")}, "torch")
        self.lstm = torch.nn.LSTM(p["1.W_ih"].shape[0], p["1.W_hh"].shape[0], dtype=p["1.b"].dtype)
        self.lstm.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
        self.lstm.bias_hh_l0.requires_grad_(False)  # zero: lstmcore has one bias, and a second would learn too
        self.dropout = torch.nn.Dropout(text.dropout)
        self.head = torch.nn.Linear(*p["3.W"].shape, dtype=p["3.W"].dtype)
        self.head.load_state_dict({"weight": p["3.W"].T, "bias": p["3.b"]})
        parts = (self.embedding, self.lstm, self.head)
        self.params = [w for part in parts for w in part.parameters() if w.requires_grad]
        self.adamw = torch.optim.AdamW(self.params, betas=(0.9, text.beta2), weight_decay=text.weight_decay, fused=True)
        self.rates, self.clip, self.state = iter(text.rates), text.clip, None
        torch.manual_seed(text.seed)

    def place(self, piece: Piece) -> tuple:
        return torch.from_numpy(piece.x), torch.from_numpy(piece.targets), piece.first

    def update(self, piece: tuple) -> float:
        x, targets, first = piece
        self.adamw.param_groups[0]["lr"] = next(self.rates)
        self.adamw.zero_grad()
        y, state = self.lstm(self.embedding(x), None if first else self.state)
        self.state = tuple(s.detach() for s in state)
        logits = self.head(self.dropout(y))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        clip(self.params, self.clip)
        self.adamw.step()
        return loss.item()

    def weights(self) -> dict[str, np.ndarray]:
        embedding, w_ih, w_hh, b, head, bias = (w.detach().numpy() for w in self.params)
        _, lstm = to_lstmcore({"weight_ih_l0": w_ih, "weight_hh_l0": w_hh, "bias_ih_l0": b}, "torch")
        return {"0.W": embedding, **{f"1.{name}": w for name, w in lstm.items()}, "3.W": head.T, "3.b": bias}


def clip(params: list[torch.nn.Parameter], limit: float) -> None:
    """clip_grad_norm_ divides by norm + 1e-6: in float64 another update than everybody else's."""
    scale = torch.clamp(limit / torch.nn.utils.get_total_norm([w.grad for w in params]), max=1.0)
    for w in params:
        w.grad.mul_(scale)


def place(batch: Batch) -> tuple:
    lengths = None if batch.lengths is None else torch.from_numpy(batch.lengths)
    return torch.from_numpy(batch.x), torch.from_numpy(batch.targets), lengths


def outputs(lstm: torch.nn.LSTM, x: torch.Tensor, lengths: torch.Tensor | None, padded: bool = True) -> tuple:
    """y (T, B, H), which stays packed unless it is asked for, and the final (h, c)."""
    if lengths is None:
        return lstm(x)
    y, state = lstm(pack_padded_sequence(x, lengths, enforce_sorted=False))
    return pad_packed_sequence(y, total_length=len(x))[0] if padded else y, state


def _host(a: torch.Tensor) -> np.ndarray:
    a = a.detach()
    return (a.float() if a.dtype == torch.bfloat16 else a).numpy()


def _lstm(problem: Problem) -> torch.nn.LSTM:
    p = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in problem.params.items()}
    lstm = torch.nn.LSTM(p["W_ih"].shape[0], p["W_hh"].shape[0], dtype=p["b"].dtype)
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(p["W_ih"].T)
        lstm.weight_hh_l0.copy_(p["W_hh"].T)
        lstm.bias_ih_l0.copy_(p["b"])
        lstm.bias_hh_l0.zero_()  # lstmcore has one bias, torch the sum of two
    return lstm
