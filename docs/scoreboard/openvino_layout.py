"""OpenVINO 2026.4.1: layout=1 changes nothing: the batch is taken for the time (onnx writes the model)."""
import numpy as np, onnx, openvino
from onnx import helper, numpy_helper
rng, B, T, I, H = np.random.default_rng(0), 3, 4, 2, 5
arrays = {"W": rng.standard_normal((1, H, I), "float32"), "R": rng.standard_normal((1, H, H), "float32")}
node = helper.make_node("RNN", ["X", "W", "R"], ["Y", "Y_h"], hidden_size=H, layout=1)
value = lambda name, *shape: helper.make_tensor_value_info(name, 1, shape)
held = [numpy_helper.from_array(a, name) for name, a in arrays.items()]
graph = helper.make_graph([node], "g", [value("X", B, T, I)], [value("Y", B, T, 1, H), value("Y_h", B, 1, H)], held)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
answer = openvino.compile_model(openvino.Core().read_model(model.SerializeToString()), "CPU")(np.zeros((B, T, I), "f4"))
print("Y_h should be", (B, 1, H), "and is", answer["Y_h"].shape)
