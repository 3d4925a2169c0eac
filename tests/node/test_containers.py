"""What a pod's spec asks for and this node cannot do is said, not left out."""

from typing import Any

import pytest

from sampan.node import containers
from sampan.node.env import ConfigError
from sampan.node.volumes import payload


@pytest.mark.parametrize(
    ("spec", "container", "text"),
    [
        ({"hostUsers": False}, {}, "hostUsers"),
        ({"runtimeClassName": "kata"}, {}, 'RuntimeClass "kata"'),
        ({}, {"volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}, "volumeDevices"),
        ({}, {"securityContext": {"procMount": "Unmasked"}}, "procMount"),
        ({}, {"ports": [{"containerPort": 80, "hostPort": 80}]}, "hostPort"),
    ],
)
def test_what_the_node_cannot_do_is_refused_by_name(spec: dict[str, Any], container: dict[str, Any], text: str) -> None:
    """A container with it is never made; its waiting reason says why."""
    with pytest.raises(ConfigError, match=text):
        containers.refuse_unsupported({"spec": spec}, container)


@pytest.mark.parametrize("kind", ["csi", "nfs", "iscsi"])
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
