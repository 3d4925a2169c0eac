"""What decides about pods beside their own spec: runtime classes, priority classes, taints of new nodes."""

from typing import Any

from tests.server import crud
from tests.server.conftest import Api, pod

RUNTIMES = "/apis/node.k8s.io/v1/runtimeclasses"
PRIORITIES = "/apis/scheduling.k8s.io/v1/priorityclasses"
PODS = "/api/v1/namespaces/default/pods"

Tree = dict[str, Any]


def runtime(name: str, **fields: Any) -> Tree:
    return {"kind": "RuntimeClass", "apiVersion": "node.k8s.io/v1", "metadata": {"name": name}, **fields}


def priority(name: str, value: int, **fields: Any) -> Tree:
    made = {"kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "metadata": {"name": name}, "value": value}
    return {**made, **fields}


async def test_a_runtime_class_lives(api: Api) -> None:
    """Conformance 318: a RuntimeClass through all verbs; its handler stays."""
    await crud.walk(api, RUNTIMES, runtime("kata", handler="kata"), {})
    await api.create(RUNTIMES, runtime("kata", handler="kata"))
    answer = await api.patch(f"{RUNTIMES}/kata", {"handler": "runsc"})
    assert answer.status == 422 and 'handler: Invalid value: "runsc": field is immutable' in answer.tree["message"]


async def test_a_pod_of_an_unknown_runtime_class_is_refused(api: Api) -> None:
    """Conformance 315: 403, in the reference server's words; dry run as well."""
    for query in ("", "?dryRun=All"):
        answer = await api.send("POST", f"{PODS}{query}", pod("a", runtimeClassName="none"))
        assert answer.status == 403
        assert answer.tree["message"] == 'pods "a" is forbidden: pod rejected: RuntimeClass "none" not found'


async def test_a_pod_of_a_deleted_runtime_class_is_refused(api: Api) -> None:
    """Conformance 314: accepted while the class is there, 403 afterwards."""
    await api.create(RUNTIMES, runtime("kata", handler="kata"))
    assert (await api.send("POST", f"{PODS}?dryRun=All", pod("a", runtimeClassName="kata"))).status == 201
    await api.delete(f"{RUNTIMES}/kata")
    answer = await api.send("POST", PODS, pod("a", runtimeClassName="kata"))
    assert answer.status == 403 and 'pod rejected: RuntimeClass "kata" not found' in answer.tree["message"]


async def test_a_runtime_class_costs_and_places(api: Api) -> None:
    """Conformance 316, 317: overhead, node labels and tolerations come from the class, and nothing against it."""
    toleration = {"key": "kata", "operator": "Exists", "effect": "NoSchedule"}
    scheduling = {"nodeSelector": {"kata": "yes"}, "tolerations": [toleration]}
    overhead = {"podFixed": {"cpu": "10m", "memory": "1Mi"}}
    await api.create(RUNTIMES, runtime("kata", handler="kata", overhead=overhead, scheduling=scheduling))
    await api.create(RUNTIMES, runtime("plain", handler="plain"))
    made = await api.create(PODS, pod("a", runtimeClassName="kata", nodeSelector={"disk": "ssd"}))
    assert made["spec"]["overhead"] == {"cpu": "10m", "memory": "1Mi"}
    assert made["spec"]["nodeSelector"] == {"disk": "ssd", "kata": "yes"}
    assert toleration in made["spec"]["tolerations"]
    assert "overhead" not in (await api.create(PODS, pod("b", runtimeClassName="plain")))["spec"]
    for spec, text in (
        ({"runtimeClassName": "kata", "overhead": {"cpu": "1"}}, "Pod's Overhead doesn't match RuntimeClass's defined"),
        (
            {"runtimeClassName": "plain", "overhead": {"cpu": "1"}},
            "Pod Overhead set without corresponding RuntimeClass",
        ),
        ({"overhead": {"cpu": "1"}}, "Pod Overhead set without corresponding RuntimeClass defined Overhead"),
        (
            {"runtimeClassName": "kata", "nodeSelector": {"kata": "no"}},
            "conflict: runtimeClass.scheduling.nodeSelector[kata] = yes; pod.spec.nodeSelector[kata] = no",
        ),
    ):
        answer = await api.send("POST", PODS, pod("c", **spec))
        assert answer.status == 403 and text in answer.tree["message"], answer.body


async def test_priority_classes_live(api: Api) -> None:
    """Conformance 351: all verbs; value and policy stay, for PUT and PATCH alike."""
    await crud.walk(api, PRIORITIES, priority("p1", 100), {})
    made = await api.create(PRIORITIES, priority("p1", 100))
    assert made["preemptionPolicy"] == "PreemptLowerPriority" and made["metadata"]["generation"] == 1
    answer = await api.patch(f"{PRIORITIES}/p1", {"value": 200})
    assert answer.status == 422
    assert answer.tree["message"] == (
        'PriorityClass.scheduling.k8s.io "p1" is invalid: value: Forbidden: may not be changed in an update.'
    )
    answer = await api.send("PUT", f"{PRIORITIES}/p1", {**made, "preemptionPolicy": "Never"})
    assert (
        answer.status == 422
        and 'preemptionPolicy: Invalid value: "Never": field is immutable' in answer.tree["message"]
    )
    described = await api.put(f"{PRIORITIES}/p1", {**made, "description": "d"})
    assert described["description"] == "d" and described["metadata"]["generation"] == 1


async def test_the_systems_priority_classes_are_there(api: Api) -> None:
    """From the first second, with the reference server's values, and they stay."""
    listed = {item["metadata"]["name"]: item["value"] for item in (await api.get(PRIORITIES))["items"]}
    assert listed == {"system-cluster-critical": 2000000000, "system-node-critical": 2000001000}
    answer = await api.delete(f"{PRIORITIES}/system-node-critical")
    assert answer.status == 403 and "this is a system priority class and cannot be deleted" in answer.tree["message"]
    for made, text in (
        (priority("a", 1000000001), "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"),
        (priority("system-a", 1), "prefix are reserved for system use only. error: system-a is not a known system"),
    ):
        answer = await api.send("POST", PRIORITIES, made)
        assert answer.status == 422 and text in answer.tree["message"]


async def test_a_pod_gets_the_priority_of_its_class(api: Api) -> None:
    """Of the named class, else of the class for all others, else 0; a class that is not there is refused."""
    assert (await api.create(PODS, pod("a")))["spec"]["priority"] == 0
    await api.create(PRIORITIES, priority("high", 1000, preemptionPolicy="Never"))
    made = (await api.create(PODS, pod("b", priorityClassName="high")))["spec"]
    assert (made["priority"], made["preemptionPolicy"]) == (1000, "Never")
    made = (await api.create(PODS, pod("c", priorityClassName="system-node-critical")))["spec"]
    assert (made["priority"], made["preemptionPolicy"]) == (2000001000, "PreemptLowerPriority")
    await api.create(PRIORITIES, priority("usual", 5, globalDefault=True))
    made = (await api.create(PODS, pod("d")))["spec"]
    assert (made["priority"], made["priorityClassName"]) == (5, "usual")
    answer = await api.send("POST", PRIORITIES, priority("other", 6, globalDefault=True))
    assert answer.status == 403
    assert "PriorityClass usual is already marked as default. Only one default can exist" in answer.tree["message"]
    answer = await api.send("POST", PODS, pod("e", priorityClassName="none"))
    assert answer.status == 403 and "no PriorityClass with name none was found" in answer.tree["message"]
    answer = await api.send("POST", PODS, pod("e", priorityClassName="high", priority=7))
    assert answer.status == 403
    assert "the integer value of priority (7) must not be provided in pod spec; priority" in answer.tree["message"]


async def test_a_new_node_takes_no_pods_yet(api: Api) -> None:
    """It has the taint not-ready:NoSchedule from its creation, once."""
    node: Tree = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1"}}
    taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    assert (await api.create("/api/v1/nodes", node))["spec"]["taints"] == [taint]
    node = {**node, "metadata": {"name": "n2"}, "spec": {"taints": [taint]}}
    assert (await api.create("/api/v1/nodes", node))["spec"]["taints"] == [taint]
