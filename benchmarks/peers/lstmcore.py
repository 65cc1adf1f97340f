"""lstmcore itself, on one of its engines (the variant); "fused-cpu-frozen" is that engine on a frozen model."""

import numpy as np

import lstmcore as lc
from benchmarks.peers import Job
from benchmarks.problem import CLASSES, Batch, Piece, Problem, Recipe, Text


class Peer:
    modes = ("forward", "full", "train")

    def __init__(self, threads: int, variant: str):
        self.engine, self.frozen = variant.removesuffix("-frozen"), variant.endswith("-frozen")
        if self.frozen:
            self.modes = ("forward",)
        elif self.engine.endswith("bf16"):
            self.modes = ("forward", "full")
        # its threads follow OMP_NUM_THREADS and NUMBA_NUM_THREADS, which worker.py sets
        self.version = lc.__version__
        lc.LSTM(1, 1, engine=self.engine)  # an engine that is not there complains now

    def forward(self, problem: Problem) -> Job:
        lstm, x, mask = self._lstm(problem), problem.batch.x, problem.batch.mask()
        lstm = lc.freeze(lstm) if self.frozen else lstm

        def results(outcome):
            y, (h, c) = outcome
            return {"y": y, "h": h, "c": c}

        return Job(lambda: lstm.predict(x, mask=mask), results)

    def full(self, problem: Problem) -> Job:
        lstm, x, mask = self._lstm(problem), problem.batch.x, problem.batch.mask()
        cache = None

        def call():
            nonlocal cache
            y, _, cache = lstm.forward(x, mask=mask, reuse=cache)  # buffers handed back, as `fit` does
            dx, _, grads = lstm.backward(problem.dy, cache)
            return y, dx, grads

        def results(outcome):
            y, dx, grads = outcome
            return {"y": y, "dx": dx} | {f"d{name}": value for name, value in grads.items()}

        return Job(call, results)

    def trainer(self, problem: Problem, recipe: Recipe) -> "Trainer":
        return Trainer(self._lstm(problem, return_sequences=False), problem, recipe)

    def writer(self, text: Text) -> "Writer":
        return Writer(text, self.engine)

    def _lstm(self, problem: Problem, **options) -> lc.LSTM:
        I, H = problem.params["W_ih"].shape[0], problem.params["W_hh"].shape[0]
        lstm = lc.LSTM(I, H, dtype=problem.dy.dtype, engine=self.engine, **options)
        for name, value in problem.params.items():
            lstm.params[name] = value
        return lstm


class Trainer:
    def __init__(self, lstm, problem: Problem, recipe: Recipe):
        head = lc.Linear(lstm.hidden_size, CLASSES, dtype=problem.dy.dtype)
        for name, value in problem.head.items():
            head.params[name] = value
        self.model, self.cache, self.clip = lc.Stack([lstm, head]), None, recipe.clip
        self.adam = lc.Adam(recipe.lr, recipe.beta1, recipe.beta2, recipe.eps)
        self.step = lc.RecordedStep(self.model, lc.softmax_cross_entropy, self.adam, recipe.clip)

    def place(self, batch: Batch) -> tuple:
        return batch.x, batch.targets, batch.mask()

    def update(self, batch: tuple) -> float:
        x, targets, mask = batch
        if self.step is not None:
            try:
                return float(self.step(x, targets, mask))
            except RuntimeError:  # a mask, another engine, or units that threads share: nothing was changed
                self.step = None
        logits, _, self.cache = self.model.forward(x, mask=mask, reuse=self.cache)
        loss, dlogits = lc.softmax_cross_entropy(logits, targets)
        _, _, grads = self.model.backward(dlogits, lc.train.without_dx(self.model, self.cache))
        if self.clip is not None:
            lc.clip_by_global_norm(grads, self.clip)
        self.adam.step(self.model.params, grads)
        return float(loss)

    def weights(self) -> dict[str, np.ndarray]:
        names = {name: name.replace("0.", "").replace("1.", "head.") for name in self.model.params}
        return {names[name]: value.copy() for name, value in self.model.params.items()}


class Writer:
    def __init__(self, text: Text, engine: str):
        self.model, self.cache, self.state = character_model(text.params, text.dropout, engine), None, None
        self.adamw = lc.AdamW(beta2=text.beta2, weight_decay=text.weight_decay)
        self.rates, self.clip, self.rng = iter(text.rates), text.clip, np.random.default_rng(text.seed)

    def place(self, piece: Piece) -> Piece:
        return piece

    def update(self, piece: Piece) -> float:
        self.adamw.lr = float(next(self.rates))
        state = None if piece.first else self.state
        logits, self.state, self.cache = self.model.forward(piece.x, state, rng=self.rng, reuse=self.cache)
        loss, dlogits = lc.softmax_cross_entropy(logits, piece.targets)
        _, _, grads = self.model.backward(dlogits, self.cache)
        lc.clip_by_global_norm(grads, self.clip)
        self.adamw.step(self.model.params, grads)
        return float(loss)

    def weights(self) -> dict[str, np.ndarray]:
        return {name: value.copy() for name, value in self.model.params.items()}


def character_model(params: dict[str, np.ndarray], dropout: float = 0.0, engine: str | None = None) -> lc.Stack:
    """The model that the weights of a `Text` belong to."""
    (V, E), H, dtype = params["0.W"].shape, params["1.W_hh"].shape[0], params["1.b"].dtype
    embedding, lstm = lc.Embedding(V, E, dtype=dtype), lc.LSTM(E, H, dtype=dtype, engine=engine)
    model = lc.Stack([embedding, lstm, lc.Dropout(dropout), lc.Linear(H, V, dtype=dtype)])
    model.params.update(params)
    return model
