"""Everybody's weight layouts in one table, and the way between them.

A layout says, for each cell, which arrays there are and which gate blocks stand in each, in which order. Blocks carry
lstmcore's letters (ops/gates.py): LSTM i f g o, where Keras says c for g, TensorFlow 1 j, Chainer a; GRU r z n m,
where n is what x and its bias give to the candidate, and m what h and its bias give; RNN n. lstmcore itself is the
first row, so every conversion is the same two steps: cut the arrays into blocks, and join the blocks into arrays.

Two summed biases: going to lstmcore they are added; going back the first gets the sum, the second zeros. Gradients of
summed biases: each gets the whole, so going to lstmcore the first is taken, and the second is kept beside it under
"b (its key)", where a mistake with one of the two can be seen.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Part(NamedTuple):
    """One array of a layout."""

    key: str
    of: str  # "x" multiplies x, "h" h, "xh" both (x's rows above h's), "r" projects h, "b" is a bias, "p" are peepholes
    blocks: str  # the blocks along its output axis; one that stands here or in another array again is summed
    out_first: bool = False  # (out, in) in place of (in, out)
    by_unit: bool = False  # the blocks of one unit stand together: (H, K) along the output axis, not (K, H)
    rows: int = 0  # a bias cut into so many rows


class Layout(NamedTuple):
    """One row of the table. `source` is where the order, the axes and the biases were read."""

    source: str
    cells: Mapping[str, tuple[Part, ...]]
    key: str = "{path}{key}"  # may also hold {layer}, {direction} and {index} = layer * directions + direction
    layer: str = "{layer}."  # the path of a layer of a stack
    directions: tuple[str, str] = ("fw.", "bw.")  # the path of a direction
    direction_axis: bool = False  # the directions stand along a first axis of each array
    peepholes: tuple[Part, ...] = ()  # of an LSTM that has them
    projection: tuple[Part, ...] = ()  # of an LSTM that projects h
    before: Part | None = None  # the bias of a GRU whose reset gate comes before the product, where it is another one
    forget_bias: float = 0.0  # what the system adds to the forget gate at run time, and does not store

    @property
    def has_towers(self) -> bool:
        """Whether its keys can tell two independent stacks from a stack of bidirectional layers."""
        return "{path}" in self.key and not self.direction_axis

    def name(self, structure: "Structure", layer: int, direction: int, key: str) -> str:
        """The full key of one array of one layer and direction."""
        path_layer = self.layer.format(layer=layer) if structure.stacked else ""
        path_direction = self.directions[direction] if structure.directions == 2 and not self.direction_axis else ""
        path = path_direction + path_layer if structure.towers else path_layer + path_direction
        index = layer * structure.directions + direction
        return self.key.format(path=path, key=key, layer=layer, direction=self.directions[direction], index=index)


class Structure(NamedTuple):
    """How many layers and directions, and how they are joined."""

    cell: str
    layers: int = 1
    directions: int = 1
    stacked: bool = False  # the keys name the layer (a stack of one layer may)
    towers: bool = False  # two independent stacks, not a stack of bidirectional layers

    def places(self) -> Iterator[tuple[int, int]]:
        """(layer, direction), from the first layer on."""
        return ((k, d) for k in range(self.layers) for d in range(self.directions))


def _kernels(x: str, h: str, blocks: str, h_blocks: str | None = None, **axes: bool) -> tuple[Part, Part]:
    return Part(x, "x", blocks, **axes), Part(h, "h", h_blocks or blocks, **axes)


def _chainer(x: str, h: str) -> tuple[Part, ...]:
    order = [(of, block) for of, blocks in (("x", x), ("h", h)) for block in blocks]
    return (
        *(Part(f"w{j}", of, block, out_first=True) for j, (of, block) in enumerate(order)),
        *(Part(f"b{j}", "b", block) for j, (_, block) in enumerate(order)),
    )


def _flax(kernels: str, biases: str, h: Mapping[str, str] | None = None) -> tuple[Part, ...]:
    h = h or {}
    return (
        *(Part(f"i{g}/kernel", "x", g) for g in kernels),
        *(Part(f"h{g}/kernel", "h", h.get(g, g)) for g in kernels),
        *(Part(f"{name}/bias", "b", h.get(name[1], name[1]) if name[0] == "h" else name[1]) for name in biases.split()),
    )


LAYOUTS: dict[str, Layout] = {
    "lstmcore": Layout(
        "docs/design.md",
        {
            "lstm": (*_kernels("W_ih", "W_hh", "ifgo"), Part("b", "b", "ifgo")),
            "gru": (*_kernels("W_ih", "W_hh", "rzn", "rzm"), Part("b", "b", "rzn"), Part("b_hn", "b", "m")),
            "rnn": (*_kernels("W_ih", "W_hh", "n"), Part("b", "b", "n")),
        },
    ),
    "torch": Layout(
        "https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html and .GRU, .RNN: Variables",
        {
            cell: (
                *_kernels("weight_ih", "weight_hh", x, h, out_first=True),
                Part("bias_ih", "b", x),
                Part("bias_hh", "b", h),
            )
            for cell, x, h in (("lstm", "ifgo", "ifgo"), ("gru", "rzn", "rzm"), ("rnn", "n", "n"))
        },
        key="{key}_l{layer}{direction}",
        directions=("", "_reverse"),
        projection=(Part("weight_hr", "r", "r", out_first=True),),
    ),
    "keras": Layout(
        "https://github.com/keras-team/keras keras/src/layers/rnn/lstm.py, gru.py (reset_after), simple_rnn.py: call",
        {
            "lstm": (*_kernels("kernel", "recurrent_kernel", "ifgo"), Part("bias", "b", "ifgo")),
            "gru": (*_kernels("kernel", "recurrent_kernel", "zrn", "zrm"), Part("bias", "b", "zrnzrm", rows=2)),
            "rnn": (*_kernels("kernel", "recurrent_kernel", "n"), Part("bias", "b", "n")),
        },
        layer="{layer}/",
        directions=("forward/", "backward/"),
        before=Part("bias", "b", "zrn"),
    ),
    "tf1": Layout(
        "https://github.com/tensorflow/tensorflow/blob/v1.15.5/tensorflow/python/ops/rnn_cell_impl.py: BasicLSTMCell",
        {"lstm": (Part("kernel", "xh", "igfo"), Part("bias", "b", "igfo"))},
        layer="cell_{layer}/",
        directions=("fw/", "bw/"),
        peepholes=tuple(Part(f"w_{g}_diag", "p", g) for g in "ifo"),
        forget_bias=1.0,
    ),
    "onnx": Layout(
        "https://onnx.ai/onnx/operators/onnx__LSTM.html, onnx__GRU.html (linear_before_reset = 1), onnx__RNN.html",
        {
            "lstm": (*_kernels("W", "R", "iofg", out_first=True), Part("B", "b", "iofgiofg")),
            "gru": (*_kernels("W", "R", "zrn", "zrm", out_first=True), Part("B", "b", "zrnzrm")),
            "rnn": (*_kernels("W", "R", "n", out_first=True), Part("B", "b", "nn")),
        },
        layer="{layer}/",
        direction_axis=True,
        peepholes=(Part("P", "p", "iof"),),
    ),
    "haste": Layout(
        "https://github.com/lmnt-com/haste frameworks/pytorch/lstm.py: LSTMScript, gru.py: GRUScript",
        {
            "lstm": (*_kernels("kernel", "recurrent_kernel", "igfo"), Part("bias", "b", "igfo")),
            "gru": (
                *_kernels("kernel", "recurrent_kernel", "zrn", "zrm"),
                Part("bias", "b", "zrn"),
                Part("recurrent_bias", "b", "zrm"),
            ),
        },
    ),
    "chainer": Layout(
        "https://github.com/chainer/chainer v7.8.1 chainer/functions/rnn/n_step_lstm.py: lstm_grad, n_step_gru.py, "
        "n_step_rnn.py (the documentation of n_step_lstm says i f o a; the code computes i f a o)",
        {"lstm": _chainer("ifgo", "ifgo"), "gru": _chainer("rzn", "rzm"), "rnn": _chainer("n", "n")},
        key="{index}/{key}",
    ),
    "chainer-link": Layout(
        "https://docs.chainer.org/en/stable/reference/generated/chainer.functions.lstm.html (chainer.links.LSTM)",
        {
            "lstm": (
                *_kernels("upward/W", "lateral/W", "gifo", out_first=True, by_unit=True),
                Part("upward/b", "b", "gifo", by_unit=True),
            )
        },
        layer="{layer}/",
        directions=("fw/", "bw/"),
    ),
    "flax": Layout(
        "https://github.com/google/flax flax/linen/recurrent.py: LSTMCell, GRUCell, SimpleCell",
        {
            "lstm": _flax("ifgo", "hi hf hg ho"),
            "gru": _flax("rzn", "ir iz in hn", h={"n": "m"}),
            "rnn": (*_kernels("i/kernel", "h/kernel", "n"), Part("i/bias", "b", "n")),
        },
        layer="{layer}/",
        directions=("forward_rnn/", "backward_rnn/"),
    ),
    "mlx": Layout(
        "https://github.com/ml-explore/mlx python/mlx/nn/layers/recurrent.py: LSTM, GRU, RNN",
        {
            "lstm": (*_kernels("Wx", "Wh", "ifgo", out_first=True), Part("bias", "b", "ifgo")),
            "gru": (
                *_kernels("Wx", "Wh", "rzn", "rzm", out_first=True),
                Part("b", "b", "rzn"),
                Part("bhn", "b", "m"),
            ),
            "rnn": (*_kernels("Wxh", "Whh", "n", out_first=True), Part("bias", "b", "n")),
        },
    ),
}  # fmt: skip
