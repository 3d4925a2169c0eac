"""The files of volumes that hold what the API knows: what they say, and who may read them."""

import pytest

from sampan.node.volumes import payload
from sampan.node.volumes.payload import File
from sampan.node.volumes.sources import Sources

TOKEN = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
GIVEN = Sources(tokens={("", 3600): "text"}, allocatable={"cpu": "4", "memory": "8Gi"})


def container(user=None):
    return {"name": "c", "securityContext": {} if user is None else {"runAsUser": user}}


def pod(*containers, **context):
    return {"metadata": {"name": "p"}, "spec": {"containers": list(containers), "securityContext": context}}


@pytest.mark.parametrize(
    ("of", "mode", "owner"),
    [
        (pod(container()), 0o644, None),
        (pod(container(), container(), runAsUser=7), 0o600, 7),
        (pod(container(7), container(7), runAsUser=8), 0o600, 7),
        (pod(container(0)), 0o600, 0),
        (pod(container(7), container()), 0o644, None),
        (pod(container(7), container(), runAsUser=8), 0o644, None),
        (pod(container(), fsGroup=9), 0o600, None),
        (pod(container(), fsGroup=9, runAsUser=7), 0o600, 7),
    ],
)
def test_a_token_is_for_those_who_need_it(of, mode, owner):
    """The one user that all containers have, or the pod's group; everybody where they differ."""
    assert payload.of_volume(of, TOKEN, GIVEN) == {"token": File(b"text", mode, owner)}


def test_a_container_without_limits_has_what_the_node_has():
    """On its own and projected."""
    items = [
        {"path": name, "resourceFieldRef": {"containerName": "c", "resource": f"{kind}.{name}"}}
        for kind, name in (("limits", "cpu"), ("limits", "memory"))
    ]
    files = {"cpu": File(b"4"), "memory": File(str(8 << 30).encode())}
    projected = {"projected": {"sources": [{"downwardAPI": {"items": items}}]}}
    for volume in ({"downwardAPI": {"items": items}}, projected):
        assert payload.of_volume(pod(container()), volume, GIVEN) == files
