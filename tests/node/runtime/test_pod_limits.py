"""A pod's limits reach the files of either cgroup version, and are never narrowed before its containers are."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from sampan.node.runtime import apparmor, checks, host, pod_limits
from sampan.node.runtime.protocol import Features, Resources

NONE_V1 = "9223372036854771712"
LIMITS = Resources(cpu_shares=1024, cpu_quota=50_000, memory_limit=1 << 20)


@pytest.fixture
def v1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The files of a pod's cgroup, as the kernel makes them."""
    monkeypatch.setattr(host, "CGROUPS", tmp_path)
    files = {"cpu": ("cpu.shares", "cpu.cfs_quota_us"), "memory": ("memory.limit_in_bytes",)}
    return _made(tmp_path, {name: tmp_path / name / "a/pod1" for name in files}, files, ("1024", "-1", NONE_V1))


@pytest.fixture
def v2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The same where there is only the unified hierarchy."""
    monkeypatch.setattr(host, "CGROUPS", tmp_path)
    for folder in (tmp_path, tmp_path / "a", tmp_path / "a/pod1"):
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.controllers").write_text("cpu memory pids\n")
        (folder / "cgroup.subtree_control").write_text("")
    names = {"a/pod1": ("cpu.weight", "cpu.max", "memory.max")}
    return _made(tmp_path, {"a/pod1": tmp_path / "a/pod1"}, names, ("100", "max 100000", "max"))


def _made(
    root: Path, folders: dict[str, Path], names: Mapping[str, tuple[str, ...]], values: tuple[str, ...]
) -> dict[str, Path]:
    found = {file: folders[folder] / file for folder, files in names.items() for file in files}
    for path, value in zip(found.values(), values, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")
    return found


def shown(files: dict[str, Path]) -> list[str]:
    return [path.read_text().strip() for path in files.values()]


def test_version_1(v1: dict[str, Path]) -> None:
    """Shares, quota and bytes; -1 takes a limit away."""
    pod_limits.apply("a/pod1", LIMITS)
    assert shown(v1) == ["1024", "50000", str(1 << 20)]
    pod_limits.apply("/a/pod1/", Resources(cpu_shares=2))
    assert shown(v1) == ["2", "-1", "-1"]


def test_version_2(v2: dict[str, Path]) -> None:
    """Weight, quota with its period, and bytes; the controllers are passed down to the pod."""
    pod_limits.apply("a/pod1", LIMITS)
    assert shown(v2) == ["39", "50000 100000", str(1 << 20)]
    assert (host.CGROUPS / "a/cgroup.subtree_control").read_text() == "+pids"  # the last that was written
    pod_limits.apply("a/pod1", Resources(cpu_shares=2))
    assert shown(v2) == ["1", "max 100000", "max"]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_widening_comes_first(version: str, request: pytest.FixtureRequest) -> None:
    """What is to become larger does, what is to become smaller waits."""
    files: dict[str, Path] = request.getfixturevalue(version)
    pod_limits.apply("a/pod1", LIMITS)
    before = shown(files)
    pod_limits.widen("a/pod1", Resources(cpu_shares=512, cpu_quota=100_000, memory_limit=1 << 10))
    assert shown(files) == [before[0], before[1].replace("50000", "100000"), before[2]]


def test_no_way_out() -> None:
    """The cgroup is below the mount, whatever its name says."""
    for name in ("", "/", "a/../../etc"):
        with pytest.raises(ValueError, match="no pod's place"):
            pod_limits.apply(name, LIMITS)


@pytest.mark.parametrize(
    ("described", "release", "expected"),
    [
        (b'{"mountOptions": ["ro", "rro"]}', "6.1.0-13-amd64", True),
        (b'{"mountOptions": ["ro", "rro"]}', "5.10.0", False),
        (b'{"mountOptions": ["ro"]}', "6.1.0", False),
        (b"No help topic for 'features'", "6.1.0", False),
        (b"[]", "6.1.0", False),
    ],
)
def test_features(described: bytes, release: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recursive mounts need a runtime and a kernel that know them."""
    monkeypatch.setattr("platform.release", lambda: release)
    monkeypatch.setattr(apparmor, "is_enabled", lambda: False)
    assert checks.features(described) == Features(expected, False)
