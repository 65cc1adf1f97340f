"""Bad input at the public edge: each complaint says what, what was expected, what came, and the likely cause.

One table of wrong calls and their full texts. Another test makes sure that every `raise` of shapes.py is in the table.
"""

import ast
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cases import arrays_in, flatten

import lstmcore as lc
from lstmcore import shapes

T, B, I, H, V = 4, 3, 5, 2, 6


def layers() -> SimpleNamespace:
    """One of each, float64, with a valid input and a cache of it."""
    rng = np.random.default_rng(0)
    here = SimpleNamespace(
        lstm=lc.LSTM(I, H, dtype="float64", seed=1),
        gru=lc.GRU(I, H, dtype="float64", seed=2),
        last=lc.LSTM(I, H, dtype="float64", seed=3, return_sequences=False),
        linear=lc.Linear(I, H, dtype="float64", seed=4),
        embedding=lc.Embedding(V, I, dtype="float64", seed=5),
        tanh=lc.Tanh(),
        dropout=lc.Dropout(0.5),
        x=rng.normal(size=(T, B, I)),
        h=rng.normal(size=(B, H)),
        mask=np.ones((T, B), bool),
        dy=rng.normal(size=(T, B, H)),
        index=rng.integers(0, V, size=(T, B)),
        logits=rng.normal(size=(T, B, V)),
        targets=rng.integers(0, V, size=(T, B)),
    )
    here.both = lc.Bidirectional(here.lstm, lc.LSTM(I, H, dtype="float64", seed=6))
    here.sum = lc.Bidirectional(here.lstm, here.both.bw, merge="sum")
    here.stack = lc.Stack([here.lstm, lc.Linear(H, V, dtype="float64", seed=7)])
    here.cache = here.lstm.forward(here.x)[2]
    return here


class Complaint:
    """One wrong call: what it is, the call, the error and its whole text."""

    def __init__(self, what: str, call: Callable, error: type[Exception], text: str):
        self.what, self.call, self.error, self.text = what, call, error, text

    def __repr__(self) -> str:
        return self.what


def with_entry(values: np.ndarray, value: int) -> np.ndarray:
    changed = values.copy()
    changed[1, 2] = value
    return changed


class Tensor:
    """What another library's array looks like from outside."""

    __module__ = "torch"


COMPLAINTS = [
    # ---- inputs of a recurrent layer
    Complaint(
        "width", lambda n: n.lstm.forward(np.ones((T, B, 7))), ValueError,
        "`x` should be (T, B, I) with I = 5, as W_ih fixes it; got (4, 3, 7) (is the last axis the input width?)",
    ),
    Complaint(
        "batch first", lambda n: n.lstm.forward(np.ones((B, T, 7)), mask=np.ones((T, B), bool)), ValueError,
        "`x` should be (T, B, I) with I = 5, as W_ih fixes it; got (3, 4, 7) (batch first? pass x.transpose(1, 0, 2))",
    ),
    Complaint(
        "one step", lambda n: n.lstm.forward(np.ones((B, I))), ValueError,
        "`x` should be (T, B, I) with I = 5, as W_ih fixes it; got (3, 5) (one step alone? use layer.step, or x[None])",
    ),
    Complaint(
        "four axes", lambda n: n.lstm.forward(np.ones((1, T, B, I))), ValueError,
        "`x` should be (T, B, I) with I = 5, as W_ih fixes it; got (1, 4, 3, 5)",
    ),
    Complaint(
        "integers", lambda n: n.lstm.forward(np.ones((T, B, I), int)), TypeError,
        "`x` should be float64; got int64 (integers: class indices go through lc.Embedding, numbers through "
        'x.astype("float64"))',
    ),
    Complaint(
        "booleans", lambda n: n.linear.forward(np.ones((T, B, I), bool)), TypeError,
        "`x` should be float64; got bool (integers: class indices go through lc.Embedding, numbers through "
        'x.astype("float64"))',
    ),
    Complaint(
        "byte order", lambda n: n.lstm.forward(n.x.astype(n.x.dtype.newbyteorder())), TypeError,
        "`x` should be float64 in the byte order of this machine; got the other order (read from a file? pass "
        'x.astype("float64"))',
    ),
    Complaint(
        "dtype", lambda n: n.lstm.forward(np.ones((T, B, I), "float32")), TypeError,
        "`x` should be float64, as the parameters are; got float32 (mixed dtypes: "
        'x.astype("float64"), or build the layer with dtype="float32")',
    ),
    Complaint(
        "a dtype that no layer has", lambda n: n.lstm.forward(np.ones((T, B, I), "float16")), TypeError,
        '`x` should be float64, as the parameters are; got float16 (mixed dtypes: x.astype("float64"))',
    ),
    Complaint(
        "masked array", lambda n: n.lstm.forward(np.ma.masked_array(n.x)), TypeError,
        "`x` should be a plain array; got a masked array of NumPy, whose mask would be lost (pass x.filled(0), and "
        "which steps are real as mask=, (T, B))",
    ),
    Complaint(
        "list", lambda n: n.lstm.forward(n.x.tolist()), TypeError,
        "`x` should be an array of numpy; got list (pass numpy.asarray(...))",
    ),
    Complaint(
        "tuple", lambda n: n.lstm.forward((n.x, n.x)), TypeError,
        "`x` should be an array of numpy; got tuple (a state given as input?)",
    ),
    Complaint(
        "tensor", lambda n: n.lstm.forward(Tensor()), TypeError,
        "`x` should be an array of numpy; got Tensor (a tensor: pass lc.from_dlpack(tensor.detach()))",
    ),
    Complaint(
        "no array", lambda n: n.lstm.forward(None), TypeError,
        "`x` should be an array of numpy; got NoneType",
    ),
    Complaint(
        "no steps", lambda n: n.lstm.forward(np.ones((0, B, I))), ValueError,
        "`x` should have no empty axis; got (0, 3, 5), T = 0 (an empty batch?)",
    ),
    Complaint(
        "no rows", lambda n: n.lstm.forward(np.ones((T, 0, I))), ValueError,
        "`x` should have no empty axis; got (4, 0, 5), B = 0 (an empty batch?)",
    ),
    Complaint(
        "no rows of features", lambda n: n.linear.forward(np.ones((0, I))), ValueError,
        "`x` should have no empty axis; got (0, 5), B = 0 (an empty batch?)",
    ),
    Complaint(
        "no steps of indices", lambda n: n.embedding.forward(np.ones((0, B), int)), ValueError,
        "`x` should have no empty axis; got (0, 3), T = 0 (an empty batch?)",
    ),
    Complaint(
        "step with a sequence", lambda n: n.lstm.step(n.x), ValueError,
        "`x` should be (B, I), as W_ih fixes I, = (4, 5); got (4, 3, 5)",
    ),
    Complaint(
        "step with a list", lambda n: n.lstm.step([[1.0] * I]), TypeError,
        "`x` should be an array of numpy; got list (pass numpy.asarray(...))",
    ),
    # ---- masks
    Complaint(
        "mask of floats", lambda n: n.lstm.forward(n.x, mask=n.mask.astype(float)), TypeError,
        "`mask` should be boolean, true on real steps; got float64 (mask != 0, or lc.mask_from_lengths(lengths, T) if "
        "these are lengths)",
    ),
    Complaint(
        "mask transposed", lambda n: n.lstm.forward(n.x, mask=n.mask.T), ValueError,
        "`mask` should be (T, B) = (4, 3), as x fixes it; got (3, 4) (batch first? pass mask.T)",
    ),
    Complaint(
        "mask of another shape", lambda n: n.lstm.predict(n.x, mask=n.mask[:2]), ValueError,
        "`mask` should be (T, B) = (4, 3), as x fixes it; got (2, 3)",
    ),
    Complaint(
        "mask of another batch", lambda n: n.lstm.forward(n.x, mask=n.mask[:, :2]), ValueError,
        "`mask` should be (T, B) = (4, 3), as x fixes it; got (4, 2)",
    ),
    Complaint(
        "mask as a list", lambda n: n.lstm.forward(n.x, mask=[[True]]), TypeError,
        "`mask` should be a boolean array of numpy; got [[True]]",
    ),
    Complaint(
        "mask without time", lambda n: n.linear.forward(np.ones((B, I)), mask=n.mask), ValueError,
        "`mask` goes with inputs that have a time axis; got x (3, 5) and a mask (pass None)",
    ),
    Complaint(
        "lengths beyond T", lambda n: lc.mask_from_lengths([1, 9], T), ValueError,
        "`lengths` should lie in 0 .. T = 4; got 9 in row 1 (T too small?)",
    ),
    Complaint(
        "negative lengths", lambda n: lc.mask_from_lengths([-1], T), ValueError,
        "`lengths` should lie in 0 .. T = 4; got -1 in row 0 (T too small?)",
    ),
    Complaint(
        "lengths of floats", lambda n: lc.mask_from_lengths([1.0], T), TypeError,
        "`lengths` should be (B,) integers; got float64 of shape (1,)",
    ),
    Complaint(
        "T of no length", lambda n: lc.mask_from_lengths([0], 0), ValueError,
        "`T` should be a positive int; got 0",
    ),
    # ---- states
    Complaint(
        "state of another cell", lambda n: n.lstm.forward(n.x, (n.h,)), TypeError,
        "`state` should be a tuple (h, c) of (B, H) arrays; got 1 parts (a state of another kind of layer?)",
    ),
    Complaint(
        "state of an array", lambda n: n.gru.forward(n.x, n.h), TypeError,
        "`state` should be a tuple (h,) of (B, H) arrays; got float64 (3, 2) of numpy "
        "(a state of another kind of layer?)",
    ),
    Complaint(
        "state of another B", lambda n: n.lstm.forward(n.x, (n.h[:2], n.h[:2])), ValueError,
        "`state.h` should be (B, H) = (3, 2); got (2, 2)",
    ),
    Complaint(
        "state transposed", lambda n: n.lstm.forward(n.x, (n.h, n.h.T)), ValueError,
        "`state.c` should be (B, H) = (3, 2); got (2, 3) (transposed?)",
    ),
    Complaint(
        "state of another dtype", lambda n: n.lstm.forward(n.x, (n.h, n.h.astype("float32"))), TypeError,
        "`state.c` should be float64, as the parameters are; got float32 (mixed dtypes: "
        'state.c.astype("float64"), or build the layer with dtype="float32")',
    ),
    Complaint(
        "dstate", lambda n: n.lstm.backward(n.dy, n.cache, dstate=(n.h,)), TypeError,
        "`dstate` should be a tuple (h, c) of (B, H) arrays; got 1 parts (a state of another kind of layer?)",
    ),
    Complaint(
        "state of a stack", lambda n: n.stack.forward(n.x, (n.h,)), TypeError,
        "`state` of a Stack should be a tuple of 2 parts (None where a part has none); got 1 parts",
    ),
    Complaint(
        "state of a bidirectional", lambda n: n.both.forward(n.x, n.h), TypeError,
        "`state` of a Bidirectional should be a tuple of 2 parts (None where a part has none); "
        "got float64 (3, 2) of numpy",
    ),
    # ---- backward
    Complaint(
        "dy of another shape", lambda n: n.lstm.backward(n.dy[:2], n.cache), ValueError,
        "`dy` should be (T, B, H), as the cache fixes it, = (4, 3, 2); got (2, 3, 2)",
    ),
    Complaint(
        "dy batch first", lambda n: n.lstm.backward(n.dy.swapaxes(0, 1), n.cache), ValueError,
        "`dy` should be (T, B, H), as the cache fixes it, = (4, 3, 2); got (3, 4, 2) "
        "(batch first? the time axis comes first here)",
    ),
    Complaint(
        "dy of one step", lambda n: n.lstm.backward(n.dy[0], n.cache), ValueError,
        "`dy` should be (T, B, H), as the cache fixes it, = (4, 3, 2); got (3, 2) "
        "(one step alone, where all T are wanted)",
    ),
    Complaint(
        "dy of another dtype", lambda n: n.lstm.backward(n.dy.astype("float32"), n.cache), TypeError,
        "`dy` should be float64, as the parameters are; got float32 (mixed dtypes: "
        'dy.astype("float64"), or build the layer with dtype="float32")',
    ),
    Complaint(
        "dy of all steps for a final state", lambda n: n.last.backward(n.dy, n.last.forward(n.x)[2]), ValueError,
        "`dy` should be (B, H), the shape of the final state, = (3, 2); got (4, 3, 2)",
    ),
    Complaint(
        "cache of another layer", lambda n: n.gru.backward(n.dy, n.cache), ValueError,
        "`cache` should come from this GRU(5, 2); it comes from another layer, LSTM(5, 2)",
    ),
    Complaint(
        "cache of a twin", lambda n: n.lstm.to().backward(n.dy, n.cache), ValueError,
        "`cache` should come from this LSTM(5, 2); it comes from another layer, LSTM(5, 2)",
    ),
    Complaint(
        "reuse of another layer", lambda n: n.gru.forward(n.x, reuse=n.cache), ValueError,
        "`cache` should come from this GRU(5, 2); it comes from another layer, LSTM(5, 2)",
    ),
    Complaint(
        "state as cache", lambda n: n.lstm.backward(n.dy, n.h), TypeError,
        "`cache` should be the third value of this layer's forward; got float64 (3, 2) of numpy "
        "(forward returns y, state, cache)",
    ),
    # ---- layers without time
    Complaint(
        "width of features", lambda n: n.linear.forward(np.ones((B, 9))), ValueError,
        "`x` should be (T, B, I) or (B, I) with I = 5, as W fixes it; got (3, 9)",
    ),
    Complaint(
        "axes of features", lambda n: n.tanh.forward(np.ones(3)), ValueError,
        "`x` should be (T, B, I) or (B, I); got (3,)",
    ),
    Complaint(
        "features that are no array", lambda n: n.dropout.forward([1.0]), TypeError,
        "`x` should be a floating array (T, B, I) or (B, I); got [1.0]",
    ),
    Complaint(
        "features of integers", lambda n: n.tanh.forward(np.ones((B, I), int)), TypeError,
        "`x` should be a floating array (T, B, I) or (B, I); got int64",
    ),
    Complaint(
        "indices of floats", lambda n: n.embedding.forward(n.index.astype(float)), TypeError,
        "`x` should be integers, indices of the 6 rows; got float64",
    ),
    Complaint(
        "indices as a list", lambda n: n.embedding.forward([1]), TypeError,
        "`x` should be an integer array of numpy; got [1]",
    ),
    Complaint(
        "one-hot indices", lambda n: n.embedding.forward(np.ones((T, B, V), int)), ValueError,
        "`x` should be (T, B) or (B,); got (4, 3, 6) (one-hot? pass x.argmax(-1))",
    ),
    Complaint(
        "index out of range", lambda n: n.embedding.forward(with_entry(n.index, 6)), ValueError,
        "`x` should lie in 0 .. 5; got 6 at (1, 2) (padding? give its mask)",
    ),
    # ---- losses
    Complaint(
        "logits of integers", lambda n: lc.softmax_cross_entropy(n.targets, n.targets), TypeError,
        "`logits` should be a floating array (..., V); got int64",
    ),
    Complaint(
        "logits that are no array", lambda n: lc.softmax_cross_entropy([0.5], n.targets), TypeError,
        "`logits` should be a floating array (..., V); got [0.5]",
    ),
    Complaint(
        "targets as a list", lambda n: lc.softmax_cross_entropy(n.logits, [1]), TypeError,
        "`targets` should be an integer array of numpy; got [1]",
    ),
    Complaint(
        "one-hot targets", lambda n: lc.softmax_cross_entropy(n.logits, np.eye(V)[n.targets]), TypeError,
        "`targets` should be integers, class indices; got float64 (one-hot? pass targets.argmax(-1))",
    ),
    Complaint(
        "one-hot integer targets", lambda n: lc.softmax_cross_entropy(n.logits, np.eye(V, dtype=int)[n.targets]),
        ValueError,
        "`targets` should be (4, 3), the shape of the logits without V; got (4, 3, 6) "
        "(one-hot? pass targets.argmax(-1))",
    ),
    Complaint(
        "targets of another shape", lambda n: lc.softmax_cross_entropy(n.logits, n.targets[0]), ValueError,
        "`targets` should be (4, 3), the shape of the logits without V; got (3,)",
    ),
    Complaint(
        "target out of range", lambda n: lc.softmax_cross_entropy(n.logits, with_entry(n.targets, -1)), ValueError,
        "`targets` should lie in 0 .. 5; got -1 at (1, 2) (a mark for what does not count? give its mask)",
    ),
    Complaint(
        "mask of numbers for a loss",
        lambda n: lc.softmax_cross_entropy(n.logits, n.targets, mask=n.mask.astype(int)), TypeError,
        "`mask` should be boolean, true on what counts; got int64 (mask != 0)",
    ),
    Complaint(
        "mask as a list for a loss", lambda n: lc.softmax_cross_entropy(n.logits, n.targets, mask=[True]), TypeError,
        "`mask` should be a boolean array of numpy; got [True]",
    ),
    Complaint(
        "mask of another shape for a loss",
        lambda n: lc.softmax_cross_entropy(n.logits, n.targets, mask=n.mask.T), ValueError,
        "`mask` should be (4, 3), the shape of targets (or that less its last axis); got (3, 4)",
    ),
    Complaint(
        "nothing valid", lambda n: lc.softmax_cross_entropy(n.logits, n.targets, mask=~n.mask), ValueError,
        "`mask` should have at least one valid item; got none (the mean of nothing is undefined)",
    ),
    Complaint(
        "no targets", lambda n: lc.softmax_cross_entropy(n.logits[:0], n.targets[:0]), ValueError,
        "`targets` should hold at least one item; got (0, 3) (an empty batch?)",
    ),
    Complaint(
        "values of another shape", lambda n: lc.squared_error(n.dy, n.dy[0]), ValueError,
        "`targets` should have the shape of y, (4, 3, 2); got (3, 2)",
    ),
    Complaint(
        "values of another dtype", lambda n: lc.squared_error(n.dy, n.dy.astype("float32")), TypeError,
        "`targets` should be float64, as the parameters are; got float32 (mixed dtypes: "
        'targets.astype("float64"), or build the layer with dtype="float32")',
    ),
    Complaint(
        "a label beyond 1", lambda n: lc.binary_cross_entropy(n.dy, np.full_like(n.dy, 2)), ValueError,
        "`targets` should lie in 0 .. 1, false to true; got 2 at (0, 0, 0) (a mark for what does not count? give its "
        "mask)",
    ),
    Complaint(
        "class weights of another size", lambda n: lc.softmax_cross_entropy(n.logits, n.targets, None, np.ones(V + 1)),
        ValueError,
        f"`weights` should be (V,) = ({V},), one per class; got ({V + 1},) (one per item? a mask leaves items out)",
    ),
    Complaint(
        "negative class weights", lambda n: lc.softmax_cross_entropy(n.logits, n.targets, None, -np.ones(V)),
        ValueError, "`weights` should be finite and not negative",
    ),
    Complaint(
        "class weights of nothing", lambda n: lc.softmax_cross_entropy(n.logits, n.targets, None, np.zeros(V)),
        ValueError, "`weights` should count at least one valid target; all of theirs are 0",
    ),
    Complaint(
        "an optimizer in the place of the loss", lambda n: lc.fit(n.lstm, lc.SGD(0.1), [(n.x, n.dy)], n.lstm, epochs=1),
        TypeError,
        "`loss` should be a function (y, targets, mask) -> loss, dy, such as lc.squared_error; got "
        "SGD(lr=0.1, weight_decay=0, l1=0) (fit(model, loss, batches, opt, epochs=...))",
    ),
    Complaint(
        "a bend at zero", lambda n: lc.huber(n.dy, n.dy, delta=0), ValueError,
        "`delta` should be a positive number; got 0",
    ),
    Complaint(
        "nothing valid to square", lambda n: lc.squared_error(n.dy, n.dy, mask=np.zeros((T, B, H), bool)), ValueError,
        "`mask` should have at least one valid item; got none (the mean of nothing is undefined)",
    ),
    # ---- making layers
    Complaint("no width", lambda n: lc.LSTM(0, H), ValueError, "`input_size` should be a positive int; got 0"),
    Complaint("true width", lambda n: lc.GRU(I, True), ValueError, "`hidden_size` should be a positive int; got True"),
    Complaint("half width", lambda n: lc.Linear(I, 2.5), ValueError, "`output_size` should be a positive int; got 2.5"),
    Complaint("no classes", lambda n: lc.Embedding(-1, I), ValueError, "`classes` should be a positive int; got -1"),
    Complaint(
        "seed", lambda n: lc.LSTM(I, H, seed="one"), TypeError,
        "`seed` should be None, an int or a numpy.random.Generator; got 'one'",
    ),
    Complaint(
        "half precision", lambda n: lc.LSTM(I, H, dtype="float16"), TypeError,
        "`dtype` should be \"float32\" or \"float64\"; got 'float16'",
    ),
    Complaint(
        "no dtype", lambda n: lc.LSTM(I, H, dtype="many"), TypeError,
        "`dtype` should be \"float32\" or \"float64\"; got 'many'",
    ),
    Complaint(
        "merge", lambda n: lc.Bidirectional(n.lstm, n.gru, merge="product"), ValueError,
        "`merge` should be one of concat, sum, mean, mul, none; got 'product'",
    ),
    Complaint(
        "one layer twice", lambda n: lc.Bidirectional(n.lstm, n.lstm), ValueError,
        "`fw` and `bw` should be two layers; got LSTM(5, 2) twice (they would share their weights)",
    ),
    Complaint(
        "outputs and final state", lambda n: lc.Bidirectional(n.lstm, n.last), ValueError,
        "`fw` and `bw` should agree on return_sequences; one gives all outputs, the other the last",
    ),
    Complaint("empty stack", lambda n: lc.Stack([]), ValueError, "`layers` should hold at least one layer; got none"),
    Complaint(
        "no layer", lambda n: lc.Stack([n.tanh, 3]), TypeError,
        "`layers[1]` should be a layer; got 3 (lc.Stack([lc.LSTM(I, H), lc.LSTM(H, H)]))",
    ),
    Complaint(
        "a layer twice in a stack", lambda n: lc.Stack([n.tanh, n.tanh]), ValueError,
        "`layers` should hold each layer once; Tanh() at 1 stands there twice",
    ),
    Complaint(
        "dropping everything", lambda n: lc.Dropout(1.0), ValueError,
        "`p` should be a probability in [0, 1), of being dropped; got 1.0",
    ),
    Complaint(
        "pieces of no steps", lambda n: lc.LSTM(5, 2, recompute=-1), ValueError,
        "`recompute` should be a number of steps, True (near sqrt(T)) or False; got -1",
    ),
    Complaint(
        "step backward in time", lambda n: n.both.step(n.x[0]), TypeError,
        "a Bidirectional layer cannot step: its backward direction starts at the end of the sequence",
    ),
    Complaint(
        "dy of a bidirectional", lambda n: n.both.backward(n.dy, n.both.forward(n.x)[2]), ValueError,
        "`dy` should have 4 columns, forward's and backward's; got (4, 3, 2)",
    ),
    Complaint(
        "dy of a sum of directions", lambda n: n.sum.backward(n.dy[..., :1], n.sum.forward(n.x)[2]), ValueError,
        "`dy` should have 2 columns, as many as either direction gives; got (4, 3, 1)",
    ),
    Complaint(
        "dy of a bidirectional as a list", lambda n: n.both.backward([1.0], n.both.forward(n.x)[2]), TypeError,
        "`dy` should be a floating array (T, B, H) or (B, H); got [1.0]",
    ),
    Complaint(
        "dy of a bidirectional without axes", lambda n: n.both.backward(np.float64(1), n.both.forward(n.x)[2]),
        TypeError,
        "`dy` should be a floating array (T, B, H) or (B, H); got float64 () of numpy",
    ),
    Complaint(
        "array library", lambda n: n.lstm.to(array="lists"), ValueError,
        "`array` should be \"numpy\" or \"cupy\"; got 'lists'",
    ),
    # ---- parameters
    Complaint(
        "parameter of another shape", lambda n: n.lstm.params.update(b=np.ones(3)), ValueError,
        "`b` should be the shape of the parameter = (8,); got (3,)",
    ),
    Complaint(
        "parameter transposed", lambda n: n.lstm.params.update(W_ih=np.ones((8, 5))), ValueError,
        "`W_ih` should be the shape of the parameter = (5, 8); got (8, 5) (transposed?)",
    ),
    Complaint(
        "parameter of another dtype", lambda n: n.lstm.params.update(b=np.ones(8, "float32")), TypeError,
        "`b` should be float64, as the parameters are; got float32 (mixed dtypes: "
        'b.astype("float64"), or build the layer with dtype="float32")',
    ),
]  # fmt: skip


@pytest.mark.parametrize("complaint", COMPLAINTS, ids=repr)
def test_text(complaint):
    here = layers()
    with pytest.raises(complaint.error) as caught:
        complaint.call(here)
    assert str(caught.value) == complaint.text


@pytest.mark.parametrize("complaint", COMPLAINTS, ids=repr)
def test_nothing_is_changed_before_the_check_has_passed(complaint):
    here = layers()
    kept = {
        name: dict(value.params) if hasattr(value, "params") else tuple(arrays_in(value))
        for name, value in vars(here).items()
    }
    before = flatten({name: {k: v.copy() for k, v in flatten(value).items()} for name, value in kept.items()})
    with pytest.raises(complaint.error):
        complaint.call(here)
    after = flatten({name: flatten(value) for name, value in kept.items()})
    assert before.keys() == after.keys()
    assert len(before) > 20
    for name, value in before.items():
        assert np.array_equal(value, after[name]), name


def test_names_that_are_not_there():
    params = layers().lstm.params
    with pytest.raises(KeyError, match="no parameter 'W'; there are W_ih, W_hh, b"):
        params["W"]
    with pytest.raises(KeyError, match="no parameter 'W'; there are W_ih, W_hh, b"):
        params["W"] = np.ones(3)
    with pytest.raises(TypeError, match="parameter 'b' cannot be removed: the layer needs it"):
        del params["b"]


def test_an_unknown_engine_is_refused_at_once():
    with pytest.raises(ValueError, match=r"`engine` should be one of 'reference'.*, or None; got 'fastest'"):
        lc.LSTM(I, H, engine="fastest")
    with pytest.raises(ValueError, match=r"`engine` should be one of 'reference'.*, or None; got 'fastest'"):
        layers().stack.to(engine="fastest")


@pytest.mark.parametrize("kind", ["library of the input", "library of the mask", "library of the targets"])
def test_mixed_libraries(array_api_strict, kind):
    here = layers()
    foreign = array_api_strict.asarray
    calls = {
        "library of the input": (
            lambda: here.lstm.forward(foreign(here.x)),
            "`x` should be an array of numpy, as the parameters are; got one of array_api_strict "
            "(move one of the two: layer.to(array=...), lc.to_gpu, lc.to_cpu)",
        ),
        "library of the mask": (
            lambda: here.lstm.forward(here.x, mask=foreign(here.mask)),
            "`mask` should be a boolean array of numpy; got bool (4, 3) of array_api_strict",
        ),
        "library of the targets": (
            lambda: lc.softmax_cross_entropy(here.logits, foreign(here.targets)),
            "`targets` should be an integer array of numpy; got int64 (4, 3) of array_api_strict",
        ),
    }
    call, text = calls[kind]
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == text


def test_every_complaint_of_shapes_is_in_the_table():
    """Each `raise` of shapes.py is reached by some wrong call above (one of them needs a second array library)."""
    source = Path(shapes.__file__).read_text(encoding="utf-8")
    raises = {(node.lineno, node.end_lineno) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Raise)}
    reached = set()
    for complaint in COMPLAINTS:
        try:
            complaint.call(layers())
        except (TypeError, ValueError) as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            if frame.filename == shapes.__file__:
                reached |= {lines for lines in raises if lines[0] <= frame.lineno <= lines[1]}
    unseen = {source.splitlines()[first] for first, _ in raises - reached}
    assert len(raises) > 20
    assert len(unseen) == 1, unseen
    assert "as the parameters are; got one of" in unseen.pop()
