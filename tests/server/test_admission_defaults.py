"""What admission does by default, and by configuration, that no other file tests: topology labels, limited resources."""

import pytest

from sampan.server.config import ConfigError, read
from tests.server.configured import configured
from tests.server.conftest import Api, Tree, pod
from tests.server.test_quota import quota, sized

PODS = "/api/v1/namespaces/default/pods"
NODE_LABELS = {
    "topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r1", "topology.kubernetes.io/rack": "no",
}  # fmt: skip
LIMITED = """
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources:
    - resource: pods
      matchScopes:
      - {scopeName: PriorityClass, operator: In, values: [gold, silver]}
    - resource: persistentvolumeclaims
      matchContains: [.storageclass.storage.k8s.io/requests.storage]
"""


def node(name: str) -> Tree:
    return {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "labels": NODE_LABELS}}


def binding(name: str, target: str, **metadata: Tree | str) -> Tree:
    made = {"name": name, **metadata}
    return {"kind": "Binding", "apiVersion": "v1", "metadata": made, "target": {"kind": "Node", "name": target}}


@pytest.mark.parametrize("path", [f"{PODS}/p/binding", "/api/v1/namespaces/default/bindings"])
async def test_a_bound_pod_has_the_zone_of_its_node(api: Api, path: str) -> None:
    """Zone and region come from the node over what the pod had; nothing else of the node's comes along."""
    await api.create("/api/v1/nodes", node("n"))
    made = pod("p")
    made["metadata"]["labels"] = {"own": "x", "topology.kubernetes.io/zone": "mine"}
    await api.create(PODS, made)
    assert (
        await api.send("POST", path, binding("p", "n", labels={"topology.kubernetes.io/region": "said"}))
    ).status == 201
    bound = await api.get(f"{PODS}/p")
    wanted = {"own": "x", "topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "said"}
    assert bound["metadata"]["labels"] == wanted


async def test_a_binding_to_no_kind_in_particular_gives_no_zone(api: Api) -> None:
    """Only one that says that its target is a Node does."""
    await api.create("/api/v1/nodes", node("n"))
    await api.create(PODS, pod("p"))
    body = {**binding("p", "n"), "target": {"name": "n"}}
    assert (await api.send("POST", f"{PODS}/p/binding", body)).status == 201
    bound = await api.get(f"{PODS}/p")
    assert bound["spec"]["nodeName"] == "n"
    assert "labels" not in bound["metadata"]


async def test_a_pod_made_for_a_node_has_its_zone(api: Api) -> None:
    """Here what the pod says stays; a node that is not there changes nothing."""
    await api.create("/api/v1/nodes", node("n"))
    made = pod("p", nodeName="n")
    made["metadata"]["labels"] = {"topology.kubernetes.io/zone": "mine"}
    labels = (await api.create(PODS, made))["metadata"]["labels"]
    assert labels == {"topology.kubernetes.io/zone": "mine", "topology.kubernetes.io/region": "r1"}
    assert "labels" not in (await api.create(PODS, pod("q", nodeName="absent")))["metadata"]


async def test_a_binding_is_for_one_state_of_a_pod(api: Api) -> None:
    """A binding with another resourceVersion or uid is a conflict."""
    made = await api.create(PODS, pod("p"))
    await api.create("/api/v1/nodes", node("n"))
    for precondition in ({"resourceVersion": "1"}, {"uid": "other"}):
        answer = await api.send("POST", f"{PODS}/p/binding", binding("p", "n", **precondition))
        assert answer.status == 409
        assert "Precondition failed" in answer.tree["message"]
    right = binding("p", "n", uid=made["metadata"]["uid"], resourceVersion=made["metadata"]["resourceVersion"])
    assert (await api.send("POST", f"{PODS}/p/binding", right)).status == 201


def of_class(name: str, priority: str) -> Tree:
    return sized(name, {"cpu": "1m"}, priorityClassName=priority)


async def test_a_limited_class_needs_a_quota() -> None:
    """Pods of a limited priority class are refused until a quota has the scope, others are not concerned."""
    async with configured(LIMITED) as api:
        account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}
        await api.create("/api/v1/namespaces/default/serviceaccounts", account)
        for name in ("gold", "bronze"):
            priority = {"kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "metadata": {"name": name}}
            await api.create("/apis/scheduling.k8s.io/v1/priorityclasses", {**priority, "value": 7})
        await api.create(PODS, pod("plain"))
        await api.create(PODS, of_class("b", "bronze"))
        answer = await api.send("POST", PODS, of_class("g", "gold"))
        assert answer.status == 403
        text = "insufficient quota to match these scopes: [{PriorityClass In [gold silver]}]"
        assert answer.tree["message"] == f'pods "g" is forbidden: {text}'
        scope = {"scopeName": "PriorityClass", "operator": "In", "values": ["gold"]}
        await quota(api, "q", {"pods": "1"}, scopeSelector={"matchExpressions": [scope]})
        await api.create(PODS, of_class("g", "gold"))
        answer = await api.send("POST", PODS, of_class("h", "gold"))
        assert "exceeded quota: q" in answer.tree["message"]


async def test_a_limited_amount_needs_a_quota() -> None:
    """Claims of a class are refused until a quota limits that class."""
    async with configured(LIMITED) as api:
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "s",
        }
        claim = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": {"name": "c"}, "spec": spec}
        path, name = (
            "/api/v1/namespaces/default/persistentvolumeclaims",
            "s.storageclass.storage.k8s.io/requests.storage",
        )
        answer = await api.send("POST", path, claim)
        assert answer.status == 403
        assert answer.tree["message"].endswith(f"insufficient quota to consume: {name}")
        await quota(api, "q", {name: "2Gi"})
        await api.create(path, claim)


def test_a_wrong_scope_is_told() -> None:
    """Where it is, when the server starts."""
    with pytest.raises(ConfigError, match=r"matchScopes\[0\].operator"):
        read(LIMITED.replace("operator: In", "operator: Is").encode())
