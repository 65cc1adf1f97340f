"""How many processors this process may use: those of the machine, its affinity, and the quotas of its control groups.

A container that is given two processors of sixty-four (`docker --cpus=2`) sees all of them, and is stopped for the rest
of each tenth of a second once it has used up its two. Its quota stands in files of the system:
https://docs.kernel.org/admin-guide/cgroup-v2.html, "cpu.max", and in version 1 "cpu.cfs_quota_us".
"""

import functools
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROCESS = Path("/proc/self")
FREE = 2**31  # processors of a group without a quota


def processors() -> int:
    """How many this process may use, at least one. Its affinity is read every second, its quota once."""
    return _processors(int(time.monotonic()))


@functools.lru_cache(maxsize=1)
def _processors(second: int) -> int:
    try:
        count = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not on this system
        count = os.cpu_count() or 1
    return max(1, min(count, quota(PROCESS)))


@functools.cache
def quota(process: Path) -> int:
    """How many processors the control groups of a process allow it, rounded up; `FREE` if there is no limit.

    process: its folder, /proc/self. A group is bound by those above it. What is not there, or not a number, binds
    nothing.
    """
    least = float(FREE)
    for folder in _folders(process):
        for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            try:
                allowed, period = " ".join((folder / file).read_text() for file in files).split()
                if float(allowed) > 0:  # -1: free
                    least = min(least, float(allowed) / float(period))
            except (OSError, ValueError, ZeroDivisionError):  # "max": free
                continue
    return math.ceil(least)


def _folders(process: Path) -> Iterator[Path]:
    """The folders of the groups that may limit a process's processors, from its own to the topmost that it can see."""
    try:
        groups = [
            line.split(":", 2)[1:] for line in (process / "cgroup").read_text().splitlines() if line.count(":") > 1
        ]
        mounts = [line.split(" - ") for line in (process / "mountinfo").read_text().splitlines() if " - " in line]
    except (OSError, ValueError):  # ValueError: no text
        return
    paths = {controller: PurePosixPath(path) for controllers, path in groups for controller in controllers.split(",")}
    for place, system in mounts:
        kind, _, options = system.split(" ", 2)
        path = paths.get("" if kind == "cgroup2" else "cpu")
        if path is None or kind not in ("cgroup", "cgroup2") or (kind == "cgroup" and "cpu" not in options.split(",")):
            continue
        root, top = place.split(" ")[3:5]  # what of the groups is seen, and where
        inside = path.relative_to(root) if path.is_relative_to(root) and ".." not in path.parts else PurePosixPath()
        top_folder = Path(top.replace("\\040", " "))
        yield from (top_folder / folder for folder in (inside, *inside.parents))
