"""Ranks that are threads, and what they train: they exchange through a stand-in for a communicator of mpi4py."""

import threading

import numpy as np

import lstmcore as lc
from lstmcore.train import Ranks

T, B, I, V = 6, 13, 3, 4  # 13 rows: shares of one and two


class Exchange:
    """What ranks that are threads have in common."""

    def __init__(self, size):
        self.size, self.barrier, self.places = size, threading.Barrier(size, timeout=60), [None] * size


class Comm:
    """The part of mpi4py's communicators that `Ranks` uses."""

    def __init__(self, exchange, rank):
        self.exchange, self.rank, self.size = exchange, rank, exchange.size

    def allgather(self, value):
        self.exchange.places[self.rank] = value
        self.exchange.barrier.wait()
        everything = list(self.exchange.places)
        self.exchange.barrier.wait()
        return everything

    def Sendrecv(self, mine, dest, recvbuf, source):
        recvbuf[...] = self.allgather(mine.copy())[source]

    def Allreduce(self, _, part, op):
        part[...] = sum(self.allgather(part.copy()))

    def bcast(self, value):
        return self.allgather(value)[0]

    def Abort(self, code):
        self.exchange.barrier.abort()


def on_ranks(size, do, failing=False, exact=True, **options):
    """do(ranks) on each rank; what each gives, or, where that is wanted, raises."""
    exchange, results = Exchange(size), [None] * size

    def run(rank):
        try:
            results[rank] = do(Ranks(Comm(exchange, rank), exact, **options))
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, Exception) and not failing:
            raise result
    return results


def data(per_step, seed=0, rows=40):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0 if not per_step else 1, T + 1, rows)
    mask = np.arange(T)[:, None] < lengths
    x = rng.standard_normal((T, rows, I)).astype("float32")
    targets = rng.integers(0, V, (T, rows) if per_step else rows)
    return lc.Batches(x, targets, mask, batch_size=B, seed=seed)


def model_of(per_step, dropout=0.4):
    return lc.Stack([lc.LSTM(I, 5, seed=0, return_sequences=per_step), lc.Dropout(dropout), lc.Linear(5, V, seed=1)])
