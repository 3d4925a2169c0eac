"""The conformance tests of LimitRange, step by step.

A number is the test's position in upstream's list of conformance tests.
"""

from typing import Any

from tests.server.conftest import Api
from tests.server.test_reads import watched

BASE = "/api/v1/namespaces/default"
RANGES = f"{BASE}/limitranges"

Tree = dict[str, Any]


def resources(cpu: str = "", memory: str = "", storage: str = "") -> Tree:
    given = {"cpu": cpu, "memory": memory, "ephemeral-storage": storage}
    return {name: amount for name, amount in given.items() if amount}


def limit_range(**labels: str) -> Tree:
    limits = {
        "type": "Container",
        "min": resources("50m", "100Mi", "100Gi"),
        "max": resources("500m", "500Mi", "500Gi"),
        "default": resources("500m", "500Mi", "500Gi"),
        "defaultRequest": resources("100m", "200Mi", "200Gi"),
        "maxLimitRequestRatio": {},
    }
    metadata = {"name": "limit-range", "labels": labels}
    return {"kind": "LimitRange", "apiVersion": "v1", "metadata": metadata, "spec": {"limits": [limits]}}


def pod(name: str, requests: Tree, limits: Tree) -> Tree:
    container = {"name": "pause", "image": "x", "resources": {"requests": requests, "limits": limits}}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": {"containers": [container]}}


async def test_a_limit_range_fills_in_bounds_and_lets_go(api: Api) -> None:
    """344: watched, defaults whole and in part, below min and above max refused, updated, deleted."""
    start = (await api.get(f"{RANGES}?labelSelector=time=1"))["metadata"]["resourceVersion"]
    await api.create(RANGES, limit_range(time="1"))
    (event,) = await watched(api, f"{RANGES}?resourceVersion={start}&labelSelector=time=1", 1)
    assert event["type"] == "ADDED"
    live = await api.get(f"{RANGES}/limit-range")
    bounds = live["spec"]["limits"][0]
    await api.create(f"{BASE}/pods", pod("none", {}, {}))
    made = (await api.get(f"{BASE}/pods/none"))["spec"]["containers"][0]["resources"]
    assert made == {"requests": bounds["defaultRequest"], "limits": bounds["default"]}
    partial = pod("partial", resources("", "150Mi", "150Gi"), resources("300m"))
    made = (await api.create(f"{BASE}/pods", partial))["spec"]["containers"][0]["resources"]
    assert made["requests"] == resources("300m", "150Mi", "150Gi")
    assert made["limits"] == resources("300m", "500Mi", "500Gi")
    small, large = resources("10m", "50Mi", "50Gi"), resources("600m", "600Mi", "600Gi")
    for wrong, code in ((small, 403), (large, 422)):  # more than the default limit is no valid pod at all
        assert (await api.send("POST", f"{BASE}/pods", pod("p", wrong, {}))).status == code
    assert (await api.send("POST", f"{BASE}/pods", pod("p", large, large))).status == 403
    live["spec"]["limits"][0]["min"] = resources("9m", "49Mi", "49Gi")
    updated = await api.put(f"{RANGES}/limit-range", live)
    assert updated["spec"]["limits"][0]["min"] == resources("9m", "49Mi", "49Gi")
    await api.create(f"{BASE}/pods", pod("small", small, {}))
    assert (await api.send("POST", f"{BASE}/pods", pod("p", large, large))).status == 403
    assert (await api.delete(f"{RANGES}/limit-range", {"gracePeriodSeconds": 30})).status == 200
    assert (await api.get(RANGES))["items"] == []
    await api.create(f"{BASE}/pods", pod("large", large, {}))


async def test_limit_ranges_of_two_namespaces(api: Api) -> None:
    """345: both found over all namespaces; one patched by strategic merge and deleted by its new label alone."""
    await api.create("/api/v1/namespaces", {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "other"}})
    made = await api.create(RANGES, limit_range(test="e2e", it="created"))
    await api.create("/api/v1/namespaces/other/limitranges", limit_range(test="e2e", it="created"))
    assert len((await api.get("/api/v1/limitranges?labelSelector=test=e2e"))["items"]) == 2
    made["spec"]["limits"][0]["min"] = resources("9m", "49Mi", "49Gi")
    metadata = {"creationTimestamp": made["metadata"]["creationTimestamp"], "labels": {"it": "patched"}}
    body = {"metadata": metadata, "spec": {"limits": made["spec"]["limits"]}}
    patched = await api.patch(f"{RANGES}/limit-range", body, "strategic")
    assert patched.tree["metadata"]["labels"] == {"test": "e2e", "it": "patched"}
    assert patched.tree["spec"]["limits"][0]["min"] == resources("9m", "49Mi", "49Gi")
    assert (await api.delete(f"{RANGES}?labelSelector=it=patched")).status == 200
    left = (await api.get("/api/v1/limitranges?labelSelector=test=e2e"))["items"]
    assert [item["metadata"]["namespace"] for item in left] == ["other"]
