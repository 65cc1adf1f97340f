"""PaddlePaddle 3.3.1: bidirect, sequence_length and initial states together give wrong gradients.

Beside each, its own central difference."""
import numpy as np, paddle
paddle.seed(0); paddle.set_default_dtype("float64")
net, lengths = paddle.nn.SimpleRNN(1, 1, direction="bidirect"), paddle.to_tensor([3, 2])
x, h0, dy = paddle.randn([2, 3, 1]), paddle.randn([2, 2, 1]), paddle.to_tensor([[1.0, 2.0]])
loss = lambda: (net(x, h0, sequence_length=lengths)[0] * dy).sum()
loss().backward()
for name, p in net.named_parameters():
    value, sides = p.numpy().copy(), []
    for step in (1e-5, -1e-5):
        p.set_value(value + step); sides.append(float(loss()))
    p.set_value(value)
    print(name, "gradient", p.grad.numpy().sum().round(6), "true", round((sides[0] - sides[1]) / 2e-5, 6))
