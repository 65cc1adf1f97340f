"""onnx 1.23.2, ReferenceEvaluator: clip, input_forget and activations change nothing."""
import numpy as np
from onnx import TensorProto, helper as h
from onnx.reference import ReferenceEvaluator
r = np.random.default_rng(0)
feed = {"X": r.standard_normal((3, 1, 2)), "W": r.standard_normal((1, 8, 2)), "R": r.standard_normal((1, 8, 2))}
feed = {name: a.astype("float32") for name, a in feed.items()}
ins = [h.make_tensor_value_info(name, TensorProto.FLOAT, a.shape) for name, a in feed.items()]
out = [h.make_tensor_value_info("Y_h", TensorProto.FLOAT, None)]
for told in ({}, {"clip": 0.1}, {"input_forget": 1}, {"activations": ["Sigmoid", "Relu", "Relu"]}):
    node = h.make_node("LSTM", [*feed], ["", "Y_h"], hidden_size=2, **told)
    model = h.make_model(h.make_graph([node], "g", ins, out))
    print(told, ReferenceEvaluator(model).run(None, feed)[0].ravel())
