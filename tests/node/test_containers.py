"""What a pod's spec asks for and this node cannot do is said, not left out."""

import pytest

from sampan.node import containers
from sampan.node.env import ConfigError
from sampan.node.runtime.protocol import Device
from sampan.node.volumes import payload


@pytest.mark.parametrize("kind", ["fc", "cephfs", "iscsi"])
def test_volumes_of_other_types_are_refused_by_name(kind: str) -> None:
    """The mount fails, with an event that names the type."""
    assert payload.unsupported([{"name": "v", kind: {}}]) == f'volume "v": volumes of type {kind} are not supported'


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ({"subPath": "/tmp"}, "error SubPath `/tmp` must not be an absolute path"),
        ({"subPathExpr": "$(ROOT)/x"}, "error SubPath `/x/x` must not be an absolute path"),
        ({"subPathExpr": "a/$(UP)"}, "unable to provision SubPath `a/..`: must not contain '..'"),
        ({"subPathExpr": "$(B)/$(A)/$(NOTHING)"}, "missing value for A, B, NOTHING"),
    ],
)
def test_a_path_that_cannot_be_below_its_volume(path: dict[str, str], text: str) -> None:
    """In a kubelet's words, whether it is written so or comes of variables."""
    mount = {"name": "v", "mountPath": "/v", **path}
    with pytest.raises(ConfigError) as refused:
        containers.subpaths({"volumeMounts": [mount]}, (("ROOT", "/x"), ("UP", ".."), ("NOTHING", "")))
    assert str(refused.value) == text


def test_paths_below_volumes() -> None:
    """By the mount's number; an expression is expanded, and only once."""
    mounts = [{"subPath": "$(A)"}, {}, {"subPathExpr": "x/$(A)/$$(A)"}]
    assert containers.subpaths({"volumeMounts": mounts}, (("A", "$(B)"),)) == {0: "$(A)", 2: "x/$(B)/$(A)"}


def test_block_volumes_are_devices() -> None:
    """Each at its path; a claim that is only read gives a device that is only read."""
    container = {"volumeDevices": [{"name": "v", "devicePath": "/dev/x"}, {"name": "w", "devicePath": "/dev/y"}]}
    found = containers.block_devices(container, {"v": "/dev/loop0", "w": "/dev/loop1"}, frozenset("w"))
    assert found == (Device("/dev/loop0", "/dev/x", "rwm"), Device("/dev/loop1", "/dev/y", "r"))
    with pytest.raises(ConfigError, match="volume v is not there"):
        containers.block_devices(container, {})
