"""The numbers of a run for whatever keeps and draws them: TensorBoard, Weights & Biases, MLflow, or a function."""

from typing import Protocol

from lstmcore.arrays import Plain
from lstmcore.shapes import check_size
from lstmcore.train.callbacks.callback import Callback
from lstmcore.train.callbacks.watchers import Tell, warn
from lstmcore.train.run import Run


class Log(Protocol):
    """wandb's run.log, mlflow.log_metrics, or a function like them."""

    def __call__(self, metrics: dict[str, float], /, *, step: int) -> object: ...


class Writer(Protocol):
    """TensorBoard's SummaryWriter, of torch or tensorboardX."""

    def add_scalar(self, name: str, value: float, step: int, /) -> object: ...


class Tracker(Callback):
    """Calls `log(metrics, step=...)` after each epoch with its row of the history; step counts the updates.

        Tracker(run.log)                    Weights & Biases: run = wandb.init(...)
        Tracker(mlflow.log_metrics)         MLflow, within mlflow.start_run()
        Tracker(SummaryWriter(folder))      TensorBoard: its add_scalar is called, number by number

    every: also after each so many updates: "batch/loss", "batch/lr", and "batch/norm" where gradients are clipped.
    What goes wrong in there is told, once, and does not end the training. Raises TypeError for what cannot be called,
    ValueError for an `every` that is no positive number.
    """

    writes = True

    def __init__(self, log: Log | Writer, every: int | None = None, tell: Tell = warn):
        if not callable(log) and not hasattr(log, "add_scalar"):
            raise TypeError(
                "`log` should be a function (metrics, step=...), such as wandb's run.log or mlflow.log_metrics, or a "
                f"SummaryWriter of TensorBoard; got {log!r:.80}"
            )
        if every is not None:
            check_size("every", every, "a positive number of updates, or None")
        self.log, self.every, self.tell = log, every, tell
        self._told = False

    def on_batch(self, run: Run) -> None:
        if self.every is not None and run.step % self.every == 0:
            norm = {} if run.norm is None else {"batch/norm": run.norm}
            self._hand_on({"batch/loss": run.loss, "batch/lr": run.opt.lr, **norm}, run.step)

    def on_epoch(self, run: Run) -> None:
        self._hand_on({name: value for name, value in run.history[-1].items() if name != "step"}, run.step)

    def _hand_on(self, row: Plain, step: int) -> None:
        numbers = {name: float(value) for name, value in row.items() if not isinstance(value, str)}
        try:
            if callable(self.log):
                self.log(numbers, step=step)
            else:
                for name, value in numbers.items():
                    self.log.add_scalar(name, value, step)
        except Exception as error:
            if not self._told:
                self.tell(f"the tracker: {str(error) or type(error).__name__}; the training goes on, it may not")
            self._told = True
