"""Two layers over the same input, one of them in flipped time."""

from collections.abc import Collection, Mapping
from typing import NamedTuple, NoReturn, overload

from lstmcore.arrays import Array, State, is_array, namespace
from lstmcore.layers.batch_first import check_time_first
from lstmcore.layers.layer import Layer, Rng
from lstmcore.layers.params import Params, joined
from lstmcore.layers.side_by_side import backward_both, forward_both, predict_both
from lstmcore.layers.tree import leaves
from lstmcore.shapes import check_cache, check_columns, check_parts


class BidirectionalCache(NamedTuple):
    parts: tuple[object, object]  # the cache of each direction, the backward one in flipped time
    widths: tuple[int, int]
    ys: tuple[Array, Array] | None  # both outputs, in the order of time, where "mul" needs them
    owner: "Bidirectional"


MERGES = ("concat", "sum", "mean", "mul", "none")


class Bidirectional(Layer):
    """`fw` reads x as it is, `bw` reads it in flipped time; both outputs stand at the step that they belong to.

    merge: "concat" gives y (T, B, 2H), forward's half first; "sum", "mean" and "mul" put the two together, (T, B, H);
    "none" leaves them apart, (T, B, 2, H). State: (forward's, backward's); params
    keys "fw.W_ih", ..., "bw.W_ih", .... Because a masked step carries the state through, flipping x and mask is right
    for every mask: the backward direction starts at each row's last real step. With return_sequences=False in both
    directions y is (B, 2H): each direction's final state, the backward one's at the row's first real step.

    Two plain recurrent layers run at once where their engine can (side_by_side.py): the results are the same.
    """

    fw: Layer
    bw: Layer
    merge: str

    flipped: Collection[str] = ("bw",)

    def __init__(self, fw: Layer, bw: Layer, merge: str = "concat"):
        if merge not in MERGES:
            raise ValueError(f"`merge` should be one of {', '.join(MERGES)}; got {merge!r}")
        if fw is bw:
            raise ValueError(f"`fw` and `bw` should be two layers; got {fw!r} twice (they would share their weights)")
        check_time_first("Bidirectional", fw, bw)
        if _returns_sequences(fw) != _returns_sequences(bw):
            raise ValueError(
                "`fw` and `bw` should agree on return_sequences; one gives all outputs, the other the last"
            )
        if merge == "none" and not _returns_sequences(fw):
            raise ValueError(
                '`merge` "none" leaves outputs of every step apart; with return_sequences=False use "concat"'
            )
        self.fw, self.bw, self.merge = fw, bw, merge
        self.parts: Mapping[str, Layer] = {"fw": fw, "bw": bw}
        self.params: Params = joined(self.parts)

    def forward(
        self,
        x: Array,
        state: State | None = None,
        mask: Array | None = None,
        rng: Rng = None,
        reuse: BidirectionalCache | None = None,
    ) -> tuple[Array, State, BidirectionalCache]:
        of_fw, of_bw = check_parts("state", state, 2, "Bidirectional")
        if reuse is not None:
            check_cache(reuse, self)
        # (46) the backward direction reads x and mask in flipped time; (47) its outputs are turned back and joined
        fw = (x, of_fw, mask, rng, reuse and reuse.parts[0])
        bw = (turned(x), of_bw, turned(mask), rng, reuse and reuse.parts[1])
        (y_fw, s_fw, c_fw), (y_bw, s_bw, c_bw) = forward_both((self.fw, self.bw), (fw, bw))
        ys = (y_fw, in_time(y_bw)) if self.merge == "mul" else None
        cache = BidirectionalCache((c_fw, c_bw), (y_fw.shape[-1], y_bw.shape[-1]), ys, self)
        return self._merged(y_fw, y_bw), (s_fw, s_bw), cache

    def backward(
        self, dy: Array | None, cache: BidirectionalCache, dstate: State | None = None
    ) -> tuple[Array | None, State, dict[str, Array]]:
        check_cache(cache, self)
        of_fw, of_bw = check_parts("dstate", dstate, 2, "Bidirectional")
        dy_fw, dy_bw = self._split(dy, cache)  # (48) undoes (47)
        bw = (in_time(dy_bw), cache.parts[1], of_bw)
        fw = (dy_fw, cache.parts[0], of_fw)
        (dx_bw, ds_bw, g_bw), (dx_fw, ds_fw, g_fw) = backward_both((self.bw, self.fw), (bw, fw))
        grads = {f"fw.{k}": g for k, g in g_fw.items()} | {f"bw.{k}": g for k, g in g_bw.items()}
        dx = None if dx_fw is None else dx_fw + turned(dx_bw)  # (49) undoes (46): both directions read x
        return dx, (ds_fw, ds_bw), grads

    def predict(self, x: Array, state: State | None = None, mask: Array | None = None) -> tuple[Array, State]:
        of_fw, of_bw = check_parts("state", state, 2, "Bidirectional")
        fw = (x, of_fw, mask)
        bw = (turned(x), of_bw, turned(mask))
        (y_fw, s_fw), (y_bw, s_bw) = predict_both((self.fw, self.bw), (fw, bw))
        return self._merged(y_fw, y_bw), (s_fw, s_bw)

    def step(self, x: Array, state: State | None = None) -> NoReturn:
        raise TypeError("a Bidirectional layer cannot step: its backward direction starts at the end of the sequence")

    def _merged(self, y_fw: Array, y_bw: Array) -> Array:
        y_bw, xp = in_time(y_bw), namespace(y_fw)
        if self.merge == "concat":
            return xp.concat([y_fw, y_bw], axis=-1)
        if y_fw.shape[-1] != y_bw.shape[-1]:
            raise ValueError(
                f"`fw` and `bw` should give outputs of one width to be merged by {self.merge!r}; got {y_fw.shape[-1]} "
                f"and {y_bw.shape[-1]}"
            )
        if self.merge == "none":
            return xp.stack([y_fw, y_bw], axis=-2)
        if self.merge == "mul":
            return y_fw * y_bw
        return y_fw + y_bw if self.merge == "sum" else (y_fw + y_bw) / 2

    def _split(self, dy: Array | None, cache: BidirectionalCache) -> tuple[Array | None, Array | None]:
        """Undoes `_merged`, up to the flip."""
        if dy is None:
            return None, None
        widths = cache.widths
        if self.merge == "concat":
            dy = check_columns("dy", dy, sum(widths), "forward's and backward's")
            return dy[..., : widths[0]], dy[..., widths[0] :]
        dy = check_columns("dy", dy, widths[0], "as many as either direction gives")
        if self.merge == "none":
            return dy[..., 0, :], dy[..., 1, :]
        if cache.ys is not None:
            y_fw, y_bw = cache.ys
            return dy * y_bw, dy * y_fw
        return (dy, dy) if self.merge == "sum" else (dy / 2, dy / 2)


@overload
def turned(x: Array) -> Array: ...
@overload
def turned(x: Array | None) -> Array | None: ...
def turned(x: Array | None) -> Array | None:
    """Time reversed, as a view: engines accept any stride in time. What is no array, or one number, layers refuse."""
    return x[::-1, ...] if x is not None and is_array(x) and x.ndim else x


@overload
def in_time(y: Array) -> Array: ...
@overload
def in_time(y: Array | None) -> Array | None: ...
def in_time(y: Array | None) -> Array | None:
    """Outputs (T, B, ...) turned back into the input's order; a final state (B, H) has no order."""
    return turned(y) if y is not None and y.ndim > 2 else y


def _returns_sequences(layer: Layer) -> bool:
    """False if the layer, or any layer inside it, gives final states only."""
    return all(getattr(leaf, "return_sequences", True) for _, leaf in leaves(layer))
