"""Mistakes with dropout around the layers and between them: masks that are not those of the way there.

A mask holds what its values were multiplied with, zero or 1 / (1 - p). On the inputs it acts twice, on x and on dx; on
the outputs dy alone feels it, since dy is given. Between layers it acts both ways.
"""

import re

from lstmcore.debug.mistakes.mistake import (
    AROUND,
    BETWEEN,
    DROPPED_DX,
    DROPPED_DY,
    DROPPED_X,
    GIVEN,
    Edit,
    Mistake,
)

WRONG = {  # in place of `m`, the mask
    "is not applied": "np.ones_like(m)",
    "has lost its scale 1 / (1 - p)": "(m != 0)",
    "is scaled twice": "m * m",
    "multiplies by 1 - p where it should divide": "(m != 0) / np.max(m, initial=1)",
    "is inverted (drops what was kept)": "(np.max(m, initial=1) - m)",
}
WRONG_STEP = {
    "is read in the order of the loop back": "m[::-1]",
    "is that of the step after": "later(m, -1)",
    "is that of the step before": "later(m)",
    "is that of step 0, at every step": "m[:1]",
    "is reshaped, not transposed, from batch first": "batch_first_reshaped(m)",
}
OF_ANOTHER = {
    "is that of the layer below": "self.scales[max(self.at - 1, 0)]",
    "is that of the layer above": "self.scales[min(self.at + 1, len(self.scales) - 1)]",
    "is the one drawn last, in every layer": "self.scales[-1]",
    "is taken from the list of masks in the wrong order": "self.scales[::-1][self.at]",
}
THERE, BACK = "times(y, self.scale)", "times(dy, self.scale)"


def _between(line: str, wrong: str) -> tuple[str, str, str]:
    return BETWEEN, line, line.replace("self.scale", re.sub(r"\bm\b", "self.scale", wrong))


def _edit(line: str, wrong: str, which: str) -> tuple[str, str, str]:
    """The right line, and the same with a wrong mask, named m."""
    given = f'case.dropout.get("{which}")'
    return AROUND, line, f'    m = case.dropout["{which}"]\n{line.replace(given, wrong)}'


DROPOUT_MISTAKES = (
    *(Mistake(f"dropout of the outputs: on dy, the mask {how}", *_edit(DROPPED_DY, wrong, "y"),
              needs=("dropout y", *needs))
      for table, needs in ((WRONG, ()), (WRONG_STEP, ("outputs",))) for how, wrong in table.items()),
    *(Mistake(f"dropout of the inputs: on dx, the mask {how}", *_edit(DROPPED_DX, wrong, "x"), needs=("dropout x",))
      for table in (WRONG, WRONG_STEP) for how, wrong in table.items()),
    *(Mistake(f"dropout of the inputs: on x, the mask {how}", *_edit(DROPPED_X, wrong, "x"), needs=("dropout x",))
      for table in (WRONG, WRONG_STEP) for how, wrong in table.items()),
    *(Mistake(f"dropout of the inputs: on x and on dx, the mask {how}", *_edit(DROPPED_X, wrong, "x"),
              more=(Edit(*_edit(DROPPED_DX, wrong, "x")),), needs=("dropout x",))
      for table in (WRONG, WRONG_STEP) for how, wrong in table.items()),
    # The layers get both inputs, side by side; what was not dropped has weights of zero, so it only makes a gradient.
    Mistake("dropout of the inputs: dW_ih takes x before dropout", AROUND, DROPPED_X, f"    raw = case.x\n{DROPPED_X}",
            more=(Edit(AROUND, GIVEN, "    I, first = x.shape[2], input_weights(params)\n"
                       "    x = np.concatenate([x, raw], axis=2)\n"
                       "    params |= {n: np.concatenate([params[n], 0 * params[n]]) for n in first}\n"
                       f"{GIVEN}"),
                  Edit(AROUND, DROPPED_DX, '    I = case.x.shape[2]\n    grads = {**grads, "x": grads["x"][..., :I]}\n'
                       f"    grads |= {{n: grads[n][I:] for n in input_weights(grads)}}\n{DROPPED_DX}")),
            needs=("dropout x",)),
    *(mistake
      for table, needs in ((WRONG, ()), (WRONG_STEP, ()), (OF_ANOTHER, ("several masks",)))
      for how, wrong in table.items()
      for mistake in (
          Mistake(f"dropout between layers: on the way back, the mask {how}", *_between(BACK, wrong),
                  needs=("dropout between", *needs)),
          Mistake(f"dropout between layers: forward and backward, the mask {how}", *_between(THERE, wrong),
                  more=(Edit(*_between(BACK, wrong)),), needs=("dropout between", *needs)))),
)  # fmt: skip


def drawn_anew() -> Mistake:
    """The mask on dx is another one: it is read off dx itself, which is zero where it dropped."""
    wrong = '(case.grads["x"] != 0) * np.max(m, initial=0)'
    return Mistake("dropout of the inputs: on dx, the mask is drawn anew", *_edit(DROPPED_DX, wrong, "x"))
