"""Which recurrent module of torch is meant, and what it is here. Raises, by name, for what cannot be watched."""

from typing import TypeAlias

from torch import nn
from torch.nn.utils import parametrize

from lstmcore.arrays import Plain
from lstmcore.interop.build import refuse
from lstmcore.interop.read.torch_modules import CELLS, RECURRENT

Recurrent: TypeAlias = nn.RNNBase | nn.RNNCellBase
KNOWN = (*RECURRENT, *CELLS)
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)  # each holds the module that it runs as `module`
COMPILED = {
    "OptimizedModule": "torch.compile rewrites it, and its hooks; watch the module that was compiled, and call that",
    "RecursiveScriptModule": "torch.jit.script has compiled it, and hooks see nothing inside; watch it before that",
    "TopLevelTracedModule": "torch.jit.trace has compiled it, and hooks see nothing inside; watch it before that",
}


def watchable(module: nn.Module) -> Recurrent:
    """The recurrent module itself: a DataParallel or DistributedDataParallel is looked into."""
    while isinstance(module, WRAPPERS):
        module = module.module
    kind = type(module).__name__
    if kind in COMPILED:
        raise TypeError(f"`module` cannot be watched: {COMPILED[kind]}")
    if isinstance(module, (*RECURRENT, *CELLS)):
        return module
    inside = [name for name, part in module.named_modules() if isinstance(part, KNOWN)]
    if inside:
        raise TypeError(
            f"`module` should be one recurrent layer; {kind} holds {', '.join(inside)}: watch(model.{inside[0]})"
        )
    raise TypeError(f"`module` should be a torch.nn.LSTM, GRU or RNN, or a cell of these; got {kind}")


def cell_of(module: Recurrent) -> str:
    """ "lstm", "gru" or "rnn"."""
    kinds = {"lstm": (nn.LSTM, nn.LSTMCell), "gru": (nn.GRU, nn.GRUCell), "rnn": (nn.RNN, nn.RNNCell)}
    return next(cell for cell, classes in kinds.items() if isinstance(module, classes))


def options_of(module: Recurrent) -> Plain:
    """The options of the lstmcore layer. Raises ValueError for what lstmcore lacks."""
    theirs: Plain = {"proj_size": getattr(module, "proj_size", 0)}
    theirs |= {"nonlinearity": module.nonlinearity} if isinstance(module, nn.RNN | nn.RNNCell) else {}
    return refuse(cell_of(module), theirs) | ({} if module.bias else {"bias": False})


def weight_names(module: Recurrent) -> list[str]:
    """The weights that `forward` reads, as attributes."""
    if isinstance(module, nn.RNNBase):
        return [name for names in module._all_weights for name in names]
    return ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if module.bias else [])]


def is_computed(module: Recurrent, name: str) -> bool:
    """Whether parametrizations compute the weight anew each time that it is read."""
    return parametrize.is_parametrized(module, name)
