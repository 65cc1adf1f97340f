"""Which mistake of the posted code is the accuracy wall? Small networks, each trained alike, and what costs nothing.

    python -m benchmarks.wall

Test errors (masked squared error) for docs/questions/breaking-through-the-wall.md: on made-up loops and on the loops of
docs/questions/antibodies.npz, split by sequence; and on the latter at random, so that sequences stand on both sides.
"""

from dataclasses import replace
from pathlib import Path

import lstmcore as lc
from lstmcore.recipes import loops as recipe
from lstmcore.recipes.loops import Loops, floors, generator, models, npz, scores, split

ANTIBODIES = Path(__file__).parents[1] / "docs" / "questions" / "antibodies.npz"
NETWORKS = {
    "as posted: last output, no bias": ("last-output", False),
    "bias added": ("last-output", True),
    "both directions' last states": ("last-state", False),
    "both directions' last states, bias added": ("last-state", True),
    "a head per residue": ("per-step", True),
}
REAL = ("as posted: last output, no bias", "both directions' last states", "a head per residue")


def errors(loops: Loops, names: tuple[str, ...], epochs: int, dropout: float, kind: str) -> dict[str, float]:
    """{what: test error} of the floors and of the networks of these names, and the share of test loops that leak."""
    options = replace(models.MODELS["q3"], widths=(32, 16), batch=50, lr=0.01, falling=True)
    options = replace(options, dropout=dropout, epochs=epochs, split=kind)
    options = replace(options, engine="reference")  # small enough, and nothing to compile
    parts = recipe.prepare(loops, options).parts
    guesses = floors.floors(parts.learnt, parts.tested)
    found = {name: scores.score(guess, parts.tested.targets).mse for name, guess in guesses.items()}
    for name in names:
        head, bias = NETWORKS[name]
        parts, training = recipe.prepare(loops, replace(options, head=head))
        *body, dense, tanh = training.model.layers
        if bias and not dense.bias:
            with_bias = lc.Linear(dense.input_size, dense.output_size)
            with_bias.params["W"] = dense.params["W"]
            training = replace(training, model=lc.Stack([*body, with_bias, tanh]))
        training.fit([], None, False)
        told = recipe.answers(training.model, parts.tested.index, len(loops.alphabet))
        found[name] = scores.score(told, parts.tested.targets).mse
    return {**found, "test loops whose sequence is learnt from": split.leaked(parts) / len(parts.tested)}


def main(n: int | None = None, epochs: tuple[int, int] = (10, 15)) -> dict[str, dict[str, float]]:
    """Trains and prints; {loops: {what: test error}}. n: of how many loops each; None for 1,200 made up and all real.
    epochs: for the made-up ones, and for the real ones, which are fewer and want dropout."""
    antibodies = npz.read(ANTIBODIES)
    if n is not None:
        antibodies = antibodies.take(slice(n))
    columns = {
        "made up": errors(generator.generate(n or 1200), tuple(NETWORKS), epochs[0], 0.0, "grouped"),
        "antibodies": errors(antibodies, REAL, epochs[1], 0.3, "grouped"),
        "antibodies, split at random": errors(antibodies, REAL[-1:], epochs[1], 0.3, "random"),
    }
    print("  ".join(columns))
    for name in columns["made up"]:
        told = (f"{column[name]:.3f}" if name in column else "" for column in columns.values())
        print("".join(f"{text:<{len(head) + 2}}" for text, head in zip(told, columns)) + name)
    return columns


if __name__ == "__main__":
    main()
