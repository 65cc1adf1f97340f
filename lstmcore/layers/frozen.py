"""A model whose weights can no longer change: engines need not look at them anew in every call."""

from typing import TypeVar

from lstmcore.layers.layer import Layer, own_params
from lstmcore.layers.params import Params
from lstmcore.shapes import check_layer

Model = TypeVar("Model", bound=Layer)


def freeze(model: Model) -> Model:
    """A twin of the model for use, with its own copy of the parameters as they are now, which can no longer change.

    `predict` and `step` give the same bits, sooner: "fused-cpu" puts the weights into the order of its products once,
    not in every call. That pays most where rows and steps are few. An assignment to a parameter raises TypeError, a
    write to its array ValueError, `setflags(write=True)` too; training goes on with the model itself. Raises TypeError
    for arrays on a GPU, and for what is no layer.
    """
    check_layer("model", model, "rebuilt", "lc.freeze(model)")
    parts = {name: freeze(part) for name, part in model.parts.items()}
    twin = model.rebuilt(parts)
    of_parts = {f"{name}.{key}": a for name, part in parts.items() for key, a in part.params.items()}
    twin.params = Params({**own_params(model), **of_parts}, frozen=True)
    return twin
