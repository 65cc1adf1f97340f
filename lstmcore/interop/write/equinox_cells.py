"""One LSTM or GRU as a cell of Equinox, which has cells and no layers over time."""

from typing import TYPE_CHECKING

import numpy as np

from lstmcore.interop.write.blocks import Run, blocks, time_major
from lstmcore.layers import Layer

if TYPE_CHECKING:
    import equinox


def to_equinox(model: Layer) -> "equinox.Module":
    """The layer as an equinox.nn.LSTMCell or GRUCell with these weights: cell(x (I,), (h, c)) -> (h, c), or h.

    Raises ValueError for what is no plain LSTM or GRU, ImportError where Equinox is not installed.
    """
    try:
        import equinox
        import jax
    except ImportError as error:
        raise ImportError(f"a cell of Equinox is made by Equinox: pip install equinox ({error})") from None
    found = blocks(time_major(model)[0], joined=False)
    run = found[0]
    if len(found) != 1 or not isinstance(run, Run) or run.bidirectional or run.reverse or run.cell == "rnn":
        raise ValueError(f"{model!r}: Equinox has LSTMCell and GRUCell; hand over such layers one by one")
    run.refuse("Equinox", ("bias",))
    arrays = run.weights("torch")
    dtype = arrays["weight_ih_l0"].dtype
    if dtype == "float64" and not jax.config.read("jax_enable_x64"):
        raise ValueError(
            'JAX would round float64 to float32: jax.config.update("jax_enable_x64", True) before, or '
            'hand over model.to(dtype="float32")'
        )
    kind = getattr(equinox.nn, f"{run.cell.upper()}Cell")
    cell = kind(run.input_size, run.hidden_size, use_bias=run.bias, dtype=dtype, key=jax.random.PRNGKey(0))
    values = {"weight_ih": arrays["weight_ih_l0"], "weight_hh": arrays["weight_hh_l0"]}
    if run.bias:
        values["bias"] = arrays["bias_ih_l0"]
    if run.bias and run.cell == "gru":  # bias_n stands where torch has the last block of its second bias
        values["bias_n"] = np.split(arrays["bias_hh_l0"], 3)[2]
    names = list(values)
    made: equinox.Module = equinox.tree_at(
        lambda held: [getattr(held, name) for name in names], cell, [jax.numpy.asarray(values[name]) for name in names]
    )
    return made
