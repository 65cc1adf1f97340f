"""A catalogue of mistakes in backpropagation through time, each an edit of a correct line, and each executable.

A mistake names a module, the line as it should be and the line as it was written. Applying it to the source text gives
a mutant: an engine that any layer runs (`layer.to(engine=mutant(mistake))`), wrong in just that way. The gradient
checker is held to catching every one, and `diagnose` compares an unknown wrong gradient with them.
"""

from lstmcore.debug.mistakes.around_layers import (
    BOTH_MISTAKES,
    GIVEN_MISTAKES,
    HANDED_IN_ORDER,
    HANDED_OVER,
    READ_IN_ORDER,
)
from lstmcore.debug.mistakes.copied import COPIED
from lstmcore.debug.mistakes.dropout import DROPOUT_MISTAKES
from lstmcore.debug.mistakes.loop import (
    CLIPPED,
    CLIPS,
    LOOP_MISTAKES,
    MASK_MISTAKES,
    PRODUCT_MISTAKES,
    clipped,
    cut,
    truncated,
)
from lstmcore.debug.mistakes.mistake import ENGINE, GRU, LSTM, RNN, Edit, Mistake
from lstmcore.debug.mistakes.mutant import Mutant, is_ahead, mutant
from lstmcore.debug.mistakes.small import SMALL
from lstmcore.debug.mistakes.step import DERIVATIVES, GRU_AND_RNN, OTHER_CELLS, PARTNERS, PATHS
from lstmcore.debug.mistakes.variants import VARIANT_MISTAKES
from lstmcore.debug.mistakes.wild import WILD

MISTAKES = (
    *(*DERIVATIVES, *PARTNERS, *PATHS, *OTHER_CELLS, *GRU_AND_RNN),
    *(*LOOP_MISTAKES, *MASK_MISTAKES, *PRODUCT_MISTAKES, *CLIPS, *SMALL),
    *(*BOTH_MISTAKES, *GIVEN_MISTAKES, *HANDED_OVER, *READ_IN_ORDER, *HANDED_IN_ORDER),
    *DROPOUT_MISTAKES,
    *(*WILD, *COPIED),
)

__all__ = [
    "CLIPPED",
    "ENGINE",
    "GRU",
    "LSTM",
    "MISTAKES",
    "RNN",
    "VARIANT_MISTAKES",
    "Edit",
    "Mistake",
    "Mutant",
    "clipped",
    "cut",
    "is_ahead",
    "mutant",
    "truncated",
]
