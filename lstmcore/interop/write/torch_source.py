"""A model as a module of PyTorch: the text of its class, and its state_dict."""

from typing import Any

import numpy as np

from lstmcore.interop.host import in_dtype, on_host
from lstmcore.interop.write.blocks import Run, blocks
from lstmcore.layers import Bidirectional, Dropout, Embedding, Last, Layer, Linear, ReLU, Sigmoid, Softmax, Tanh

HEAD = '''"""{model}

Written by lstmcore. Time comes first: x is (T, B, I), or classes (T, B). lengths (B,), on the CPU, where rows are
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
    return x.where((torch.arange(len(x))[:, None] < lengths)[..., None], torch.zeros((), dtype=x.dtype))
'''
FUNCTIONS = {Tanh: "nn.Tanh()", Sigmoid: "nn.Sigmoid()", ReLU: "nn.ReLU()", Softmax: "nn.Softmax(-1)"}


def to_torch(model: Layer, dtype: str | None = None) -> Any:
    """The model as a torch.nn.Module: the layer of torch itself where that is all there is, else a module whose
    forward(x, lengths=None) gives y; its text is `torch_source(model)`.

    dtype: "float16", "bfloat16", "float32" or "float64", what weights are rounded to. Raises ValueError for a layer
    that torch has not, ImportError where torch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise ImportError("to_torch makes a module of torch: pip install torch") from None
    found = blocks(model)
    room: dict[str, Any] = {}
    exec(torch_source(model), room)
    module = room["Model"]()
    tensors = {name: torch.from_numpy(value.copy()) for name, value in state_dict(model).items()}
    module.to(next(iter(tensors.values())).dtype if tensors else None)
    module.load_state_dict(tensors, strict=True)
    module.to(getattr(torch, dtype or "") if dtype else None)
    plain = len(found) == 1 and isinstance(found[0], Run) and found[0].return_sequences and found[0].merge == "concat"
    return next(module.children()) if plain else module


def state_dict(model: Layer, dtype: str | None = None) -> dict[str, np.ndarray]:
    """The tensors by name, as the class of `torch_source` has them: matrices bit for bit; of two biases the first is
    the sum, the second zero."""
    tensors: dict[str, np.ndarray] = {}
    for name, block in _named(model):
        if isinstance(block, Run):
            own = block.weights("torch")
        elif isinstance(block, Bidirectional):
            own = {f"fw.{k}": v for k, v in state_dict(block.fw).items()}
            own |= {f"bw.{k}": v for k, v in state_dict(block.bw).items()}
            tensors |= {k.replace("fw.", f"{name}_fw.", 1).replace("bw.", f"{name}_bw.", 1): v for k, v in own.items()}
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

    Raises ValueError for a layer that torch has not.
    """
    return HEAD.format(model=repr(model).replace("\\", "")) + _class("Model", model)


def _named(model: Layer) -> list[tuple[str, Run | Layer]]:
    """Every block with its name in the class: lstm, dropout, linear, linear_2, ..."""
    names: list[tuple[str, Run | Layer]] = []
    times: dict[str, int] = {}
    for block in blocks(model):
        kind = block.cell if isinstance(block, Run) else type(block).__name__.lower()
        times[kind] = times.get(kind, 0) + 1
        names.append((kind if times[kind] == 1 else f"{kind}_{times[kind]}", block))
    return names


def _class(title: str, model: Layer) -> str:
    made, runs, inner = [], [], ""
    for name, block in _named(model):
        if isinstance(block, Bidirectional):
            for way in ("fw", "bw"):
                inner += _class(f"{title}_{name}_{way}", getattr(block, way))
                made.append(f"self.{name}_{way} = {title}_{name}_{way}()")
            runs += [
                f"fw = self.{name}_fw(x, lengths)",
                f"bw = self.{name}_bw(flipped(x, lengths), lengths)",
                "bw = flipped(bw, lengths) if bw.ndim == 3 else bw",
                f"x = {'torch.cat((fw, bw), -1)' if block.merge == 'concat' else 'fw + bw'}",
            ]
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
        "        return beyond(x, lengths)",
    ]
    return inner + "\n\n" + "\n".join(lines) + "\n"


def _made(block: Run | Layer) -> str:
    if isinstance(block, Run):
        options = [f"{block.input_size}, {block.hidden_size}"]
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
        raise ValueError(f"{block!r} is a layer that torch has not")
    return FUNCTIONS[type(block)]  # type: ignore[index]


def _run_lines(name: str, run: Run) -> list[str]:
    H = run.hidden_size
    if run.return_sequences:
        halves = [f"x = x[..., :{H}] + x[..., {H}:]"] if run.bidirectional and run.merge == "sum" else []
        return [f"x, _ = over_time(self.{name}, x, lengths)", *halves]
    state = "state[0]" if run.cell == "lstm" else "state"
    join = {"concat": "torch.cat((h[-2], h[-1]), -1)", "sum": "h[-2] + h[-1]"}[run.merge]
    return [
        f"_, state = over_time(self.{name}, x, lengths)",
        f"h = {state}  # (layers * directions, B, H)",
        f"x = {join if run.bidirectional else 'h[-1]'}",
    ]
