"""The models that are written for other systems in tests: what people train."""

import numpy as np

import lstmcore as lc

LENGTHS, T, B = np.array([4, 6, 1]), 6, 3


def models():
    rng = np.random.default_rng(0)

    def lstm(i, h, **options):
        return lc.LSTM(i, h, seed=rng, **options)

    def tower():
        return lc.Stack([lstm(3, 4), lc.Dropout(0.2), lstm(4, 4)])

    made = {
        "one": lstm(3, 4),
        "two": lc.Stack([lstm(3, 4), lstm(4, 4)]),
        "both ways": lc.Bidirectional(*(lc.GRU(3, 4, seed=rng, return_sequences=False) for _ in range(2))),
        "text": lc.Stack(
            [
                lc.Embedding(9, 3, seed=rng),
                lstm(3, 4),
                lc.Dropout(0.1),
                lstm(4, 4),
                lc.Dropout(0.1),
                lc.Linear(4, 2, seed=rng),
                lc.Softmax(),
            ]
        ),
        "sum": lc.Stack(
            [
                lc.Bidirectional(lc.GRU(3, 4, seed=rng), lc.GRU(3, 4, seed=rng), merge="sum"),
                lc.RNN(4, 5, seed=rng, return_sequences=False),
                lc.Linear(5, 2, bias=False, seed=rng),
                lc.Tanh(),
            ]
        ),
        "towers": lc.Stack([lc.Bidirectional(tower(), tower()), lc.Last(), lc.Linear(8, 1, seed=rng), lc.ReLU()]),
    }
    for model in made.values():
        for key, b in model.params.items():
            b[...] += rng.standard_normal(b.shape) * key.endswith("b")
    return made


def given(model):
    """x (T, B, 3), or classes (T, B)."""
    rng = np.random.default_rng(1)
    first = getattr(model, "layers", [model])[0]
    if isinstance(first, lc.Embedding):
        return rng.integers(0, first.classes, (T, B))
    return rng.standard_normal((T, B, 3)).astype("float32")
