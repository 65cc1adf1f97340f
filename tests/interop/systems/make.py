"""Writes the numbers that other systems themselves compute: weights, inputs, outputs and gradients of their own layers.

    python make.py chainer     with Chainer 7.8.1           chainer.npz: n_step_lstm, _gru, _rnn; two layers; directions
    python make.py chainer-link     with Chainer 7.8.1      chainer-link.npz: links.LSTM
    python make.py tf1         with TensorFlow 1.15.5       tf1.npz: BasicLSTMCell under dynamic_rnn
    python make.py flax        with Flax 0.12.8             flax.npz: linen's LSTMCell, GRUCell, SimpleCell under RNN
    python make.py mlx         with mlx[cpu] 0.32.4         mlx.npz: nn.LSTM, GRU, RNN
    python make.py haste FOLDER    with torch and a checkout of github.com/lmnt-com/haste    haste.npz: LSTMScript

Each in an environment that has just that system. The tests need none of them: they read the files. Arrays in a file:

    CASE/x CASE/y CASE/dy CASE/dx    (T, B, I) and (T, B, H): the loss is sum(y dy)
    CASE/weights/KEY CASE/gradients/KEY
    version                          what made them

All in float64. CASE begins with the cell: "lstm", "lstm 2 layers", ....
"""

import ast
import sys
from pathlib import Path

import numpy as np

T, B, I, H = 5, 3, 4, 2
rng = np.random.RandomState(13)
found = {}


def draw(*shape):
    return rng.uniform(-1, 1, shape)


def keep(case, x, y, dy, dx, weights, gradients):
    arrays = {"x": x, "y": y, "dy": dy, "dx": dx}
    arrays.update({"weights/" + key: value for key, value in weights.items()})
    arrays.update({"gradients/" + key: value for key, value in gradients.items()})
    for name, value in arrays.items():
        found[case + "/" + name] = np.asarray(value, np.float64)


def chainer():
    import chainer
    from chainer import links

    kinds = {"lstm": (links.NStepLSTM, links.NStepBiLSTM), "gru": (links.NStepGRU, links.NStepBiGRU),
             "rnn": (links.NStepRNNTanh, links.NStepBiRNNTanh)}  # fmt: skip
    for cell, classes in kinds.items():
        for layers, directions in ((1, 1), (2, 1), (1, 2), (2, 2)):
            link = classes[directions - 1](layers, I, H, 0.0)
            weights = {}
            for k, part in enumerate(link):
                for parameter in part.params():
                    parameter.array = draw(*parameter.shape)
                    weights[f"{k}/{parameter.name}"] = parameter
            x, dy = draw(T, B, I), draw(T, B, directions * H)
            rows = [chainer.Variable(x[:, b].copy()) for b in range(B)]
            zeros = np.zeros((layers * directions, B, H))
            out = link(zeros, zeros, rows) if cell == "lstm" else link(zeros, rows)
            loss = sum(chainer.functions.sum(y * dy[:, b]) for b, y in enumerate(out[-1]))
            link.cleargrads()
            loss.backward()
            keep(f"{cell} {layers} layers {directions} directions", x,
                 np.stack([y.array for y in out[-1]], 1), dy, np.stack([row.grad for row in rows], 1),
                 {key: p.array for key, p in weights.items()}, {key: p.grad for key, p in weights.items()})  # fmt: skip
    return "Chainer " + chainer.__version__


def chainer_link():
    import chainer

    link = chainer.links.LSTM(I, H)
    weights = {path[1:]: parameter for path, parameter in link.namedparams()}
    for parameter in weights.values():
        parameter.array = draw(*parameter.shape)
    x, dy = draw(T, B, I), draw(T, B, H)
    steps = [chainer.Variable(step.copy()) for step in x]
    ys = [link(step) for step in steps]
    link.cleargrads()
    sum(chainer.functions.sum(y * d) for y, d in zip(ys, dy)).backward()
    keep("lstm", x, np.stack([y.array for y in ys]), dy, np.stack([step.grad for step in steps]),
         {key: p.array for key, p in weights.items()}, {key: p.grad for key, p in weights.items()})  # fmt: skip
    return "Chainer " + chainer.__version__


def tf1():
    import tensorflow as tf

    x, dy = draw(T, B, I), draw(T, B, H)
    given = tf.constant(x)
    cell = tf.nn.rnn_cell.BasicLSTMCell(H, dtype=tf.float64)
    y, _ = tf.nn.dynamic_rnn(cell, given, dtype=tf.float64, time_major=True)
    kernel, bias = cell.variables
    dx, dkernel, dbias = tf.gradients(tf.reduce_sum(y * dy), [given, kernel, bias])
    with tf.Session() as session:
        session.run([kernel.assign(draw(I + H, 4 * H)), bias.assign(draw(4 * H))])
        y, dx, kernel, bias, dkernel, dbias = session.run([y, dx, kernel, bias, dkernel, dbias])
    keep("lstm", x, y, dy, dx, {"kernel": kernel, "bias": bias}, {"kernel": dkernel, "bias": dbias})
    return "TensorFlow " + tf.__version__


def flax():
    import flax
    import jax
    from flax import linen, traverse_util

    jax.config.update("jax_enable_x64", True)
    for name, kind in {"lstm": linen.LSTMCell, "gru": linen.GRUCell, "rnn": linen.SimpleCell}.items():
        layer = linen.RNN(kind(H, dtype=np.float64, param_dtype=np.float64), time_major=True)
        x, dy = draw(T, B, I), draw(T, B, H)
        shapes = traverse_util.flatten_dict(layer.init(jax.random.PRNGKey(0), x)["params"]["cell"], sep="/")
        weights = {key: draw(*value.shape) for key, value in shapes.items()}

        def run(weights, x, layer=layer):
            return layer.apply({"params": {"cell": traverse_util.unflatten_dict(weights, sep="/")}}, x)

        y, back = jax.vjp(run, weights, x)
        gradients, dx = back(dy)
        keep(name, x, y, dy, dx, weights, gradients)
    return "Flax " + flax.__version__


def mlx():
    import mlx.core as mx
    from mlx import nn

    mx.set_default_device(mx.cpu)
    for name, kind in {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}.items():
        layer = kind(I, H)
        weights = {key: mx.array(draw(*value.shape), dtype=mx.float64) for key, value in layer.parameters().items()}
        x, dy = draw(T, B, I), draw(T, B, H)
        rows, seen = (mx.array(a.transpose(1, 0, 2), dtype=mx.float64) for a in (x, dy))  # batch first

        def outputs(weights, rows, layer=layer):
            layer.update(weights)
            y = layer(rows)
            return y[0] if isinstance(y, tuple) else y

        def loss(weights, rows, seen=seen, outputs=outputs):
            return (outputs(weights, rows) * seen).sum()

        gradients, dx = mx.grad(loss, argnums=(0, 1))(weights, rows)
        y, dx = (np.array(a).transpose(1, 0, 2) for a in (outputs(weights, rows), dx))
        keep(name, x, y, dy, dx, weights, gradients)
    return "mlx " + mx.__version__


def haste():
    """Its layers need a GPU; the same step in plain torch stands beside them, and is what runs there without one."""
    import torch

    folder = Path(sys.argv[2])
    for cell, name, K, biases in (
        ("lstm", "LSTMScript", 4, ["bias"]),
        ("gru", "GRUScript", 3, ["bias", "recurrent_bias"]),
    ):
        source = ast.parse((folder / "frameworks" / "pytorch" / (cell + ".py")).read_text())
        function = [node for node in source.body if getattr(node, "name", "") == name]
        names = {"torch": torch}
        exec(compile(ast.Module(function, []), name, "exec"), names)
        sizes = {"kernel": (I, K * H), "recurrent_kernel": (H, K * H), **dict.fromkeys(biases, (K * H,))}
        weights = {key: torch.tensor(draw(*shape), requires_grad=True) for key, shape in sizes.items()}
        x, dy = torch.tensor(draw(T, B, I), requires_grad=True), torch.tensor(draw(T, B, H))
        zeros = [torch.zeros(B, H, dtype=torch.float64)] * (2 if cell == "lstm" else 1)
        out = names[name](True, 0.0, x, *zeros, *weights.values(), None)
        y = (out[0] if cell == "lstm" else out)[1:]
        (y * dy).sum().backward()
        keep(cell, x.detach(), y.detach(), dy, x.grad, {key: w.detach() for key, w in weights.items()},
             {key: w.grad for key, w in weights.items()})  # fmt: skip
    return "haste, frameworks/pytorch/lstm.py: LSTMScript, gru.py: GRUScript, commit ceba32e"


if __name__ == "__main__":
    system = sys.argv[1]
    version = globals()[system.replace("-", "_")]()
    np.savez_compressed(Path(__file__).with_name(system + ".npz"), version=np.array(version), **found)
    print(version, len(found))
