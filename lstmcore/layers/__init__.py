"""Layers own the parameters; the maths is in ops. Every layer keeps the contract of `Layer`."""

from lstmcore.layers.activation import ReLU, Sigmoid, Softmax, Tanh
from lstmcore.layers.batch_first import BatchFirst
from lstmcore.layers.bidirectional import Bidirectional
from lstmcore.layers.dropout import Dropout
from lstmcore.layers.embedding import Embedding
from lstmcore.layers.frozen import freeze
from lstmcore.layers.kinds import from_config, register
from lstmcore.layers.last import Last
from lstmcore.layers.layer import Layer, to_cpu, to_gpu
from lstmcore.layers.learned_state import LearnedState
from lstmcore.layers.linear import Linear
from lstmcore.layers.params import Params
from lstmcore.layers.recurrent import GRU, LSTM, RNN, Recurrent, of_cell
from lstmcore.layers.recurrent_dropout import RecurrentDropout
from lstmcore.layers.residual import Residual
from lstmcore.layers.reversed import Reversed
from lstmcore.layers.stack import Stack

__all__ = [
    "GRU", "LSTM", "RNN", "BatchFirst", "Bidirectional", "Dropout", "Embedding", "Last", "Layer", "LearnedState",
    "Linear", "Params", "ReLU", "Recurrent", "RecurrentDropout", "Residual", "Reversed", "Sigmoid", "Softmax", "Stack",
    "Tanh", "freeze", "from_config", "of_cell", "register", "to_cpu", "to_gpu",
]  # fmt: skip
