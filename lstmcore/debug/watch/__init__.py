"""A look into a living LSTM of PyTorch or Keras."""

from lstmcore.debug.watch.watch import Watch, watch

__all__ = ["Watch", "watch"]
