"""Trains in child processes, kills them at random moments, goes on, and compares what comes of it: a program.

    python kill.py FOLDER KILLS SEED

Each child trains with everything that a run can remember: dropout, a carried state, shuffled data, noise, a plateau,
early stopping, watchers. It saves at every step, or at every few. It is killed after a random time, by SIGKILL, and the
next one goes on; once it has come to its end, the weights, the history and the files are compared with those of a run
that nothing has disturbed, and another training begins. The last line of the output is one JSON object.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np

import lstmcore as lc
from lstmcore.train import (
    Adam,
    Batches,
    Checkpoints,
    EarlyStopping,
    GradientNoise,
    Plateau,
    Records,
    Stream,
    fit,
    load,
    watchers,
)


def sentences(seed):
    return np.random.default_rng(seed).integers(0, 5, 241)


def carried():
    """One long text, its state carried on."""
    model = lc.Stack(
        [lc.Embedding(5, 4, seed=0), lc.GRU(4, 6, seed=1, engine="reference"), lc.Dropout(0.2), lc.Linear(6, 5, seed=2)]
    )
    text, other = sentences(0), sentences(1)
    return {
        "model": model,
        "loss": lc.softmax_cross_entropy,
        "batches": Stream(text[:-1], text[1:], batch_size=4, steps=6),
        "opt": Adam(0.02),
        "validation": Stream(other[:-1], other[1:], batch_size=4, steps=20),
        "carry_state": True,
    }


def shuffled():
    """Rows drawn at random, weighted, under a mask."""
    rng = np.random.default_rng(0)
    x, mask = rng.standard_normal((6, 60, 3)).astype("float32"), rng.random((6, 60)) < 0.8
    mask[0] = True
    targets = np.where(mask[..., None], x.cumsum(axis=0)[..., :2], -3.0).astype("float32")

    def parts(rows, seed):
        return Batches(x[:, rows], targets[:, rows], mask[:, rows], batch_size=5, seed=seed)

    model = lc.Stack(
        [
            lc.Bidirectional(lc.LSTM(3, 4, seed=0, engine="reference"), lc.LSTM(3, 4, seed=1, engine="reference")),
            lc.Dropout(0.2),
            lc.Linear(8, 2, seed=2),
        ]
    )
    return {
        "model": model,
        "loss": lc.squared_error,
        "batches": parts(slice(0, 50), 3),
        "opt": lc.AdamW(0.01, weight_decay=0.1),
        "validation": parts(slice(50, 60), 4),
        "clip": 1.0,
    }


def train(kind, folder, every):
    """The training of one child; also what it comes to."""

    def quiet(message):
        pass

    keep = Checkpoints(folder / "checkpoints", every_seconds=None, every_steps=every, about=kind.__name__, tell=quiet)
    callbacks = [
        GradientNoise(eta=1e-4, seed=5), *watchers(quiet), EarlyStopping(patience=3), Records(folder, quiet), keep,
    ]  # fmt: skip
    given = kind()
    schedule = Plateau(given["opt"].lr, patience=1, threshold=0.05)
    history = fit(
        **given, epochs=6, schedule=schedule, callbacks=callbacks, rng=np.random.default_rng(6), progress=False,
        resume=keep.last(),
    )  # fmt: skip
    return outcome(folder, given["model"], history)


def outcome(folder, model, history):
    """All that must be the same, as text: seconds differ."""
    best = load(folder / "checkpoints" / "best.safetensors", engine="reference")
    rows = [line.rsplit(",", 1)[0] for line in (folder / "epochs.csv").read_text().splitlines()]
    lines = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]
    return json.dumps(
        {
            "model": {name: w.tobytes().hex() for name, w in model.params.items()},
            "best": {name: w.tobytes().hex() for name, w in best.params.items()},
            "history": [{**row, "seconds": 0} for row in history["epochs"]],
            "lines": [{**line, "seconds": 0} for line in lines],
            "rows": rows,
            "ended": history["ended"],
        }
    )


def child(kind, folder, every, after):
    """Trains in a process of its own, killed after so many seconds (None: never). True if it was, False if done."""
    process = os.fork()
    if process == 0:
        try:
            (folder / "outcome.json").write_text(train(kind, folder, every))
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    if after is not None:
        time.sleep(after)
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status) != 0:
        sys.exit("a run could not go on after a kill")
    return False


def main(folder, kills, seed):
    rng = random.Random(seed)
    counts = {"kills": 0, "in_writing": 0, "trainings": 0}
    kinds, undisturbed, seconds = (carried, shuffled), {}, {}
    for kind in kinds:
        began = time.perf_counter()
        undisturbed[kind] = train(kind, folder / kind.__name__, 3)
        seconds[kind] = time.perf_counter() - began
    while counts["kills"] < kills:
        kind, every = kinds[counts["trainings"] % 2], rng.choice((1, 3, 7))
        place = folder / "killed"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        deaths = [rng.uniform(0, seconds[kind] / 3) for _ in range(min(10, kills // 2))]
        for after in [*deaths, None]:
            if not child(kind, place, every, after):
                break
            counts["kills"] += 1
            counts["in_writing"] += any(place.glob("**/*.part"))
        if (place / "outcome.json").read_text() != undisturbed[kind]:
            sys.exit(f"{kind.__name__}: after {counts['kills']} kills the outcome differs")
        counts["trainings"] += 1
    print(json.dumps(counts | {"ended": [json.loads(u)["ended"] for u in undisturbed.values()]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
