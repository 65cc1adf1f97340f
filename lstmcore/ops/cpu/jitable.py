"""Functions that kernels call, under names that tell them apart.

Machine code that was compiled in two processes may meet in a third, and the linker knows functions by name alone: of
two functions with one name it keeps the first. Numba's names hold the function's qualified name, the types of its
arguments and a number that starts again in every process. A function made by a factory, such as the product tile of
float32, has the same name as its sibling of float64. So whatever differs between siblings goes into the name.
"""

from collections.abc import Callable

from numba.extending import register_jitable


def jitable(*identity: object, inlined: bool = False) -> Callable[[Callable], Callable]:
    """Decorator: `function` may be called from kernels; `identity` is all that distinguishes it from its siblings.

    inlined: its machine code is put where it is called, and fitted to arguments that are constants there.
    """

    def register(function: Callable) -> Callable:
        function.__qualname__ = "_".join([function.__qualname__, *map(str, identity)])
        return register_jitable(forceinline=inlined)(function)

    return register
