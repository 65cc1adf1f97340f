"""A model as a module of PyTorch: the text of its class, and its state_dict."""

from typing import TYPE_CHECKING

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.interop.host import float_dtype, in_dtype, on_host
from lstmcore.interop.write.blocks import Run, blocks, time_major
from lstmcore.layers import (
    Bidirectional,
    Dropout,
    Embedding,
    Last,
    Layer,
    Linear,
    ReLU,
    Reversed,
    Sigmoid,
    Softmax,
    Tanh,
)

if TYPE_CHECKING:
    import torch

HEAD = '''"""{model}

Written by lstmcore. {first} comes first: x is {x}, or classes {classes}. lengths (B,), on the CPU, where rows are
padded at their ends; outputs beyond them are zero.
"""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def over_time(layer, x, lengths):
    """y and the final state of a recurrent layer."""
    if lengths is None:
        return layer(x)
    y, state = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
    return pad_packed_sequence(y, total_length=len(x))[0], state


def flipped(x, lengths):
    """Each row in reverse, within its own length."""
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(len(x))[:, None]
    places = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return x[places, torch.arange(x.shape[1])]


def beyond(x, lengths):
    """x (T, B, ...) with zeros beyond the lengths; a final state (B, ...) as it is."""
    if lengths is None or x.ndim < 3:
        return x
    real = torch.arange(len(x))[:, None] < lengths
    return x.where(real.reshape(*real.shape, *[1] * (x.ndim - 2)), torch.zeros((), dtype=x.dtype))
'''
FUNCTIONS = {Tanh: "nn.Tanh()", Sigmoid: "nn.Sigmoid()", ReLU: "nn.ReLU()", Softmax: "nn.Softmax(-1)"}
OPTIONS = {"lstm": ("bias", "proj_size"), "gru": ("bias",), "rnn": ("bias", "activation")}
MERGES = {
    "concat": "torch.cat((fw, bw), -1)", "sum": "fw + bw", "mean": "(fw + bw) / 2", "mul": "fw * bw",
    "none": "torch.stack((fw, bw), -2)",
}  # fmt: skip


def to_torch(model: Layer, dtype: str | None = None) -> "torch.nn.Module":
    """The model as a torch.nn.Module: the layer of torch itself where that is all there is, else a module whose
    forward(x, lengths=None) gives y; its text is `torch_source(model)`.

    dtype: "float16", "bfloat16", "float32" or "float64", what weights are rounded to. Raises ValueError for a layer or
    an option that torch lacks, ImportError where torch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise ImportError("to_torch makes a module of torch: pip install torch") from None
    float_dtype(dtype)
    inner, batch_first = time_major(model)
    found = blocks(inner)
    room: Plain = {}
    exec(torch_source(model), room)
    module = room["Model"]()
    tensors = {name: torch.from_numpy(value.copy()) for name, value in state_dict(model).items()}
    module.to(next(iter(tensors.values())).dtype if tensors else None)
    module.load_state_dict(tensors, strict=True)
    module.to(getattr(torch, dtype) if dtype else None)
    first = found[0]
    if len(found) > 1 or not isinstance(first, Run) or not first.return_sequences or first.reverse:
        return module
    if first.merge != "concat":
        return module
    layer = next(module.children())
    layer.batch_first = batch_first
    return layer


def state_dict(model: Layer, dtype: str | None = None) -> dict[str, np.ndarray]:
    """The tensors by name, as the class of `torch_source` has them: matrices bit for bit; of two biases the first is
    the sum, the second zero."""
    tensors: dict[str, np.ndarray] = {}
    for name, block in _named(model):
        if isinstance(block, Run):
            own = block.weights("torch")
        elif isinstance(block, Bidirectional | Reversed):
            for way, part in block.parts.items():
                tensors |= {f"{name}_{way}.{key}": value for key, value in state_dict(part).items()}
            continue
        else:
            params = on_host(block.params)
            turned = isinstance(block, Linear)
            own = {"weight": np.ascontiguousarray(params["W"].T) if turned else params["W"]} if params else {}
            own |= {"bias": params["b"]} if "b" in params else {}
        tensors |= {f"{name}.{key}": value for key, value in own.items()}
    return {name: in_dtype(value, dtype) for name, value in tensors.items()}


def torch_source(model: Layer) -> str:
    """The text of a Python file with a class `Model`, whose parameters have the names of `state_dict`.

    Raises ValueError for a layer or an option that torch lacks.
    """
    inner, batch_first = time_major(model)
    words = ("The batch", "(B, T, I)", "(B, T)") if batch_first else ("Time", "(T, B, I)", "(T, B)")
    said = dict(zip(("first", "x", "classes"), words))
    return HEAD.format(model=repr(model).replace("\\", ""), **said) + _class("Model", inner, batch_first)


def _named(model: Layer) -> list[tuple[str, Run | Layer]]:
    """Every block with its name in the class: lstm, dropout, linear, linear_2, ..."""
    names: list[tuple[str, Run | Layer]] = []
    times: dict[str, int] = {}
    for block in blocks(time_major(model)[0]):
        kind = block.cell if isinstance(block, Run) else type(block).__name__.lower()
        times[kind] = times.get(kind, 0) + 1
        names.append((kind if times[kind] == 1 else f"{kind}_{times[kind]}", block))
    return names


def _class(title: str, model: Layer, batch_first: bool = False) -> str:
    made, runs, inner = [], ["x = x.transpose(0, 1)"] if batch_first else [], ""
    for name, block in _named(model):
        if isinstance(block, Bidirectional | Reversed):
            for way, part in block.parts.items():
                inner += _class(f"{title}_{name}_{way}", part)
                made.append(f"self.{name}_{way} = {title}_{name}_{way}()")
            runs += [
                f"bw = self.{name}_bw(flipped(x, lengths), lengths)",
                "bw = flipped(bw, lengths) if bw.ndim > 2 else bw",
            ]
            if isinstance(block, Bidirectional):
                runs += [f"fw = self.{name}_fw(x, lengths)", f"x = {MERGES[block.merge]}"]
            else:
                runs += ["x = bw"]
        elif isinstance(block, Last):
            runs.append("x = x[-1] if lengths is None else x[lengths - 1, torch.arange(x.shape[1])]")
        else:
            made.append(f"self.{name} = {_made(block)}")
            runs += _run_lines(name, block) if isinstance(block, Run) else [f"x = self.{name}(x)"]
    lines = [
        f"class {title}(nn.Module):",
        "    def __init__(self):",
        "        super().__init__()",
        *(f"        {line}" for line in made),
        "",
        "    def forward(self, x, lengths=None):",
        *(f"        {line}" for line in runs),
        "        x = beyond(x, lengths)",
        f"        return {'x.transpose(0, 1) if x.ndim > 2 else x' if batch_first else 'x'}",
    ]
    return inner + "\n\n" + "\n".join(lines) + "\n"


def _made(block: Run | Layer) -> str:
    if isinstance(block, Run):
        block.refuse("torch", OPTIONS[block.cell])
        options = [f"{block.input_size}, {block.hidden_size}"]
        if block.cell == "rnn" and block.activation("activation") != ("tanh",):
            if block.activation("activation") != ("relu",):
                raise ValueError(f"{block.layers[0]!r} is an RNN with another activation than torch's: tanh and relu")
            options += ["nonlinearity='relu'"]
        options += [f"proj_size={block.width}"] if "proj_size" in block.options else []
        options += [f"num_layers={len(block.layers)}"] if len(block.layers) > 1 else []
        options += [] if block.bias else ["bias=False"]
        options += [f"dropout={block.dropout}"] if block.dropout else []
        options += ["bidirectional=True"] if block.bidirectional else []
        return f"nn.{block.cell.upper()}({', '.join(options)})"
    if isinstance(block, Linear):
        return f"nn.Linear({block.input_size}, {block.output_size}{'' if block.bias else ', bias=False'})"
    if isinstance(block, Embedding):
        return f"nn.Embedding({block.classes}, {block.output_size})"
    if isinstance(block, Dropout):
        return f"nn.Dropout({block.p})"
    if type(block) not in FUNCTIONS:
        raise ValueError(f"{block!r} is a layer that torch lacks")
    return FUNCTIONS[type(block)]  # type: ignore[index]


def _run_lines(name: str, run: Run) -> list[str]:
    turn = ["x = flipped(x, lengths)"] if run.reverse else []
    if run.return_sequences:
        lines = [*turn, f"x, _ = over_time(self.{name}, x, lengths)", *turn]
        apart = [f"fw, bw = x.split({run.width}, -1)"] if run.bidirectional and run.merge != "concat" else []
    else:
        state = "state[0]" if run.cell == "lstm" else "state"
        lines = [*turn, f"_, state = over_time(self.{name}, x, lengths)", f"h = {state}  # (layers * directions, B, H)"]
        apart = ["fw, bw = h[-2], h[-1]"] if run.bidirectional else []
        lines += [] if run.bidirectional else ["x = h[-1]"]
    return [*lines, *apart, *([f"x = {MERGES[run.merge]}"] if apart else [])]
