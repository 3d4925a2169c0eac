"""How large an emptyDir in memory may become, and which huge pages one is made of."""

import os
from pathlib import Path
from typing import Any

import pytest

from sampan.node.volumes import empty_dir, mounts
from sampan.node.volumes.failure import VolumeFailure


def pod(*resources: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "resources": each} for each in resources], **spec}}


def limit(size: str) -> dict[str, Any]:
    return {"limits": {"memory": size}}


@pytest.mark.parametrize(
    ("spec", "containers", "size"),
    [
        ({}, ({},), 1 << 30),
        ({"sizeLimit": "4Mi"}, ({},), 4 << 20),
        ({"sizeLimit": "4Gi"}, ({},), 1 << 30),
        ({}, (limit("8Mi"), limit("8Mi")), 16 << 20),
        ({}, (limit("8Mi"), {}), 1 << 30),
        ({"sizeLimit": "12Mi"}, (limit("8Mi"), limit("8Mi")), 12 << 20),
        ({"sizeLimit": "0"}, (limit("8Mi"),), 8 << 20),
    ],
)
def test_no_larger_than_its_pod_or_the_node(spec: dict[str, Any], containers: tuple[Any, ...], size: int) -> None:
    """The least of its own limit, all containers' limits, and what the node can give."""
    assert empty_dir.memory_bytes(spec, pod(*containers), {"memory": "1Gi"}) == size


def test_pages() -> None:
    """Of the medium's size, or of the one size that the pod asks for."""
    asks = {"limits": {"hugepages-2Mi": "4Mi"}}
    assert empty_dir.page_size("HugePages-1Gi", pod({})) == 1 << 30
    assert empty_dir.page_size("HugePages", pod(asks)) == 2 << 20
    for wrong in (pod({}), pod(asks, {"limits": {"hugepages-1Gi": "1Gi"}})):
        with pytest.raises(VolumeFailure, match="pages of one size"):
            empty_dir.page_size("HugePages", wrong)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_memory_is_mounted_once(tmp_path: Path) -> None:
    """With its size, for the pod's group."""
    folder = tmp_path / "v"
    for _ in range(2):
        empty_dir.prepare(folder, {"medium": "Memory", "sizeLimit": "4Mi"}, pod({}, securityContext={"fsGroup": 7}), {})
    found = os.statvfs(folder)
    assert (found.f_blocks * found.f_frsize, folder.stat().st_gid) == (4 << 20, 7)
    assert mounts.mounted_below(tmp_path) == [folder]
    mounts.unmount_below(tmp_path)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(not Path("/sys/kernel/mm/hugepages/hugepages-2048kB").is_dir(), reason="needs huge pages of 2 MiB")
def test_huge_pages_are_mounted(tmp_path: Path) -> None:
    """In pages of the size that was asked for."""
    folder = tmp_path / "v"
    empty_dir.prepare(folder, {"medium": "HugePages-2Mi"}, pod({}), {})
    try:
        assert os.statvfs(folder).f_bsize == 2 << 20
    finally:
        mounts.unmount_below(tmp_path)
