"""What peers over JAX share: a layer is compiled once, not for every case, and by the shortest way there is.

A case is milliseconds of arithmetic, and was seconds of tracing, linearizing and compiling while its weights were part
of the function.
"""

import functools
from types import ModuleType

from lstmcore.debug.certify.engines import Theirs

QUICK = {  # of XLA: what makes slow programs soon
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}


def compiled(jax: ModuleType, layer: Theirs) -> Theirs:
    """A pure function of arrays, weights among them, compiled once for each shape; and its derivative, JAX's own."""
    how = {"compiler_options": QUICK if _takes(jax) else None}
    ahead = jax.jit(lambda *given: jax.vjp(layer, *given), **how)
    back = jax.jit(lambda vjp, upstream: vjp(upstream), **how)
    call = jax.custom_vjp(lambda *given: ahead(*given)[0])
    call.defvjp(ahead, back)
    return call


@functools.cache
def _takes(jax: ModuleType) -> bool:
    """Whether this XLA knows these words."""
    try:
        jax.jit(lambda: 0, compiler_options=QUICK)()
    except Exception:  # whose kind is another in every version
        return False
    return True
