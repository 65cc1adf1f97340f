"""`lstmcore convert`: a model from one kind of file to another."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from lstmcore.cli.talk import named, or_complain, say
from lstmcore.recipes.convert import convert as work
from lstmcore.train.files.decoded import decoded

EPILOG = "Example: lstmcore convert runs/text/model.safetensors model.onnx"


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            parser=named, metavar="IN", help="A model of lstmcore, or .pt .safetensors .onnx .keras .weights.h5."
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Ends in .pt .safetensors .onnx .keras or .weights.h5.")],
    to: Annotated[
        Literal["torch", "lstmcore"] | None,
        typer.Option(help="Whose .safetensors file OUT is; by default the other side's."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float16 or bfloat16 are written so, to files of torch and ONNX.")
    ] = None,
    read_dtype: Annotated[str | None, typer.Option(help="float32: what float16 and bfloat16 are read into.")] = None,
    lengths: Annotated[
        bool, typer.Option("--lengths", help="An .onnx graph with the rows' lengths as an input.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write OUT where there is a file; it is lost.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="Of a .weights.h5 file: the text of model.to_json().")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="What arrays do not hold, NAME=VALUE: nonlinearity=tanh, layout=keras, cell=gru."),
    ] = None,
) -> None:
    """Read somebody's model, prove that it was read right, and write it for somebody else. Nothing is executed."""

    def job() -> None:
        options: dict[str, object] = dict(_said(text) for text in option or [])
        if config is not None:
            options["config"] = decoded(config)[0]
        if read_dtype is not None:
            options["dtype"] = read_dtype
        try:
            work(
                source, out, to=to, dtype=dtype, lengths=lengths, overwrite=overwrite, tell=say,
                options=options,
            )  # fmt: skip
        except ImportError as error:  # which extra is missing
            raise ValueError(str(error)) from error

    or_complain(job)


def _said(text: str) -> tuple[str, object]:
    name, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"an option should be NAME=VALUE; got {text!r}")
    try:
        return name, json.loads(value.lower())
    except ValueError:
        return name, value
