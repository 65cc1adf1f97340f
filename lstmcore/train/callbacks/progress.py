"""A line that shows how far a training run is. rich is loaded only when there is something to show."""

import sys

from lstmcore.train.callbacks.callback import Callback
from lstmcore.train.run import Run


class Progress(Callback):
    """A bar on stderr with the epoch, the losses, the rate and the time left; at the end a sentence, how it ended."""

    writes = True

    @staticmethod
    def wanted(progress: bool | None) -> bool:
        """None means: if somebody is looking. In a pipe or a file there is silence."""
        return sys.stderr.isatty() if progress is None else progress

    def on_start(self, run: Run) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        self.bar = Bar(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console, transient=True)
        total = None if run.batches_per_epoch is None else run.epochs * run.batches_per_epoch
        self.task = self.bar.add_task("", total=total, completed=run.step)
        self.bar.start()

    def on_batch(self, run: Run) -> None:
        last = "".join(f", {words}" for words in _last(run)[1:])
        self.bar.update(
            self.task,
            completed=run.step,
            description=f"epoch {run.epoch + 1}/{run.epochs}  loss {run.loss_sum / run.items:.4g}{last}",
        )

    def on_end(self, run: Run) -> None:
        self.bar.stop()
        self.console.print(
            ", ".join([f"{run.ended}: {run.step} updates", *_last(run)]), highlight=False, soft_wrap=True
        )


def _last(run: Run) -> list[str]:
    """The losses and metrics of the last epoch, in words."""
    row = run.history[-1] if run.history else {}
    return [f"{name} {row[name]:.4g}" for name in ("loss", "validation", *run.metrics) if name in row]
