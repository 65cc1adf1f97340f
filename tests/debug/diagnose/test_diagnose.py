"""diagnose: every mistake of the catalogue by its name, pairs, and silence where nothing is wrong."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
from planting import cast, random_step, somebody_elses

import lstmcore as lc
from lstmcore.debug.diagnose.locate import locate
from lstmcore.debug.diagnose.read_case import readings
from lstmcore.debug.diagnose.search import Search, Suspicion
from lstmcore.debug.diagnose.suspects import suspects
from lstmcore.debug.diagnose.trial import BREAKS, Bench, residual, same
from lstmcore.debug.mistakes import MISTAKES, Mistake
from lstmcore.debug.mistakes.dropout import DROPOUT_MISTAKES
from lstmcore.debug.mistakes.mistake import LOOP
from lstmcore.interop import LAYOUTS, from_lstmcore, to_lstmcore

NAMED = {mistake.name: mistake for mistake in MISTAKES}


def diagnose(step, grads, **options):
    return lc.debug.diagnose(step.weights, step.x, step.dy, grads, **step.options, **options)


def test_the_catalogue_is_large_and_names_are_used_once():
    assert len(MISTAKES) > 300
    assert len(NAMED) == len(MISTAKES)


# ---- singles -----------------------------------------------------------------------------------------------

SETTINGS = {  # and how many mistakes show there at least, of all
    "one layer, gaps": ({"mask": "gaps", "shape": (7, 3, 4, 4)}, 300),
    "both directions, torch": ({"both": True, "layout": "torch", "shape": (5, 3, 4, 3)}, 300),
    "both directions, final states, tf1": ({"both": True, "final": True, "layout": "tf1", "shape": (5, 3, 2, 3)}, 290),
    "gru": ({"cell": "gru", "layout": "keras"}, 80),
    "rnn": ({"cell": "rnn", "layout": "onnx"}, 80),
}
DTYPES = ("float64", "float32")
PARTS = 3  # each setting of an LSTM takes another third: together they see every mistake; those of a GRU and RNN all


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_single_mistake_is_named(setting, dtype, nightly):
    """Each mistake, its gradients computed in this dtype, is the best answer or has the best answer's numbers.

    By day each in one setting of its cell, in one dtype, the settings in turns. Nightly: all of them, everywhere.
    """
    place = list(SETTINGS).index(setting)
    if not nightly and place % 2 != DTYPES.index(dtype):
        pytest.skip("with --nightly: by day the setting runs in the other dtype")
    options, least = SETTINGS[setting]
    step = random_step(11, dtype=dtype, **options)
    parts, first = (1, 0) if nightly or "cell" in options else (PARTS, place % PARTS)
    assert_named(step, dtype, MISTAKES[first::parts], least=0.9 * least / parts)


DROPPED = (
    {"dropout": "xy", "mask": "gaps"},
    {"dropout": "xy", "both": True, "final": True},
    {"dropout": "01y", "layers": 3},
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", DROPPED)
def test_every_mistake_with_dropout_is_named(options, dtype, nightly):
    """By day each in one dtype on one layer, and in the other in both directions; between layers, one dtype of two."""
    step = random_step(12, (5, 2, 3, 4), dtype=dtype, **options)
    parts, first = (1, 0) if nightly else (4 if "layers" in options else 2, ("both" in options) ^ DTYPES.index(dtype))
    mistakes = [m for m in DROPOUT_MISTAKES if ("layers" in options) == ("dropout between" in m.needs)]
    assert_named(step, dtype, mistakes[first::parts], least=(26 if "layers" in options else 30) / parts)


def test_dropout_between_layers_of_somebody_elses(torch):
    """Two of torch's layers, one mask between them: right, forgotten on the way back, and of the wrong shape."""
    generator = torch.Generator().manual_seed(3)
    below, above = torch.nn.LSTM(3, 4, dtype=torch.float64), torch.nn.LSTM(4, 4, dtype=torch.float64)
    x, dy = (torch.randn(6, 2, n, generator=generator, dtype=torch.float64) for n in (3, 4))
    mask = (torch.rand(6, 2, 4, generator=generator, dtype=torch.float64) < 0.6) / 0.6
    h = below(x)[0]
    y = above(h * mask)[0]
    y.backward(dy)
    weights = {
        name.replace("l0", f"l{k}"): p for k, layer in enumerate((below, above)) for name, p in layer.named_parameters()
    }
    given = [{name: p.detach() for name, p in weights.items()}, x, dy]
    grads = {name: p.grad for name, p in weights.items()}
    options = {"layout": "torch", "y": y.detach(), "dropout": {"0": mask}}
    assert lc.debug.diagnose(*given, grads, **options).ok
    x_first, dy_first, y_first, mask_first = (a.swapaxes(0, 1) for a in (x, dy, y.detach(), mask))
    batch_first = options | {"y": y_first, "dropout": {"0": mask_first}}
    assert lc.debug.diagnose(given[0], x_first, dy_first, grads, **batch_first).ok

    below.zero_grad()
    h = below(x)[0]
    inside = (h * mask).detach().requires_grad_()
    (dinside,) = torch.autograd.grad(above(inside)[0], inside, dy)
    h.backward(dinside)  # and forgets the mask
    wrong = {name: p.grad for name, p in weights.items()}
    answer = lc.debug.diagnose(*given, wrong, **options)
    assert answer.names == ("dropout between layers: on the way back, the mask is not applied",)


@pytest.mark.parametrize("below", ["0", "1", 0])
def test_dropout_between_some_layers_of_different_width(below):
    """One mask in a stack whose layers differ in width; the layer below it by its number, or as a word."""
    rng = np.random.default_rng(13)
    x, dy = (rng.standard_normal((5, 2, n)) for n in (3, 4))
    layers = [lc.LSTM(*sizes, dtype="float64", seed=k) for k, sizes in enumerate([(3, 3), (3, 5), (5, 4)])]
    mask = (rng.random((5, 2, layers[int(below)].hidden_size)) < 0.6) / 0.6
    h, caches = x, []
    for k, layer in enumerate(layers):
        h, _, cache = layer.forward(h)
        caches.append(cache)
        h = h * mask if k == int(below) else h
    for applied in (True, False):
        dh, grads = dy, {}
        for k in (2, 1, 0):
            dh = dh * mask if k == int(below) and applied else dh
            dh, _, found = layers[k].backward(dh, caches[k])
            grads |= {f"{k}.{name}": g for name, g in found.items()}
        weights = {f"{k}.{name}": w for k, layer in enumerate(layers) for name, w in layer.params.items()}
        answer = lc.debug.diagnose(weights, x, dy, grads, dropout={below: mask}, search=False)
        assert answer.ok == applied, str(answer)


def assert_named(step, dtype, mistakes, least):
    """Each mistake that the step has room for, its gradients computed in this dtype; so many of them at least.

    The nearest numbers must be its own: those behind are not asked, as `diagnose` asks them, which costs most.
    """
    reading = step.read(step.gradients(dtype=dtype))._replace(real=None)  # dx on padding too: some mistakes show there
    bench, known = Bench(reading), suspects(reading.case)
    numbers = {mistake: bench.numbers(mistake) for mistake in known}
    every = {key: np.stack([numbers[m][key] for m in known]) for key in numbers[known[0]]}
    sizes = {key: np.abs(values).max(axis=tuple(range(1, values.ndim))) for key, values in every.items()}

    def near(grads):
        """The mistakes whose numbers are, in every array, nearer than that array's largest number."""
        with np.errstate(all="ignore"):
            off = [np.abs(every[k] - g).max(axis=tuple(range(1, every[k].ndim))) > sizes[k] for k, g in grads.items()]
        return [m for m, far in zip(known, np.any(off, axis=0)) if not far]

    shown = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("lstmcore.debug.diagnose.search"), "CLOSEST", 1)
        for mistake in mistakes:
            if mistake not in numbers:
                continue
            grads = cast(step.gradients(mistake, dtype=dtype), "float64")
            if not all(np.isfinite(value).all() for value in grads.values()):
                continue
            search = Search(bench)
            search.grads = grads
            if search.explains(Suspicion((), residual(grads, bench.numbers()))):
                continue  # here its numbers are the right ones, up to rounding
            shown += 1
            search.tried = [Suspicion((m,), residual(grads, numbers[m])) for m in near(grads)]
            found = search.found(1)
            assert mistake in [s.mistakes[0] for s in found], f"{mistake.name}: {[s.mistakes[0].name for s in found]}"
    assert shown >= least, f"only {shown} could be seen"


def test_the_answer_holds_the_lines():
    step = random_step(3)
    answer = diagnose(step, step.gradients(NAMED["c_t for c_{t-1} in the forget gate"], dtype="float32"))
    assert not answer.ok
    assert answer.names == ("c_t for c_{t-1} in the forget gate",)
    assert answer.residual < 1e-5
    assert answer.runner_up.names == ("h_t for c_{t-1} in the forget gate",)  # the only other that explains half of it
    assert answer.runner_up.residual > 0.1
    text = str(answer)
    assert text.startswith("WRONG")
    assert "lstmcore/ops/cells/lstm.py, line " in text
    assert "right  df = dc * c_prev" in text
    assert "wrong  df = dc * c" in text
    assert "the next best, 1.2e-01 away: h_t for c_{t-1} in the forget gate" in text


def test_numbers_that_are_the_same_are_named_together():
    """Without a mask, a state that is zeroed on padding is no mistake; with T = 1 the first step is also the last."""
    step = random_step(3, shape=(1, 2, 3, 4), mask="none")
    answer = diagnose(step, step.gradients(NAMED["the first step is left out of the bias"], dtype="float32"))
    assert {"the first step is left out of the bias", "the last step is left out of the bias", "db is zero"} <= set(
        answer.names
    )
    assert "with the same numbers:" in str(answer)


@pytest.mark.parametrize("k", [2, 3])
def test_truncation_is_named_with_its_steps(k):
    step = random_step(4, shape=(7, 2, 2, 3))
    answer = diagnose(step, step.gradients(lc.debug.mistakes.truncated(k), dtype="float32"))
    assert f"dh and dc truncated after {k} steps" in answer.names


def test_limits_and_factors_are_read_off():
    step = random_step(5, shape=(5, 2, 2, 3), mask="none")
    clip = lc.debug.mistakes.clipped("the gradient of h", 0.37)
    assert diagnose(step, step.gradients(clip, dtype="float64")).names == ("the gradient of h is clipped to 0.37",)
    right = step.gradients()
    scaled = {name: 0.0123 * value for name, value in right.items()}
    assert diagnose(step, scaled).names[0].startswith("every gradient is 0.0123 times the right one")
    limit = float(np.max(np.abs(right["W_ih"]))) / 3
    clipped = {name: np.clip(value, -limit, limit) for name, value in right.items()}
    assert diagnose(step, clipped).names[0].startswith("the gradients are clipped by value at")


def test_an_array_handed_over_transposed():
    step = random_step(6, layout="torch")
    grads = step.gradients(dtype="float32")
    grads["weight_hh_l0"] = grads["weight_hh_l0"].T
    answer = diagnose(step, grads)
    assert not answer.ok
    assert answer.names == ("the gradient of weight_hh_l0 is handed over transposed",)


# ---- pairs -------------------------------------------------------------------------------------------------

PAIRS, NIGHTLY_PAIRS = 2, 200


def random_pair(rng, longest=11):
    """A step of random shape, mask and layout, two mistakes that it has room for, and its float32 gradients."""
    while True:
        T, B, I, H = (int(rng.integers(low, high)) for low, high in ((3, longest), (1, 5), (1, 6), (2, 7)))
        step = random_step(
            int(rng.integers(10**6)),
            (T, B, I, H),
            both=bool(rng.random() < 0.3),
            mask=str(rng.choice(["none", "right", "gaps"])),
            layout=str(rng.choice(["lstmcore", "torch", "keras", "tf1"])),
            final=bool(rng.random() < 0.2),
            dropout=str(rng.choice(["", "", "", "x", "y", "xy"])),
        )
        known = suspects(step.read(step.gradients()).case)
        pair = tuple(known[k] for k in rng.choice(len(known), 2, replace=False))
        try:
            grads = step.gradients(*pair, dtype="float32")
        except BREAKS:  # both on one line, or one takes away what the other spoils: no such pair
            continue
        if all(np.isfinite(value).all() for value in grads.values()):
            return step, pair, grads


def test_pairs_of_mistakes(nightly):
    """At least nine of ten are named: both, or what has the same numbers to the last digits of float64."""
    rng = np.random.default_rng(2026)
    pairs = NIGHTLY_PAIRS if nightly else PAIRS
    missed = []
    for _ in range(pairs):
        step, pair, grads = random_pair(rng, 11 if nightly else 6)
        answer = diagnose(step, grads)
        if {mistake.name for mistake in pair} <= set(answer.names):
            continue
        bench = Bench(step.read(grads))
        bound = bench.bound(*pair)
        answers = answer.alternatives or ([()] if answer.ok else [])
        if not any(same(bench.numbers(*other), bench.numbers(*pair), bound) for other in answers):
            missed.append([mistake.name for mistake in pair])
    print(f"{pairs - len(missed)} of {pairs} pairs are named")
    assert len(missed) <= 0.1 * pairs, missed


def test_a_pair_whose_effects_lie_on_top_of_each_other():
    """Both spoil db alone, one after the other: their effects do not add up."""
    step = random_step(77, shape=(8, 4, 1, 2), layout="tf1")
    pair = (
        "db handed over in the gate order o f i g",
        "db is overwritten at each step, not added up: only step 0 is left",
    )
    answer = diagnose(step, step.gradients(*(NAMED[name] for name in pair), dtype="float32"))
    assert set(pair) <= set(answer.names)


def test_mistakes_that_cannot_be_made_together_are_left_out():
    """Without a mask there is none to invert; the search goes on."""
    step = random_step(8, shape=(5, 2, 3, 4))
    ignored, inverted = NAMED["the mask is ignored"], NAMED["the mask is inverted (true on padding)"]
    bench = Bench(step.read(step.gradients()))
    with pytest.raises(ValueError, match="cannot be made together"):
        bench.numbers(ignored, inverted)
    assert Search(bench).run([(ignored, inverted)]) == []


def test_a_pair_by_its_names():
    step = random_step(8, shape=(5, 2, 3, 4))
    pair = ("the carry of dc forgets the forget gate", "dW_hh is averaged over time")
    answer = diagnose(step, step.gradients(*(NAMED[name] for name in pair), dtype="float32"))
    assert set(answer.names) == set(pair)


# ---- no known mistake --------------------------------------------------------------------------------------

ODD = Mistake("odd", LOOP, "da[t, :, k, :] = d", "da[t, :, k, :] = d * 1.37 if t < 4 and k == 1 else d")


def test_what_nobody_knows_is_located():
    step = random_step(9, shape=(5, 2, 8, 4), mask="none", dtype="float64")
    grads = step.gradients(ODD)
    answer = diagnose(step, grads, search=False)  # that no search names it: test_invented.py
    assert not answer.ok
    assert answer.names == ()
    assert (answer.place.step, answer.place.gates) == (3, ("f",))
    assert "none of the known ones; it starts at step 3 in gate f" in str(answer)
    del grads["x"]
    place = diagnose(step, grads, search=False).place
    assert place.step == 3  # 4 steps of 2 rows are fewer than I + H = 12 numbers: it shows


@pytest.mark.parametrize("block", [0, 2, 3])
def test_the_step_of_a_gru_is_located_by_its_weight_gradients(block):
    """3 steps of 2 rows are fewer than I, than H and than both, whichever a block gets: r both, n the inputs, m h."""
    step = random_step(9, shape=(7, 2, 8, 8), cell="gru", mask="none", dtype="float64")
    odd = ODD._replace(wrong=f"da[t, :, k, :] = d * 1.37 if t < 3 and k == {block} else d")
    grads = step.gradients(odd)
    del grads["x"]
    place = diagnose(step, grads, search=False).place
    assert place.step == 2, str(place)


def test_a_single_wrong_block_is_located():
    step = random_step(9, shape=(7, 2, 3, 4), mask="none")
    grads = step.gradients(dtype="float32")
    grads["b"][5] += 1.0
    place = diagnose(step, grads, search=False).place
    assert place.arrays == ("b",)
    assert place.gates == ("f",)


def test_the_layer_and_direction_are_located():
    """Two layers of two directions: one block of the upper backward one is off, and with it all that lies below."""
    rng = np.random.default_rng(10)
    make = {"dtype": "float64", "seed": rng}
    both = [lc.Bidirectional(lc.LSTM(n, 4, **make), lc.LSTM(n, 4, **make)) for n in (3, 8)]
    model = lc.Stack(both)
    x, dy = rng.standard_normal((5, 2, 3)), rng.standard_normal((5, 2, 8))
    _, _, cache = model.forward(x)
    _, _, grads = model.backward(dy, cache)
    grads["1.bw.W_hh"][:, 4:8] += rng.standard_normal((4, 4))  # i f g o
    for name in ("0.fw.W_ih", "0.bw.b"):
        grads[name] += rng.standard_normal(grads[name].shape)
    bench = Bench(readings(dict(model.params), x, dy, grads)[0])
    place = locate(bench, bench.numbers())
    assert place.arrays == ("0.fw.W_ih", "0.bw.b", "1.bw.W_hh")
    assert (place.layers, place.gates) == (("1.bw",), ("f",))
    assert "it starts in layer 1.bw in gate f (off: " in str(place)


# ---- no false alarm ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_right_gradients_of_plain_numpy_are_right(seed):
    rng = np.random.default_rng(seed)
    T, B, I, H = (int(rng.integers(2, high)) for high in (30, 6, 8, 12))
    step = random_step(seed, (T, B, I, H), layout="torch")
    answer = diagnose(step, somebody_elses(step))
    assert answer.ok, str(answer)
    assert str(answer).startswith("right")


BUGS = {
    "one bias forgotten": "the second bias is not added",
    "forget bias": "a forget bias of 1 added at run time",
    "gate order": "gate blocks read in the order i f o g, forward and backward",
    "mask ignored": "the mask is ignored",
    "mask on h only": "the mask holds h but not c, forward and backward",
    "zeros on padding": "the state is set to zero on padding, forward and backward",
    "dh not carried": "the carry of dh is dropped",
    "dc clipped": "the carried gradient of c is clipped to 0.25",
    "tanh twice": "tanh(tanh(c)) in tanh' only",
    "sigmoid of sigmoid": "sigma' taken of the activated value again, in all three gates",
    "c_t for c_{t-1}": "c_t for c_{t-1} in the forget gate",
    "bias averaged": "db is averaged over the batch",
    "second bias gets nothing": "the second bias gets no gradient (zero)",
    "dropout's scale forgotten": "dropout of the outputs: on dy, the mask has lost its scale 1 / (1 - p)",
    "dropout not undone": "dropout of the outputs: on dy, the mask is not applied",
    "dx not dropped": "dropout of the inputs: on dx, the mask is not applied",
    "x before dropout": "dropout of the inputs: dW_ih takes x before dropout",
}


@pytest.mark.parametrize("bug", BUGS)
def test_somebody_elses_mistakes_are_named(bug):
    """Written by hand in another program, in float32: nothing of it comes from lstmcore's text."""
    step = random_step(21, (6, 3, 3, 4), layout="torch", dropout="xy" if "drop" in bug else "")
    if bug == "mask ignored":  # that program ignores it in dy too
        step.options["mask"][1:, 1] = False
    assert BUGS[bug] in diagnose(step, somebody_elses(step, bug)).names


def test_dropout_is_replayed_or_drawn_anew():
    """Right gradients of a program with dropout are right; with another mask on dx, it is said."""
    step = random_step(22, (6, 3, 3, 4), layout="torch", dropout="xy")
    grads = somebody_elses(step)
    assert diagnose(step, grads).ok
    undropped = somebody_elses(step, "dx not dropped")["x"]
    kept = np.random.default_rng(1).random(undropped.shape) < 0.6
    answer = diagnose(step, grads | {"x": (undropped * kept / np.float32(0.6)).astype("float32")})
    assert answer.names == ("dropout of the inputs: on dx, the mask is drawn anew",)


def test_one_mask_for_all_steps():
    step = random_step(23, (6, 3, 3, 4), dropout="xy")
    for name, mask in step.options["dropout"].items():
        step.options["dropout"][name] = np.broadcast_to(mask[0], mask.shape)
    grads = step.gradients(dtype="float32")
    step.options["dropout"] = {name: mask[0] for name, mask in step.options["dropout"].items()}
    assert diagnose(step, grads).ok
    assert not diagnose(replace(step, options=step.options | {"dropout": {}}), grads, search=False).ok


def test_what_is_no_dropout_mask_is_refused():
    step = random_step(24, (6, 3, 3, 4), dropout="x")
    grads = step.gradients(dtype="float32")

    def ask(**masks):
        diagnose(replace(step, options=step.options | {"dropout": masks}), grads)

    with pytest.raises(KeyError, match="`dropout` should hold masks of x or y; got 'h'"):
        ask(h=np.ones((6, 3, 3)))
    with pytest.raises(ValueError, match=r"`dropout\['x'\]` should be \(6, 3, 3\) or \(3, 3\); got \(6, 3, 4\)"):
        ask(x=np.ones((6, 3, 4)))
    with pytest.raises(ValueError, match=r"`dropout\['x'\]` should be \(6, 3, 3\) or \(3, 3\); got one number"):
        ask(x=2.0)
    with pytest.raises(ValueError, match=r"zeros and one scale, 1 / \(1 - p\); got 54 other numbers.*not the mask\?"):
        ask(x=np.arange(1.0, 55).reshape(6, 3, 3))
    step = random_step(24, (6, 3, 3, 4), layers=2)
    with pytest.raises(KeyError, match=r"should hold masks of x or y, or 0 \(what layer 0 gives\); got '1'"):
        ask(**{"1": np.ones((6, 3, 4))})
    twice = {"0": np.ones((6, 3, 4)), 0: np.ones((6, 3, 4))}
    with pytest.raises(ValueError, match="should hold one mask of layer 0; got two, whose keys both read '0'"):
        diagnose(replace(step, options=step.options | {"dropout": twice}), step.gradients())


@pytest.mark.parametrize(("layers", "both"), [(1, False), (1, True), (2, True), (3, False)])
def test_right_gradients_of_pytorch_are_right(torch, layers, both):
    generator = torch.Generator().manual_seed(layers)
    module = torch.nn.LSTM(5, 7, layers, bidirectional=both)
    N = layers * (1 + both)
    x, h0, c0 = (
        torch.randn(shape, generator=generator, requires_grad=True) for shape in ((20, 4, 5), (N, 4, 7), (N, 4, 7))
    )
    y, _ = module(x, (h0, c0))
    dy = torch.randn(y.shape, generator=generator)
    y.backward(dy)
    weights = {name: value.detach().numpy() for name, value in module.named_parameters()}
    grads = {name: value.grad.numpy() for name, value in module.named_parameters()}
    grads |= {"x": x.grad.numpy(), "h0": h0.grad.numpy(), "c0": c0.grad.numpy()}
    state = (h0.detach().numpy(), c0.detach().numpy())
    answer = lc.debug.diagnose(weights, x.detach().numpy(), dy.numpy(), grads, state=state, layout="torch")
    assert answer.ok, str(answer)
    grads["bias_hh_l0"] = grads["bias_hh_l0"] * 0
    answer = lc.debug.diagnose(
        weights, x.detach().numpy(), dy.numpy(), grads, state=state, layout="torch", search=False
    )
    assert answer.place.arrays == ("bias_hh_l0",)


def test_right_gradients_of_jax_are_right(jax):
    step = random_step(31, (12, 4, 5, 6), mask="right")
    h0, c0 = step.options["state"]["h0"], step.options["state"]["c0"]

    def objective(weights, x):
        def one(carry, given):
            (h, c), (x_t, m) = carry, given
            i, f, g, o = jax.numpy.split(x_t @ weights["W_ih"] + h @ weights["W_hh"] + weights["b"], 4, axis=1)
            new = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jax.numpy.tanh(g)
            out = jax.nn.sigmoid(o) * jax.numpy.tanh(new)
            carry = (jax.numpy.where(m, out, h), jax.numpy.where(m, new, c))
            return carry, jax.numpy.where(m, out, 0)

        (h, c), y = jax.lax.scan(one, (h0, c0), (x, step.options["mask"][:, :, None]))
        last = step.options["dstate"]
        return (y * step.dy).sum() + (h * last["h0"]).sum() + (c * last["c0"]).sum()

    grads, dx = jax.grad(objective, argnums=(0, 1))(step.weights, step.x)
    assert grads["b"].dtype == "float32"
    answer = diagnose(step, {name: np.asarray(value) for name, value in grads.items()} | {"x": np.asarray(dx)})
    assert answer.ok, str(answer)


def test_right_gradients_of_keras_are_right(torch, keras):
    layer = keras.layers.LSTM(6, return_sequences=True)
    layer.build((4, 12, 5))
    step = random_step(32, (12, 4, 5, 6), layout="keras", mask="right")
    for variable in layer.weights:
        variable.assign(step.weights[variable.path.rsplit("/", 1)[-1]])
    mask = torch.from_numpy(np.ascontiguousarray(step.options["mask"].T))
    y = layer(torch.from_numpy(step.x.transpose(1, 0, 2)), mask=mask)
    # Keras repeats the last output on padding, where lstmcore gives zero: dy reaches the real steps only
    (y * torch.from_numpy(step.dy.transpose(1, 0, 2)) * mask[:, :, None]).sum().backward()
    grads = {v.path.rsplit("/", 1)[-1]: v.value.grad.numpy() for v in layer.weights}
    answer = lc.debug.diagnose(step.weights, step.x, step.dy, grads, mask=step.options["mask"], layout="keras")
    assert answer.ok, str(answer)


# ---- what may be given -------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(layout):
    step = random_step(41, (5, 2, 3, 4), layout=layout, both=layout in ("torch", "chainer", "onnx"))
    assert diagnose(step, step.gradients(dtype="float32")).ok
    name = "sigma' of the forget gate is missing"
    assert name in diagnose(step, step.gradients(NAMED[name], dtype="float32")).names


@pytest.mark.parametrize("keys", [("W_hh",), ("b",), ("x",), ("h0", "c0"), ("W_ih", "x")])
def test_partial_gradients(keys):
    step = random_step(42, (5, 2, 3, 4))
    mistake = NAMED["the carry of dc forgets the forget gate"]
    right, wrong = step.gradients(dtype="float32"), step.gradients(mistake, dtype="float32")
    assert diagnose(step, {key: right[key] for key in keys}).ok
    assert mistake.name in diagnose(step, {key: wrong[key] for key in keys}).names


def test_states_and_their_gradients_by_layer():
    """(layers * directions, B, H), and lstmcore's nested tuples, are the same states."""
    rng = np.random.default_rng(43)
    model = lc.Stack([lc.LSTM(3, 4, dtype="float64", seed=rng), lc.LSTM(4, 4, dtype="float64", seed=rng)])
    x, dy = rng.standard_normal((5, 2, 3)), rng.standard_normal((5, 2, 4))
    state = tuple(tuple(rng.standard_normal((2, 4)) for _ in range(2)) for _ in range(2))
    _, _, cache = model.forward(x, state)
    _, dstate0, grads = model.backward(dy, cache)
    stacked = tuple(np.stack([layer[k] for layer in state]) for k in range(2))
    grads = dict(grads) | {"h0": np.stack([d[0] for d in dstate0]), "1.c0": dstate0[1][1]}
    for given in (state, stacked):
        assert lc.debug.diagnose(dict(model.params), x, dy, grads, state=given).ok
    assert not lc.debug.diagnose(dict(model.params), x, dy, grads, search=False).ok


def test_padding_may_hold_anything():
    step = random_step(44)
    grads = step.gradients(dtype="float32")
    for value in (1e6, np.nan, -np.inf):
        step.x[~step.options["mask"]] = value
        step.dy[~step.options["mask"]] = value
        assert diagnose(step, grads).ok


@pytest.mark.parametrize("mask", [None, np.ones((5, 4), bool)])
def test_directions_left_apart_are_asked_for_side_by_side(mask):
    both = lc.Bidirectional(lc.LSTM(2, 3, seed=0), lc.LSTM(2, 3, seed=1), merge="none")
    x, dy = np.ones((5, 4, 2), "float32"), np.ones((5, 4, 2, 3), "float32")
    grads = both.backward(dy, both.forward(x, mask=mask)[2])[2]
    with pytest.raises(ValueError, match=r"got \(5, 4, 2\) and \(5, 4, 2, 3\) \(directions left apart\?"):
        lc.debug.diagnose(both.params, x, dy, grads, mask=mask)
    assert lc.debug.diagnose(both.params, x, dy.reshape(5, 4, 6), grads, mask=mask).ok


def test_what_does_not_fit_is_refused():
    step = random_step(45)
    grads = step.gradients(dtype="float32")
    with pytest.raises(KeyError, match=r"`grads` should have keys of W_ih, W_hh, b, x, h0, c0; got 'dW'"):
        diagnose(step, {"dW": grads["W_ih"]})
    with pytest.raises(ValueError, match=r"`grads\['b'\]` should be \(16,\), as its value is; got \(4,\)"):
        diagnose(step, {"b": np.zeros(4)})
    with pytest.raises(ValueError, match=r"`grads\['b'\]` should be finite; got NaN or infinity"):
        diagnose(step, {"b": np.full(16, np.nan)})
    with pytest.raises(ValueError, match="at least one gradient; got none"):
        diagnose(step, {})
    with pytest.raises(
        ValueError, match=r"`dy` should be \(6, 3, 4\), or \(3, 4\) for final states only; got \(5, 3, 4\)"
    ):
        diagnose(replace(step, dy=step.dy[:5]), grads)
    with pytest.raises(ValueError, match=r"`x` should be \(T, B, I\) with I = 4.*got \(6, 3, 3\)"):
        diagnose(replace(step, x=step.x[..., :3]), grads)
    with pytest.raises(KeyError, match=r"`state` should hold h0, c0; got 'h'"):
        diagnose(replace(step, options={"state": {"h": step.options["state"]["h0"]}}), grads)
    for states, text in (
        ((0, 0), r"`state` h0 should be \(B, H\) = \(3, 4\); got \(\)"),
        ((0.0, None), "`state` should hold h0, c0; got 1 arrays"),
        ((np.zeros(2), 0.0), r"`state` h0 should be \(B, H\) = \(3, 4\); got \(2,\)"),
        ("h0", "`state` should be states by name, or \\(h, c\\), or nested; got 'h0'"),
        (0.0, "`state` should be states by name, .* got 0.0"),
    ):
        for what in ("state", "dstate"):
            with pytest.raises((TypeError, ValueError), match=text.replace("state", what, 1)):
                diagnose(replace(step, options={what: states}), grads)
    with pytest.raises(KeyError, match="`layout` should be one of lstmcore, torch"):
        lc.debug.diagnose(step.weights, step.x, step.dy, grads, layout="theano")


def test_conversion_of_gradients_keeps_the_answer():
    """What is right in one layout is right in another."""
    step = random_step(46)
    grads = step.gradients()
    ours = {name: grads[name] for name in step.weights}
    for layout in ("torch", "onnx", "flax"):
        weights = from_lstmcore(step.weights, layout)
        theirs = from_lstmcore(ours, layout, gradients=True)
        options = step.options | {"layout": layout}
        assert lc.debug.diagnose(weights, step.x, step.dy, theirs, **options).ok
        assert set(to_lstmcore(weights, layout)[1]) == set(step.weights)


# ---- read off the gradients --------------------------------------------------------------------------------


def test_what_is_done_to_finished_gradients_is_read_off():
    """Weight decay in them; clipped number by number, or scaled by a common norm, dx not."""
    step = random_step(71, (5, 2, 2, 3), mask="none", dtype="float64")
    right = step.gradients()
    weights = {name: right[name] for name in step.weights}
    decayed = {name: g + 0.03 * step.weights[name] for name, g in weights.items()}
    limit = max(np.abs(g).max() for g in weights.values()) / 4
    cases = {
        "weight decay of 0.03 is in the gradients": decayed,
        f"the gradients of the weights are clipped by value at {limit:.6g}, after the loop": {
            name: np.clip(g, -limit, limit) for name, g in weights.items()
        },
        "W_ih, W_hh, b is 0.25 times the right one (clipped by its norm? averaged? a learning rate in it?)": {
            name: 0.25 * g for name, g in weights.items()
        },
    }
    for name, grads in cases.items():
        assert diagnose(step, right | grads).names == (name,)


def test_a_mistake_in_one_layer_of_a_stack():
    rng = np.random.default_rng(72)
    model = lc.Stack([lc.LSTM(2, 3, dtype="float64", seed=rng), lc.LSTM(3, 3, dtype="float64", seed=rng)])
    x, dy = rng.standard_normal((4, 2, 2)), rng.standard_normal((4, 2, 3))
    wrong = NAMED["the carry of dc forgets the forget gate"].only_in("1")
    twin = lc.debug.mistakes.mutant(wrong).twin(model, dict(model.params))
    _, _, cache = twin.forward(x)
    _, _, grads = twin.backward(dy, cache)
    answer = lc.debug.diagnose(dict(model.params), x, dy, grads)
    assert answer.names == ("the carry of dc forgets the forget gate (in layer 1 alone)",)
