"""Discovery tells every client what is served, plain and aggregated."""

from sampan.kinds.kind import CLUSTER, STATUS, Kind, Subresource
from sampan.server import discovery

SCALE = Subresource("scale", group="autoscaling", version="v1", kind="Scale")
POD = Kind(
    "",
    ("v1",),
    "Pod",
    "pods",
    short_names=("po",),
    categories=("all",),
    subresources=(STATUS, Subresource("log", ("get",))),
)
NODE = Kind("", ("v1",), "Node", "nodes", scope=CLUSTER)
DEPLOYMENT = Kind("apps", ("v1",), "Deployment", "deployments", short_names=("deploy",), subresources=(STATUS, SCALE))
REVIEW = Kind("authorization.k8s.io", ("v1",), "SelfSubjectAccessReview", "selfsubjectaccessreviews", scope=CLUSTER,
              verbs=("create",), not_stored=True)  # fmt: skip
WIDGET = Kind("example.com", ("v1alpha1", "v2", "v1beta1", "v1", "v10", "odd"), "Widget", "widgets")
EVICTION = Kind("policy", ("v1",), "Eviction", "", not_stored=True)
KINDS = (WIDGET, REVIEW, DEPLOYMENT, NODE, POD, EVICTION)


def test_groups_come_in_the_reference_order() -> None:
    """Core first, then the usual groups, then others by name; bodies of subresources are no resources."""
    assert list(discovery.group_versions(KINDS)) == ["", "apps", "authorization.k8s.io", "example.com"]
    assert [g["name"] for g in discovery.groups(KINDS)["groups"]] == ["apps", "authorization.k8s.io", "example.com"]
    assert discovery.api_versions(KINDS, "")["versions"] == ["v1"]


def test_versions_come_by_stability() -> None:
    """The first is the preferred one."""
    group = discovery.group(KINDS, "example.com")
    assert group is not None
    assert [v["version"] for v in group["versions"]] == ["v10", "v2", "v1", "v1beta1", "v1alpha1", "odd"]
    assert group["preferredVersion"] == {"groupVersion": "example.com/v10", "version": "v10"}
    assert discovery.group(KINDS, "none.such") is None


def test_resources_of_a_group() -> None:
    """By name, subresources after their resource; hashes are those of the reference server."""
    found = discovery.resources(KINDS, "apps", "v1")
    assert found is not None
    assert found["groupVersion"] == "apps/v1"
    main, scale, status = found["resources"]
    assert main == {
        "name": "deployments", "singularName": "deployment", "namespaced": True, "kind": "Deployment",
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        "shortNames": ["deploy"], "storageVersionHash": "8aSe+NMegvE=",
    }  # fmt: skip
    assert (scale["name"], scale["group"], scale["version"], scale["kind"]) == (
        "deployments/scale", "autoscaling", "v1", "Scale",
    )  # fmt: skip
    assert status == {
        "name": "deployments/status", "singularName": "", "namespaced": True, "kind": "Deployment",
        "verbs": ["get", "patch", "update"],
    }  # fmt: skip
    assert discovery.resources(KINDS, "apps", "v2") is None
    assert discovery.storage_version_hash(POD) == "xPOwRZ+Yhw8="


def test_reviews_have_no_storage_hash() -> None:
    """What is not stored has no stored version."""
    found = discovery.resources(KINDS, "authorization.k8s.io", "v1")
    assert found is not None
    assert "storageVersionHash" not in found["resources"][0]
    assert found["resources"][0]["namespaced"] is False


def test_aggregated() -> None:
    """All in one document, core apart from the other groups."""
    core = discovery.aggregated(KINDS, core=True)
    assert core["apiVersion"] == "apidiscovery.k8s.io/v2"
    [item] = core["items"]
    assert "name" not in item["metadata"]
    nodes, pods = item["versions"][0]["resources"]
    assert (nodes["resource"], nodes["scope"]) == ("nodes", "Cluster")
    assert pods["responseKind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert [s["subresource"] for s in pods["subresources"]] == ["log", "status"]
    others = discovery.aggregated(KINDS, core=False)["items"]
    assert [item["metadata"]["name"] for item in others] == ["apps", "authorization.k8s.io", "example.com"]
    scale = others[0]["versions"][0]["resources"][0]["subresources"][0]
    assert scale["responseKind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
