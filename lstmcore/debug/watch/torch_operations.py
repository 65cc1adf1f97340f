"""What torch runs inside a call: in which formats it computes, and which factors dropout draws."""

from collections.abc import Sequence

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lstmcore.debug.watch.seen import PRECISIONS

aten = torch.ops.aten


class Operations(TorchDispatchMode):
    """Looks at every operation below autograd, and changes none."""

    def __init__(self) -> None:
        super().__init__()
        self.formats: set[str] = set()
        self.factors: list[torch.Tensor] = []  # 0 or 1 / (1 - p), in the order of the layers

    def __torch_dispatch__(
        self, operation: object, types: object, args: Sequence[object] = (), kwargs: dict[str, object] | None = None
    ) -> object:
        result = operation(*args, **(kwargs or {}))  # type: ignore[operator]  # torch types it as a class
        outputs = [out for out in tree_leaves(result) if isinstance(out, torch.Tensor)]
        self.formats.update(str(out.dtype).removeprefix("torch.") for out in outputs if out.is_floating_point())
        if operation is aten.bernoulli_.float:
            self.factors.append(outputs[0])  # which torch then divides by 1 - p, in its place
        if operation is aten.native_dropout.default:
            p = args[1]
            assert isinstance(p, float)
            self.factors.append(outputs[1].double() / (1 - p))
        return result

    @property
    def precision(self) -> str:
        """The coarsest format that a result had."""
        return max(self.formats & PRECISIONS.keys(), key=lambda name: PRECISIONS[name].eps)
