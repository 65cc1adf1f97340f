"""What every recipe does with a finished run: the files of its folder, and the picture of its losses."""

import json
from pathlib import Path
from typing import Any

from lstmcore import layers, train

FILES = ("model.safetensors", "metrics.json", "history.json")


def save(folder: Path, model: layers.Layer, metrics: dict[str, Any], history: Any) -> None:
    """Writes FILES into the folder. metrics and history are plain data. Raises OSError where that cannot be."""
    train.save(folder / FILES[0], model)
    (folder / FILES[1]).write_text(json.dumps(metrics, indent=2) + "\n")
    (folder / FILES[2]).write_text(json.dumps(history) + "\n")


def figure(panels: int) -> tuple[Any, Any]:
    """A matplotlib Figure and its axes, side by side. Raises ImportError without matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * panels, 4), layout="constrained")
    return figure, figure.subplots(1, panels)


def draw_losses(axis: Any, history: dict[str, Any], unit: str) -> None:
    """The loss over the epochs, that of the training and, if there is one, of the validation."""
    rows = history["epochs"]
    for name in ("loss", "validation"):
        if rows and name in rows[0]:
            axis.semilogy([row["epoch"] for row in rows], [row[name] for row in rows], label=name)
    axis.set(xlabel="epoch", ylabel=unit, title="training loss")
    if rows and "validation" in rows[0]:
        axis.legend()
