"""The conformance tests of SIG network that are more than one kind's life: Services of the cluster, states, ranges.

A number is the test's position in upstream's list of conformance tests.
"""

from typing import Any

from tests.server.conftest import Api
from tests.server.test_reads import watched

SERVICES = "/api/v1/namespaces/default/services"
RANGES = "/apis/networking.k8s.io/v1/servicecidrs"

Tree = dict[str, Any]


def service(name: str, label: str) -> Tree:
    spec = {"type": "ClusterIP", "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 80}]}
    metadata = {"name": name, "labels": {"test-service-static": label}}
    return {"kind": "Service", "apiVersion": "v1", "metadata": metadata, "spec": spec}


async def test_the_secure_service_of_the_api(api: Api) -> None:
    """192, 232: default/kubernetes has the port https 443, and is found in the list of all namespaces."""
    found = await api.get(f"{SERVICES}/kubernetes")
    assert [(port["name"], port["port"]) for port in found["spec"]["ports"]] == [("https", 443)]
    listed = (await api.get("/api/v1/services"))["items"]
    assert ("default", "kubernetes") in [(s["metadata"]["namespace"], s["metadata"]["name"]) for s in listed]


async def test_the_state_of_a_service(api: Api) -> None:
    """230: load balancer patched into /status, conditions updated, patched, the service patched and deleted; watched."""
    start = (await api.get("/api/v1/services?labelSelector=test-service-static=true"))["metadata"]["resourceVersion"]
    body = service("s", "true")
    body["spec"] |= {"type": "LoadBalancer", "loadBalancerClass": "example.com/internal-vip"}
    await api.create(SERVICES, body)
    balanced = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    patch = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": balanced}
    patched = (await api.patch(f"{SERVICES}/s/status", patch)).tree
    assert patched["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.1", "ipMode": "VIP"}]
    assert patched["metadata"]["annotations"] == {"patchedstatus": "true"}
    said = {
        "type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    patched["status"]["conditions"] = [said]
    assert (await api.put(f"{SERVICES}/s/status", patched))["status"]["conditions"] == [said]
    await api.patch(f"{SERVICES}/s", {"metadata": {"labels": {"test-service": "patched"}}}, "strategic")
    assert (await api.delete(f"{SERVICES}/s")).status == 200
    query = f"resourceVersion={start}&labelSelector=test-service-static=true"
    events = await watched(api, f"{SERVICES}?{query}", 5)
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "DELETED"]
    assert events[-1]["object"]["status"]["conditions"] == [said]


async def test_services_go_by_their_label(api: Api) -> None:
    """231: of three services the collection delete takes two."""
    for name, label in (("a", "yes"), ("b", "yes"), ("c", "no")):
        await api.create(SERVICES, service(name, label))
    assert len((await api.get(f"{SERVICES}?labelSelector=test-service-static"))["items"]) == 3
    assert (await api.delete(f"{SERVICES}?labelSelector=test-service-static=yes")).status == 200
    left = (await api.get(f"{SERVICES}?labelSelector=test-service-static"))["items"]
    assert [item["metadata"]["name"] for item in left] == ["c"]


async def test_the_default_range(api: Api) -> None:
    """222: ServiceCIDR kubernetes is read, with its /status, listed and watched."""
    found = await api.get(f"{RANGES}/kubernetes")
    state = await api.get(f"{RANGES}/kubernetes/status")
    assert (state["kind"], state["metadata"]["uid"]) == ("ServiceCIDR", found["metadata"]["uid"])
    assert [c["status"] for c in state["status"]["conditions"] if c["type"] == "Ready"] == ["True"]
    assert "kubernetes" in [item["metadata"]["name"] for item in (await api.get(RANGES))["items"]]
    (event,) = await watched(api, RANGES, 1)
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "kubernetes")
