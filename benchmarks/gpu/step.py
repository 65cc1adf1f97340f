"""One whole training step of a small model, by lstmcore and by torch: forward, loss, backward, clipping, AdamW.

The model of `lstmcore train count`, without its dropout: one LSTM, and a head on its last state. Here it is Python and
the launches that take the time, so everybody comes twice: step by step, and recorded as a CUDA graph.
"""

from collections.abc import Callable

import cupy
import numpy as np
import torch

import lstmcore as lc
from benchmarks.gpu.contestants import Contestant, Results, Shape
from lstmcore.interop.convert import from_lstmcore

V, LR, DECAY, CLIP = 12, 1e-3, 0.01, 1.0
CHECKED = 5  # steps, whose losses must be right


class Lesson:
    """Random numbers for a shape, on the host, and the weights to begin with."""

    def __init__(self, shape: Shape):
        rng, (T, B, I, H) = np.random.default_rng(0), shape[1:5]
        self.lstm, self.head = lc.LSTM(I, H, seed=rng, return_sequences=False), lc.Linear(H, V, seed=rng)
        self.x = rng.normal(size=(T, B, I)).astype("float32")
        self.targets = rng.integers(0, V, B)


def losses(step: Callable[[], float]) -> Results:
    return {"loss": np.array([step() for _ in range(CHECKED)])}


def ours(lesson: Lesson, recorded: bool = False) -> Contestant:
    def fresh() -> Callable[[], cupy.ndarray]:
        """A step of a model at its beginning."""
        model = lc.to_gpu(lc.Stack([lesson.lstm, lesson.head]))
        opt, x, targets = lc.AdamW(LR, weight_decay=DECAY), cupy.asarray(lesson.x), cupy.asarray(lesson.targets)
        if recorded:
            step = lc.RecordedStep(model, lc.softmax_cross_entropy, opt, clip=CLIP)
            return lambda: step(x, targets)

        def eager() -> cupy.ndarray:
            y, _, cache = model.forward(x)
            value, dy = lc.softmax_cross_entropy(y, targets)
            _, _, grads = model.backward(dy, cache)
            lc.clip_by_global_norm(grads, CLIP)
            opt.step(model.params, grads)
            return value

        return eager

    def results() -> Results:
        step = fresh()
        return losses(lambda: float(step()))

    return Contestant(f"lstmcore {'recorded' if recorded else 'step by step'}", lc.__version__, fresh(), results)


def torchs(lesson: Lesson, graph: bool = False, dtype: torch.dtype = torch.float32, device: str = "cuda") -> Contestant:
    """torch.nn.LSTM and torch's fused AdamW. graph: the whole step is recorded once and replayed."""

    def fresh() -> Callable[[], torch.Tensor]:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        lstm, head = (_torch(layer, dtype, device) for layer in (lesson.lstm, lesson.head))
        weights = [w for w in (*lstm.parameters(), *head.parameters()) if w.requires_grad]
        on_gpu = device == "cuda"
        opt = torch.optim.AdamW(weights, LR, weight_decay=DECAY, fused=on_gpu, capturable=graph)
        x = torch.from_numpy(lesson.x).to(device, dtype)
        targets = torch.from_numpy(lesson.targets).to(device)

        def eager() -> torch.Tensor:
            opt.zero_grad(set_to_none=True)
            y, _ = lstm(x)
            value = torch.nn.functional.cross_entropy(head(y[-1]), targets)
            value.backward()
            torch.nn.utils.clip_grad_norm_(weights, CLIP)
            opt.step()
            return value.detach()

        return _recorded(eager, weights, opt) if graph else eager

    def results() -> Results:
        step = fresh()
        return losses(lambda: float(step()))

    return Contestant(f"torch {'graph' if graph else 'eager'}", torch.__version__, fresh(), results)


def _recorded(
    eager: Callable[[], torch.Tensor], weights: list[torch.Tensor], opt: torch.optim.Optimizer
) -> Callable[[], torch.Tensor]:
    """As torch's pages tell it: some steps on a stream beside, which are undone, then the recording."""
    before = [w.detach().clone() for w in weights]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            eager()
    torch.cuda.current_stream().wait_stream(side)
    with torch.no_grad():
        for w, start in zip(weights, before):
            w.copy_(start)
        for memory in opt.state.values():
            for value in memory.values():
                value.zero_()
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        value = eager()

    def replay() -> torch.Tensor:
        recorded.replay()
        return value

    return replay


def _torch(layer: lc.layers.Layer, dtype: torch.dtype, device: str) -> torch.nn.Module:
    """The torch layer with the same weights."""
    if isinstance(layer, lc.Linear):
        there: torch.nn.Module = torch.nn.Linear(layer.input_size, layer.output_size)
        weights = {"weight": layer.params["W"].T, "bias": layer.params["b"]}
    else:
        there = torch.nn.LSTM(layer.input_size, layer.hidden_size)
        weights = from_lstmcore(dict(layer.params), "torch")
        there.bias_hh_l0.requires_grad_(False)  # or the two biases together would move twice as far as our one
    with torch.no_grad():
        for name, parameter in there.named_parameters():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(weights[name])))
    return there.to(device, dtype)


def truth(lesson: Lesson, device: str = "cuda") -> Results:
    return torchs(lesson, dtype=torch.float64, device=device).results()


def makers(lesson: Lesson) -> list[tuple[str, Callable[[], Contestant]]]:
    return [
        ("torch eager", lambda: torchs(lesson)),
        ("torch graph", lambda: torchs(lesson, graph=True)),
        ("lstmcore recorded", lambda: ours(lesson, recorded=True)),
        ("lstmcore step by step", lambda: ours(lesson)),
    ]
