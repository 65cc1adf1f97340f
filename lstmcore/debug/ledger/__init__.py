"""Every weight's gradient, split by step, gate and path."""

from lstmcore.debug.ledger.ledger import Ledger, ledger, ledger_of

__all__ = ["Ledger", "ledger", "ledger_of"]
