"""What of a status is written."""

from sampan.meta import schema
from sampan.meta.patch import strategic
from sampan.node import status_patch


def test_a_new_address_replaces_the_old_one():
    """The lists of addresses are merged by the server, so what went away is named."""
    old = {"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}], "hostIPs": [{"ip": "10.0.0.1"}]}
    new = {"podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}], "hostIPs": [{"ip": "10.0.0.1"}]}
    changes = status_patch.changes(old, new)
    type = schema.definition("io.k8s.api.core.v1.Pod")
    assert strategic.apply({"status": old}, {"status": changes}, type)["status"] == new


def test_a_condition_that_went_away_is_named():
    """The list of conditions is merged by the server too."""
    ready, resizing = {"type": "Ready", "status": "True"}, {"type": "PodResizeInProgress", "status": "True"}
    patch = status_patch.changes({"conditions": [ready, resizing]}, {"conditions": [ready]})
    assert patch["conditions"] == [{"$patch": "delete", "type": "PodResizeInProgress"}]
    assert patch["$setElementOrder/conditions"] == [{"type": "Ready"}]


def test_null_and_absent_are_the_same():
    """The server keeps no lastProbeTime of null, so that alone is nothing to write."""
    told = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    assert status_patch.changes({"conditions": [told]}, {"conditions": [told | {"lastProbeTime": None}]}) == {}
