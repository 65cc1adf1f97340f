"""The cells: each file states one time step and its undoing."""

from lstmcore.ops.cells.cell import Cell, Maths, Steps
from lstmcore.ops.cells.gru import gru
from lstmcore.ops.cells.lstm import lstm
from lstmcore.ops.cells.rnn import rnn

CELLS = {cell.name: cell for cell in (lstm, gru, rnn)}

__all__ = ["CELLS", "Cell", "Maths", "Steps", "gru", "lstm", "rnn"]
