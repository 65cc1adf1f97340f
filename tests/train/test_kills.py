"""Kills at random moments: a training goes on after each of them, and ends as if nothing had happened."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_kills_change_nothing(tmp_path, nightly):
    """The program compares bit for bit; here we see that it has come to do so. It kills each training 3 to 10 times."""
    kills = 200 if nightly else 6
    program = Path(__file__).parent / "kill.py"
    run = subprocess.run([sys.executable, program, tmp_path, str(kills), "0"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    counts = json.loads(run.stdout.splitlines()[-1])
    assert counts["kills"] >= kills
    assert counts["trainings"] >= 2
    assert all("6 epochs" in ended or "stopped early" in ended for ended in counts["ended"])
