"""Keras 3.15.1 on torch: unroll, go_backwards and a mask together raise an error."""
import os
os.environ["KERAS_BACKEND"] = "torch"
import keras, numpy as np
layer = keras.layers.LSTM(2, return_sequences=True, unroll=True, go_backwards=True)
layer(np.ones((1, 3, 2), "float32"), mask=np.array([[True, True, False]]))
