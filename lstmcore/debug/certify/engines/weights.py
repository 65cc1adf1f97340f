"""Weights of a case in a peer's layout, and its gradients back; what a peer has no word for is refused."""

from collections.abc import Mapping

import numpy as np

from lstmcore.debug.certify.pack import Golden
from lstmcore.debug.certify.verdict import Refused
from lstmcore.interop import Layout, from_lstmcore, to_lstmcore
from lstmcore.interop.host import HALVES


def theirs(case: Golden, place: str, layout: str | Layout) -> dict[str, np.ndarray]:
    """The weights of one layer and direction, as one layer of the layout."""
    return from_lstmcore(case.part("weights", place), layout, case.cell, options=_options(case))


def ours(case: Golden, place: str, layout: str | Layout, gradients: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The gradients of one layer of the layout, by the names of the pack."""
    wide = "float32" if any(str(g.dtype) in HALVES for g in gradients.values()) else None
    found = to_lstmcore(gradients, layout, case.cell, gradients=True, dtype=wide, options=_options(case))[1]
    return {f"dweights/{place}.{name}": found[name] for name in case.part("weights", place)}


def only(case: Golden, *options: str) -> None:
    """Refuses a case with other options of the cell than these."""
    for option in case.options:
        if option not in options:
            raise Refused(f"no {option}")


def on_host(dtype: str) -> str:
    """What NumPy holds the numbers of a dtype in: float32 holds every half."""
    return "float32" if dtype in HALVES else dtype


def states(case: Golden, group: str, dtype: str) -> list[np.ndarray]:
    """state0 or dstate of the whole: (places, B, width) each; zeros where the case gives none."""
    widths = {"h": case.width, "c": case.H}
    given = case.part(group)
    return [
        np.stack([given.get(f"{place}.{s}", np.zeros((case.B, widths[s]))) for place in case.places]).astype(dtype)
        for s in case.states
    ]


def dy(case: Golden, dtype: str) -> np.ndarray:
    """(T, B, .), zero at masked steps, where a loss reads nothing."""
    given = np.zeros_like(case.results["y"]) if case.dy is None else case.dy
    return (given if case.mask is None else np.where(case.mask[..., None], given, 0)).astype(dtype)


def _options(case: Golden) -> dict[str, object]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in case.options.items()}  # JSON has no tuples
