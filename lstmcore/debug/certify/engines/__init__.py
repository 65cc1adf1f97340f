"""The engines that can be certified: a file for each, with a function `engine(*words)` that makes what runs a case.

An engine is a function: case -> results, by the names of the pack (docs/pack.md), as many as it has. What it cannot do
it says by `Refused`. `lstmcore certify NAME:WORD` hands it the words after the colon, as in keras:torch:unroll.
"""

import importlib
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from lstmcore.debug.certify import program
from lstmcore.debug.certify.pack import Golden
from lstmcore.interop.host import HALVES

Theirs: TypeAlias = Any  # a tensor, layer or model of a peer
Run: TypeAlias = Callable[[Golden], Mapping[str, object]]
ENGINES = {  # name -> its file, and the dtype in which it is asked unless one is told
    "lstmcore": ("own_layers", "float64"),
    "lstmcore:fused-cpu-bf16": ("own_layers", "bfloat16"),
    "torch": ("torch_layers", "float64"),
    "keras": ("keras_layers", "float32"),
    "flax": ("flax_layers", "float64"),
    "equinox": ("equinox_cells", "float64"),
    "onnxruntime": ("onnx_files", "float32"),
    "onnx-reference": ("onnx_files", "float32"),
    "openvino": ("onnx_files", "float32"),
    "tract": ("onnx_files", "float32"),
    "paddle": ("paddle_layers", "float64"),
    "haiku": ("haiku_cells", "float64"),
    "mlx": ("mlx_layers", "float32"),
    "mxnet": ("mxnet_layers", "float32"),
    "tinygrad": ("tinygrad_cells", "float32"),
}

WORDS = ("lstmcore", "keras", "flax", "onnxruntime", "onnx-reference", "openvino")  # that take words behind their name


HALF = (
    "torch",
    "flax",
    "equinox",
    "haiku",
    "mlx",
    "lstmcore:fused-cpu-bf16",
)  # those that can be asked for float16 and bfloat16


class Engine(NamedTuple):
    """What is certified."""

    name: str
    version: str
    dtype: str  # that it is asked to compute in; "" where that is its own business
    run: Run


def engine(name: str, dtype: str = "") -> Engine:
    """The engine of a name: one of ENGINES, "program:COMMAND", or "module:function" of one's own.

    dtype: what one of ENGINES is asked to compute in; others are judged by the dtype of what they give. Raises
    ImportError where it is not installed, ValueError for a name that is none.
    """
    kind, _, rest = name.partition(":")
    if dtype and rest and kind not in ENGINES:
        raise ValueError(f"a dtype can be asked of {', '.join(ENGINES)}; {name} is judged by that of its results")
    if kind == "program":
        words = program.split(rest)
        if not words or shutil.which(words[0]) is None:
            raise ValueError(
                f"the program {rest!r} cannot be run; wanted is program:COMMAND, and a file that may be run"
            )
        return Engine(name, "", "", partial(program.run, rest))
    if kind in ENGINES:
        file, usual = ENGINES.get(name, ENGINES[kind])
        words = [word for word in rest.split(":") if word]
        if words and kind not in WORDS:
            raise ValueError(f"{kind} takes no more words; got {name!r}")
        if dtype in HALVES and kind not in HALF and name not in HALF:
            raise ValueError(f"{kind} is not asked for {dtype} here; {', '.join(HALF)} are")
        version, run = importlib.import_module(f"{__name__}.{file}").engine(kind, dtype or usual, *words)
        return Engine(name, version, dtype or usual, run)
    if not rest:
        raise ValueError(
            f"the engine should be one of {', '.join(ENGINES)}, program:COMMAND or module:function; got {name!r}"
        )
    if "/" in kind or kind.endswith(".py"):
        raise ValueError(f"the module should be named as `import` names it, mine:lstm for mine.py; got {name!r}")
    module = importlib.import_module(kind)
    if not callable(getattr(module, rest, None)):
        raise ValueError(f"{kind} has no function {rest!r}")
    return Engine(name, str(getattr(module, "__version__", "")), "", getattr(module, rest))
