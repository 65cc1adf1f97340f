"""lstmcore: LSTMs written by hand, forward and backward, and the tools that prove them.

The legend of every shape:  T time   B batch   I input width   H hidden width   L layers   V classes
Arrays are time-major, x (T, B, I); weights are in x out, W_ih (I, 4H); gates stand in the order i f g o; the gradient
of `name` is called `dname` and has its shape and dtype; mask (T, B) is true on real steps.
"""

import importlib
from typing import TYPE_CHECKING

from lstmcore import hints
from lstmcore.arrays import from_dlpack
from lstmcore.layers import (
    GRU,
    LSTM,
    RNN,
    BatchFirst,
    Bidirectional,
    Dropout,
    Embedding,
    Last,
    LearnedState,
    Linear,
    Recurrent,
    RecurrentDropout,
    ReLU,
    Residual,
    Reversed,
    Sigmoid,
    Softmax,
    Stack,
    Tanh,
    freeze,
    register,
    to_cpu,
    to_gpu,
)
from lstmcore.ops.losses import (
    absolute_error,
    binary_cross_entropy,
    huber,
    softmax,
    softmax_cross_entropy,
    squared_error,
)
from lstmcore.ops.masking import mask_from_lengths
from lstmcore.ops.recurrence import ENGINES
from lstmcore.train import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    Batches,
    Callback,
    Checkpoints,
    EarlyStopping,
    Momentum,
    Nesterov,
    Ranks,
    RecordedStep,
    RMSProp,
    clip_by_global_norm,
    clip_by_value,
    find_lr,
    fit,
    load,
    pad,
    save,
)

if TYPE_CHECKING:
    from lstmcore import debug, interop
    from lstmcore.interop import from_torch, to_torch
else:

    def __getattr__(name: str) -> object:
        """`lc.debug` and `lc.interop` are loaded when they are first used: they are larger than all the rest."""
        if name in ("debug", "interop"):
            return importlib.import_module(f"lstmcore.{name}")
        if name in ("from_torch", "to_torch"):
            return getattr(importlib.import_module("lstmcore.interop"), name)
        raise hints.missing("lstmcore", name, hints.PACKAGE)


__version__ = "0.1.0"

__all__ = [
    "ENGINES", "GRU", "LSTM", "RNN", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "BatchFirst", "Batches",
    "Bidirectional", "Callback", "Checkpoints", "Dropout", "EarlyStopping", "Embedding", "Last", "LearnedState",
    "Linear", "Momentum", "Nesterov", "RMSProp", "Ranks", "ReLU", "RecordedStep", "Recurrent", "RecurrentDropout",
    "Residual", "Reversed", "Sigmoid", "Softmax", "Stack", "Tanh", "absolute_error", "binary_cross_entropy",
    "clip_by_global_norm", "clip_by_value", "debug", "find_lr", "fit", "freeze", "from_dlpack", "from_torch", "huber",
    "interop", "load", "mask_from_lengths", "pad", "register", "save", "softmax", "softmax_cross_entropy",
    "squared_error", "to_cpu", "to_gpu", "to_torch",
]  # fmt: skip
