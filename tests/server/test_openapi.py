"""OpenAPI documents are whole: every reference leads somewhere, every path says what kubectl asks."""

import hashlib
from typing import Any

import orjson
import pytest

from sampan.kinds import builtin
from sampan.kinds.kind import CLUSTER, STATUS, Kind, Subresource
from sampan.meta import schema
from sampan.meta.wire import protobuf
from sampan.server import openapi, openapi_paths, request_info
from sampan.web.message import Request

SCALE = Subresource("scale", group="autoscaling", version="v1", kind="Scale")
TOKEN = Subresource("token", ("create",), "authentication.k8s.io", "v1", "TokenRequest")
DEPLOYMENT = Kind("apps", ("v1",), "Deployment", "deployments", schema="io.k8s.api.apps.v1.Deployment",
                  subresources=(STATUS, SCALE))  # fmt: skip
NODE = Kind("", ("v1",), "Node", "nodes", scope=CLUSTER, schema="io.k8s.api.core.v1.Node")
ACCOUNT = Kind("", ("v1",), "ServiceAccount", "serviceaccounts", schema="io.k8s.api.core.v1.ServiceAccount",
               subresources=(TOKEN,))  # fmt: skip
BODY_ONLY = Kind("policy", ("v1",), "Eviction", "", schema="io.k8s.api.policy.v1.Eviction", not_stored=True)
CUSTOM = Kind("cert-manager.io", ("v1alpha2",), "Certificate", "certificates", custom=True)
KINDS = (DEPLOYMENT, NODE, ACCOUNT, BODY_ONLY)


def document(path: str) -> dict[str, Any]:
    made = openapi.v3(KINDS, path)
    assert made is not None
    return made


def all_references(node: Any) -> set[str]:
    if isinstance(node, list):
        return {found for item in node for found in all_references(item)}
    if not isinstance(node, dict):
        return set()
    own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
    return own | {found for value in node.values() for found in all_references(value)}


def test_every_reference_leads_somewhere() -> None:
    """In both versions."""
    for path in ("apis/apps/v1", "api/v1"):
        made = document(path)
        known = {f"#/components/schemas/{name}" for name in made["components"]["schemas"]}
        assert all_references(made) <= known
    made = orjson.loads(openapi.v2(KINDS))
    assert all_references(made) <= {f"#/definitions/{name}" for name in made["definitions"]}


def test_patch_says_what_it_supports() -> None:
    """kubectl looks for fieldValidation and dryRun at the patch of a kind."""
    item = document("apis/apps/v1")["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    patch = item["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "kind": "Deployment", "version": "v1"}
    assert patch["x-kubernetes-action"] == "patch"
    assert {p["name"] for p in patch["parameters"]} >= {"dryRun", "fieldValidation", "fieldManager", "force"}
    assert all(p["in"] == "query" for p in patch["parameters"])
    assert [p["name"] for p in item["parameters"]] == ["name", "namespace"]
    assert "application/apply-patch+yaml" in patch["requestBody"]["content"]


def test_what_a_deletion_answers() -> None:
    """The object itself of the kinds that have it so; generated clients read the answer by this."""
    answers_deleted = {
        "CSIDriver", "CSINode", "DeviceClass", "PersistentVolume", "PersistentVolumeClaim", "Pod", "PodTemplate",
        "ResourceClaim", "ResourceClaimTemplate", "ResourceQuota", "ResourceSlice", "Service", "ServiceAccount", "StorageClass",
        "VolumeAttachment", "VolumeAttributesClass",
    }  # fmt: skip
    for kind in builtin.KINDS:
        for found in openapi_paths.operations(kind, kind.version):
            if found.action == "delete" and found.path.endswith("/{name}"):
                own = kind.schema if kind.name in answers_deleted else "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
                assert found.answer == own, kind.name


def test_operations_are_named_once() -> None:
    """Generated clients make functions of operation ids."""
    made = orjson.loads(openapi.v2(KINDS))
    names = [op["operationId"] for item in made["paths"].values() for key, op in item.items() if key != "parameters"]
    assert len(names) == len(set(names))
    assert {"listAppsV1DeploymentForAllNamespaces", "readCoreV1Node", "patchAppsV1NamespacedDeploymentScale"} <= set(
        names
    )
    assert "/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token" in made["paths"]
    assert not any("eviction" in path for path in made["paths"])


def test_operations_bear_their_groups_names() -> None:
    """All parts of a group's name but k8s.io are in operation ids and tags."""
    made = orjson.loads(openapi.v2(builtin.KINDS))["paths"]
    pods, roles = made["/api/v1/pods"]["get"], made["/apis/rbac.authorization.k8s.io/v1/clusterroles"]["get"]
    assert (pods["operationId"], pods["tags"]) == ("listCoreV1PodForAllNamespaces", ["core_v1"])
    assert (roles["operationId"], roles["tags"]) == ("listRbacAuthorizationV1ClusterRole", ["rbacAuthorization_v1"])
    first = next(openapi_paths.operations(CUSTOM, "v1alpha2"))
    assert first.identity == "listCertManagerIoV1alpha2CertificateForAllNamespaces"
    assert first.tag == "certManagerIo_v1alpha2"


def test_the_older_watches() -> None:
    """The deprecated paths below /watch/ are told of built-in kinds, whose server they reach; custom kinds have none."""
    made = orjson.loads(openapi.v2(builtin.KINDS))["paths"]
    found = {path: item["get"] for path, item in made.items() if "/watch/" in path}
    named = {path: (operation["operationId"], operation["x-kubernetes-action"]) for path, operation in found.items()}
    assert named["/api/v1/watch/pods"] == ("watchCoreV1PodListForAllNamespaces", "watchlist")
    assert named["/api/v1/watch/namespaces/{namespace}/pods"] == ("watchCoreV1NamespacedPodList", "watchlist")
    assert named["/api/v1/watch/namespaces/{namespace}/pods/{name}"] == ("watchCoreV1NamespacedPod", "watch")
    assert named["/api/v1/watch/namespaces/{name}"] == ("watchCoreV1Namespace", "watch")
    assert (
        named["/apis/rbac.authorization.k8s.io/v1/watch/clusterroles"][0] == "watchRbacAuthorizationV1ClusterRoleList"
    )
    for path, operation in found.items():
        asked = request_info.parse(Request("GET", path.format(namespace="n", name="x")))
        assert (asked.verb, asked.group) == ("watch", operation["x-kubernetes-group-version-kind"]["group"]), path
        assert (f"/{asked.resource}" in path, bool(asked.name)) == (True, path.endswith("{name}"))
        assert operation["responses"]["200"]["schema"]["$ref"].endswith(".WatchEvent")
    assert not any("/watch/" in operation.path for operation in openapi_paths.operations(CUSTOM, "v1alpha2"))


def test_schemas_keep_what_clients_read() -> None:
    """Group, version and kind; merge keys; references with their own words beside them."""
    schemas = document("apis/apps/v1")["components"]["schemas"]
    deployment = schemas["io.k8s.api.apps.v1.Deployment"]
    assert deployment["x-kubernetes-group-version-kind"] == [{"group": "apps", "kind": "Deployment", "version": "v1"}]
    spec = deployment["properties"]["spec"]
    assert spec["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"}]
    assert spec["description"]
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    quantity = schemas["io.k8s.apimachinery.pkg.api.resource.Quantity"]
    assert quantity["oneOf"] == [{"type": "string"}, {"type": "number"}]
    either = schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]
    assert either["oneOf"] == [{"type": "integer"}, {"type": "string"}]


def test_the_index_changes_when_a_kind_does() -> None:
    """Its hashes let clients keep documents."""
    index = openapi.v3_index(KINDS)["paths"]
    assert list(index) == ["api/v1", "apis/apps/v1"]
    assert index["api/v1"]["serverRelativeURL"].startswith("/openapi/v3/api/v1?hash=")
    assert openapi.v3_index(KINDS)["paths"] == index
    fewer = openapi.v3_index((DEPLOYMENT, NODE))["paths"]
    assert fewer["apis/apps/v1"] == index["apis/apps/v1"]
    assert fewer["api/v1"] != index["api/v1"]


def test_the_index_changes_when_the_form_of_documents_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the kinds are the same. Where the last line fails, documents have another form: raise FORM, too."""
    index = openapi.v3_index(KINDS)["paths"]
    form = {path: {**document(path), "info": {}, "components": {}} for path in sorted(index)}
    number, made = openapi.FORM, hashlib.sha256(orjson.dumps(form, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    monkeypatch.setattr(openapi, "FORM", number + 1)
    openapi._digest.cache_clear()
    try:
        after = openapi.v3_index(KINDS)["paths"]
    finally:
        openapi._digest.cache_clear()
    assert all(after[path] != index[path] for path in index)
    assert (number, made) == (2, "d4923f7468701e7a")


def test_unknown_documents_are_none() -> None:
    """The server answers 404 for them."""
    for path in ("apis/apps/v2", "apis/apps", "api/v1/x", "", "version"):
        assert openapi.v3(KINDS, path) is None


def test_every_built_in_kind_is_whole() -> None:
    """Its schema, its protobuf messages, and the bodies of its operations are all there."""
    for kind in builtin.KINDS:
        assert kind.schema in schema.definitions(), kind.name
        assert protobuf.message_for(kind.group, kind.version, kind.name), kind.name
        for operation in openapi_paths.operations(kind, kind.version) if kind.plural else ():
            for name in filter(None, (operation.body, operation.answer)):
                assert name in schema.definitions(), operation.path
    made = orjson.loads(openapi.v2(builtin.KINDS))
    assert all_references(made) <= {f"#/definitions/{name}" for name in made["definitions"]}
