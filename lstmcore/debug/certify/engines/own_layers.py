"""lstmcore itself: "lstmcore", "lstmcore:reference", "lstmcore:fused-cpu", "lstmcore:fused-cpu-bf16".

The last one runs in float32, and is judged by the tolerances of bfloat16, to which it rounds the factors of products.
"""

from functools import partial

from lstmcore import __version__
from lstmcore.debug.certify.engines import Run
from lstmcore.debug.certify.own import answer, layer_of
from lstmcore.debug.certify.pack import Golden
from lstmcore.debug.certify.verdict import Refused
from lstmcore.ops.recurrence import ENGINES


def engine(kind: str, dtype: str, which: str | None = None) -> tuple[str, Run]:
    if which not in (None, *ENGINES):
        raise ValueError(f"an engine of lstmcore is one of {', '.join(ENGINES)}; got {which!r}")
    if which == "fused-cpu-bf16":
        if dtype != "bfloat16":
            raise ValueError(f"{which} rounds factors to bfloat16, and is judged by that; got the dtype {dtype}")
        dtype = "float32"
    return __version__, partial(_run, dtype, which)


def _run(dtype: str, which: str | None, case: Golden) -> dict[str, object]:
    try:
        model = layer_of(case, dtype, which)
    except ValueError as error:  # this engine has no such cell
        raise Refused(str(error)) from None
    return dict(answer(case, model, dtype))
