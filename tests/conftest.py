"""Fixtures of the whole suite: the engines, the peers, real data; and a summary of what ran and what did not.

With --require-peers a peer that is not installed fails its tests, in place of skipping them; with --require-gpu an
engine that needs a GPU does. Tests on real data read it from the folder of --data DIR, and are skipped without it.
With --nightly those that try at random try much longer, and products of many factors run as a whole: by day a test
marked `pairwise` runs on a few of its cases, which `covering` chooses among those that this machine can run.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # else they wait for each other, and it counts

import importlib
import warnings
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
from children import hears_ctrl_c
from covering import covering
from engines import ALL_ENGINES, REFERENCE, Engine
from gpu import kept
from quick import UNKNOWN, within

from lstmcore.ops.recurrence import ENGINES

ROOT = Path(__file__).parents[1]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))  # for children

hypothesis.settings.register_profile(
    "lstmcore",
    deadline=None,  # the first call of a compiled engine compiles
    max_examples=50,
    derandomize=True,  # the same examples everywhere: a red run can be repeated
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,  # `engine` holds no state
        hypothesis.HealthCheck.filter_too_much,  # an engine may run one cell only
    ],
)
hypothesis.settings.register_profile("nightly", hypothesis.settings.get_profile("lstmcore"), max_examples=2000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-peers", action="store_true", help="a missing peer (torch, jax, ...) is a failure")
    parser.addoption("--require-gpu", action="store_true", help="a missing GPU is a failure")
    parser.addoption("--data", metavar="DIR", type=Path, help="folder with real data, for the tests that want some")
    parser.addoption("--seconds", type=float, help="only the fastest, together this much processor time")
    parser.addoption("--nightly", action="store_true", help="many more random trials: hours, not minutes")


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.load_profile("nightly" if config.getoption("--nightly") else "lstmcore")
    if config.pluginmanager.has_plugin("cacheprovider"):
        kept.keep_in(config.cache.mkdir("compiled"))
    config.addinivalue_line(
        "markers",
        "pairwise(*apart): by day, few cases in which any two values of its factors meet; not of two that are `apart`",
    )


TOOK = "lstmcore/seconds"  # in pytest's cache: the processor time of each test, if it was more than quick.UNKNOWN


def pytest_sessionfinish(session: pytest.Session) -> None:
    cache = getattr(session.config, "cache", None)
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if cache is None or reporter is None or hasattr(session.config, "workerinput"):
        return
    seconds: Counter = Counter()
    for report in [report for kind in ("", "passed", "failed") for report in reporter.stats.get(kind, [])]:
        seconds[report.nodeid] += dict(report.user_properties).get("seconds", 0.0)
    known = {name: took for name, took in cache.get(TOOK, {}).items() if name not in seconds}
    cache.set(TOOK, known | {name: round(took, 2) for name, took in seconds.items() if took > UNKNOWN})


SLOW = pytest.StashKey[tuple[int, float, list[str]]]()  # how many --seconds left out, what they took last, and where
BEGAN, LAST = pytest.StashKey[float](), pytest.StashKey[float]()  # processor time at the first test, after the last


def _processor_time() -> float:
    """Seconds, of this process and of those that it has waited for: on a busy machine as on a quiet one."""
    return sum(os.times()[:4])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What nobody knew to be slow may have taken the time of all others."""
    seconds = item.config.getoption("--seconds")
    if seconds is not None and _processor_time() - item.config.stash[BEGAN] > seconds:
        pytest.skip(f"the {seconds:g} s of --seconds are over")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    before, item.config.stash[LAST] = item.config.stash[LAST], _processor_time()
    report.user_properties.append(("seconds", item.config.stash[LAST] - before))
    return report


@pytest.hookimpl(trylast=True)  # after -k and -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes out what a GPU is missing for, but for one test of each file, which is skipped and says how many; and,
    by day, what a product has beyond its pairs. Engines on a GPU refuse some cases, so theirs all stay."""
    no_gpu = None if config.getoption("--require-gpu") else _no_gpu()
    of_file, of_product = defaultdict(list), defaultdict(list)
    for item in items:
        case = item.callspec.params if hasattr(item, "callspec") else {}
        on_gpu = any(isinstance(value, Engine) and value.library == "cupy" for value in case.values())
        if on_gpu and no_gpu is not None:
            of_file[item.path].append(item)
        elif not on_gpu and not config.getoption("--nightly") and item.get_closest_marker("pairwise"):
            of_product[item.nodeid.partition("[")[0]].append(item)
    out = []
    for path, (first, *rest) in of_file.items():
        count, name = len(rest) + 1, path.relative_to(config.rootpath)
        first.add_marker(pytest.mark.skip(reason=f"{no_gpu}, which {count} tests of {name} are for"))
        out += rest
    for product in of_product.values():
        apart = product[0].get_closest_marker("pairwise").args
        chosen = covering([item.callspec.params for item in product], apart)
        out += [item for k, item in enumerate(product) if k not in set(chosen)]
    left_out = set(out)
    if (seconds := config.getoption("--seconds")) is not None:
        names = [item.nodeid for item in items if item not in left_out]
        took = config.cache.get(TOOK, {}) if hasattr(config, "cache") else {}
        chosen = within(seconds, names, took)
        slow = [item for item in items if item not in left_out and item.nodeid not in chosen]
        files = {item.path.relative_to(config.rootpath).as_posix() for item in slow}
        config.stash[SLOW] = len(slow), sum(took.get(item.nodeid, 0) for item in slow), sorted(files)
        out += slow
        left_out = set(out)
    items[:] = [item for item in items if item not in left_out]
    config.stash[BEGAN] = config.stash[LAST] = _processor_time()
    if out:
        config.hook.pytest_deselected(items=out)


@pytest.fixture(scope="session")
def nightly(request: pytest.FixtureRequest) -> bool:
    """Whether there is a night's time: a test that tries at random asks how often it may."""
    return request.config.getoption("--nightly")


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """For tests that press Ctrl-C in this process."""
    with hears_ctrl_c():
        yield


def _missing(request: pytest.FixtureRequest, option: str, reason: str) -> None:
    """Skips the test with its reason, or fails it if the option asks for that."""
    if request.config.getoption(option):
        pytest.fail(f"{reason} ({option} was given)", pytrace=False)
    pytest.skip(reason)


# ---- engines -----------------------------------------------------------------------------------------------


def _no_gpu() -> str | None:
    """Why there is no computing on a GPU here; None if there is."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        return "CuPy is not installed"
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no GPU: {error}"
    return None


def _present(request: pytest.FixtureRequest) -> Engine:
    request.node.user_properties.append(("engine", request.param.name))
    no_gpu = _no_gpu() if request.param.library == "cupy" else None
    if no_gpu is not None:
        _missing(request, "--require-gpu", no_gpu)
    if request.param.engine not in ENGINES:
        pytest.skip(f"lstmcore has no engine {request.param.engine!r} so far")
    return request.param


@pytest.fixture(params=ALL_ENGINES, ids=lambda engine: engine.name.replace(" ", "-"))
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn: a test that asks for it runs on all that exist."""
    return _present(request)


@pytest.fixture(params=ALL_ENGINES[1:], ids=lambda engine: engine.name.replace(" ", "-"))
def other_engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine but the reference on NumPy, for comparisons with it."""
    return _present(request)


@pytest.fixture
def reference() -> Engine:
    """The engine that the others are held to."""
    return REFERENCE


# ---- peers and data ----------------------------------------------------------------------------------------


def _peer(request: pytest.FixtureRequest, name: str) -> ModuleType:
    try:
        with warnings.catch_warnings():  # what a peer deprecates in itself is not ours to mend
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError:
        _missing(request, "--require-peers", f"the peer {name} is not installed")
        raise


@pytest.fixture
def torch(request: pytest.FixtureRequest) -> ModuleType:
    """PyTorch, computing on one thread."""
    torch = _peer(request, "torch")
    torch.set_num_threads(1)
    return torch


@pytest.fixture
def jax(request: pytest.FixtureRequest) -> ModuleType:
    """JAX with float64 switched on."""
    jax = _peer(request, "jax")
    jax.config.update("jax_enable_x64", True)
    return jax


@pytest.fixture
def keras(request: pytest.FixtureRequest) -> ModuleType:
    """Keras over torch."""
    _peer(request, "torch")
    os.environ["KERAS_BACKEND"] = "torch"  # read once, at Keras's first import
    return _peer(request, "keras")


@pytest.fixture
def flax(request: pytest.FixtureRequest, jax: ModuleType) -> ModuleType:
    return _peer(request, "flax")


@pytest.fixture
def equinox(request: pytest.FixtureRequest, jax: ModuleType) -> ModuleType:
    return _peer(request, "equinox")


@pytest.fixture
def mpi4py(request: pytest.FixtureRequest) -> ModuleType:
    """What talks to MPI; its wheel brings no launcher, that of MPICH does."""
    return _peer(request, "mpi4py")


@pytest.fixture
def onnx(request: pytest.FixtureRequest) -> ModuleType:
    return _peer(request, "onnx")


@pytest.fixture
def onnxruntime(request: pytest.FixtureRequest) -> ModuleType:
    return _peer(request, "onnxruntime")


@pytest.fixture
def array_api_strict(request: pytest.FixtureRequest) -> ModuleType:
    """The strict reading of the array API standard: it refuses what only NumPy has."""
    return _peer(request, "array_api_strict")


@pytest.fixture
def data(request: pytest.FixtureRequest) -> Path:
    """The folder given by --data."""
    folder = request.config.getoption("--data")
    if folder is None:
        pytest.skip("wants real data: pytest --data DIR, or make test DATA=DIR")
    if not folder.is_dir():
        pytest.fail(f"--data {folder}: there is no such folder", pytrace=False)
    return folder


# ---- the summary -------------------------------------------------------------------------------------------


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many tests each engine ran, and why the others did not run."""
    counts: dict[str, Counter] = defaultdict(Counter)
    reasons: Counter = Counter()
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            name = dict(getattr(report, "user_properties", [])).get("engine")
            if name is not None:
                counts[name][outcome] += 1
            if outcome == "skipped":
                reason = report.longrepr[2].removeprefix("Skipped: ")
                reasons[(name or "no engine", reason)] += 1
    if counts:
        terminalreporter.section("engines")
        for engine in ALL_ENGINES:
            count = counts[engine.name]
            ran = count["passed"] + count["failed"] + count["error"]
            terminalreporter.line(f"{engine.name:>18}: {ran:5} ran, {count['failed'] + count['error']} failed")
    count, seconds, files = terminalreporter.config.stash.get(SLOW, (0, 0.0, []))
    if reasons or count:
        terminalreporter.section("what did not run")
    if count:
        where = ", ".join(files)
        terminalreporter.line(f"too slow for --seconds: {count} tests, {seconds:.0f} s when they ran last: {where}")
    if reasons:
        for (name, reason), times in sorted(reasons.items()):
            terminalreporter.line(f"{name:>24}: {times:5} skipped: {reason}")
