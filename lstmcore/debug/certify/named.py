"""What `diagnose` calls the mistake in an engine's gradients."""

from collections.abc import Mapping

import numpy as np

from lstmcore.debug.certify.pack import Golden
from lstmcore.debug.diagnose import diagnose


def named(case: Golden, found: Mapping[str, object]) -> str:
    """The mistake that gives exactly these gradients; "" if none is known, or the case is more than a plain layer."""
    if case.options or case.layers > 1 or case.direction != "forward" or case.padding == "nan":
        return ""
    names = {"dx": "x", "dstate0/0.fw.h": "h0", "dstate0/0.fw.c": "c0"}
    names |= {f"dweights/0.fw.{name}": name for name in case.part("weights", "0.fw")}
    grads = {name: np.asarray(found[key]) for key, name in names.items() if key in found}
    zeros = np.zeros((case.B, case.H))
    given = [case.part(group, "0.fw") for group in ("state0", "dstate")]
    state, dstate = (tuple(part.get(s, zeros) for s in case.states) if part else None for part in given)
    try:
        answer = diagnose(
            case.part("weights", "0.fw"),
            case.x,
            np.zeros_like(case.results["y"]) if case.dy is None else case.dy,
            grads,
            state=state,
            dstate=dstate,
            mask=case.mask,
            cell=case.cell,
        )
    except ValueError:  # NaN, or what it does not judge
        return ""
    best = answer.alternatives[0] if answer.alternatives and answer.place is None else ()
    return " and ".join(mistake.name for mistake in best)
