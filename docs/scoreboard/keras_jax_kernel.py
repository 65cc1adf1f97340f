"""Keras 3.15.1 on JAX's way for accelerators: go_backwards with return_sequences flips its outputs once too often."""
import os
import sys
os.environ["KERAS_BACKEND"] = "jax"
import keras
from jax.experimental import rnn

layer, x = keras.layers.LSTM(2, return_sequences=True, go_backwards=True), keras.random.normal((1, 3, 2))
print("loop  ", layer(x)[0, :, 0])
sizes = ("input_size", "hidden_size", "num_layers", "bidirectional")
sys.modules["keras.src.backend.jax.rnn"]._is_gpu_available = lambda: True  # and in the place of the kernel what JAX itself compares it with:
rnn.lstm = lambda x, h, c, w, n, **s: rnn.lstm_ref(x, h, c, *rnn.unpack_lstm_weights(w, *map(s.get, sizes)), n, **s)
print("kernel", layer(x)[0, :, 0])
