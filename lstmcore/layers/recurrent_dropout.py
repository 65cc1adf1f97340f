"""Noise on the way from step to step: masks on h, W_hh and g, and zoneout; drawn, kept, and replayed by `backward`."""

from collections.abc import Mapping
from typing import NamedTuple, cast

from lstmcore.arrays import Array, State, namespace
from lstmcore.layers.inside import predict_inside, state_inside
from lstmcore.layers.layer import Layer, Rng
from lstmcore.layers.params import Params, joined
from lstmcore.layers.recurrent import Recurrent, running
from lstmcore.layers.tree import with_params
from lstmcore.ops.cells.lstm_dropped import has_dropped, lstm_dropped
from lstmcore.ops.dropout import dropout_backward, dropout_forward, dropout_scale
from lstmcore.ops.masking import kept, masking_backward, masking_forward
from lstmcore.ops.recurrence import Cache
from lstmcore.shapes import check_cache, check_like, check_probability, check_state


class Drawn(NamedTuple):
    """The noise of one pass; None where there is none."""

    h: Array | None  # (B, H) factors of h_prev: 0, or 1 / (1 - p), the same at every step
    W_hh: Array | None  # factors of W_hh, the same at every step and in every row
    stays: tuple[Array | float | None, ...]  # for each state (T, B, H), 1 where it stays as it is; p in evaluation
    g: Array | None  # (T, B, H) factors of the candidate: 0, or 1 / (1 - p)


class RecurrentDropoutCache(NamedTuple):
    parts: tuple[Cache, ...]  # one of the whole sequence, or one of each step
    drawn: Drawn
    mask: Array | None
    y: Array
    run: Recurrent  # what ran: the layer, or its twin with the weights that are left and the step that drops
    owner: "RecurrentDropout"


class RecurrentDropout(Layer):
    """`layer`, an LSTM, GRU or RNN, with noise between its steps, when `forward` is given an rng.

    h          variational dropout: one mask on h_prev for the whole sequence, in each row (Gal & Ghahramani 2016)
    W_hh       DropConnect: one mask on the recurrent weights (Wan et al. 2013; the AWD-LSTM of Merity et al. 2018)
    zoneout_h  each number of h keeps its old value, at each step anew (Krueger et al. 2017); zoneout_c the same of c
    g          recurrent dropout without memory loss: at each step anew, a mask on the candidate (Semeniuta et al. 2016)

    All are probabilities in [0, 1), of being dropped or of staying. Without an rng (evaluation) h, W_hh and g do
    nothing, and zoneout takes the mean: p * old + (1 - p) * new. Equations 107 to 112, 121 to 123. For x and y there is
    `Dropout`. With h, g or zoneout the layer runs step by step, on its own engine. Keys of params "layer.W_ih", ...;
    state: (the layer's,). Raises TypeError for what runs no cell or gives the final state alone, for zoneout_c without
    a c, for g in another than the plain LSTM, and for W_hh where W_hn stands beside it (a GRU with reset="before").
    """

    layer: Recurrent
    h: float
    W_hh: float
    zoneout_h: float
    zoneout_c: float
    g: float

    def __init__(
        self,
        layer: Recurrent,
        h: float = 0.0,
        W_hh: float = 0.0,
        zoneout_h: float = 0.0,
        zoneout_c: float = 0.0,
        g: float = 0.0,
    ):
        if not isinstance(layer, Recurrent) or not layer.return_sequences:
            raise TypeError(
                "`layer` of a RecurrentDropout should be an LSTM, GRU or RNN with all outputs, whose steps it runs one "
                f"by one; got {layer!r} (put RecurrentDropout inside it)"
            )
        for name, p in (("h", h), ("W_hh", W_hh), ("zoneout_h", zoneout_h), ("zoneout_c", zoneout_c), ("g", g)):
            check_probability(name, p)
        if zoneout_c and "c" not in layer.states:
            raise TypeError(f"`zoneout_c` should be 0 where there is no c; {layer!r} has {', '.join(layer.states)}")
        if W_hh and "W_hn" in layer.params:
            raise TypeError(f"`W_hh` should be 0 for {layer!r}: its W_hn, recurrent too, would keep all its weights")
        if g and not has_dropped(layer.cell):
            raise TypeError(f"`g` should be 0 for {layer!r}: the plain LSTM has a step that drops its candidate")
        self.layer, self.h, self.W_hh, self.g = layer, float(h), float(W_hh), float(g)
        self.zoneout_h, self.zoneout_c = float(zoneout_h), float(zoneout_c)
        self.parts: Mapping[str, Layer] = {"layer": layer}
        self.params: Params = joined(self.parts)

    def forward(
        self,
        x: Array,
        state: State | None = None,
        mask: Array | None = None,
        rng: Rng = None,
        reuse: RecurrentDropoutCache | None = None,
    ) -> tuple[Array, State, RecurrentDropoutCache]:
        given = state_inside(self, "state", state)
        if reuse is not None:
            check_cache(reuse, self)
        checked = self.layer.before_forward(x, given, mask)
        drawn, run = self._drawn(x, rng), self.layer
        if drawn.W_hh is not None:
            W = dropout_forward(run.params["W_hh"], drawn.W_hh)  # (108)
            run = cast("Recurrent", with_params(run, {**run.params, "W_hh": W}))
        if drawn.g is not None:
            run = running(run, lstm_dropped(run.cell))  # (121)
        if not self._by_steps(drawn):
            y, last, cache = run.forward(x, given, mask)
            return y, (last,), RecurrentDropoutCache((cache,), drawn, kept(mask), y, run, self)
        xp, now, caches, outputs = namespace(x), checked.state0, list[Cache](), list[Array]()
        for t in range(x.shape[0]):
            real, read = None if mask is None else mask[t : t + 1, ...], now
            if drawn.h is not None:
                read = (dropout_forward(now[0], drawn.h), *now[1:])  # (107)
            if drawn.g is not None:
                read = (read[0], drawn.g[t, ...], *read[1:])
            _, new, cache = run.forward(x[t : t + 1, ...], read, real)
            new = new if drawn.g is None else (new[0], *new[2:])  # without the mask
            mixed = (n if z is None else _at(z, t) * s + (1 - _at(z, t)) * n for n, s, z in zip(new, now, drawn.stays))
            now = tuple(m if real is None else xp.where(real[0, :, None], m, s) for m, s in zip(mixed, now))  # (109)
            caches.append(cache)
            outputs.append(now[0])
        y = masking_forward(xp.stack(outputs), mask)
        return y, (now,), RecurrentDropoutCache(tuple(caches), drawn, kept(mask), y, run, self)

    def backward(
        self, dy: Array | None, cache: RecurrentDropoutCache, dstate: State | None = None
    ) -> tuple[Array | None, State, dict[str, Array]]:
        check_cache(cache, self)
        given = state_inside(self, "dstate", dstate)
        drawn, mask, run = cache.drawn, cache.mask, cache.run
        if not self._by_steps(drawn):
            dx, dstate0, grads = run.backward(dy, cache.parts[0], given)
            return dx, (dstate0,), self._named(grads, drawn)
        if dy is not None:
            dy = masking_backward(check_like("dy", dy, tuple(cache.y.shape), "the shape of y", cache.y), mask)
        xp, total, dxs = namespace(cache.y), dict[str, Array](), list[Array]()
        states = cache.parts[-1].states
        d = tuple(xp.zeros_like(s[-1, ...]) for s in (states if drawn.g is None else (states[0], *states[2:])))
        if given is not None:
            check_state("dstate", given, self.layer.states, d[0].shape[0], [s.shape[1] for s in d], cache.y)
            d = cast("tuple[Array, ...]", tuple(given))
        for t in reversed(range(len(cache.parts))):
            if dy is not None:
                d = (d[0] + dy[t, ...], *d[1:])
            held = [xp.zeros_like(s) if z is None else _at(z, t) * s for s, z in zip(d, drawn.stays)]
            if mask is not None:
                held = [xp.where(mask[t, :, None], k, s) for k, s in zip(held, d)]
            dnew = tuple(s - k for s, k in zip(d, held))  # (110) undoes (109)
            if drawn.g is not None:
                dnew = (dnew[0], xp.zeros_like(drawn.g[t, ...]), *dnew[1:])
            dx_t, dread, grads = run.backward(None, cache.parts[t], dnew)
            dread = dread if drawn.g is None else (dread[0], *dread[2:])
            if drawn.h is not None:
                dread = (dropout_backward(dread[0], drawn.h), *dread[1:])  # (112) undoes (107)
            d = tuple(k + r for k, r in zip(held, dread))
            dxs.append(dx_t)
            total = {name: g + total[name] if name in total else g for name, g in grads.items()}
        return xp.concat(dxs[::-1]), (d,), self._named(total, drawn)

    def predict(self, x: Array, state: State | None = None, mask: Array | None = None) -> tuple[Array, State]:
        if self.zoneout_h or self.zoneout_c:
            return self.forward(x, state, mask)[:2]
        return predict_inside(self, x, state, mask)

    def step(self, x: Array, state: State | None = None) -> tuple[Array, State]:
        y, last = self.predict(x[None, ...], state)
        return y[0], last

    def _drawn(self, x: Array, rng: Rng) -> Drawn:
        """Drawn in this order: h, W_hh, what stays, state by state, and g."""
        W_hh, (T, B) = self.layer.params["W_hh"], x.shape[:2]
        h = dropout_scale(rng, (B, W_hh.shape[0]), self.h, W_hh) if self.h and rng is not None else None
        W = None
        if self.W_hh and rng is not None:  # drawn in one row: whoever deals out rows of a batch leaves it whole
            W = namespace(x).reshape(dropout_scale(rng, (W_hh.size,), self.W_hh, W_hh), tuple(W_hh.shape))
        stays: list[Array | float | None] = []
        for name, width in zip(self.layer.states, self.layer.cell.widths(self.layer.hidden_size)):
            p = {"h": self.zoneout_h, "c": self.zoneout_c}.get(name, 0.0)
            if p and rng is not None:
                stays.append(namespace(x).asarray(rng.random((T, B, width)) < p, dtype=W_hh.dtype))
            else:
                stays.append(p or None)
        shape = (T, B, self.layer.hidden_size)
        g = dropout_scale(rng, shape, self.g, W_hh) if self.g and rng is not None else None
        return Drawn(h, W, tuple(stays), g)

    @staticmethod
    def _by_steps(drawn: Drawn) -> bool:
        return drawn.h is not None or drawn.g is not None or any(z is not None for z in drawn.stays)

    @staticmethod
    def _named(grads: Mapping[str, Array], drawn: Drawn) -> dict[str, Array]:
        if drawn.W_hh is not None:
            grads = {**grads, "W_hh": dropout_backward(grads["W_hh"], drawn.W_hh)}  # (111) undoes (108)
        return {f"layer.{name}": g for name, g in grads.items()}


def _at(z: Array | float, t: int) -> Array | float:
    return z if isinstance(z, float) else z[t, ...]
