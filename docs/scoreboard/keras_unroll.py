"""Keras 3.15.1 on NumPy and JAX: unroll=True ignores zero_output_for_mask.

The last line but one is what the loop gives at the masked step, the last what the unrolled loop gives."""
import os
os.environ["KERAS_BACKEND"] = "numpy"
import keras, numpy as np
x = np.ones((1, 3, 2), "float32")
for unroll in (False, True):
    keras.utils.set_random_seed(0)
    layer = keras.layers.LSTM(2, return_sequences=True, zero_output_for_mask=True, unroll=unroll)
    print(unroll, layer(x, mask=np.array([[True, True, False]]))[0, 2])
