"""An engine in a process of its own, which certify.py starts with the arguments ENGINE DTYPE PACK.

Reads names of cases from standard input, a line each, and answers with a verdict in JSON, a line each; the first line
tells the engine and its version. What the engine itself prints goes to standard error.
"""

import json
import os
import re
import sys
import warnings
from dataclasses import replace
from pathlib import Path

from lstmcore.debug.certify.engines import engine
from lstmcore.debug.certify.named import named
from lstmcore.debug.certify.pack import read_pack
from lstmcore.debug.certify.verdict import Refused, Verdict, judge, one_line
from lstmcore.interop.host import HALVES

NAMES = 3  # cases of an engine that are given to diagnose: each is seconds of search
NO = ("unsupported", "not supported", "no training support", "not implemented", "only available", "unknown activation")
REFUSES = re.compile(
    rf"[\w ]{{0,60}}({'|'.join(NO)})[\w ]*", re.IGNORECASE
)  # an error that says so, and the words before
SLIPS = re.compile(r"unsupported operand|not supported between instances")  # Python's, about a mistake in a program


def main() -> None:
    name, dtype, index = sys.argv[1:]
    answers, asked = os.fdopen(os.dup(1), "w", encoding="utf-8"), os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # an engine that reads standard input finds its end
    sys.path.insert(0, "")  # a module of one's own, in the folder where one is
    warnings.simplefilter("ignore")
    try:
        pack, made = read_pack(Path(index)), engine(name, dtype)
    except (ImportError, ValueError) as error:
        print(json.dumps({"error": f"{error}"}), file=answers, flush=True)
        raise SystemExit(2) from None
    print(json.dumps({"engine": made.name, "version": made.version, "dtype": made.dtype}), file=answers, flush=True)
    names_left = NAMES
    for line in asked:
        case = pack[line.strip()]
        try:
            found = made.run(replace(case, arrays=dict(case.arrays), options=dict(case.options)))  # its own, to change
            verdict = judge(case, found, pack, made.dtype if made.dtype in HALVES else "")
            outputs = any(name.split("/")[0] in ("y", "state") for name in verdict.wrong)
            if verdict.verdict == "wrong" and not outputs and names_left:
                name = named(case, found)
                names_left -= bool(name)
                verdict = verdict._replace(words=verdict.words + (f"; diagnose: {name}" if name else ""))
        except Refused as error:
            verdict = Verdict(case.name, "refused", one_line(error))
        except NotImplementedError as error:
            verdict = Verdict(case.name, "refused", one_line(error) or "NotImplementedError")
        except (Exception, SystemExit) as error:  # the engine's own, of any kind
            words = one_line(error, 10_000)
            no = None if SLIPS.search(words) else REFUSES.search(words)
            said = words[no.start() : no.start() + 100] if no else f"{type(error).__name__}: {words[:300]}"
            verdict = Verdict(case.name, "refused" if no else "crash", said)
        print(json.dumps(verdict._asdict()), file=answers, flush=True)
