"""What a pod's spec asks for and this node cannot do is said, not left out."""

from typing import Any

import pytest

from sampan.node import containers
from sampan.node.env import ConfigError
from sampan.node.volumes import payload


@pytest.mark.parametrize(
    ("spec", "container", "text"),
    [
        ({"setHostnameAsFQDN": True}, {}, "setHostnameAsFQDN"),
        ({"hostnameOverride": "a.b"}, {}, "hostnameOverride"),
        ({"hostUsers": False}, {}, "hostUsers"),
        ({"resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}]}, {}, "resource claims"),
        ({"resources": {"limits": {"cpu": "1"}}}, {}, "resources of a whole pod"),
        ({"runtimeClassName": "kata"}, {}, 'RuntimeClass "kata"'),
        ({}, {"volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}, "volumeDevices"),
        ({}, {"volumeMounts": [{"name": "v", "mountPath": "/v", "recursiveReadOnly": "Enabled"}]}, "recursively"),
        ({}, {"securityContext": {"procMount": "Unmasked"}}, "procMount"),
        ({}, {"ports": [{"containerPort": 80, "hostPort": 80}]}, "hostPort"),
        ({}, {"livenessProbe": {"grpc": {"port": 1}}}, "grpc"),
    ],
)
def test_what_the_node_cannot_do_is_refused_by_name(spec: dict[str, Any], container: dict[str, Any], text: str) -> None:
    """A container with it is never made; its waiting reason says why."""
    with pytest.raises(ConfigError, match=text):
        containers.refuse_unsupported({"spec": spec}, container)


@pytest.mark.parametrize("kind", ["csi", "nfs", "image", "iscsi"])
def test_volumes_of_other_types_are_refused_by_name(kind: str) -> None:
    """The mount fails, with an event that names the type."""
    assert payload.unsupported([{"name": "v", kind: {}}]) == f'volume "v": volumes of type {kind} are not supported'
