"""The downward API's texts."""

import pytest

from sampan.node.volumes import downward
from sampan.node.volumes.failure import VolumeFailure

POD = {
    "metadata": {"name": "web", "namespace": "shop", "uid": "u", "labels": {"b": "2", "a": 'say "1"\n'}},
    "spec": {
        "nodeName": "n1",
        "containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}}}],
    },
    "status": {"podIP": "10.244.0.5", "podIPs": [{"ip": "10.244.0.5"}], "hostIP": "10.244.0.1"},
}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("metadata.name", "web"),
        ("metadata.labels", 'a="say \\"1\\"\\n"\nb="2"'),
        ("metadata.labels['b']", "2"),
        ("metadata.annotations['no']", ""),
        ("status.podIPs", "10.244.0.5"),
        ("status.hostIP", "10.244.0.1"),
        ("spec.nodeName", "n1"),
    ],
)
def test_fields_as_text(path: str, text: str) -> None:
    """Maps are sorted and quoted."""
    assert downward.field(POD, path) == text


@pytest.mark.parametrize(
    ("resource", "divisor", "text"),
    [
        ("limits.cpu", None, "2"),
        ("limits.cpu", "1m", "1500"),
        ("requests.cpu", "1m", "1500"),
        ("limits.memory", "1Mi", "64"),
        ("limits.memory", "0", "67108864"),
        ("limits.ephemeral-storage", None, "7"),
    ],
)
def test_resources_as_text(resource: str, divisor: str | None, text: str) -> None:
    """Rounded up to whole divisors; the node's own amount where there is no limit."""
    reference = {"containerName": "c", "resource": resource} | ({"divisor": divisor} if divisor else {})
    assert downward.resource(POD, reference, allocatable={"ephemeral-storage": "7"}) == text


def test_an_unknown_field_is_refused() -> None:
    """By name."""
    with pytest.raises(VolumeFailure, match=r"unsupported fieldPath: spec\.containers"):
        downward.field(POD, "spec.containers")
