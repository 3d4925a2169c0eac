"""Reading all that a cgroup tells of the processes in it, version 1 or 2: for whoever scrapes, when they do.

https://docs.kernel.org/admin-guide/cgroup-v2.html
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sampan.node.runtime import host

_NANO, _MICRO = 1e-9, 1e-6
_UNLIMITED = 1 << 62
"""What version 1 says for no limit is a little more than this."""

Numbers = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Details:
    """Seconds, bytes, counts. `quota` is in microseconds a period, 0 without one; so is `memory_limit` without one."""

    cpu: float
    cpu_user: float
    cpu_system: float
    periods: int
    throttled_periods: int
    throttled: float
    shares: int
    quota: int
    period: int
    memory: int
    memory_most: int
    memory_limit: int
    memory_failures: int
    working_set: int
    rss: int
    cache: int
    mapped: int
    swap: int
    active_file: int
    inactive_file: int
    faults: int
    major_faults: int
    out_of_memory: int
    threads: int
    threads_limit: int
    processes: int
    disks: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Bytes and operations by device (8:0) and kind (rbytes, wbytes, rios, wios)."""
    pressure: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Seconds by resource (cpu, memory, io) and whether some or all (full) had to wait."""


def read(cgroup: str) -> Details | None:
    """Of a cgroup, by its relative path, empty for the whole machine; None when it is gone."""
    relative = cgroup.strip("/")
    try:
        return _unified(host.CGROUPS / relative, relative) if host.is_cgroup_v2() else _separate(relative)
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _unified(path: Path, relative: str) -> Details:
    cpu, memory = _numbers(path / "cpu.stat"), _numbers(path / "memory.stat")
    used = _number(path / "memory.current", memory["anon"] + memory["file"] + memory.get("kernel", 0))
    quota, _, period = _text(path / "cpu.max", "max 100000").partition(" ")
    events = _numbers(path / "memory.events") if (path / "memory.events").exists() else {}
    return Details(
        cpu=cpu["usage_usec"] * _MICRO,
        cpu_user=cpu["user_usec"] * _MICRO,
        cpu_system=cpu["system_usec"] * _MICRO,
        periods=cpu.get("nr_periods", 0),
        throttled_periods=cpu.get("nr_throttled", 0),
        throttled=cpu.get("throttled_usec", 0) * _MICRO,
        shares=_shares(_number(path / "cpu.weight", 0)),
        quota=0 if quota == "max" else int(quota),
        period=int(period or 100_000),
        memory=used,
        memory_most=_number(path / "memory.peak", 0),
        memory_limit=_limit(path / "memory.max"),
        memory_failures=events.get("max", 0),
        working_set=max(used - memory["inactive_file"], 0),
        rss=memory["anon"],
        cache=memory["file"],
        mapped=memory.get("file_mapped", 0),
        swap=_number(path / "memory.swap.current", 0),
        active_file=memory["active_file"],
        inactive_file=memory["inactive_file"],
        faults=memory.get("pgfault", 0),
        major_faults=memory.get("pgmajfault", 0),
        out_of_memory=events.get("oom_kill", 0),
        threads=_number(path / "pids.current", 0),
        threads_limit=_limit(path / "pids.max"),
        processes=_processes(path, relative),
        disks=_io(path / "io.stat"),
        pressure=_pressure(path),
    )


def _separate(relative: str) -> Details:
    cpu, accounts, held, pids = (host.CGROUPS / name / relative for name in ("cpu", "cpuacct", "memory", "pids"))
    memory, stat = _numbers(held / "memory.stat"), _numbers(cpu / "cpu.stat")
    ticks = _numbers(accounts / "cpuacct.stat")
    used = _number(held / "memory.usage_in_bytes")
    quota = _number(cpu / "cpu.cfs_quota_us", -1)
    oom = _numbers(held / "memory.oom_control")
    return Details(
        cpu=_number(accounts / "cpuacct.usage") * _NANO,
        cpu_user=ticks["user"] / 100,
        cpu_system=ticks["system"] / 100,
        periods=stat.get("nr_periods", 0),
        throttled_periods=stat.get("nr_throttled", 0),
        throttled=stat.get("throttled_time", 0) * _NANO,
        shares=_number(cpu / "cpu.shares", 0),
        quota=max(quota, 0),
        period=_number(cpu / "cpu.cfs_period_us", 100_000),
        memory=used,
        memory_most=_number(held / "memory.max_usage_in_bytes", 0),
        memory_limit=_limit(held / "memory.limit_in_bytes"),
        memory_failures=_number(held / "memory.failcnt", 0),
        working_set=max(used - memory["total_inactive_file"], 0),
        rss=memory["total_rss"],
        cache=memory["total_cache"],
        mapped=memory.get("total_mapped_file", 0),
        swap=memory.get("total_swap", 0),
        active_file=memory["total_active_file"],
        inactive_file=memory["total_inactive_file"],
        faults=memory.get("total_pgfault", 0),
        major_faults=memory.get("total_pgmajfault", 0),
        out_of_memory=oom.get("oom_kill", 0),
        threads=_number(pids / "pids.current", 0),
        threads_limit=_limit(pids / "pids.max"),
        processes=_processes(pids, relative),
        disks=_throttle(host.CGROUPS / "blkio" / relative),
    )


def _processes(path: Path, relative: str) -> int:
    """Those in it and below; of the whole machine all there are."""
    if not relative:
        return sum(entry.name.isdigit() for entry in Path("/proc").iterdir())
    return sum(len(_text(file, "").split()) for file in path.rglob("cgroup.procs"))


def _io(path: Path) -> dict[tuple[str, str], int]:
    found = {}
    for line in _text(path, "").splitlines():
        device, *pairs = line.split()
        for pair in pairs:
            kind, _, number = pair.partition("=")
            if kind in ("rbytes", "wbytes", "rios", "wios"):
                found[device, kind] = int(number)
    return found


def _throttle(path: Path) -> dict[tuple[str, str], int]:
    found = {}
    for file, kinds in (
        ("blkio.throttle.io_service_bytes_recursive", {"Read": "rbytes", "Write": "wbytes"}),
        ("blkio.throttle.io_serviced_recursive", {"Read": "rios", "Write": "wios"}),
    ):
        for line in _text(path / file, "").splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in kinds:
                found[words[0], kinds[words[1]]] = int(words[2])
    return found


def _pressure(path: Path) -> dict[tuple[str, str], float]:
    found = {}
    for resource in ("cpu", "memory", "io"):
        for line in _text(path / f"{resource}.pressure", "").splitlines():
            kind, *pairs = line.split()
            found[resource, kind] = int(dict(pair.split("=") for pair in pairs)["total"]) * _MICRO
    return found


def _shares(weight: int) -> int:
    """What version 1 would call a weight."""
    return 2 + ((weight - 1) * 262142) // 9999 if weight else 0


def _numbers(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in pairs if len(words) > 1}


def _number(path: Path, default: int | None = None) -> int:
    text = _text(path, None if default is None else str(default))
    return int(text)


def _limit(path: Path) -> int:
    text = _text(path, "max")
    return 0 if text == "max" or int(text) >= _UNLIMITED else int(text)


def _text(path: Path, default: str | None) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        if default is None:
            raise
        return default
