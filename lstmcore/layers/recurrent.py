"""LSTM, GRU and plain RNN: one layer that owns the parameters of a cell and hands its arrays to an engine."""

import copy
import functools
import inspect
from collections.abc import Mapping
from typing import Self, Unpack, cast

import numpy as np

from lstmcore.arrays import Array, Dtype, Plain, State, namespace
from lstmcore.layers import seen
from lstmcore.layers.initialise import Seed, generator, glorot_uniform, orthogonal
from lstmcore.layers.layer import Layer, Rng, check_dtype
from lstmcore.layers.params import Params
from lstmcore.ops import cells, gates
from lstmcore.ops.cells import Cell
from lstmcore.ops.masking import kept, masking_forward
from lstmcore.ops.recurrence import Cache, Engine, EngineName, choose
from lstmcore.ops.recurrence.directions import Backward, Forward
from lstmcore.ops.recurrence.recomputed import Kept, Recomputed
from lstmcore.shapes import check_array, check_cache, check_like, check_pieces, check_sequence, check_size, check_state

SHAPES = 256  # of x, for which frozen weights keep what is laid out


class Recurrent(Layer):
    """A layer that runs a cell over time. `engine` None means the fastest available; the cache says which ran.

    return_sequences=False gives each row's final state h (B, H) instead of all outputs (T, B, H). W_ih starts Glorot
    uniform and W_hh orthogonal, block by block; a bias at zero, or where its cell says.

    recompute=k keeps the states of every k-th step alone, and `backward` computes the rest again: for long sequences,
    in some 2 sqrt(T) steps of memory beside x and y, at about 4/3 of the time; True takes k near sqrt(T). The gradients
    are the same bits on "fused-cpu", where k grows to whole chunks, and equal to rounding elsewhere (docs/scale.md).

    Options are those of the cell (`LSTM(3, 4, peepholes=True)`); bias=False, which leaves all biases out, is one of
    every cell. They are part of `config`, and so of files. Raises TypeError for an option that the cell does not have,
    ValueError for one that is wrong.

    A layer of a cell of one's own is `class MGU(Recurrent): cell = mgu`.
    """

    input_size: int
    hidden_size: int
    engine: EngineName
    return_sequences: bool
    recompute: int | bool
    cell: Cell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        dtype: Dtype = "float32",
        seed: Seed = None,
        engine: EngineName = None,
        return_sequences: bool = True,
        recompute: int | bool = False,
        **options: Unpack[cells.Options],
    ):
        check_size("input_size", input_size)
        check_size("hidden_size", hidden_size)
        check_pieces("recompute", recompute)
        self.options: Plain = _changed(type(self), options)
        if self.options:
            self.cell = cells.variant(self.cell, **self.options)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.engine, self.return_sequences, self.recompute = engine, return_sequences, recompute
        self.states: tuple[str, ...] = self.cell.states
        self._chosen: tuple[EngineName, Array | None, Engine | None] = (None, None, None)  # for what, and which
        self.params: Params = _initial(self.cell, input_size, hidden_size, check_dtype(dtype), generator(seed))
        self.own_engine()  # one that cannot run is refused now, not at the first batch

    @classmethod
    def known_options(cls) -> tuple[str, ...]:
        """The names of what the cell can be told."""
        return tuple(cells.options_of(cls.cell))

    @classmethod
    def shapes(cls, options: Plain) -> dict[str, tuple[int, ...]]:
        return _cell(cls, options).shapes(options["input_size"], options["hidden_size"])

    @classmethod
    def state_sizes(cls, options: Plain) -> tuple[int, ...]:
        return _cell(cls, options).widths(options["hidden_size"])

    def forward(
        self,
        x: Array,
        state: State | None = None,
        mask: Array | None = None,
        rng: Rng = None,
        reuse: Cache | None = None,
    ) -> tuple[Array, tuple[Array, ...], Cache]:
        """x (T, B, I) -> y (T, B, H), zero at masked steps; or, without return_sequences, the final h (B, H)."""
        given = self.before_forward(x, state, mask, rng, reuse)
        return self.after_forward(given, self.own_engine().forward(self.cell, *given))

    def before_forward(
        self, x: Array, state: State | None, mask: Array | None, rng: Rng = None, reuse: Cache | None = None
    ) -> Forward:
        """What `forward` and `predict` hand to an engine, checked."""
        state0 = self._checked(x, state, mask)
        if reuse is not None:
            check_cache(reuse, self)
            seen.check_memory(reuse.seen)
        return Forward(x, self.params, state0, mask, reuse)

    def after_forward(self, given: Forward, cache: Cache) -> tuple[Array, tuple[Array, ...], Cache]:
        """What `forward` makes of an engine's answer."""
        before = None if given.reuse is None else given.reuse.seen
        known = seen.look(given.x, self.params, before)
        c, xp = cache, namespace(cache.x)
        cache = Cache(c.x, c.states, c.gates, kept(c.mask), c.engine, c.private, self, c.y, known)
        state = tuple([xp.asarray(s[-1, ...], copy=True) for s in c.states])
        if not self.return_sequences:
            return state[0], state, cache  # (44)
        y = masking_forward(c.states[0][1:, ...], c.mask) if c.y is None else c.y[...]  # (42)
        return seen.read_only(y), state, cache

    def backward(
        self, dy: Array | None, cache: Cache, dstate: State | None = None
    ) -> tuple[Array, tuple[Array, ...], dict[str, Array]]:
        """dy as y, or None -> dx (T, B, I), dstate0 a tuple of (B, H), gradients of every parameter."""
        given = self.before_backward(dy, cache, dstate)
        return self.own_engine().backward(self.cell, *given)

    def before_backward(self, dy: Array | None, cache: Cache, dstate: State | None = None) -> Backward:
        """What `backward` hands to an engine, checked."""
        check_cache(cache, self)
        if isinstance(cache.private, Kept) != bool(self.recompute):
            raise ValueError("`recompute` has changed since `forward`: call `forward` again")
        seen.check(cache.seen, self.params)
        W_hh = self.params["W_hh"]
        T, B = cache.x.shape[:2]
        H = self.cell.width or self.hidden_size
        if dstate is not None:
            check_state("dstate", dstate, self.cell.states, B, self.cell.widths(self.hidden_size), W_hh)
        of_state = self._zeros(B) if dstate is None else cast("tuple[Array, ...]", tuple(dstate))
        if dy is None:  # only the final state was used: an encoder, whose decoder gives dstate
            pass
        elif self.return_sequences:
            check_like("dy", dy, (T, B, H), "(T, B, H), as the cache fixes it,", W_hh)
        else:
            dy = check_like("dy", dy, (B, H), "(B, H), the shape of the final state,", W_hh)
            of_state, dy = (of_state[0] + dy, *of_state[1:]), None  # (45) undoes (44)
        return Backward(dy, of_state, self.params, cache)

    def predict(
        self, x: Array, state: State | None = None, mask: Array | None = None
    ) -> tuple[Array, tuple[Array, ...]]:
        """x (T, B, I) -> y, final state, as `forward` gives them, with no cache kept."""
        found = None if mask is not None else self._sooner(x, state)
        if found is None:
            given, engine, prepared = self.before_forward(x, state, mask), self.own_engine(), self.params.prepared
            found = engine.predict(self.cell, *given[:4])
            if prepared is not None and mask is None and hasattr(engine, "ready"):
                if len(prepared) > SHAPES:
                    prepared.clear()
                prepared[self.engine, id(self.cell), x.shape] = engine.ready(self.cell, self.params, x)
        return self.after_predict(*found)

    def after_predict(self, y: Array, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        """What `predict` makes of an engine's answer."""
        return (y if self.return_sequences else state[0]), state

    def step(self, x: Array, state: State | None = None) -> tuple[Array, tuple[Array, ...]]:
        """One step of a stream: x (B, I), state -> h (B, H), the next state."""
        found = self._sooner(x[None], state, False) if type(x) is np.ndarray else None
        if found is None:
            check_array("x", x, self.params["W_ih"])
            check_like("x", x, (*x.shape[:1], self.input_size), "(B, I), as W_ih fixes I,", self.params["W_ih"])
            found = self.predict(x[None, ...], state)
        return found[1][0], found[1]

    def _sooner(self, x: Array, state: State | None, y_wanted: bool = True) -> tuple[Array, tuple[Array, ...]] | None:
        """`predict` with frozen weights, by what the engine has laid out for this shape; None if it has not, or if x or
        the state are not quite as they should be. It holds the cell, whose id therefore stays its own."""
        prepared = self.params.prepared
        if not prepared:
            return None
        ready = prepared.get((self.engine, id(self.cell), getattr(x, "shape", None)))
        return None if ready is None else ready.predict(x, state, y_wanted)

    def to(self, dtype: Dtype | None = None, engine: EngineName = None, array: str | None = None) -> Self:
        twin = super().to(dtype, engine, array)
        twin.own_engine()
        return twin

    def config(self) -> Plain:
        config = super().config()
        config.pop("options", None)
        if not self.recompute:  # files from before there was such a thing say the same
            del config["recompute"]
        return config | {name: list(v) if isinstance(v, tuple) else v for name, v in self.options.items()}

    def __repr__(self) -> str:
        said = self.options | ({} if self.return_sequences else {"return_sequences": False})
        said |= {"recompute": self.recompute} if self.recompute else {}
        options = "".join(f", {name}={value!r}" for name, value in said.items())
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}{options})"

    def __getstate__(self) -> Plain:
        """For copies: they choose for themselves, and an engine that is a module cannot be copied."""
        return vars(self) | {"_chosen": (None, None, None)}

    def own_engine(self) -> Engine:
        """The engine that runs this layer now. Raises ValueError if the one that is wanted cannot."""
        W_hh = self.params["W_hh"]
        engine, array, chosen = self._chosen
        if chosen is None or array is not W_hh or engine is not self.engine:  # else nothing is new since the last call
            chosen = choose(self.engine, self.cell, W_hh, self.options)
            if self.recompute:
                chosen = Recomputed(chosen, self.recompute, self.return_sequences)
            self._chosen = self.engine, W_hh, chosen
        return chosen

    def _checked(self, x: Array, state: State | None, mask: Array | None) -> tuple[Array, ...]:
        """The initial state, once x, state and mask are found to be right, and the parameters as they were made."""
        self.params.check_shapes()
        check_sequence("x", x, self.input_size, self.params["W_ih"], mask)
        if state is None:
            return self._zeros(x.shape[1])
        widths = self.cell.widths(self.hidden_size)
        check_state("state", state, self.cell.states, x.shape[1], widths, self.params["W_hh"])
        return cast("tuple[Array, ...]", tuple(state))

    def _zeros(self, B: int) -> tuple[Array, ...]:
        W_hh = self.params["W_hh"]
        if type(W_hh) is np.ndarray and self.cell.width is None:
            return (_zeros_to_read((B, self.hidden_size), W_hh.dtype),) * len(self.cell.states)
        widths = self.cell.widths(self.hidden_size)
        return tuple([namespace(W_hh).zeros((B, width), dtype=W_hh.dtype) for width in widths])


class LSTM(Recurrent):
    """A long short-term memory layer (equations 1 to 25 of docs/derivation.md). State: (h, c), each (B, H).

    Parameters: W_ih (I, 4H), W_hh (H, 4H), b (4H,), blocks i f g o. b starts at zero, its forget block at 1 (Gers et
    al. 2000; Jozefowicz et al. 2015).

    Options (equations 78 to 91): peepholes=True adds p (3H,), blocks i f o; coupled="f" is f = 1 - i, "i" is i = 1 - f,
    and the block of that gate is left out; clip_c bounds c, clip_a the inputs of gates and candidate, each within
    +-limit; activation (of the candidate), gate_activation and cell_activation (of c) take the place of tanh, sigmoid,
    tanh; proj_size=P adds W_hr (H, P): h and y are P wide, W_hh (P, 4H), on the reference engine. layer_norm=True
    (equations 99 to 106) adds gamma (8H,), the gains of both products, gamma_c and beta_c (H,), and keeps 22 blocks a
    step in place of 4, on the reference engine. An activation is a
    name of ops/cells/activations.py, or a tuple with its numbers, ("hard_sigmoid", 0.2).
    """

    cell: Cell = cells.lstm


class GRU(Recurrent):
    """A gated recurrent unit, reset gate after the product (equations 26 to 37). State: (h,), (B, H).

    Parameters: W_ih (I, 3H), blocks r z n; W_hh (H, 3H), blocks r z m; b (3H,); b_hn (H,), the bias of block m.

    Options (equations 71 to 77): reset="before" the product, with W_hh (H, 2H), blocks r z, and W_hn (H, H) in place of
    block m, and b (3H,) alone; clip_a, activation, gate_activation as for LSTM.
    """

    cell: Cell = cells.gru


class RNN(Recurrent):
    """A plain recurrent layer with tanh (equations 38 to 41). State: (h,), (B, H).

    Parameters: W_ih (I, H), W_hh (H, H), b (H,). Options: activation="relu" or another, and clip_a, as for LSTM.
    """

    cell: Cell = cells.rnn


def running(layer: Recurrent, cell: Cell) -> Recurrent:
    """The same layer over the same arrays, whose steps are those of another cell with parameters like these."""
    twin = copy.copy(layer)
    twin.cell, twin.states = cell, cell.states
    return twin


@functools.cache
def of_cell(cell: Cell) -> type[Recurrent]:
    """The class of layers that run the cell: LSTM, GRU, RNN, or for another cell one that is made here."""
    known = next((kind for kind in (LSTM, GRU, RNN) if kind.cell == cell), None)
    return known or type(cell.name.upper(), (Recurrent,), {"cell": cell, "__module__": cell.make_step.__module__})


ARGUMENTS = ("kind", *inspect.signature(Recurrent.__init__).parameters)  # of every layer: the others are options


def _cell(kind: type[Recurrent], config: Plain) -> Cell:
    """The cell of a layer of this configuration."""
    return cells.variant(kind.cell, **_changed(kind, {k: v for k, v in config.items() if k not in ARGUMENTS}))


def _changed(kind: type[Recurrent], options: Mapping[str, object]) -> Plain:
    """The options that are not as they would be anyway. Lists, of files, become tuples again."""
    known = cells.options_of(kind.cell)
    unknown = ", ".join(map(repr, options.keys() - known.keys()))
    if unknown:
        raise TypeError(f"{kind.__name__} has no option {unknown}; there are {', '.join(known)}")
    found = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    return {name: value for name, value in found.items() if value != known[name]}


@functools.lru_cache(maxsize=64)
def _zeros_to_read(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Read-only zeros (B, H): one row, seen B times."""
    return np.broadcast_to(np.zeros(shape[1], dtype), shape)


def _initial(cell: Cell, I: int, H: int, dtype: np.dtype, rng: np.random.Generator) -> Params:
    params = {name: np.zeros(shape, dtype) for name, shape in cell.shapes(I, H).items()}
    params["W_ih"][...] = np.concatenate([glorot_uniform(rng, I, H) for _ in cell.input_blocks], axis=1)
    width = cell.widths(H)[0]
    params["W_hh"][...] = np.concatenate([orthogonal(rng, max(width, H))[:width, :H] for _ in cell.recurrent_blocks], 1)
    for name in cell.weights:
        params[name][...] = orthogonal(rng, max(width, H))[:H, :width]
    for name, blocks in cell.biases.items():
        for k, part in zip(blocks, gates.split(params[name], len(blocks))):
            part[...] = cell.initial_biases.get(cell.gates[k], 0)
    return Params(params)
