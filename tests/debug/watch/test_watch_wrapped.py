"""The watch on torch modules that something else is wrapped around, and what it leaves behind."""

import copy
import io
import threading
import warnings

import pytest

import lstmcore as lc
from lstmcore.debug import watch
from lstmcore.layers import tree

T, B, I, H = 6, 3, 4, 5
KINDS = ["LSTM", "LSTMCell"]


def made(torch, kind, **options):
    torch.manual_seed(3)
    return getattr(torch.nn, kind)(I, H, dtype=torch.float64, **options)


def inputs(torch):
    return torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)


def outputs(torch, module, x, state=None):
    """All outputs, of a layer or of a cell in a loop."""
    if not hasattr(module, "weight_hh"):
        return module(x, state)[0]
    found = []
    for x_t in x:
        state = module(x_t, state)
        found.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(found)


def is_clean(module):
    parts = list(module.modules())
    assert not any(part._forward_hooks for part in parts)
    assert not any(part._forward_pre_hooks for part in parts)
    assert not any(w._backward_hooks for w in module.parameters())
    assert not any(w._post_accumulate_grad_hooks for w in module.parameters())
    assert all(w.is_leaf for w in module.parameters())
    return True


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_checkpoint(torch, kind, reentrant):
    """The second pass of a checkpoint that is not reentrant ends as soon as it has what it wants, by an exception."""
    from torch.utils.checkpoint import checkpoint

    module = made(torch, kind, **({"num_layers": 2, "dropout": 0.3} if kind == "LSTM" else {}))
    with watch(module) as seen:
        checkpoint(lambda x: outputs(torch, module, x), inputs(torch), use_reentrant=reentrant).sin().sum().backward()
    assert seen.ok, str(seen)
    assert [len(call.x) for call in seen.calls] == [T]
    assert "dx" in {row.name for row in seen.rows}
    assert is_clean(module)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoint_of_each_piece(torch, reentrant):
    from torch.utils.checkpoint import checkpoint

    module, x = made(torch, "LSTM"), inputs(torch)
    h, c, total = *torch.zeros(2, 1, B, H, dtype=torch.float64), 0
    with watch(module) as seen:
        for piece in x.split(2):
            y, (h, c) = checkpoint(lambda x, h, c: module(x, (h, c)), piece, h, c, use_reentrant=reentrant)
            total = total + y.sin().sum()
        total.backward()
    assert seen.ok, str(seen)
    assert len(seen.calls) == 3
    assert not seen.cuts


@pytest.mark.parametrize("how", ["weight_norm", "orthogonal", "old weight_norm", "own"])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_are_computed(torch, kind, how):
    from torch.nn.utils import parametrizations, parametrize, weight_norm

    class Halved(torch.nn.Module):
        def forward(self, w):
            return w / 2

    module, name = made(torch, kind), "weight_hh_l0" if kind == "LSTM" else "weight_hh"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        {
            "weight_norm": lambda: parametrizations.weight_norm(module, name),
            "orthogonal": lambda: parametrizations.orthogonal(module, name),
            "old weight_norm": lambda: weight_norm(module, name),
            "own": lambda: parametrize.register_parametrization(module, name, Halved()),
        }[how]()
    before = len(module._forward_pre_hooks)
    with watch(module) as seen:
        with torch.inference_mode():
            outputs(torch, module, torch.zeros(T, B, I, dtype=torch.float64))
        outputs(torch, module, inputs(torch)).sin().sum().backward()
    assert seen.ok, str(seen)
    assert {"dW_ih", "dW_hh"} <= {row.name for row in seen.rows}
    assert f"computed from other weights, whose gradients are not compared: {name}" in str(seen)
    assert len(module._forward_pre_hooks) == before
    assert not any(part._forward_hooks for part in module.modules())


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_that_is_used_elsewhere_too(torch, kind):
    """Tied to another layer, and punished for its size: what comes from there is no part of the comparison."""
    module, other = made(torch, kind), made(torch, kind)
    first, second = ("weight_ih_l0", "weight_hh_l0") if kind == "LSTM" else ("weight_ih", "weight_hh")
    setattr(other, second, getattr(module, second))
    x = inputs(torch)
    with watch(module) as seen:
        loss = outputs(torch, module, x).sin().sum() + outputs(torch, other, x).cos().sum()
        (loss + 10 * getattr(module, first).pow(2).sum()).backward()
    assert seen.ok, str(seen)
    assert f"used outside of this layer too, and what came from there is not compared: {second}, {first}" in str(seen)


def test_data_parallel_and_distributed(torch, tmp_path):
    module = made(torch, "LSTM")
    with watch(torch.nn.DataParallel(module)) as seen:
        torch.nn.DataParallel(module)(inputs(torch))[0].sin().sum().backward()
    assert seen.ok, str(seen)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        parallel = torch.nn.parallel.DistributedDataParallel(module)
        with watch(parallel) as seen:
            parallel(inputs(torch))[0].sin().sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert seen.ok, str(seen)
    assert module.weight_hh_l0.grad is not None


def test_copies_and_files_made_meanwhile(torch):
    """A deep copy, a pickle and a state_dict of a watched module work, and note nothing."""
    module, x = made(torch, "LSTM"), inputs(torch)
    file = io.BytesIO()
    with watch(module) as seen:
        y = module(x)[0]
        twin = copy.deepcopy(module)
        torch.save(module, file)
        state = module.state_dict()
        y.sin().sum().backward()
        twin(x)[0].sum().backward()
    assert seen.ok, str(seen)
    assert len(seen.calls) == 1
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert torch.equal(again(x)[0], y)
    assert torch.equal(state["weight_hh_l0"], module.weight_hh_l0)
    assert is_clean(module)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_after_an_error(torch, kind):
    """The module's own error comes through, and its weights are its own again."""
    module = made(torch, kind)
    weights = dict(module.named_parameters())
    with pytest.raises(RuntimeError, match=r"input.size\(-1\)|size mismatch|expected"), watch(module):
        outputs(torch, module, torch.randn(T, B, I + 1, dtype=torch.float64))
    assert is_clean(module)
    assert all(module.get_parameter(name) is weight for name, weight in weights.items())
    with watch(module) as seen:
        outputs(torch, module, inputs(torch)).sum().backward()
    assert seen.ok, str(seen)


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_step_inside(torch, kind):
    """Accumulated over two batches, scaled, clipped, and the optimizer's step: the look is at what came back."""
    module = made(torch, kind)
    opt = torch.optim.SGD(module.parameters(), lr=0.1)
    with watch(module) as seen:
        for _ in range(2):
            (outputs(torch, module, inputs(torch)).sin().sum() * 65536).backward()
        for w in module.parameters():
            w.grad /= 65536
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1e-3)
        opt.step()
        opt.zero_grad()
    assert seen.ok, str(seen)
    assert len(seen.calls) == 2


def test_an_optimizer_inside_the_backward_pass(torch):
    module = made(torch, "LSTM")

    def step(weight):
        with torch.no_grad():
            weight -= 0.1 * weight.grad
        weight.grad = None

    handles = [w.register_post_accumulate_grad_hook(step) for w in module.parameters()]
    with watch(module) as seen:
        module(inputs(torch))[0].sin().sum().backward()
    assert seen.ok, str(seen)
    for handle in handles:
        handle.remove()
    assert is_clean(module)


def test_two_losses_and_second_derivatives(torch):
    module, x = made(torch, "RNN"), inputs(torch)
    with watch(module) as seen:
        y = module(x)[0]
        y.sin().sum().backward(retain_graph=True)
        y.cos().sum().backward()
    assert seen.ok, str(seen)
    with watch(module) as seen:
        torch.autograd.grad(module(x)[0].sin().sum(), [x, *module.parameters()], create_graph=True)
    assert seen.ok, str(seen)
    with watch(module) as seen:
        y = module(x)[0].sin().sum()
        (torch.autograd.grad(y, x, create_graph=True)[0].pow(2).sum() + y).backward()
    assert seen.ok is None
    assert "cannot be replayed: a gradient was differentiated again (create_graph=True)" in str(seen)


def test_what_hides_its_gradients_is_refused_by_name(torch):
    module, x = made(torch, "LSTM"), inputs(torch)

    def of_loss():
        with watch(module):
            torch.func.grad(lambda x: module(x)[0].sum())(x)

    def twice():
        with watch(module), watch(module):
            pass

    with pytest.raises(RuntimeError, match=r"a transform of torch.func \(grad, vmap, ...\) cannot be watched"):
        of_loss()
    with pytest.raises(RuntimeError, match="`module` is watched already"):
        twice()
    assert is_clean(module)
    own = dict(module.named_parameters())

    def two_steps():
        with watch(module):
            module(x)
            with torch.no_grad():
                module.bias_hh_l0 += 1
            module(x)

    with pytest.raises(RuntimeError, match="watch one training step at a time"):
        two_steps()
    assert is_clean(module)
    assert all(module.get_parameter(name) is weight for name, weight in own.items())


def test_a_key_press_in_the_middle(torch):
    """No hook of torch runs after a KeyboardInterrupt: the watch itself puts the weights back."""

    class Slow(torch.nn.LSTM):
        def forward(self, x, hx=None):
            raise KeyboardInterrupt

    module = Slow(I, H)
    with pytest.raises(KeyboardInterrupt), watch(module):
        module(torch.randn(T, B, I))
    assert is_clean(module)
    assert not torch.utils._python_dispatch._get_current_dispatch_mode_stack()


def test_dropout_of_somebodys_own(torch):
    """A layer that says that it drops, and does not do it as torch does: what it drew is not known."""

    class Own(torch.nn.LSTM):
        def forward(self, x, hx=None):
            p, self.dropout = self.dropout, 0.0
            y = super().forward(x * (torch.rand_like(x) > p))
            self.dropout = p
            return y

    module = Own(I, H, 2, dropout=0.3)
    with watch(module) as seen:
        module(torch.randn(T, B, I))[0].sum().backward()
    assert seen.ok is None
    assert "what its dropout (0.3 between the layers) drew could not be seen" in str(seen)


def test_what_others_write_into_the_outputs(torch):
    """As nobody should, and many do: the outputs belong to whoever called, and the watch keeps its own."""
    module, cell, x = made(torch, "GRU"), made(torch, "GRUCell"), inputs(torch)
    with watch(module) as seen:
        y, _ = module(x)
        y[0] += 1
        y.mul_(2)
        y.sin().sum().backward()
    assert seen.ok, str(seen)
    with watch(cell) as seen:
        h, total = None, 0
        for t, x_t in enumerate(x):
            h = cell(x_t, h)
            total = total + h.sum()
            h[t % B] = 0  # an episode that is over begins again
        total.backward()
    assert seen.ok, str(seen)
    assert len(seen.calls) == T  # what was handed on is not what was handed out


def test_two_threads(torch):
    module, x, losses = made(torch, "LSTM"), inputs(torch), {}

    def run(k):
        losses[k] = module(x + k)[0].sin().sum()

    with watch(module) as seen:
        threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sum(losses.values()).backward()
    assert seen.ok, str(seen)
    assert len(seen.calls) == 4
    assert is_clean(module)


def test_numbers_without_bounds(torch):
    module = made(torch, "LSTM")
    with watch(module) as seen:
        (outputs(torch, module, inputs(torch)).sum() * float("inf")).backward()
    assert seen.ok is False
    assert "where numbers are not finite nothing agrees; seen.show(lc.debug.tripwire) names the first" in str(seen)
    assert not seen.show(lc.debug.tripwire).ok


def test_a_large_step_runs_compiled(torch):
    """The reference engine would take minutes for what people train."""
    torch.manual_seed(6)
    module = torch.nn.LSTM(8, 64, 2, dropout=0.2)
    with watch(module) as seen:
        module(torch.randn(30, 40, 8))[0].sin().sum().backward()
    assert seen.ok, str(seen)
    assert seen.show(lambda layer, x, dy, **_: tree.engine(layer.forward(x)[2])) == "fused-cpu"
    with watch(module) as seen:
        module(torch.randn(3, 4, 8))[0].sin().sum().backward()
    assert seen.show(lambda layer, x, dy, **_: tree.engine(layer.forward(x)[2])) == "reference"


def test_other_weights_for_one_call(torch):
    module = made(torch, "LSTM")
    weights = {name: (2 * w).detach().requires_grad_() for name, w in module.named_parameters()}
    with watch(module) as seen:
        torch.func.functional_call(module, weights, (inputs(torch),))[0].sin().sum().backward()
    assert seen.ok, str(seen)
    assert abs(seen.seen.weights["weight_hh_l0"] - 2 * module.weight_hh_l0.detach().numpy()).max() == 0


def test_what_is_compiled_is_refused_by_name(torch):
    cell, x = made(torch, "LSTMCell"), inputs(torch)

    def scripted():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.script(torch.nn.LSTM(3, 4))

    with pytest.raises(TypeError, match=r"torch.jit.script has compiled it"), watch(scripted()):
        pass
    with pytest.raises(TypeError, match=r"torch.compile rewrites it"), watch(torch.compile(cell, backend="eager")):
        pass
    fast = torch.compile(lambda x: outputs(torch, cell, x), backend="eager")
    with pytest.raises(RuntimeError, match=r"ran inside torch.compile.*set_stance"), watch(cell):
        fast(x).sum().backward()
    with pytest.raises(RuntimeError, match=r"inside torch.compile.*set_stance"), watch(cell):  # compiled already
        fast(x).sum().backward()
    with watch(cell) as seen, torch.compiler.set_stance("force_eager"):
        fast(x).sum().backward()
    assert seen.ok, str(seen)
    assert is_clean(cell)
