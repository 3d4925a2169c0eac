"""Bodies in protobuf that are no plain object's life: reviews, subresources, definitions, API services.

Go clients send and want it for every built-in type; see test_conformance_lifecycles for the rest.
"""

from typing import Any

import pytest

from sampan.meta.wire import protobuf
from tests.server.conftest import Api, deployment, pod
from tests.server.custom import CRDS, crd
from tests.server.lifecycle import Wire

BASE = "/api/v1/namespaces/default"
AUTHN = "/apis/authentication.k8s.io/v1"
AUTHZ = "/apis/authorization.k8s.io/v1"
ATTRIBUTES = {"verb": "list", "resource": "configmaps", "namespace": "default"}

Tree = dict[str, Any]


@pytest.fixture
def wire(api: Api) -> Wire:
    return Wire(api, is_protobuf=True)


async def test_reviews(wire: Wire) -> None:
    """169, 163: every review is asked and answered."""
    asked = {"resourceAttributes": ATTRIBUTES}
    for path, kind, spec in (
        (f"{AUTHZ}/subjectaccessreviews", "SubjectAccessReview", {**asked, "user": "u", "groups": ["system:masters"]}),
        (f"{AUTHZ}/selfsubjectaccessreviews", "SelfSubjectAccessReview", asked),
        (f"{AUTHZ}/namespaces/default/localsubjectaccessreviews", "LocalSubjectAccessReview",
            {**asked, "user": "u", "groups": ["system:masters"]}),
    ):  # fmt: skip
        review = {"kind": kind, "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": spec}
        assert (await wire("POST", path, review, 201))["status"]["allowed"] is True
    rules = {
        "kind": "SelfSubjectRulesReview",
        "apiVersion": "authorization.k8s.io/v1",
        "spec": {"namespace": "default"},
    }
    assert (await wire("POST", f"{AUTHZ}/selfsubjectrulesreviews", rules, 201))["status"]["resourceRules"]
    me = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}}
    answer = await wire("POST", f"{AUTHN}/selfsubjectreviews", me, 201)
    assert answer["status"]["userInfo"]["username"] == "kubernetes-admin"
    token = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "spec": {}}
    issued = await wire("POST", f"{BASE}/serviceaccounts/default/token", token, 201)
    review = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}}
    review["spec"] = {"token": issued["status"]["token"]}
    seen = await wire("POST", f"{AUTHN}/tokenreviews", review, 201)
    assert seen["status"]["user"]["username"] == "system:serviceaccount:default:default"


async def test_scale_binding_eviction_and_finalize(wire: Wire) -> None:
    """112, 121, 67: bodies of subresources that are types of their own."""
    deployments = "/apis/apps/v1/namespaces/default/deployments"
    await wire("POST", deployments, deployment("d"), 201)
    scale = await wire("GET", f"{deployments}/d/scale")
    scale["spec"]["replicas"] = 3
    assert (await wire("PUT", f"{deployments}/d/scale", scale))["spec"] == {"replicas": 3}
    await wire("POST", "/api/v1/nodes", {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n"}}, 201)
    await wire("POST", f"{BASE}/pods", pod("p"), 201)
    binding = {
        "kind": "Binding",
        "apiVersion": "v1",
        "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "n"},
    }
    await wire("POST", f"{BASE}/pods/p/binding", binding, 201)
    assert (await wire("GET", f"{BASE}/pods/p"))["spec"]["nodeName"] == "n"
    eviction = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "p"}}
    assert (await wire("POST", f"{BASE}/pods/p/eviction", eviction, 201))["status"] == "Success"
    space = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "n"}}
    made = await wire("POST", "/api/v1/namespaces", space, 201)
    made["spec"]["finalizers"].append("example.com/f")
    finalized = await wire("PUT", "/api/v1/namespaces/n/finalize", made)
    assert finalized["spec"]["finalizers"] == ["kubernetes", "example.com/f"]


async def test_a_definition(wire: Wire) -> None:
    """32: a CustomResourceDefinition may come in protobuf, with its whole schema; its objects may not."""
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "count": {"type": "integer", "default": 3, "minimum": 1, "enum": [1, 2, 3]},
        "any": {"x-kubernetes-int-or-string": True}}}}}  # fmt: skip
    made = await wire("POST", CRDS, crd(schema=schema), 201)
    assert made["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == schema
    assert (await wire("GET", f"{CRDS}/widgets.example.com"))["metadata"]["uid"] == made["metadata"]["uid"]
    await wire("DELETE", f"{CRDS}/widgets.example.com")


async def test_an_api_service(wire: Wire) -> None:
    """28, the objects: listed by label, patched, its status updated and patched, deleted as a collection."""
    path = "/apis/apiregistration.k8s.io/v1/apiservices"
    name = "v1alpha1.wardle.example.com"
    spec = {
        "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
        "service": {"namespace": "default", "name": "sample-api", "port": 7443}, "insecureSkipTLSVerify": True,
    }  # fmt: skip
    body = {"kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1", "metadata": {"name": name}, "spec": spec}
    await wire("POST", path, body, 201)
    assert (await wire("GET", f"{path}/{name}/status"))["metadata"]["name"] == name
    patched = await wire.patch(f"{path}/{name}", {"spec": {"versionPriority": 400}})
    assert patched["spec"]["versionPriority"] == 400
    said = {
        "type": "StatusUpdated", "status": "True", "reason": "E2E", "message": "Set from e2e test",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    for _ in range(8):  # the availability controller writes here as well
        live = await wire("GET", f"{path}/{name}/status")
        live.setdefault("status", {}).setdefault("conditions", []).append(said)
        answer = await wire.api.send("PUT", f"{path}/{name}/status", protobuf.encode(live), content_type=MEDIA)
        if answer.status == 200:
            break
    assert said in (await wire("GET", f"{path}/{name}"))["status"]["conditions"]
    await wire.patch(f"{path}/{name}", {"metadata": {"labels": {name: "updated"}}}, "strategic")
    listed = await wire("GET", f"{path}?labelSelector={name}=updated")
    assert [item["metadata"]["name"] for item in listed["items"]] == [name]
    await wire("DELETE", f"{path}?labelSelector={name}=updated")
    await wire("GET", f"{path}/{name}", status=404)


MEDIA = "application/vnd.kubernetes.protobuf"
