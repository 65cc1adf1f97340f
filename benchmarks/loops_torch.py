"""The per-step model of `lstmcore train loops` in torch: the same initial weights, batches, updates and early stopping.

Dropout is drawn by torch, so that it is another run of the same training, not the same run.
"""

import copy
from collections.abc import Iterable

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lstmcore.interop.convert import from_lstmcore
from lstmcore.layers import Bidirectional, Linear, Stack
from lstmcore.recipes import loops
from lstmcore.train import Batch, Cosine


class Twin(torch.nn.Module):
    """nn.LSTM over packed sequences, dense layer, tanh; weights are those of a lstmcore Stack, topology "layers".

    The second bias of torch's cells stays zero: as two, they would learn twice as fast.
    """

    def __init__(self, net: Stack, dropout: float):
        super().__init__()
        both = [layer for layer in net.layers if isinstance(layer, Bidirectional)]
        head = next(layer for layer in net.layers if isinstance(layer, Linear))
        I, H = both[0].fw.input_size, both[0].fw.hidden_size
        self.lstm = torch.nn.LSTM(I, H, len(both), dropout=dropout, bidirectional=True)
        params = {f"{k}.{name}": w for k, layer in enumerate(both) for name, w in layer.params.items()}
        weights = from_lstmcore(params, "torch")
        self.lstm.load_state_dict({name: torch.tensor(w) for name, w in weights.items()})
        for name, w in self.lstm.named_parameters():
            w.requires_grad = not name.startswith("bias_hh")
        self.dropout = torch.nn.Dropout(dropout)
        self.head = torch.nn.Linear(2 * H, head.output_size)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor(head.params["W"].T))
            self.head.bias.copy_(torch.tensor(head.params["b"]))

    def forward(self, x: PackedSequence | torch.Tensor) -> torch.Tensor:
        """Packed: (residues, 4). Padded (T, B, I): (T, B, 4), the backward direction starting in the padding."""
        y, _ = self.lstm(x)
        return torch.tanh(self.head(self.dropout(y.data if isinstance(y, PackedSequence) else y)))


def packed(batch: Batch) -> tuple[PackedSequence, torch.Tensor]:
    """x and targets (residues, 4), in one order."""
    lengths = torch.tensor(batch.mask.sum(axis=0))
    x, targets = (
        pack_padded_sequence(torch.from_numpy(a), lengths, enforce_sorted=False) for a in (batch.x, batch.targets)
    )
    return x, targets.data


def padded(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(batch.x), torch.from_numpy(batch.targets)


def masked_squared_error(y: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.mean((y - targets)[targets != loops.UNDEFINED] ** 2)


class Trainer:
    """`lstmcore.fit` as the recipe calls it, epoch by epoch."""

    def __init__(self, job: loops.Job, options: loops.Options, prepare=packed):
        torch.manual_seed(options.seed)
        self.prepare, self.options, self.step = prepare, options, 0
        self.twin = Twin(job.training.model, options.dropout)
        self.params = [w for w in self.twin.parameters() if w.requires_grad]
        self.opt = torch.optim.AdamW(self.params, options.lr, weight_decay=options.decay)
        self.schedule = Cosine(options.lr, options.epochs * len(job.training.batches))

    def epoch(self, batches: Iterable[Batch]) -> None:
        self.twin.train()
        for batch in batches:
            x, targets = self.prepare(batch)
            self.opt.param_groups[0]["lr"] = self.schedule(self.step)
            self.opt.zero_grad()
            masked_squared_error(self.twin(x), targets).backward()
            torch.nn.utils.clip_grad_norm_(self.params, 1.0)
            self.opt.step()
            self.step += 1

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> float:
        self.twin.eval()
        total, n = 0.0, 0
        for batch in batches:
            x, targets = packed(batch)
            total, n = total + float(masked_squared_error(self.twin(x), targets)) * len(targets), n + len(targets)
        return total / n

    @torch.no_grad()
    def answers(self, index: np.ndarray, letters: int) -> np.ndarray:
        """(N, T, 4) for residues (N, T), as `loops.answers`."""
        self.twin.eval()
        lengths = torch.tensor((index >= 0).sum(axis=1))
        x = pack_padded_sequence(torch.from_numpy(loops.one_hot(index, letters)), lengths, enforce_sorted=False)
        y, _ = pad_packed_sequence(x._replace(data=self.twin(x)), total_length=index.shape[1], batch_first=True)
        return y.numpy()


def trained(data: loops.Loops, options: loops.Options) -> tuple[int, float, Trainer]:
    """Epochs done, validation error, and the trainer with the weights of the best epoch."""
    job = loops.prepare(data, options)
    trainer = Trainer(job, options)
    best, best_epoch, state = float("inf"), 0, None
    for epoch in range(1, options.epochs + 1):
        trainer.epoch(job.training.batches)
        error = trainer.evaluate(job.training.options["validation"])
        if error < best:
            best, best_epoch, state = error, epoch, copy.deepcopy(trainer.twin.state_dict())
        elif epoch - best_epoch >= options.patience:
            break
    trainer.twin.load_state_dict(state)
    return epoch, best, trainer
