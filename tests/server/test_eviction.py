"""Eviction: budgets are respected, exactly."""

import asyncio
from typing import Any

from sampan.meta.wire import protobuf
from tests.server.conftest import Api, Tree, pod

BASE = "/api/v1/namespaces/default"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
READY = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]


async def running(api: Api, name: str, conditions: Any = READY, app: str = "web") -> Tree:
    """A pod on a node."""
    obj = pod(name, nodeName="n1")
    obj["metadata"]["labels"] = {"app": app}
    made = await api.create(f"{BASE}/pods", obj)
    return await api.put(
        f"{BASE}/pods/{name}/status", {**made, "status": {"phase": "Running", "conditions": conditions}}
    )


async def budget(api: Api, name: str, counts: Tree | None = None, **spec: Any) -> Tree:
    """A budget that has been counted."""
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}, **spec}
    obj = {"kind": "PodDisruptionBudget", "apiVersion": "policy/v1", "metadata": {"name": name}, "spec": spec}
    made = await api.create(BUDGETS, obj)
    status = {"observedGeneration": 1, "desiredHealthy": 1, "currentHealthy": 1, "expectedPods": 1, **(counts or {})}
    return await api.put(f"{BUDGETS}/{name}/status", {**made, "status": {"disruptionsAllowed": 0, **status}})


async def evict(api: Api, name: str, query: str = "", **options: Any) -> Any:
    body = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": name}, "deleteOptions": options}
    return await api.send("POST", f"{BASE}/pods/{name}/eviction{query}", body)


async def test_a_budget_blocks_an_eviction_until_it_allows_it(api: Api) -> None:
    """121: 429 with the reason as a cause; once a disruption is allowed, the pod goes and the budget remembers it."""
    await running(api, "a")
    made = await budget(api, "b")
    answer = await evict(api, "a")
    assert answer.status == 429
    assert answer.tree["reason"] == "TooManyRequests"
    assert answer.tree["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    message = "The disruption budget b needs 1 healthy pods and has 1 currently"
    assert answer.tree["details"]["causes"] == [{"reason": "DisruptionBudget", "message": message}]
    await api.put(f"{BUDGETS}/b/status", {**made, "status": {**made["status"], "disruptionsAllowed": 1}})
    dry = await evict(api, "a", "?dryRun=All")
    assert dry.status == 201
    assert (await api.get(f"{BUDGETS}/b"))["status"]["disruptionsAllowed"] == 1
    assert (await evict(api, "a")).status == 201
    gone = await api.get(f"{BASE}/pods/a")
    assert gone["metadata"]["deletionTimestamp"]
    target = next(c for c in gone["status"]["conditions"] if c["type"] == "DisruptionTarget")
    assert (target["status"], target["reason"]) == ("True", "EvictionByEvictionAPI")
    after = (await api.get(f"{BUDGETS}/b"))["status"]
    assert after["disruptionsAllowed"] == 0
    assert list(after["disruptedPods"]) == ["a"]


async def test_the_former_version_of_an_eviction(api: Api) -> None:
    """Means the same; others are refused, and so is it where pods are bound."""
    await running(api, "a")
    body = {"kind": "Eviction", "apiVersion": "policy/v1beta1", "metadata": {"name": "a"}}
    refused = await api.send("POST", f"{BASE}/pods/a/eviction", {**body, "apiVersion": "policy/v1alpha1"})
    assert (refused.status, refused.tree["message"]) == (
        400,
        "the API version in the data (policy/v1alpha1) does not match the expected API version (policy/v1)",
    )
    odd = {**body, "kind": "PodDisruptionBudget"}
    refused = await api.send("POST", f"{BASE}/pods/a/eviction", odd)
    assert refused.status == 400
    assert (await api.send("POST", f"{BASE}/pods/a/binding", body)).status == 400
    assert (await api.send("POST", f"{BASE}/pods/a/eviction", body)).status == 201
    assert (await api.get(f"{BASE}/pods/a"))["metadata"]["deletionTimestamp"]


async def test_the_former_version_of_an_eviction_in_protobuf(api: Api) -> None:
    """As client libraries of that time send it."""
    await running(api, "a")
    body = {"kind": "Eviction", "apiVersion": "policy/v1beta1", "metadata": {"name": "a"}}
    media = "application/vnd.kubernetes.protobuf"
    answer = await api.send("POST", f"{BASE}/pods/a/eviction", protobuf.encode(body), content_type=media)
    assert answer.status == 201
    assert (await api.get(f"{BASE}/pods/a"))["metadata"]["deletionTimestamp"]


async def test_one_allowance_is_used_once(api: Api) -> None:
    """Of several evictions at once, as many pass as the budget allows."""
    names = [f"p{i}" for i in range(6)]
    for name in names:
        await running(api, name)
    await budget(api, "b", {"disruptionsAllowed": 2, "currentHealthy": 6})
    answers = await asyncio.gather(*(evict(api, name) for name in names))
    assert sorted(a.status for a in answers) == [201, 201, 429, 429, 429, 429]
    assert (await api.get(f"{BUDGETS}/b"))["status"]["disruptionsAllowed"] == 0


async def test_a_budget_that_is_behind_allows_nothing(api: Api) -> None:
    """A budget whose change was not counted yet answers 429 with a time to come back."""
    await running(api, "a")
    await budget(api, "b", {"disruptionsAllowed": 5, "observedGeneration": 0})
    answer = await evict(api, "a")
    assert answer.status == 429
    assert answer.tree["details"]["retryAfterSeconds"] == 10
    assert answer.headers["retry-after"] == "10"
    assert "is still being processed by the server" in answer.tree["details"]["causes"][0]["message"]


async def test_two_budgets_are_one_too_many(api: Api) -> None:
    """A pod under two budgets is not evicted."""
    await running(api, "a")
    await budget(api, "b", {"disruptionsAllowed": 1})
    await budget(api, "c", {"disruptionsAllowed": 1})
    answer = await evict(api, "a")
    assert answer.status == 500
    assert "more than one PodDisruptionBudget" in answer.tree["message"]


async def test_pods_that_serve_nobody_may_go(api: Api) -> None:
    """Ended and pending pods need no allowance; unready ones by the budget's policy."""
    await running(api, "unready", [])
    made = await budget(api, "b", {"desiredHealthy": 2})
    assert (await evict(api, "unready")).status == 429
    await api.put(f"{BUDGETS}/b", {**made, "spec": {**made["spec"], "unhealthyPodEvictionPolicy": "AlwaysAllow"}})
    assert (await evict(api, "unready")).status == 201
    waiting = pod("waiting")
    waiting["metadata"]["labels"] = {"app": "web"}
    await api.create(f"{BASE}/pods", waiting)
    assert (await evict(api, "waiting")).status == 201
    assert (await api.send("GET", f"{BASE}/pods/waiting")).status == 404


async def test_budgets_are_validated(api: Api) -> None:
    """Two wishes at once and shares above all are refused; columns say N/A for no wish."""
    obj = {"kind": "PodDisruptionBudget", "apiVersion": "policy/v1", "metadata": {"name": "b"}}
    both = await api.send("POST", BUDGETS, {**obj, "spec": {"minAvailable": 1, "maxUnavailable": 1}})
    assert both.status == 422
    assert "minAvailable and maxUnavailable cannot be both set" in both.tree["message"]
    share = await api.send("POST", BUDGETS, {**obj, "spec": {"maxUnavailable": "101%"}})
    assert "must not be greater than 100%" in share.tree["message"]
    made = await api.create(BUDGETS, {**obj, "spec": {"maxUnavailable": "10%"}})
    assert made["metadata"]["generation"] == 1
    assert made["status"] == {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}
    table = await api.get(f"{BUDGETS}/b", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert table["rows"][0]["cells"][:4] == ["b", "N/A", "10%", 0]
