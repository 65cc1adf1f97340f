"""OpenVINO 2026.4.1: constant peepholes and input_forget change nothing (onnx writes the models)."""
import numpy as np, openvino
from onnx import TensorProto, helper as h, numpy_helper as nh
r = np.random.default_rng(0)
a = {"W": (1, 8, 2), "R": (1, 8, 2), "P": (1, 6)}
a = [nh.from_array(r.standard_normal(shape).astype("float32"), name) for name, shape in a.items()]
ins, outs = ([h.make_tensor_value_info(k, TensorProto.FLOAT, s)] for k, s in (("X", [3, 1, 2]), ("Y_h", [1, 1, 2])))
for names, told in (("", {}), ("P", {}), ("", {"input_forget": 1})):
    node = h.make_node("LSTM", ["X", "W", "R", "", "", "", "", names], ["", "Y_h"], hidden_size=2, **told)
    model = h.make_model(h.make_graph([node], "g", ins, outs, a), opset_imports=[h.make_opsetid("", 14)], ir_version=8)
    ready = openvino.Core().compile_model(openvino.Core().read_model(model.SerializeToString()), "CPU")
    print(names, told, ready([np.ones((3, 1, 2), "float32")])[0].ravel())
