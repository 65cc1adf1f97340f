"""Modules of PyTorch: recurrent layers and cells, and whole models around them.

A module says which parts it has, but not what its `forward` does with them. So the parts are taken in the order in
which they were made, and both sides are run: what agrees was read right. Where only the last step of the recurrent
layers is used, or a function stands at the end, that is tried too.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from lstmcore.arrays import Plain
from lstmcore.interop.build import chain, embedding, linear, recurrent
from lstmcore.interop.proof import LENGTHS, Differs, Proof, T, compare, flat, found_by_running, inputs, orders
from lstmcore.layers import Dropout, Layer, ReLU, Sigmoid, Softmax, Tanh
from lstmcore.ops.masking import mask_from_lengths

Module = TypeVar("Module", bound=nn.Module)

RECURRENT, CELLS = (nn.LSTM, nn.GRU, nn.RNN), (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
SINGLE = 2.0**-23  # the rounding unit of float32
NOTHING = (nn.Identity,)


def read(module: nn.Module, dtype: str | None) -> tuple[Layer, Proof]:
    """The model and its proof. Raises ValueError, by name, for what lstmcore lacks, and if both sides disagree."""
    if not isinstance(module, nn.Module):
        raise ValueError(f"a {type(module).__name__} is a program of torch: hand over its state_dict, or the module")
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError("a program of TorchScript: hand over the module that it was made of, or its state_dict()")
    for path, part in module.named_modules():
        if "quantized" in type(part).__module__:
            raise ValueError(
                f"`{path or 'module'}` is a quantised {type(part).__name__}, whose weights are whole numbers: hand "
                "over the module as it was before"
            )
    twin, eps = _twin(module)
    left_out: list[str] = []
    layers, wide = list(_parts(module, dtype, left_out)), list(_parts(twin, None if eps < SINGLE else dtype, []))
    if isinstance(twin, RECURRENT) and any(type(twin).forward is kind.forward for kind in RECURRENT):
        return chain(layers), _prove_layer(twin, chain(wide).to(engine="reference"), eps)
    if isinstance(twin, CELLS):
        return chain(layers), _prove_cell(twin, chain(wide).to(engine="reference"), eps)
    return _prove_model(twin, layers, wide, left_out, eps)


def _parts(module: nn.Module, dtype: str | None, left_out: list[str], path: str = "") -> Iterator[Layer]:
    """The layers of a module, in the order in which its parts were made."""
    if isinstance(module, (*RECURRENT, *CELLS)):
        yield from _recurrent(module, dtype) if isinstance(module, RECURRENT) else _cell(module, dtype)
    elif isinstance(module, nn.Linear):
        yield linear(module.weight.T, module.bias, dtype, f"{path}.weight")
    elif isinstance(module, nn.Embedding):
        if module.max_norm is not None:
            raise ValueError(f"`{path}` is an Embedding with max_norm, which changes its weights as it runs")
        yield embedding(module.weight, dtype, f"{path}.weight")
    elif isinstance(module, nn.Dropout):
        yield Dropout(module.p)
    elif isinstance(module, nn.Softmax | nn.Tanh | nn.Sigmoid | nn.ReLU):
        if getattr(module, "dim", -1) not in (-1, 1, 2):
            raise ValueError(f"`{path}` is a Softmax over axis {module.dim}; lstmcore has it over the last")
        yield {nn.Softmax: Softmax, nn.Tanh: Tanh, nn.Sigmoid: Sigmoid, nn.ReLU: ReLU}[type(module)]()
    elif isinstance(module, NOTHING):
        pass
    elif next(module.children(), None) is not None and not _own(module):
        for name, child in module.named_children():
            if name != "parametrizations":
                yield from _parts(child, dtype, left_out, f"{path}.{name}".strip("."))
    elif _own(module) and type(module).__module__.split(".")[0] != "torch":
        names = ", ".join(f"`{name}` {tuple(p.shape)}" for name, p in module.named_parameters(recurse=False))
        raise ValueError(
            f"`{path or 'module'}` is a {type(module).__name__}, which has parameters of its own ({names}): "
            "what they are for only its forward says. Read its recurrent layers one by one"
        )
    elif next(module.parameters(), None) is not None:
        raise ValueError(f"`{path or 'module'}` is a {type(module).__name__}, which lstmcore lacks")
    else:
        left_out.append(f"{path} ({type(module).__name__})")


def _own(module: nn.Module) -> bool:
    """Whether it has parameters beside those of its parts."""
    return next(module.parameters(recurse=False), None) is not None


def _recurrent(module: nn.RNNBase, dtype: str | None) -> list[Layer]:
    options: Plain = {"proj_size": module.proj_size}
    if isinstance(module, nn.RNN):
        options["nonlinearity"] = module.nonlinearity
    weights = {name: getattr(_renewed(module), name) for names in module._all_weights for name in names}
    cell = module.mode.split("_")[0].lower()  # "LSTM", "GRU", "RNN_TANH"
    return recurrent(
        weights, "torch", cell, dtype=dtype, bidirectional=module.bidirectional, dropout=module.dropout, **options
    )


def _cell(module: nn.Module, dtype: str | None) -> list[Layer]:
    options: Plain = {"nonlinearity": module.nonlinearity} if isinstance(module, nn.RNNCell) else {}
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = {name: getattr(_renewed(module), name) for name in names if getattr(module, name) is not None}
    cell = {nn.LSTMCell: "lstm", nn.GRUCell: "gru", nn.RNNCell: "rnn"}
    return recurrent(
        weights, "torch", next(cell[kind] for kind in cell if isinstance(module, kind)), dtype=dtype, **options
    )


def _renewed(module: nn.Module) -> nn.Module:
    """The module, once what weight_norm and spectral_norm compute before each forward has been computed."""
    for hook in module._forward_pre_hooks.values():
        if type(hook).__module__.startswith("torch.nn.utils"):
            hook(module, ())
    return module


# ---- proofs ----------------------------------------------------------------------------------------------------------


def state_to_lstmcore(module: nn.RNNBase, parts: tuple[torch.Tensor | np.ndarray | None, ...]) -> Any:
    """States (layers * directions, B, H) as the lstmcore layers of a module take them.

    parts: (h, c) of an LSTM, (h,) of the others; each may be None or (layers * directions, H), a single sequence.
    """
    if all(part is None for part in parts):
        return None
    whole = [p[:, None] if p is not None and p.ndim == 2 else p for p in parts]
    D = 2 if module.bidirectional else 1
    each = [tuple(p if p is None else p[n] for p in whole) for n in range(module.num_layers * D)]
    layers = [tuple(each[n : n + D]) if D == 2 else each[n] for n in range(0, len(each), D)]
    return tuple(layers) if len(layers) > 1 else layers[0]


def _twin(module: Module) -> tuple[Module, float]:
    """A copy in float64, and the rounding unit; the module itself where it cannot be copied."""
    try:
        return copy.deepcopy(module).double().cpu(), float(np.finfo(np.float64).eps)
    except RuntimeError:  # weights that are computed, by weight_norm say, have no deep copy
        return module, float(torch.finfo(next(module.parameters()).dtype).eps)


def _prove_layer(theirs: nn.RNNBase, ours: Layer, eps: float) -> Proof:
    x = inputs(ours)
    packed = nn.utils.rnn.pack_padded_sequence(torch.from_numpy(x), torch.from_numpy(LENGTHS), enforce_sorted=False)
    with _evaluating(theirs):
        y, state = theirs(packed)
    want = nn.utils.rnn.pad_packed_sequence(y, total_length=T)[0].numpy()
    got, last = ours.predict(x, mask=mask_from_lengths(LENGTHS, T))
    finals = tuple(part.numpy() for part in (state if isinstance(state, tuple) else (state,)))
    error = compare([got, *flat(last)], [want, *flat(state_to_lstmcore(theirs, finals))], eps)
    return Proof(error, f"run beside torch on random input of unequal lengths{_order(theirs)}")


def _prove_cell(theirs: nn.Module, ours: Layer, eps: float) -> Proof:
    x = inputs(ours)[0]
    try:
        with _evaluating(theirs):
            state = theirs(torch.from_numpy(x))
        want = [part.numpy() for part in (state if isinstance(state, tuple) else (state,))]
    except Exception as reason:  # whatever somebody's own forward raises or gives
        return Proof(None, f"it gives no state on {x.shape} alone ({reason!s:.100})")
    try:
        error = compare(flat(ours.step(x)[1]), want, eps)
    except ValueError as reason:
        raise Differs(
            f"{type(theirs).__name__} gives something else than a cell of its parameters: {reason}"
        ) from reason
    return Proof(error, "one step beside torch on random input")


def _prove_model(
    theirs: nn.Module, layers: list[Layer], wide: list[Layer], left_out: list[str], eps: float
) -> tuple[Layer, Proof]:
    """Which reading of the parts gives what the module gives."""
    first, failed = _order(theirs), ""
    for order in orders(wide):
        x = inputs(chain(wide[k] for k in order))
        given = torch.from_numpy(np.ascontiguousarray(x.swapaxes(0, 1)) if first else x)
        try:
            with _evaluating(theirs):
                answer = theirs(given)
            while isinstance(answer, tuple | list):
                answer = answer[0]
            want = answer.numpy()
        except Exception as reason:  # whatever somebody's own forward raises
            failed = failed or f"its forward does not run on {tuple(given.shape)} alone ({reason!s:.100})"
            continue
        failed = ""
        want = want.swapaxes(0, 1) if first and want.ndim > 2 else want
        found = found_by_running([layers[k] for k in order], [wide[k] for k in order], x, want, eps)
        if found is not None:
            return chain(found.layers), Proof(found.error, f"run beside torch on random input{first}{found.note}")
    if failed:
        return chain(layers), Proof(None, failed)
    unknown = f"; parts left out: {', '.join(left_out)}" if left_out else ""
    raise Differs(
        f"{type(theirs).__name__} gives something else than its parts in order, {chain(layers)!r} (its forward does "
        f"more with them, or takes them in another order{unknown}): read its recurrent layers one by one"
    )


def _order(module: nn.Module) -> str:
    first = any(getattr(part, "batch_first", False) for part in module.modules())
    return ", batch_first there: here x is (T, B, I)" if first else ""


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """A module in evaluation, without gradients, for as long as the block lasts."""
    before = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(before)
