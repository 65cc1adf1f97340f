"""What all commands of `lstmcore train` share: the options that every training has, and what is done with them."""

import contextlib
import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.table import Table

from lstmcore.cli.ranks import first_alone, started
from lstmcore.cli.talk import (
    EngineOption,
    JsonOption,
    SeedOption,
    fail,
    in_words,
    named,
    or_complain,
    out,
    picture,
    say,
    tell,
    typed,
)
from lstmcore.recipes import job as finished
from lstmcore.recipes.job import Keep
from lstmcore.recipes.lock import locked

Result = TypeVar("Result")
Options = TypeVar("Options")


def _of_run(context: typer.Context, folder: Path | None) -> Path | None:
    """Options not given are as they were in that run."""
    if folder is not None and not context.resilient_parsing:
        options = or_complain(lambda: finished.options_of(folder))
        recipe = options.pop("recipe")
        if recipe != context.info_name:
            fail(f"{folder} holds a run of `train {recipe}`", 2)
        several = {option.name for option in context.command.params if getattr(option, "multiple", False)}
        listed = {
            name: ",".join(map(str, v)) if isinstance(v, list) and name not in several else v
            for name, v in options.items()
        }
        context.default_map = {**(context.default_map or {}), **listed}
    return folder


@dataclass(frozen=True)
class Common:
    """The options of every training, with their defaults."""

    engine: EngineOption = None
    seed: SeedOption = 0
    out_folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            parser=named,
            metavar="FOLDER",
            help="Folder for checkpoints, model, metrics and picture. Without it nothing is kept.",
        ),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder; begin one if there is none.")
    ] = False
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew in a folder that holds a run; that one is lost.")
    ] = False
    begin_from: Annotated[
        Path | None,
        typer.Option(
            "--from",
            parser=named,
            metavar="RUN",
            is_eager=True,
            callback=_of_run,
            help="Begin with the weights of this finished run; options not given are as they were there.",
        ),
    ] = None
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="No training: let the learning rate rise for 200 updates, and see.")
    ] = False
    as_json: JsonOption = False

    def train(
        self,
        recipe: ModuleType,
        options: Options,
        job: Callable[[], finished.Job],
        run: Callable[[Keep | None], Result],
        show: Callable[[Result, Options], None],
        hint: Callable[[Result], Sequence[str]] = lambda result: (),
    ) -> Result:
        """What came of the training, once it is kept and shown; with --find-lr the range test of `job`, and the end.

        show: prints what came of it, from result and options. hint: what follows the folder in a `predict` to try next.
        """
        if self.find_lr:
            range_test(or_complain(job), self.out_folder, self.as_json)
        with keeping(self.out_folder, self.resume, self.overwrite, self.begin_from) as keep:
            result = or_complain(lambda: run(keep))
            hand_over(recipe, result, options, keep, self.as_json, show, hint(result))
        return result


def with_common(command: Callable[..., None], *without: str) -> Callable[..., None]:
    """A command of a function whose first parameter is a `Common`. typer sees its options behind all others, but for
    those whose names are in `without`."""
    own, common = (dict(inspect.signature(call).parameters) for call in (command, Common))
    shared = {name: parameter for name, parameter in common.items() if name not in without}
    del own["common"]

    @functools.wraps(command)
    def together(**given: Any) -> None:
        command(Common(**{name: given[name] for name in shared}), **{name: given[name] for name in own})

    parameters = own | shared
    vars(together)["__signature__"] = inspect.Signature(list(parameters.values()))
    together.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    return together


@contextlib.contextmanager
def keeping(
    folder: Path | None, resume: bool, overwrite: bool, begin_from: Path | None = None
) -> Iterator[Keep | None]:
    """Where the run is kept, once it is clear that nothing is lost there; no other process writes there meanwhile. Made
    now, so that a failure shows before the training."""
    ranks = or_complain(started)
    if folder is None:
        if ranks is not None and ranks.size > 1:
            fail("several ranks need a folder, where the first of them writes: --out FOLDER", 2)
        if begin_from is not None:
            fail("--from needs a folder for what becomes of it: --out FOLDER", 2)
        if resume or overwrite:
            fail(f"--{'resume' if resume else 'overwrite'} needs the folder of the run: --out FOLDER", 2)
        yield None
        return
    if resume and overwrite:
        fail("--resume goes on with a run and --overwrite deletes it: one of the two", 2)
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")]
    command = typed(["lstmcore", *words, "--resume"])
    keep = Keep(folder, resume, overwrite, tell, f"go on with: {command}", begin_from=begin_from, ranks=ranks)
    if begin_from is not None and begin_from.resolve() == folder.resolve():
        fail("--from RUN and --out FOLDER should differ; to go on with a run that was interrupted: --resume", 2)
    with contextlib.ExitStack() as held:
        with first_alone(ranks) as first:
            if first:
                or_complain(lambda: held.enter_context(locked(folder)))
                if keep.holds_a_run and not (resume or overwrite):
                    again = f"go on with it: {command}; or begin anew with --overwrite, or in another folder"
                    fail(f"{folder} holds a run; {again}", 2)
                if resume and keep.holds_only_results:
                    fail(f"{folder} holds a model, but no checkpoint to go on from; --overwrite begins anew", 2)
                if resume and not keep.holds_a_run:
                    tell(f"{folder} holds no run to go on with; one begins")
        yield keep


def hand_over(
    recipe: ModuleType,
    result: Result,
    options: Options,
    keep: Keep | None,
    as_json: bool,
    show: Callable[[Result, Options], None],
    hint: Sequence[str] = (),
) -> None:
    """What ends every training: first the files, then what is shown and the JSON object, then the exit code of a run
    that could not be saved: 2, diverged: 1, or was interrupted: 130.

    show: prints what came of it, from result and options. hint: what follows the folder in a `predict` to try next.
    """
    metrics, trouble, written = recipe.metrics(result, options), None, ""
    if keep is not None and (keep.ranks is None or keep.ranks.first):
        try:
            recipe.save(keep.folder, result, options)
        except OSError as error:
            trouble = in_words(error)
        else:
            tables = [recipe.TABLE] if hasattr(recipe, "TABLE") else []
            drawn = picture(lambda path: recipe.draw(path, result), keep.folder / "picture.png")
            files = [*finished.FILES, *tables, *drawn]
            predict = ["lstmcore", "predict", metrics["recipe"], str(keep.folder), *hint]
            written = f"{keep.folder}: {', '.join(files)}" + (f"; try: {typed(predict)}" if hint else "")
    show(result, options)
    if written:
        say(written)
    if as_json and not out.quiet:
        print(json.dumps(finished.plain(metrics)))
    if trouble is not None:
        fail(trouble, 2)
    if metrics["diverged"]:
        fail(f"the training diverged: {metrics['ended']}; a lower --lr may help")
    if metrics["ended"] == "interrupted":
        if keep is None:
            tell("interrupted, and nothing is kept; with --out FOLDER, --resume could go on")
        raise typer.Exit(130)


def range_test(job: finished.Job, folder: Path | None, as_json: bool) -> NoReturn:
    """What --find-lr does in place of training: a table, a picture if there is a folder, and the end."""
    with contextlib.ExitStack() as held:
        if folder is not None:
            or_complain(lambda: held.enter_context(locked(folder)))
        found = or_complain(job.find_lr)
        written = []
        if folder is not None:
            written = picture(lambda path: finished.draw_range_test(path, found), folder / "learning-rate.png")
    table = Table("learning rate", "loss", box=None, header_style="bold")
    for lr, loss in found.table():
        table.add_row(f"{lr:.2g}", f"{loss:.4g}")
    out.print(table)
    say(
        f"{found.ended}; the loss falls fastest at {found.fastest:.1g} and is lowest at {found.lowest:.1g}: try --lr "
        f"{found.fastest:.1g} first, and not more than a tenth of the other, {found.lowest / 10:.1g}"
    )
    if folder is not None:
        say(f"{folder}: {', '.join(written) or 'no picture'}")
    if as_json:
        print(json.dumps({"fastest": found.fastest, "lowest": found.lowest, "ended": found.ended}))
    raise typer.Exit(130 if found.ended == "interrupted" else 0)
