"""An engine in a process of its own, which certify.py starts with the arguments ENGINE DTYPE PACK.

Reads names of cases from standard input, a line each, and answers with a verdict in JSON, a line each; the first line
tells the engine and its version. What the engine itself prints goes to standard error.
"""

import json
import os
import sys
import warnings
from pathlib import Path

from lstmcore.debug.certify.engines import engine
from lstmcore.debug.certify.pack import read_pack
from lstmcore.debug.certify.verdict import Refused, Verdict, judge


def main() -> None:
    name, dtype, index = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path.insert(0, "")  # a module of one's own, in the folder where one is
    warnings.simplefilter("ignore")
    try:
        pack, made = read_pack(Path(index)), engine(name, dtype)
    except (ImportError, ValueError) as error:
        print(json.dumps({"error": f"{error}"}), file=answers, flush=True)
        raise SystemExit(2) from None
    print(json.dumps({"engine": made.name, "version": made.version}), file=answers, flush=True)
    for line in sys.stdin:
        case = pack[line.strip()]
        try:
            verdict = judge(case, made.run(case), pack)
        except Refused as error:
            verdict = Verdict(case.name, "refused", " ".join(str(error).split()))
        except Exception as error:  # the engine's own, of any kind
            verdict = Verdict(case.name, "crash", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        print(json.dumps(verdict._asdict()), file=answers, flush=True)
