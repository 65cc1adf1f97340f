"""A program in any language on a case of the pack: files in a folder, in and out (docs/pack.md)."""

import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from lstmcore.debug.certify.pack import RESULTS, Golden
from lstmcore.debug.certify.verdict import Refused
from lstmcore.train.files.sealed import to_bytes

REFUSED = 3  # the exit status of a program that has no such case


def told(case: Golden) -> str:
    """Its line in an index."""
    line = asdict(replace(case, arrays={}))
    del line["arrays"]
    return json.dumps(line)


def hand_over(case: Golden, folder: Path) -> None:
    """Writes case.json and case.safetensors, without the results."""
    arrays = {name: a for name, a in case.arrays.items() if name.split("/")[0] not in RESULTS}
    (folder / "case.json").write_text(told(replace(case, tolerance={}, twins={})) + "\n", encoding="utf-8")
    (folder / "case.safetensors").write_bytes(to_bytes(arrays, {}))


def split(command: str, posix: bool = os.name == "posix") -> list[str]:
    """The words of a command; where folders are parted by backslashes, these stand for themselves."""
    words = shlex.split(command, posix=posix)
    return words if posix else [word.strip('"') for word in words]


def run(command: str | Sequence[str], case: Golden, seconds: float = 10.0) -> dict[str, np.ndarray]:
    """The results of `command DIRECTORY`: those of `case.results` that it gives.

    Raises Refused with what it printed, for exit status 3; RuntimeError for any other, for one killed after `seconds`
    and for a result that cannot be read; OSError if there is no such program.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    words = split(command) if isinstance(command, str) else list(command)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hand_over(case, folder)
        try:
            done = subprocess.run([*words, name], capture_output=True, text=True, timeout=seconds, errors="replace")
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{words[0]} was still running after {seconds:g} seconds") from None
        said = (done.stdout + done.stderr).strip()
        if done.returncode == REFUSED:
            raise Refused(said)
        if done.returncode != 0:
            raise RuntimeError(f"{words[0]} ended with status {done.returncode}: {said or 'no word'}")
        try:
            return load_file(folder / "result.safetensors")
        except (OSError, SafetensorError) as error:
            raise RuntimeError(f"{words[0]} should write result.safetensors; got {error}") from None
