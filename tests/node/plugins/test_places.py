"""The node's directory is /var/lib/kubelet for its pods, and nothing else is."""

from pathlib import Path

import pytest

from sampan.node.plugins.places import Places
from sampan.node.volumes import host_path
from sampan.node.volumes.failure import VolumeFailure


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("/var/lib/kubelet", "/node"),
        ("/var/lib/kubelet/", "/node"),
        ("/var/lib/kubelet/plugins/x.sock", "/node/plugins/x.sock"),
        ("/var/lib/kubelet2/x", "/var/lib/kubelet2/x"),
        ("/var/lib", "/var/lib"),
    ],
)
def test_paths(said: str, found: str) -> None:
    """There, and back again."""
    places = Places(Path("/node"))
    assert str(places.on_host(said)) == found
    assert places.in_pod(found) == said.rstrip("/")


def test_a_way_out(tmp_path: Path) -> None:
    """There is none."""
    path = str(Places(tmp_path).on_host("/var/lib/kubelet/../../etc"))
    with pytest.raises(VolumeFailure, match="must be absolute and without"):
        host_path.prepare({"path": path})
