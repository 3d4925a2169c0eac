"""Reading a machine: what is left of it, what files take, what cgroups say."""

import os
from pathlib import Path

import pytest

from sampan.node import cgroup_details, disk_usage, machine, net_use, thresholds
from sampan.node.exposition import COUNTER, Exposition
from sampan.node.images import rooted
from sampan.node.machine import LinuxMachine, PodPlaces
from sampan.node.runtime import host

KIB = 1 << 10


def test_what_files_take(tmp_path: Path) -> None:
    """A file with two names counts once, a link as itself, what lies outside not at all."""
    (tmp_path / "outside").write_bytes(b"x" * 500 * KIB)
    top = tmp_path / "top"
    (top / "below").mkdir(parents=True)
    (top / "file").write_bytes(b"x" * 100 * KIB)
    alone = disk_usage.of(str(top))
    assert 100 * KIB <= alone.used_bytes < 130 * KIB
    assert alone.inodes == 3
    os.link(top / "file", top / "below" / "same")
    (top / "below" / "link").symlink_to(tmp_path / "outside")
    (top / "below" / "folder").symlink_to(tmp_path)
    found = disk_usage.of(str(top))
    assert found.inodes == 5
    assert found.used_bytes - alone.used_bytes < 16 * KIB
    assert disk_usage.of(str(top / "file")).inodes == 1
    assert disk_usage.of(str(tmp_path / "nothing")).used_bytes == 0


def test_a_tree_too_deep_for_one_walk(tmp_path: Path) -> None:
    """What lies below any number of directories is found all the same, and few of them are open at a time."""
    before = len(os.listdir("/proc/self/fd"))
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    with os.fdopen(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd), "wb") as file:
        file.write(b"x" * 300 * KIB)
    os.close(fd)
    assert disk_usage.of(str(tmp_path)).used_bytes >= 300 * KIB
    assert len(os.listdir("/proc/self/fd")) == before
    rooted.remove_tree(str(tmp_path / "d"))


async def test_this_machine(tmp_path: Path) -> None:
    """Every signal is told, and none is more than all there is."""
    found = LinuxMachine(tmp_path / "node", tmp_path / "images", lambda _: "", dict)
    assert not found.has_image_disk
    signals = found.signals()
    assert set(signals) >= {thresholds.MEMORY, thresholds.NODE_FS, thresholds.IMAGE_FS, thresholds.PIDS}
    assert all(0 <= amount.available <= amount.capacity for amount in signals.values())
    assert signals[thresholds.NODE_FS].capacity == signals[thresholds.IMAGE_FS].capacity
    (tmp_path / "log").write_bytes(b"x" * 10 * KIB)
    space = await found.measure(PodPlaces(logs={"app": str(tmp_path / "log")}))
    assert space.logs["app"].used_bytes >= 10 * KIB
    assert (await found.around(str(tmp_path / "log"))) is not None


def test_memory_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the working set: what is free, and file pages that nobody used lately."""
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 200 kB\nInactive(file): 300 kB\nCached: 400 kB\n")
    monkeypatch.setattr(machine, "_PROC", tmp_path)
    assert machine.memory() == thresholds.Amount(500 * KIB, 1000 * KIB)
    (tmp_path / "meminfo").write_text("nothing\n")
    assert machine.memory() is None


def test_process_ids_that_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lower of the kernel's two limits less all threads."""
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/pid_max").write_text("4000\n")
    (tmp_path / "sys/kernel/threads-max").write_text("3000\n")
    (tmp_path / "loadavg").write_text("0.1 0.2 0.3 2/700 12345\n")
    monkeypatch.setattr(machine, "_PROC", tmp_path)
    assert machine.process_ids() == thresholds.Amount(2300, 3000)


UNIFIED = {
    "cgroup.controllers": "cpu memory",
    "pod/cpu.stat": "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\nnr_periods 7\nnr_throttled 3\nthrottled_usec 500000\n",
    "pod/cpu.max": "50000 100000\n",
    "pod/cpu.weight": "100\n",
    "pod/memory.current": "1000\n",
    "pod/memory.max": "max\n",
    "pod/memory.stat": "anon 400\nfile 500\nactive_file 200\ninactive_file 300\npgfault 9\npgmajfault 2\n",
    "pod/memory.events": "low 0\nmax 4\noom_kill 1\n",
    "pod/pids.current": "3\n",
    "pod/pids.max": "max\n",
    "pod/cgroup.procs": "11\n",
    "pod/below/cgroup.procs": "12\n",
    "pod/io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n",
    "pod/cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
}
SEPARATE = {
    "cpu/pod/cpu.stat": "nr_periods 7\nnr_throttled 3\nthrottled_time 500000000\n",
    "cpu/pod/cpu.shares": "1024\n",
    "cpu/pod/cpu.cfs_quota_us": "50000\n",
    "cpu/pod/cpu.cfs_period_us": "100000\n",
    "cpuacct/pod/cpuacct.usage": "5000000000\n",
    "cpuacct/pod/cpuacct.stat": "user 300\nsystem 200\n",
    "memory/pod/memory.usage_in_bytes": "1000\n",
    "memory/pod/memory.limit_in_bytes": "9223372036854771712\n",
    "memory/pod/memory.failcnt": "4\n",
    "memory/pod/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "memory/pod/memory.stat": "total_rss 400\ntotal_cache 500\ntotal_active_file 200\ntotal_inactive_file 300\ntotal_pgfault 9\ntotal_pgmajfault 2\n",
    "pids/pod/pids.current": "3\n",
    "pids/pod/cgroup.procs": "11\n12\n",
    "blkio/pod/blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 20\nTotal 30\n",
    "blkio/pod/blkio.throttle.io_serviced_recursive": "8:0 Read 1\n8:0 Write 2\n",
}


@pytest.mark.parametrize("files", [UNIFIED, SEPARATE], ids=["v2", "v1"])
def test_cgroups_of_both_versions(files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They tell the same."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(host, "CGROUPS", tmp_path)
    found = cgroup_details.read("/pod")
    assert found is not None
    assert (found.cpu, found.cpu_user, found.cpu_system) == (pytest.approx(5.0), 3.0, 2.0)
    assert (found.quota, found.period, found.periods, found.throttled_periods) == (50000, 100000, 7, 3)
    assert found.throttled == pytest.approx(0.5)
    assert (found.memory, found.working_set, found.rss, found.cache, found.memory_limit) == (1000, 700, 400, 500, 0)
    assert (found.out_of_memory, found.memory_failures, found.faults, found.major_faults) == (1, 4, 9, 2)
    assert (found.threads, found.threads_limit, found.processes) == (3, 0, 2)
    assert found.disks == {("8:0", "rbytes"): 10, ("8:0", "wbytes"): 20, ("8:0", "rios"): 1, ("8:0", "wios"): 2}
    assert cgroup_details.read("/gone") is None
    if files is UNIFIED:
        assert found.pressure == {("cpu", "some"): 1.5, ("cpu", "full"): 0.0}


def test_networks() -> None:
    """Of a process that is gone there are none; loopback never counts."""
    assert "lo" not in {interface.name for interface in net_use.of_process("self")}
    assert net_use.of_process(4194304) == ()


def test_what_prometheus_reads() -> None:
    """Families in order, each with its head, labels in order and escaped."""
    found = Exposition()
    found.add(("b_total", COUNTER, "Bs."), 1.5, {"z": 'say "x"\\\n', "a": ""}, 12.0)
    found.add(("a_total", COUNTER, "As."), 1 << 60)
    assert found.text().decode().splitlines() == [
        "# HELP a_total As.",
        "# TYPE a_total counter",
        f"a_total {1 << 60}",
        "# HELP b_total Bs.",
        "# TYPE b_total counter",
        'b_total{a="",z="say \\"x\\"\\\\\\n"} 1.5 12000',
    ]
