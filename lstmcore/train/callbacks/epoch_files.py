"""The history of a run in files that grow while it goes on: a row per epoch, as JSON lines and as CSV."""

import csv
import io
import json
import math
import os
from pathlib import Path

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.train.callbacks.callback import Callback
from lstmcore.train.callbacks.watchers import Tell, warn
from lstmcore.train.files.atomic import remove_left_overs, write_atomically
from lstmcore.train.run import Run

FILES = ("epochs.jsonl", "epochs.csv")


class Records(Callback):
    """Writes epochs.jsonl and epochs.csv into a folder, a row when an epoch ends.

    At the start the files are written anew from the history, so that no epoch stands in them twice after a run has gone
    on from a checkpoint. A number that is not finite is null in JSON, which has none, and nan or inf in CSV. Trouble
    with the files later on is told, once, and does not end the training.
    """

    folder: Path
    tell: Tell
    writes = True

    def __init__(self, folder: str | os.PathLike[str], tell: Tell = warn):
        self.folder, self.tell = Path(folder), tell
        self._told = False

    def on_start(self, run: Run) -> None:
        """Raises OSError where the files cannot be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_left_overs(self.folder)
        judged = ["validation", *run.metrics] if run.validation is not None else []
        header = ["epoch", "step", "loss", *judged, "lr", "seconds"]
        self._columns = header
        rows = [self._lines(row) for row in run.history]
        for path, first, part in zip(self._paths(), ("", ",".join(header) + "\n"), (0, 1)):
            write_atomically(path, (first + "".join(row[part] for row in rows)).encode())

    def on_epoch(self, run: Run) -> None:
        for path, line in zip(self._paths(), self._lines(run.history[-1])):
            try:
                with path.open("a", encoding="utf-8", newline="") as file:
                    file.write(line)
            except OSError as error:
                if not self._told:
                    self.tell(f"{error}; the training goes on, {path.name} does not")
                self._told = True

    def _paths(self) -> list[Path]:
        return [self.folder / name for name in FILES]

    def _lines(self, row: Plain) -> tuple[str, str]:
        """A row of the history as a line of JSON, and one of CSV."""
        row = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
        plain = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(row.get(name) for name in self._columns)
        return json.dumps(plain, default=str) + "\n", line.getvalue()
