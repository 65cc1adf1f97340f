"""How many processors a process may use: control groups in files as real systems have them."""

import os
import time

import pytest

from lstmcore.ops.cpu import processors as processors_cpu
from lstmcore.ops.cpu import threads as threads_cpu
from lstmcore.ops.cpu.processors import FREE, processors, quota

V2 = "0::{path}\n"
V1 = "9:name=systemd:/docker/af3\n4:memory:/docker/af3\n3:cpu,cpuacct:{path}\n0::/docker/af3\n"
V2_MOUNT = "30 23 0:26 {root} {top} rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = (
    "31 23 0:28 / {top} rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "36 31 0:33 {root} {top}/memory rw,nosuid - cgroup cgroup rw,memory\n"
    "35 31 0:32 {root} {top}/cpu,cpuacct rw,nosuid master:14 - cgroup cgroup rw,cpu,cpuacct\n"
)


@pytest.fixture
def process(tmp_path):
    """Makes /proc/self and the groups: process(cgroup, mountinfo, path, root, {file in a group: content})."""

    def make(cgroup, mounts, path, root, files):
        top = tmp_path / "sys fs"
        (tmp_path / "cgroup").write_text(cgroup.format(path=path))
        (tmp_path / "mountinfo").write_text(mounts.format(root=root, top=str(top).replace(" ", "\\040")))
        for name, content in files.items():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_text(content)
        return tmp_path

    return make


POD = "/kubepods.slice/kubepods-pod7.slice/cri-a1.scope"


@pytest.mark.parametrize(
    ("path", "root", "files", "want"),
    [
        ("/", "/", {"cpu.max": "200000 100000\n"}, 2),  # docker --cpus=2: the container sees its own group as the top
        ("/", "/", {"cpu.max": "150000 100000\n"}, 2),  # --cpus=1.5
        ("/", "/", {"cpu.max": "10000 100000\n"}, 1),
        ("/", "/", {"cpu.max": "max 100000\n"}, FREE),
        ("/", "/", {"cgroup.procs": ""}, FREE),  # the top of the whole machine has no such file
        (POD, "/", {f"{POD[1:]}/cpu.max": "max 100000\n", "kubepods.slice/cpu.max": "350000 100000\n"}, 4),
        (POD, "/", {f"{POD[1:]}/cpu.max": "100000 50000\n", "kubepods.slice/cpu.max": "3200000 100000\n"}, 2),
        ("/../../other", "/", {"cpu.max": "300000 100000\n"}, 3),  # seen from another namespace
        ("/", "/", {"cpu.max": "many 100000\n"}, FREE),
        ("/", "/", {"cpu.max": "200000 0\n"}, FREE),
        ("/", "/", {"cpu.max": ""}, FREE),
    ],
)
def test_version_2(process, path, root, files, want):
    assert quota(process(V2, V2_MOUNT, path, root, files)) == want


def group(folder, allowed, period=100000):
    return {f"{folder}/cpu.cfs_quota_us": f"{allowed}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("path", "root", "files", "want"),
    [
        ("/docker/af3", "/docker/af3", group("cpu,cpuacct", 200000), 2),  # the group itself is mounted
        ("/docker/af3", "/", group("cpu,cpuacct/docker/af3", 250000) | group("cpu,cpuacct", -1), 3),
        ("/docker/af3", "/", group("cpu,cpuacct/docker/af3", -1) | group("cpu,cpuacct/docker", 400000), 4),
        ("/docker/af3", "/", group("cpu,cpuacct/docker/af3", -1) | group("cpu,cpuacct", -1), FREE),
        ("/docker/af3", "/", group("memory/docker/af3", 100000), FREE),  # of another controller
    ],
)
def test_version_1(process, path, root, files, want):
    assert quota(process(V1, V1_MOUNT, path, root, files)) == want


@pytest.mark.parametrize("content", [None, "", "nonsense\n", "a:b\n", "0::/\n"])
def test_files_of_another_kind_bind_nothing(tmp_path, content):
    for name in ("cgroup", "mountinfo") if content is not None else ():
        (tmp_path / name).write_text(content)
    assert quota(tmp_path) == FREE


def test_threads_follow_affinity_and_quota_but_not_where_the_user_has_chosen(monkeypatch):
    monkeypatch.setattr(threads_cpu.numba, "get_num_threads", lambda: asked)
    monkeypatch.setattr(threads_cpu.numba.config, "NUMBA_NUM_THREADS", asked := 64)
    monkeypatch.setattr(threads_cpu.numba.config, "NUMBA_DEFAULT_NUM_THREADS", 64)
    monkeypatch.setattr(processors_cpu, "quota", lambda process: 1)
    processors_cpu._processors.cache_clear()
    assert threads_cpu.thread_count() == 1
    monkeypatch.setattr(threads_cpu.numba.config, "NUMBA_NUM_THREADS", asked := 8)
    assert threads_cpu.thread_count() == 8
    processors_cpu._processors.cache_clear()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system knows no affinity")
def test_affinity_is_followed_within_a_second_or_so():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        time.sleep(1.1)
        assert processors() == 1
    finally:
        os.sched_setaffinity(0, before)
    processors_cpu._processors.cache_clear()
    assert processors() == min(len(before), quota(processors_cpu.PROCESS))
