"""onnxruntime 1.32.0: Affine and ThresholdedRelu do not take the operators' own alpha and beta (1 and 0; 1)."""
import numpy as np, onnxruntime
from onnx import TensorProto, helper as h
feed = {"X": np.full((1, 1, 1), 0.5, "float32"), "W": np.ones((1, 1, 1), "float32"), "R": np.zeros((1, 1, 1), "float32")}
ins = [h.make_tensor_value_info(name, TensorProto.FLOAT, a.shape) for name, a in feed.items()]
out = [h.make_tensor_value_info("Y_h", TensorProto.FLOAT, None)]
numbers = {"activation_alpha": [1.0], "activation_beta": [0.0]}
for name, told in (("Affine", {}), ("Affine", numbers), ("ThresholdedRelu", {}), ("ThresholdedRelu", numbers)):
    node = h.make_node("RNN", [*feed], ["", "Y_h"], hidden_size=1, activations=[name], **told)
    model = h.make_model(h.make_graph([node], "g", ins, out), opset_imports=[h.make_opsetid("", 14)], ir_version=8)
    print(name, told, onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)[0].ravel())
