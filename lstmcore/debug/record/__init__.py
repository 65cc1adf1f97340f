"""Weights, inputs and gradients found in somebody's own code while it runs."""

from lstmcore.debug.record.record import Record, record

__all__ = ["Record", "record"]
