"""Every update rule against torch.optim, and the promises that all optimizers share."""

import copy
import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.train import SGD, Adadelta, Adagrad, Adam, AdamW, Momentum, Nesterov, RMSProp

u = 2.0**-53
STEPS = 50

# name: (ours, torch's class, torch's arguments), with no constant at its default
PAIRS: dict[str, tuple[Callable, str, dict]] = {
    "SGD": (lambda **k: SGD(0.02, **k), "SGD", {"lr": 0.02}),
    "Momentum": (lambda **k: Momentum(0.02, 0.8, **k), "SGD", {"lr": 0.02, "momentum": 0.8}),
    "Nesterov": (lambda **k: Nesterov(0.02, 0.8, **k), "SGD", {"lr": 0.02, "momentum": 0.8, "nesterov": True}),
    "Adam": (lambda **k: Adam(0.02, 0.8, 0.95, 1e-3, **k), "Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3}),
    "AdamW": (lambda **k: AdamW(0.02, 0.8, 0.95, 1e-3, **k), "AdamW", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3}),
    "RMSProp": (lambda **k: RMSProp(0.02, 0.95, 1e-3, **k), "RMSprop", {"lr": 0.02, "alpha": 0.95, "eps": 1e-3}),
    "Adagrad": (lambda **k: Adagrad(0.02, 1e-3, **k), "Adagrad", {"lr": 0.02, "eps": 1e-3}),
    "Adadelta": (lambda **k: Adadelta(0.1, 0.95, 1e-3, **k), "Adadelta", {"lr": 0.1, "rho": 0.95, "eps": 1e-3}),
}
EVERY = pytest.mark.parametrize("name", PAIRS)


def start(dtype: str = "float64") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in (("W", (5, 7)), ("b", (7,)))}


def gradients(dtype: str = "float64") -> list[dict[str, np.ndarray]]:
    """Of either sign, 0.5 <= |dw| <= 2. From step 10 to 19 `b` has none."""
    rng = np.random.default_rng(4)
    steps = []
    for t in range(STEPS):
        names = ("W",) if 10 <= t < 20 else ("W", "b")
        draws = {name: rng.uniform(0.5, 2.0, w.shape) * rng.choice([-1.0, 1.0], w.shape) for name, w in start().items()}
        steps.append({name: draws[name].astype(dtype) for name in names})
    return steps


def rate(lr: float, t: int) -> float:
    """Another rate at every step: with a constant one, conventions of momentum could not be told apart."""
    return lr * (1 + 0.5 * math.sin(t))


def tolerance(name: str, weight_decay: float) -> float:
    """How far two float64 runs of the same rule may be apart after 50 steps, to first order in u = 2^-53.

    A term of a running sum that is t steps old has been rounded at most 2 t + 4 times. So v, a sum of positive terms,
    has a relative error of at most (2 t + 4) u, its root half of that, and m an error of (2 t + 4) u times the same sum
    over |dw|. With at most 6 roundings more the update is wrong by at most (3 t + 12) u A_t, where A_t is the update
    with |dw| in place of dw. For Adadelta the error of u adds up over the steps: rel(delta_t) <= rel(u_{t-1}) / 2 +
    (t + 2) u + 5 u, and rel(u_t) <= 2 rel(delta_t) + 3 u, which gives rel(u_t) <= rel(u_{t-1}) + (2 t + 17) u, so
    rel(delta_t) <= (t^2 / 2 + 9 t + 7) u. Subtracting the update, and a decay beside it, rounds w itself twice.

    With weight decay, dw is off by up to d = 4 weight_decay from the dw that A_t was taken with: m and the root of v
    by a factor of at most (0.5 + d) / (0.5 - d) each. And an error e of w comes back as an error weight_decay e of dw.
    The update is at most twice as sensitive to dw as A_t / min |dw| (through m, and through the root of v), so each
    step magnifies what is there by at most 1 + 2 A_t weight_decay / min |dw|. Both runs err: twice the whole.
    """
    opt, w = PAIRS[name][0](), start()
    lr, total, growth = opt.lr, 0.0, 1.0
    d = 4.0 * weight_decay
    for t, grads in enumerate(gradients()):
        before = {key: value.copy() for key, value in w.items()}
        opt.lr = rate(lr, t)
        opt.step(w, {key: abs(dw) for key, dw in grads.items()})
        A = max(abs(w[key] - before[key]).max() for key in w) * ((0.5 + d) / (0.5 - d)) ** 2
        roundings = t**2 / 2 + 9 * t + 7 if name == "Adadelta" else 3 * t + 12
        total += roundings * A + 2 * 4.0  # |w| stays below 4, as the test asserts
        growth *= 1 + 2 * A * weight_decay / (0.5 - d)
    return 2 * u * total * growth


@EVERY
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_fifty_steps_as_torch(name, weight_decay, torch):
    """The tolerance is derived above, and comes to 1e-13 or a few of that."""
    ours, peer, constants = PAIRS[name]
    opt, w = ours(weight_decay=weight_decay), start()
    tensors = {key: torch.tensor(value, requires_grad=True) for key, value in w.items()}
    theirs = getattr(torch.optim, peer)(tensors.values(), weight_decay=weight_decay, **constants)
    lr = opt.lr
    for t, grads in enumerate(gradients()):
        opt.lr = theirs.param_groups[0]["lr"] = rate(lr, t)
        opt.step(w, grads)
        for key, tensor in tensors.items():
            tensor.grad = torch.tensor(grads[key]) if key in grads else None
        theirs.step()
    allowed = tolerance(name, weight_decay)
    assert allowed < 1e-12
    for key, value in w.items():
        assert abs(value).max() < 4.0
        assert abs(value - start()[key]).max() > 0.05
        np.testing.assert_allclose(value, tensors[key].detach().numpy(), rtol=0, atol=allowed)


@pytest.mark.parametrize(
    ("opt", "peer", "names"),
    [
        (Adam(), "Adam", {"lr": "lr", "eps": "eps"}),
        (AdamW(), "AdamW", {"lr": "lr", "eps": "eps", "weight_decay": "weight_decay"}),
        (RMSProp(), "RMSprop", {"lr": "lr", "rho": "alpha", "eps": "eps"}),
        (Adagrad(), "Adagrad", {"lr": "lr", "eps": "eps"}),
        (Adadelta(), "Adadelta", {"lr": "lr", "rho": "rho", "eps": "eps"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_defaults_are_those_of_torch(opt, peer, names, torch):
    defaults = getattr(torch.optim, peer)([torch.zeros(1)]).defaults
    assert {ours: getattr(opt, ours) for ours in names} == {ours: defaults[theirs] for ours, theirs in names.items()}
    if peer.startswith("Adam"):
        assert (opt.beta1, opt.beta2) == defaults["betas"]


@EVERY
def test_l1_adds_its_sign_to_the_gradient(name):
    """Bit for bit a run without l1 whose gradient has l1 sign(w) in it; sign(0) = 0."""
    plain, decayed = PAIRS[name][0](weight_decay=0.0), PAIRS[name][0](weight_decay=0.0, l1=0.25)
    w, v = start(), start()
    w["b"][0] = v["b"][0] = 0.0
    for grads in gradients():
        plain.step(w, {key: dw + 0.25 * np.sign(w[key]) for key, dw in grads.items()})
        decayed.step(v, grads)
    for key in w:
        np.testing.assert_array_equal(w[key], v[key])


@EVERY
def test_what_is_given_is_left_alone(name):
    """Gradients stay as they are; arrays keep their identity; a parameter without a gradient does not move."""
    opt, w = PAIRS[name][0](weight_decay=0.1, l1=0.1), start()
    arrays, before = dict(w), {key: value.copy() for key, value in w.items()}
    grads = {"W": gradients()[0]["W"]}
    copies = copy.deepcopy(grads)
    opt.step(w, grads)
    opt.step(w, grads)
    np.testing.assert_array_equal(grads["W"], copies["W"])
    assert all(w[key] is arrays[key] for key in w)
    np.testing.assert_array_equal(w["b"], before["b"])
    assert not (w["W"] == before["W"]).any()
    assert list(opt.state) == ["W"]
    assert opt.state["W"]["t"] == 2


@EVERY
def test_a_saved_state_goes_on_bit_for_bit(name):
    def run(opt, w, steps):
        for grads in steps:
            opt.step(w, grads)

    undisturbed, w = PAIRS[name][0](), start("float32")
    run(undisturbed, w, gradients("float32")[:25])
    saved, v = copy.deepcopy(undisturbed.state), copy.deepcopy(w)
    run(undisturbed, w, gradients("float32")[25:])
    resumed = PAIRS[name][0]()
    resumed.state = saved
    run(resumed, v, gradients("float32")[25:])
    for key in w:
        np.testing.assert_array_equal(w[key], v[key])
        assert resumed.state[key]["t"] == undisturbed.state[key]["t"] == (40 if key == "b" else 50)
        for slot in resumed.slots:
            np.testing.assert_array_equal(resumed.state[key][slot], undisturbed.state[key][slot])
            assert saved[key][slot] is not resumed.state[key][slot]


@EVERY
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_moves_its_own_arrays(name, copied):
    """An optimizer copied in the midst of a run goes on by itself, and leaves what it was copied from as it is."""
    opt, w = PAIRS[name][0](), start()
    opt.step(w, gradients()[0])
    twin, v = (copied(opt), copy.deepcopy(w)) if copied is copy.copy else copied((opt, w))
    before = copy.deepcopy(w)
    twin.step(v, gradients()[1])
    for key in w:
        np.testing.assert_array_equal(w[key], before[key])
    if copied is not copy.copy:  # a shallow copy shares what is remembered
        opt.step(w, gradients()[1])
        for key in w:
            np.testing.assert_array_equal(w[key], v[key])


def test_arrays_put_in_the_place_of_others_are_the_ones_that_move():
    """Another model's parameters, or a memory exchanged by hand: the step looks at what there is now."""
    opt, w, v = PAIRS["Adam"][0](), start(), start()
    expected, u = PAIRS["Adam"][0](), start()
    opt.step(w, gradients()[0])
    expected.step(u, gradients()[0])
    opt.step(v, gradients()[1])  # the memory goes along
    for key in w:
        np.testing.assert_array_equal(w[key], u[key])
        assert not np.array_equal(v[key], start()[key])
    m = opt.state["W"]["m"] = expected.state["W"]["m"].copy()
    kept = m.copy()
    opt.step(w, gradients()[1])
    assert not np.array_equal(m, kept)


@EVERY
def test_float32_stays_float32(name):
    opt, w = PAIRS[name][0](weight_decay=0.1, l1=0.1), start("float32")
    opt.lr = np.float64(0.01)  # as a schedule computed with NumPy may give it
    opt.step(w, gradients("float32")[0])
    assert all(value.dtype == np.float32 for value in w.values())
    assert all(opt.state[key][slot].dtype == np.float32 for key in w for slot in opt.slots)


@EVERY
def test_only_standard_array_functions(name, array_api_strict):
    """The same weights with another array library, so that CuPy holds no surprise, up to the rounding of two runs.

    NumPy's arrays take the compiled rule, which rounds a product and a sum at once where the processor can.
    """
    opt, w = PAIRS[name][0](weight_decay=0.1, l1=0.1), start()
    strict_opt = PAIRS[name][0](weight_decay=0.1, l1=0.1)
    strict_w = {key: array_api_strict.asarray(value, copy=True) for key, value in w.items()}
    for grads in gradients()[:3]:
        opt.step(w, grads)
        strict_opt.step(strict_w, {key: array_api_strict.asarray(dw) for key, dw in grads.items()})
    strict_opt.state = strict_opt.state
    for key in w:
        np.testing.assert_allclose(np.asarray(strict_w[key]), w[key], rtol=0, atol=tolerance(name, 0.1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@EVERY
def test_threads_cut_the_pass_and_change_no_bit(name, dtype):
    """A parameter large enough for two threads moves as its halves do, each in a call of its own."""
    rng = np.random.default_rng(5)
    w, dw = rng.standard_normal((2, 150_001)).astype(dtype)
    whole, parts = {"w": w.copy()}, {"a": w[:70_000].copy(), "b": w[70_000:].copy()}
    opt, other = (PAIRS[name][0](weight_decay=0.1, l1=0.1) for _ in range(2))
    for _ in range(3):
        opt.step(whole, {"w": dw})
        other.step(parts, {"a": dw[:70_000], "b": dw[70_000:]})
    np.testing.assert_array_equal(whole["w"], np.concatenate([parts["a"], parts["b"]]))


@EVERY
def test_strided_arrays_take_the_array_code(name):
    """A transposed parameter is no compiled kernel's; it moves as its contiguous copy does, up to rounding."""
    opt, other = (PAIRS[name][0]() for _ in range(2))
    w = {key: value.T for key, value in start().items()}
    copies = {key: np.ascontiguousarray(value) for key, value in w.items()}
    for grads in gradients()[:3]:
        opt.step(w, {key: dw.T for key, dw in grads.items()})
        other.step(copies, {key: np.ascontiguousarray(dw.T) for key, dw in grads.items()})
    for key in w:
        np.testing.assert_allclose(w[key], copies[key], rtol=0, atol=tolerance(name, 0.0))


@EVERY
def test_a_strided_gradient_moves_as_its_copy_does(name):
    """Rows of a wider array, as a layer of one unit gives them, and one that cannot be written to, as other libraries
    give them: bit for bit, for the rule is the same."""
    opt, other = (PAIRS[name][0]() for _ in range(2))
    w, copies = {"w": np.ones((4, 1))}, {"w": np.ones((4, 1))}
    for _ in range(3):
        dw = np.random.default_rng(0).standard_normal((4, 16))[:, :1]
        opt.step(w, {"w": dw})
        read_only = dw.copy()
        read_only.flags.writeable = False
        other.step(copies, {"w": read_only})
    np.testing.assert_array_equal(w["w"], copies["w"])


def test_trains_the_live_mapping_of_a_layer():
    layer = lc.Linear(3, 2, dtype="float64", seed=0)
    W = layer.params["W"]
    before = W.copy()
    SGD(lr=0.5).step(layer.params, {"W": np.ones((3, 2))})
    np.testing.assert_array_equal(W, before - 0.5)
    assert layer.params["W"] is W


def test_repr_tells_all_numbers():
    assert repr(Adam(lr=0.5)) == "Adam(lr=0.5, weight_decay=0, l1=0, beta1=0.9, beta2=0.999, eps=1e-08)"


# ---- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"Wx": np.ones((5, 7))}, KeyError, "gradient 'Wx' has no parameter; there are W, b, fresh"),
        ({"b": np.ones((7, 1))}, ValueError, r"`grads\['b'\]` should be the shape .* = \(7,\); got \(7, 1\)"),
        ({"b": np.ones(7, "float32")}, TypeError, r"`grads\['b'\]` should be float64.*; got float32"),
        ({"b": [0.0] * 7}, TypeError, r"`grads\['b'\]` should be an array of numpy; got list"),
        ({"b": None}, TypeError, r"`grads\['b'\]` should be an array of numpy; got NoneType"),
    ],
)
def test_a_wrong_gradient_is_refused_and_nothing_changed(wrong, error, message):
    opt, w = Adam(), start() | {"fresh": np.ones(2)}
    opt.step(w, {"W": np.ones((5, 7))})
    before, state = copy.deepcopy(w), copy.deepcopy(opt.state)
    with pytest.raises(error, match=message):
        opt.step(w, {"W": np.ones((5, 7)), "fresh": np.ones(2), **wrong})
    for key in w:
        np.testing.assert_array_equal(w[key], before[key])
    assert list(opt.state) == ["W"]
    assert opt.state["W"]["t"] == 1
    np.testing.assert_array_equal(opt.state["W"]["m"], state["W"]["m"])


def test_a_gradient_of_another_library_is_refused(array_api_strict):
    with pytest.raises(TypeError, match=r"`grads\['b'\]` should be an array of numpy.*got one of array_api_strict"):
        SGD().step(start(), {"b": array_api_strict.ones(7, dtype=array_api_strict.float64)})


def test_a_tensor_is_refused(torch):
    with pytest.raises(TypeError, match=r"`grads\['b'\]` should be an array of numpy"):
        SGD().step(start(), {"b": torch.ones(7, dtype=torch.float64)})


def test_complex_parameters_are_refused():
    with pytest.raises(TypeError, match=r"`params\['b'\]` should be float32 or float64 to be trained; got complex128"):
        SGD().step({"b": np.ones(2, "complex128")}, {"b": np.ones(2, "complex128")})


def test_the_state_of_another_optimizer_is_refused():
    opt, w = Momentum(), start()
    opt.step(w, {"b": np.ones(7)})
    other = Adam()
    with pytest.raises(ValueError, match=r"`state` of 'b' should hold m, t, v, as Adam remembers; got m, t"):
        other.state = opt.state
    assert other.state == {}


def test_the_state_of_another_model_is_refused():
    opt = Momentum()
    opt.state = {"b": {"t": 1, "m": np.ones(3)}}
    w = start()
    with pytest.raises(ValueError, match=r"`state\['b'\]\['m'\]` should be the shape .* = \(7,\); got \(3,\)"):
        opt.step(w, {"b": np.ones(7)})
    np.testing.assert_array_equal(w["b"], start()["b"])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SGD(lr=-1), r"`lr` should be a number in \[0, inf\); got -1"),
        (lambda: SGD(lr=math.nan), "`lr` should be a number"),
        (lambda: SGD(lr="fast"), "`lr` should be a number"),
        (lambda: Adam(beta2=1.0), r"`beta2` should be a number in \[0, 1\); got 1.0"),
        (lambda: Momentum(momentum=1), "`momentum` should be"),
        (lambda: RMSProp(rho=1), "`rho` should be"),
        (lambda: Adagrad(eps=-1e-9), "`eps` should be"),
        (lambda: SGD(weight_decay=-0.1), "`weight_decay` should be"),
        (lambda: SGD(l1=math.inf), "`l1` should be"),
        (lambda: setattr(SGD(), "lr", None), "`lr` should be a number"),
    ],
)
def test_numbers_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
