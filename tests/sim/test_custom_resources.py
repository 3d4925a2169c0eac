"""Custom resources in a simulated cluster."""

from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.apiextensions.custom_resource_definition import CUSTOMRESOURCEDEFINITION
from sampan.kinds.kind import Kind
from sampan.meta import conditions

WIDGET = Kind("example.com", ("v1",), "Widget", "widgets", custom=True)
NAME = "widgets.example.com"


def definition() -> dict[str, object]:
    """Widgets with a count that is one by default."""
    spec = {"type": "object", "properties": {"count": {"type": "integer", "default": 1}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    return {
        "kind": "CustomResourceDefinition",
        "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"name": NAME},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def test_a_definition_is_served_in_virtual_time() -> None:
    """A definition is established, its objects are made, and both go, in a simulated cluster too."""
    with SimulatedCluster(seed=1, nodes=0) as cluster:
        cluster.create(definition())
        cluster.run_until(
            lambda: conditions.is_true(cluster.get(CUSTOMRESOURCEDEFINITION, NAME) or {}, "Established"), within=1
        )
        widget = {"kind": "Widget", "apiVersion": "example.com/v1", "metadata": {"name": "w", "namespace": "default"}}
        made = cluster.create({**widget, "spec": {}})
        assert made["spec"] == {"count": 1}
        cluster.delete(CUSTOMRESOURCEDEFINITION, NAME)
        cluster.run_until(lambda: cluster.get(CUSTOMRESOURCEDEFINITION, NAME) is None, within=1)
