"""The command line: `lstmcore train`, `predict`, `check`, `info`. Talks to people; the work is in recipes and below."""

import itertools
import json
import platform
import sys
from collections.abc import Callable
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import lstmcore
from lstmcore.recipes import alphabet as spelling
from lstmcore.recipes import check as checking
from lstmcore.recipes import count as counting
from lstmcore.recipes import run as finished
from lstmcore.recipes import series as forecasting
from lstmcore.recipes import text as writing

app = typer.Typer(
    name="lstmcore",
    help="LSTMs written by hand, forward and backward, and the tools that prove them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
train = typer.Typer(help="Train a recipe: data, model, training, test, picture.", no_args_is_help=True)
predict = typer.Typer(help="Use what a recipe has trained.", no_args_is_help=True)
app.add_typer(train, name="train")
app.add_typer(predict, name="predict")
out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)


class Cell(StrEnum):
    lstm = "lstm"
    gru = "gru"
    rnn = "rnn"


class OptimizerName(StrEnum):
    adamw = "adamw"
    adam = "adam"
    sgd = "sgd"
    momentum = "momentum"
    rmsprop = "rmsprop"
    adagrad = "adagrad"


class Topology(StrEnum):
    none = "none"
    interleaved = "interleaved"
    towers = "towers"


class Freeze(StrEnum):
    recurrent = "recurrent"


class MaskPattern(StrEnum):
    none = "none"
    right = "right"
    left = "left"
    gaps = "gaps"
    empty = "empty"


class Method(StrEnum):
    complex = "complex"
    central = "central"


SeedOption = Annotated[int, typer.Option(min=0, help="Everything random comes from it.")]
EngineOption = Annotated[
    str | None, typer.Option(help=f"One of {', '.join(lstmcore.ENGINES)}; by default the fastest that is there.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder for model, metrics and picture.")]
JsonOption = Annotated[bool, typer.Option("--json", help="The metrics as one JSON object, the last line.")]
DEFAULT = counting.Options()
SPELL, WRITE, FORECAST = spelling.Options(), writing.Options(), forecasting.Options()


@train.command("count", epilog="Example: lstmcore train count --out runs/count --seed 3 --balanced")
def train_count(
    hidden: Annotated[int, typer.Option(min=1, help="Units of each layer.")] = DEFAULT.hidden,
    layers: Annotated[int, typer.Option(min=1, help="Recurrent layers.")] = DEFAULT.layers,
    cell: Annotated[Cell, typer.Option(help="What the layers are made of.")] = Cell.lstm,
    batch: Annotated[int, typer.Option(min=1, help="Strings per update.")] = DEFAULT.batch,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training strings.")] = DEFAULT.epochs,
    lr: Annotated[float, typer.Option(min=0, help="Learning rate at the start; it falls to zero.")] = DEFAULT.lr,
    optimizer: Annotated[OptimizerName, typer.Option()] = OptimizerName.adamw,
    examples: Annotated[int, typer.Option(min=1, max=2**20 - 1, help="Strings to learn from.")] = DEFAULT.examples,
    balanced: Annotated[bool, typer.Option("--balanced", help="Give every number of ones its share.")] = False,
    engine: EngineOption = None,
    seed: SeedOption = DEFAULT.seed,
    goal: Annotated[float | None, typer.Option(help="Exit with 1 if the test error, a fraction, is above.")] = None,
    out_folder: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count the ones of a 20-bit string: learn from 10,000 strings, be tested on all the others.

    The strings learnt from are drawn like any others, so hardly one has very few or very many ones, and it is those
    that go wrong: see the table, and what --balanced makes of it.
    """
    options = counting.Options(
        hidden, layers, cell.value, batch, epochs, lr, optimizer.value, examples, balanced, engine, seed
    )
    folder = _writable(out_folder)
    result = _or_complain(lambda: counting.run(options, tell=_tell))
    out.print(_by_ones(result))
    wrong, total = int(result.wrong.sum()), int(result.tested.sum())
    out.print(
        f"test error {100 * result.test_error:.4f} %: {wrong:,} of {total:,} strings are wrong; trained in "
        f"{result.train_seconds:.1f} s ({result.history['step']:,} updates, engine {result.engine}), tested in "
        f"{result.test_seconds:.1f} s; {result.history['ended']}"
    )
    _hand_over(
        counting, result, options, folder, as_json, f"; try: lstmcore predict count {folder} 10011011101001101110"
    )
    if goal is not None and result.test_error > goal:
        _fail(f"the test error, {result.test_error:.6f}, is above the goal of {goal}")


@train.command("alphabet", epilog="Example: lstmcore train alphabet --cure --freeze recurrent --out runs/alphabet")
def train_alphabet(
    cure: Annotated[bool, typer.Option("--cure", help="Try the remedies, each alone and one after the other.")] = False,
    freeze: Annotated[
        Freeze | None, typer.Option(help="Beside it, train the read-out alone: an echo-state network.")
    ] = None,
    hidden: Annotated[int, typer.Option(min=1, help="Units of the LSTM.")] = SPELL.hidden,
    epochs: Annotated[int, typer.Option(min=1, help="Of 100 updates each.")] = SPELL.epochs,
    lr: Annotated[float, typer.Option(min=0, help="Learning rate.")] = SPELL.lr,
    momentum: Annotated[float, typer.Option(min=0, max=0.999)] = SPELL.momentum,
    noise: Annotated[
        float, typer.Option(min=0, help="Uniform noise on each gradient, in units of the mean of |w|.")
    ] = SPELL.noise,
    engine: EngineOption = None,
    seed: SeedOption = SPELL.seed,
    out_folder: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """The string abcdefghijkl for ever, as character codes: why every prediction is the mean, and what cures it."""
    options = spelling.Options(
        hidden=hidden, epochs=epochs, lr=lr, momentum=momentum, noise=noise, freeze=freeze is not None,
        engine=engine, seed=seed,
    )  # fmt: skip
    folder = _writable(out_folder)
    result = _or_complain(lambda: spelling.run(options, cure, tell=_tell))
    out.print(_remedies(result))
    out.print(
        f"the variance of the codes, (12^2 - 1) / 12 = {spelling.VARIANCE:.4f}, is the loss of telling their mean; "
        f"trained in {result.seconds:.1f} s (engine {result.engine})"
    )
    _hand_over(spelling, result, options, folder, as_json)


@train.command("text", epilog="Example: lstmcore train text book.txt --out runs/book --epochs 8")
def train_text(
    file: Annotated[Path | None, typer.Argument(help="A text in UTF-8; by default the sources of Python.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Characters that are read, at most; of Python's sources 1,200,000.")
    ] = None,
    hidden: Annotated[int, typer.Option(min=1, help="Units of each layer.")] = WRITE.hidden,
    layers: Annotated[int, typer.Option(min=1, help="LSTM layers.")] = WRITE.layers,
    embedding: Annotated[int, typer.Option(min=1, help="Numbers that stand for a character.")] = WRITE.embedding,
    batch: Annotated[int, typer.Option(min=1, help="Strands of the text, read side by side.")] = WRITE.batch,
    steps: Annotated[int, typer.Option(min=1, help="Characters of a strand per update.")] = WRITE.steps,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the text.")] = WRITE.epochs,
    lr: Annotated[float, typer.Option(min=0, help="Highest learning rate; it falls to zero.")] = WRITE.lr,
    dropout: Annotated[float, typer.Option(min=0, max=0.99, help="After each LSTM layer.")] = WRITE.dropout,
    engine: EngineOption = None,
    seed: SeedOption = WRITE.seed,
    out_folder: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn to write, character by character: from the first 90 % of a text, tested on the rest."""
    options = writing.Options(hidden, layers, embedding, batch, steps, epochs, lr, dropout, engine, seed)
    folder = _writable(out_folder)
    result = _or_complain(lambda: writing.run(writing.read(file, limit), options, tell=_tell))
    out.print("".join(writing.sample(result.model, result.symbols, 300, 0.7, options.seed, result.symbols[0])).strip())
    out.print(
        f"{result.nats:.4f} nats, {result.bits:.4f} bits per character on the last {result.characters[1]:,} of "
        f"{sum(result.characters):,} (counted symbols {result.unigram:.3f} nats, counted pairs {result.bigram:.3f}); "
        f"trained in {result.train_seconds:.1f} s ({result.history['step']:,} updates, engine {result.engine}); "
        f"{result.history['ended']}"
    )
    _hand_over(writing, result, options, folder, as_json, f"; try: lstmcore predict text {folder} --temperature 0.5")


@train.command("series", epilog="Example: lstmcore train series load.csv --column MW --season 24 --out runs/load")
def train_series(
    file: Annotated[Path | None, typer.Argument(help="A CSV file with a header; by default a noisy sine.")] = None,
    column: Annotated[str | None, typer.Option(help="The column to forecast.")] = None,
    hidden: Annotated[int, typer.Option(min=1, help="Units of the LSTM.")] = FORECAST.hidden,
    window: Annotated[int, typer.Option(min=2, help="Steps of a training sequence.")] = FORECAST.window,
    horizon: Annotated[int, typer.Option(min=1, help="Steps of a rolled-out forecast.")] = FORECAST.horizon,
    season: Annotated[int | None, typer.Option(min=1, help="Steps of a season; by default it is looked for.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Windows per update.")] = FORECAST.batch,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the windows.")] = FORECAST.epochs,
    lr: Annotated[float, typer.Option(min=0, help="Learning rate at the start; it falls to zero.")] = FORECAST.lr,
    engine: EngineOption = None,
    seed: SeedOption = FORECAST.seed,
    out_folder: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forecast a series: the next value, and many ahead, beside forecasts that cost nothing."""
    options = forecasting.Options(hidden, window, horizon, season, batch, epochs, lr, engine, seed)
    folder = _writable(out_folder)
    values = _or_complain(lambda: forecasting.noisy_sine(seed) if file is None else forecasting.read(file, column))
    result = _or_complain(lambda: forecasting.run(values, options, tell=_tell))
    out.print(_forecasts(result))
    out.print(
        f"root mean square errors on the last {len(result.values) - result.learnt:,} of {len(result.values):,} values, "
        f"rolled out from {len(result.origins)} of them; season {result.season}; trained in "
        f"{result.train_seconds:.1f} s ({result.history['step']:,} updates, engine {result.engine}); "
        f"{result.history['ended']}"
    )
    _hand_over(forecasting, result, options, folder, as_json)


@predict.command("count", epilog="Example: lstmcore predict count runs/count 10011011101001101110")
def predict_count(
    run: Annotated[Path, typer.Argument(help="The folder that `train count --out` wrote.")],
    strings: Annotated[list[str], typer.Argument(help="Strings of 20 bits.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per string.")] = False,
) -> None:
    """Count the ones of your own strings, with the probability of each answer."""
    net = _or_complain(lambda: lstmcore.load(run / "model.safetensors"))
    for string, p in _or_complain(lambda: list(counting.predict(net, strings))):
        likely = p.argsort()[::-1][:3]
        if as_json:
            print(json.dumps({"string": string, "ones": string.count("1"), "probabilities": p.tolist()}))
            continue
        verdict = "right" if likely[0] == string.count("1") else "wrong"
        answers = ", ".join(f"{k}: {100 * p[k]:.1f} %" for k in likely)
        out.print(f"{string} has {string.count('1')} ones; the network says {answers} ({verdict})")


@predict.command("text", epilog='Example: lstmcore predict text runs/book --length 500 --start "The "')
def predict_text(
    run: Annotated[Path, typer.Argument(help="The folder that `train text --out` wrote.")],
    length: Annotated[int, typer.Option(min=1, help="Characters to write.")] = 500,
    temperature: Annotated[float, typer.Option(min=0, help="Below 1 surer, above 1 bolder, 0 the likeliest.")] = 0.8,
    seed: Annotated[int | None, typer.Option(min=0, help="By default something new each time.")] = None,
    start: Annotated[str | None, typer.Option(help="What it goes on from; by default a new line.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Let a trained network write."""
    net, symbols = _or_complain(lambda: writing.load(run))
    start = symbols[0] if start is None else start
    written = writing.sample(net, symbols, length, temperature, seed, start)
    written = itertools.chain([_or_complain(lambda: next(written))], written)  # complains before a word is out
    if as_json:
        print(json.dumps({"start": start, "text": "".join(written)}))
        return
    for symbol in itertools.chain(start, written):
        print(symbol, end="", flush=True)
    print()


@app.command("check", epilog="Example: lstmcore check --bidirectional towers --layers 3 --mask gaps --dropout 0.5")
def check(
    cell: Annotated[Cell, typer.Option(help="What the layers are made of.")] = Cell.lstm,
    input_size: Annotated[int, typer.Option("--input", min=1, help="I, input width.")] = 3,
    hidden: Annotated[int, typer.Option(min=1, help="H, units of each layer.")] = 4,
    layers: Annotated[int, typer.Option(min=1, help="Recurrent layers.")] = 1,
    bidirectional: Annotated[Topology, typer.Option(help="How the two directions meet, if at all.")] = Topology.none,
    classes: Annotated[int, typer.Option(min=0, help="A linear head and a cross-entropy; 0: none.")] = 0,
    dropout: Annotated[float, typer.Option(min=0, max=0.99, help="Between the layers.")] = 0.0,
    mask: Annotated[MaskPattern, typer.Option(help="Where the padding is.")] = MaskPattern.none,
    steps: Annotated[int, typer.Option(min=1, help="T, time steps.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="B, rows.")] = 3,
    method: Annotated[Method, typer.Option(help="Complex step, or central differences.")] = Method.complex,
    directions: Annotated[int | None, typer.Option(min=1, help="Random directions, not every coordinate.")] = None,
    engine: EngineOption = None,
    seed: SeedOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The table as one JSON object.")] = False,
) -> None:
    """Prove the gradients of a model against derivatives that know nothing of them. Exits with 1 if one is wrong."""

    def prove() -> Any:
        model = checking.model(
            cell.value, input_size, hidden, layers, bidirectional.value, dropout, classes, seed, engine
        )
        err.print(f"{model}, T = {steps}, B = {batch}, mask {mask.value}")
        return checking.check(
            model,
            steps,
            batch,
            input_size,
            mask.value,
            classes=classes,
            seed=seed,
            directions=directions,
            method=method.value,
        )

    answer = _or_complain(prove)
    if as_json:
        rows = [row._asdict() for row in answer.table]
        print(json.dumps({"ok": answer.ok, "worst": answer.worst, "worst_at": answer.worst_at, "table": rows}))
    else:
        print(answer)
    raise typer.Exit(0 if answer.ok else 1)


@app.command("info")
def info(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Which engines, libraries and processors are there."""
    facts = {
        "lstmcore": lstmcore.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {_processor()}",
        "engines": ", ".join(lstmcore.ENGINES),
        **{name: _version(name, extra) for name, extra in LIBRARIES.items()},
    }
    if as_json:
        print(json.dumps(facts))
        return
    for name, fact in facts.items():
        out.print(f"{name:<12} {fact}")


LIBRARIES = {
    "numpy": None,
    "numba": None,
    "safetensors": None,
    "matplotlib": "plot",
    "torch": "peers",
    "jax": "peers",
    "onnxruntime": "peers",
}


def _version(name: str, extra: str | None) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed" + (f"; pip install 'lstmcore[{extra}]'" if extra else "")


def _processor() -> str:
    """The processor's name and how many of its cores this process may use."""
    import os

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or "processor unknown"
    return f"{name}, {cores} cores"


def _by_ones(result: counting.Result) -> Table:
    table = Table("ones", "learnt from", "tested", "wrong", "right", box=None, header_style="bold")
    for column in table.columns:
        column.justify = "right"
    for k, (learnt, tested, wrong) in enumerate(zip(result.learnt, result.tested, result.wrong)):
        right = f"{100 * (1 - wrong / tested):.2f} %" if tested else "-"
        table.add_row(str(k), f"{learnt:,}", f"{tested:,}", f"{wrong:,}", right)
    return table


def _remedies(result: spelling.Result) -> Table:
    table = Table("", "loss", "letters right", "goes on with", box=None, header_style="bold")
    for trial in result.trials:
        unit = "nats" if trial.options.loss == "cross-entropy" else ""
        table.add_row(trial.name, f"{trial.loss:.4g} {unit}", f"{100 * trial.right:.0f} %", trial.string[:24])
    return table


def _forecasts(result: forecasting.Result) -> Table:
    horizon = len(result.rolled_error("lstm"))
    ahead = sorted({1, max(1, horizon // 2), horizon})
    table = Table("forecast", "next value", *(f"{k} ahead" for k in ahead), box=None, header_style="bold")
    for name in result.forecasts:
        errors = [result.one_step_error(name), *(result.rolled_error(name)[k - 1] for k in ahead)]
        table.add_row(name, *(f"{error:.4g}" for error in errors))
    return table


def _hand_over(recipe: Any, result: Any, options: Any, folder: Path | None, as_json: bool, hint: str = "") -> None:
    """What ends every training: the folder, the JSON object, and the exit code of an interrupted run."""
    metrics = recipe.metrics(result, options)
    if folder is not None:
        _or_complain(lambda: recipe.save(folder, result, options))
        written = [*finished.FILES, *_picture(lambda path: recipe.draw(path, result), folder / "picture.png")]
        out.print(f"{folder}: {', '.join(written)}{hint}")
    if as_json:
        print(json.dumps(metrics))
    if metrics["ended"] == "interrupted":
        raise typer.Exit(130)


def _tell(message: str) -> None:
    """A word while the training goes on."""
    err.print(Text(message))


def _writable(folder: Path | None) -> Path | None:
    """The folder, made now: it would be a pity to find after the training that it cannot be."""
    if folder is not None:
        _or_complain(lambda: folder.mkdir(parents=True, exist_ok=True))
    return folder


def _picture(draw: Callable[[Path], None], path: Path) -> list[str]:
    """Draws it and returns its name; without matplotlib one line says what is missing."""
    try:
        draw(path)
    except ImportError:
        err.print("no picture: pip install 'lstmcore[plot]'")
        return []
    return [path.name]


def _or_complain(work: Callable[[], Any]) -> Any:
    """What `work` returns; bad input and trouble with files end in one line and exit code 2."""
    try:
        return work()
    except (ValueError, TypeError, OSError) as error:
        _fail(str(error), 2)


def _fail(message: str, code: int = 1) -> NoReturn:
    err.print(Text.assemble(("lstmcore: ", "red"), message))
    raise typer.Exit(code)


def main() -> None:
    """The entry point of the console script."""
    try:
        app()
    except BrokenPipeError:  # `lstmcore ... | head`
        sys.stderr.close()
        raise SystemExit(141) from None
