"""Which mistake of the posted code is the accuracy wall? Five small networks on made-up loops, each trained alike.

    python -m benchmarks.wall

Test errors (masked squared error, grouped split) for docs/questions/breaking-through-the-wall.md, section 0.
"""

from dataclasses import replace

import lstmcore as lc
from lstmcore.recipes import loops as recipe
from lstmcore.recipes.loops import floors, generator, models, scores

NETWORKS = {
    "as posted: last output, no bias": ("last-output", False),
    "bias added": ("last-output", True),
    "both directions' last states": ("last-state", False),
    "both directions' last states, bias added": ("last-state", True),
    "a head per residue": ("per-step", True),
}


def main(n: int = 1200, epochs: int = 10) -> dict[str, float]:
    """Trains and prints; {name: test error}."""
    loops = generator.generate(n)
    options = replace(models.MODELS["q3"], widths=(32, 16), dropout=0.0, batch=50, epochs=epochs, lr=0.01, falling=True)
    options = replace(options, engine="reference")  # small enough, and nothing to compile
    parts = recipe.prepare(loops, options).parts
    guesses = floors.floors(parts.learnt, parts.tested)
    errors = {
        name: scores.score(guesses[name], parts.tested.targets).mse for name in ("constant mean", "mean per residue")
    }
    for name, (head, bias) in NETWORKS.items():
        parts, training = recipe.prepare(loops, replace(options, head=head))
        *body, dense, tanh = training.model.layers
        if bias and not dense.bias:
            with_bias = lc.Linear(dense.input_size, dense.output_size)
            with_bias.params["W"] = dense.params["W"]
            training = replace(training, model=lc.Stack([*body, with_bias, tanh]))
        training.fit([], None, False)
        told = recipe.answers(training.model, parts.tested.index, len(loops.alphabet))
        errors[name] = scores.score(told, parts.tested.targets).mse
    for name, error in errors.items():
        print(f"{error:.3f}  {name}")
    return {name: float(error) for name, error in errors.items()}


if __name__ == "__main__":
    main()
