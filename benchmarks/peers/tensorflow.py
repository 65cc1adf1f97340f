"""TensorFlow: keras.layers.LSTM under tf.function, batch-first, as Keras has it.

The variant "xla" is compiled by XLA: quicker on some shapes, slower on others.
"""

import numpy as np
import tensorflow as tf

from benchmarks.peers import Job
from benchmarks.problem import CLASSES, Batch, Problem, Recipe


class Peer:
    modes = ("forward", "full", "train")

    def __init__(self, threads: int, variant: str):
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        self.version, self.xla = tf.__version__, variant == "xla"

    def forward(self, problem: Problem) -> Job:
        lstm, (x, _, mask) = _lstm(problem), place(problem.batch)
        run = tf.function(lambda x: lstm(x, mask=mask), jit_compile=self.xla)

        def results(outcome):
            y, h, c = (value.numpy() for value in outcome)
            return {"y": y.transpose(1, 0, 2), "h": h, "c": c}

        return Job(lambda: run(x), results)

    def full(self, problem: Problem) -> Job:
        lstm, (x, _, mask) = _lstm(problem), place(problem.batch)
        dy = tf.constant(problem.dy.transpose(1, 0, 2))

        @tf.function(jit_compile=self.xla)
        def run(x, dy):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y, _, _ = lstm(x, mask=mask)
            return y, tape.gradient(y, [x, *lstm.trainable_variables], dy)

        def results(outcome):
            y, grads = outcome
            dx, *dparams = (g.numpy() for g in grads)
            values = {"y": y.numpy().transpose(1, 0, 2), "dx": dx.transpose(1, 0, 2)}
            return values | dict(zip(("dW_ih", "dW_hh", "db"), dparams))

        return Job(lambda: run(x, dy), results)

    def trainer(self, problem: Problem, recipe: Recipe) -> "Trainer":
        return Trainer(problem, recipe, self.xla)


class Trainer:
    def __init__(self, problem: Problem, recipe: Recipe, xla: bool):
        self.lstm, self.recipe = _lstm(problem), recipe
        self.head = tf.keras.layers.Dense(CLASSES, dtype=str(problem.dy.dtype))
        self.head.build((None, len(problem.head["W"])))
        self.head.set_weights([problem.head["W"], problem.head["b"]])
        self.variables = [*self.lstm.trainable_variables, *self.head.trainable_variables]
        self.m = [tf.Variable(tf.zeros_like(w)) for w in self.variables]
        self.v = [tf.Variable(tf.zeros_like(w)) for w in self.variables]
        self.t = tf.Variable(0, dtype=tf.int64)
        self.step = tf.function(self._step, jit_compile=xla)

    def place(self, batch: Batch) -> tuple:
        return place(batch)

    def update(self, batch: tuple) -> float:
        return float(self.step(*batch))

    def weights(self) -> dict[str, np.ndarray]:
        names = ("W_ih", "W_hh", "b", "head.W", "head.b")
        return {name: w.numpy() for name, w in zip(names, self.variables, strict=True)}

    def _step(self, x, targets, mask):
        r = self.recipe
        with tf.GradientTape() as tape:
            _, h, _ = self.lstm(x, mask=mask)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, self.head(h)))
        grads = tape.gradient(loss, self.variables)
        if r.clip is not None:
            grads, _ = tf.clip_by_global_norm(grads, r.clip)
        # Keras's own Adam adds eps to the root before the correction; the others add it after, and so does this.
        t = tf.cast(self.t.assign_add(1), x.dtype)
        root = tf.sqrt(1 - r.beta2**t)
        rate = r.lr * root / (1 - r.beta1**t)
        for w, m, v, g in zip(self.variables, self.m, self.v, grads):
            m.assign(r.beta1 * m + (1 - r.beta1) * g)
            v.assign(r.beta2 * v + (1 - r.beta2) * g * g)
            w.assign_sub(rate * m / (tf.sqrt(v) + root * r.eps))
        return loss


def place(batch: Batch) -> tuple:
    mask = batch.mask()
    x = tf.constant(np.ascontiguousarray(batch.x.transpose(1, 0, 2)))  # (B, T, I)
    return x, tf.constant(batch.targets), None if mask is None else tf.constant(mask.T)


def _lstm(problem: Problem) -> tf.keras.layers.LSTM:
    p = problem.params
    lstm = tf.keras.layers.LSTM(
        len(p["W_hh"]),
        return_sequences=True,
        return_state=True,
        zero_output_for_mask=True,
        dtype=str(problem.dy.dtype),
    )
    lstm.build((None, None, len(p["W_ih"])))
    lstm.set_weights([p["W_ih"], p["W_hh"], p["b"]])  # blocks i f c o: lstmcore's i f g o
    return lstm
