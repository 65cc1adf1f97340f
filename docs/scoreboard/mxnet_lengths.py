"""MXNet 1.9.1 (NumPy 1.23): use_sequence_length changes nothing on the CPU."""
import mxnet as mx

mx.random.seed(0)
x, h, c = mx.nd.random.normal(shape=(4, 2, 3)), mx.nd.zeros((1, 2, 3)), mx.nd.zeros((1, 2, 3))
for use in (False, True):
    mx.random.seed(0)
    layer = mx.gluon.rnn.LSTM(3, input_size=3, use_sequence_length=use)
    layer.initialize(mx.init.Uniform(1))
    lengths = {"sequence_length": mx.nd.array([1, 4], dtype="int32")} if use else {}
    y, (h_last, c_last) = layer(x, [h, c], **lengths)
    print("lengths 1 and 4" if use else "all steps", "h of row 0:", h_last[0, 0].asnumpy())
