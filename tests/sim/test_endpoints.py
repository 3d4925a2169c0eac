"""Endpoints and EndpointSlices in virtual time: the conformance tests of upstream, many pods, and faults."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.cluster.faults import Faults
from sampan.controllers import endpoint_slice
from sampan.meta import objects
from sampan.testing import Cluster
from tests.sim import trees
from tests.sim.trees import Tree

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1) as made:
        yield made


def service(name: str = "web", **spec: Any) -> Tree:
    wanted = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    return trees.tree("v1", "Service", name, spec={k: v for k, v in (wanted | spec).items() if v is not None})


def slices(cluster: Cluster, name: str = "web") -> list[Tree]:
    return cluster.list("endpointslices", "default", labels=f"kubernetes.io/service-name={name}")


def shown(cluster: Cluster, name: str = "web") -> dict[int, list[str]]:
    """Port number -> pods, by the slices; the same by the Endpoints, or else it fails."""
    by_slices: dict[int, list[str]] = {}
    for one in slices(cluster, name):
        for port in one["ports"] or ():
            names = [e["targetRef"]["name"] for e in one["endpoints"] if e["conditions"]["ready"]]
            by_slices.setdefault(port["port"], []).extend(names)
    by_endpoints: dict[int, list[str]] = {}
    for subset in (cluster.get(f"endpoints/{name}") or {}).get("subsets") or ():
        for port in subset["ports"]:
            names = [a["targetRef"]["name"] for a in subset.get("addresses") or ()]
            by_endpoints.setdefault(port["port"], []).extend(names)
    found = [{p: sorted(n) for p, n in told.items() if n} for told in (by_slices, by_endpoints)]
    assert found[0] == found[1]
    return found[0]


# Upstream's conformance: 201 and 208, 202 and 209, 206


def test_pods_that_match_are_shown_by_both(cluster: Cluster) -> None:
    """Two services of different ports, two pods that both match and give a name another number."""
    both = {"both": "yes"}
    first = trees.pod("one", {**both, "app": "web"})
    second = trees.pod("two", {**both, "app": "api"})
    for pod, number in ((first, 3000), (second, 3001)):
        pod["spec"]["containers"][0]["ports"] = [{"name": "named", "containerPort": number}]
        cluster.create(pod)
    cluster.create(service(selector={"app": "web"}))
    named = [{"name": "named", "port": 80, "targetPort": "named"}, {"name": "fixed", "port": 81, "targetPort": 3002}]
    cluster.create(service("both", selector=both, ports=named))
    cluster.run_until(lambda: 3001 in shown(cluster, "both") and shown(cluster), within=30)
    assert shown(cluster) == {8080: ["one"]}
    assert shown(cluster, "both") == {3000: ["one"], 3001: ["two"], 3002: ["one", "two"]}
    for one in slices(cluster, "both"):
        (owner,) = objects.owner_references(one)
        assert (owner["kind"], owner["name"], owner["controller"]) == ("Service", "both", True)
        assert objects.labels(one)[MANAGED_BY] == "endpointslice-controller.k8s.io"
    cluster.delete("pod/one", grace_seconds=0)
    cluster.run_until(lambda: shown(cluster, "both") == {3001: ["two"], 3002: ["two"]}, within=30)


def test_a_service_without_pods_has_both_and_they_go_with_it(cluster: Cluster) -> None:
    """Deleted by somebody, they come back."""
    cluster.create(service())
    cluster.run_until(lambda: slices(cluster) and cluster.get("endpoints/web"), within=10)
    (old,) = slices(cluster)
    assert not old["endpoints"]
    cluster.delete(old)
    cluster.delete("endpoints/web")
    cluster.run_until(lambda: slices(cluster) and cluster.get("endpoints/web"), within=10)
    assert slices(cluster) != [old]
    cluster.delete("service/web")
    cluster.run_until(lambda: not slices(cluster) and cluster.get("endpoints/web") is None, within=30)


def test_endpoints_made_by_hand_are_mirrored(cluster: Cluster) -> None:
    """Created, changed and deleted; the Endpoints themselves are left alone."""
    cluster.create(service(selector=None))
    port = {"name": "http", "port": 80, "protocol": "TCP"}
    cluster.create(trees.tree("v1", "Endpoints", "web", subsets=[{"addresses": [{"ip": "10.1.2.3"}], "ports": [port]}]))
    cluster.run_until(lambda: slices(cluster), within=10)
    (made,) = slices(cluster)
    assert objects.labels(made)[MANAGED_BY] == "endpointslicemirroring-controller.k8s.io"
    assert (made["endpoints"], made["ports"]) == (
        [{"addresses": ["10.1.2.3"], "conditions": {"ready": True}}],
        [port],
    )
    cluster.patch("endpoints/web", {"subsets": [{"addresses": [{"ip": "10.2.3.4"}], "ports": [{**port, "port": 81}]}]})
    cluster.run_until(lambda: [s["endpoints"][0]["addresses"] for s in slices(cluster)] == [["10.2.3.4"]], within=10)
    assert [s["ports"][0]["port"] for s in slices(cluster)] == [81]
    cluster.delete(slices(cluster)[0])
    cluster.run_until(lambda: slices(cluster), within=10)
    cluster.delete("endpoints/web")
    cluster.run_until(lambda: not slices(cluster), within=10)
    cluster.advance(30)
    assert cluster.get("endpoints/web") is None


def test_endpoints_without_a_service_stay(cluster: Cluster) -> None:
    """Somebody's own, of which nobody knows what for."""
    cluster.create(trees.tree("v1", "Endpoints", "own", subsets=[{"addresses": [{"ip": "10.1.2.3"}]}]))
    cluster.patch("endpoints/own", {"metadata": {"labels": {"a": "b"}}})
    cluster.advance(60)
    assert cluster.get("endpoints/own")
    assert slices(cluster, "own") == []


def test_a_selector_takes_endpoints_over(cluster: Cluster) -> None:
    """What was mirrored goes, and what the pods are takes its place."""
    cluster.create(service(selector=None))
    cluster.create(trees.tree("v1", "Endpoints", "web", subsets=[{"addresses": [{"ip": "10.1.2.3"}]}]))
    cluster.run_until(lambda: slices(cluster), within=10)
    cluster.create(trees.pod("one", {"app": "web"}))
    cluster.patch("service/web", {"spec": {"selector": {"app": "web"}}})
    cluster.run_until(lambda: shown(cluster) == {8080: ["one"]}, within=30)
    assert [objects.labels(s)[MANAGED_BY] for s in slices(cluster)] == ["endpointslice-controller.k8s.io"]


def test_a_zone_is_shown_and_hinted_at() -> None:
    """With a traffic distribution each endpoint is for its own zone."""
    with Cluster(seed=1, nodes=0) as cluster:
        for name in ("a", "b"):
            cluster.add_node(name, labels={"topology.kubernetes.io/zone": f"zone-{name}"})
        cluster.create(trees.replica_set(4))
        cluster.create(service(trafficDistribution="PreferSameZone"))
        cluster.run_until(lambda: len(shown(cluster).get(8080, ())) == 4, within=60)
        for endpoint in (e for s in slices(cluster) for e in s["endpoints"]):
            assert endpoint["zone"] == f"zone-{endpoint['nodeName']}"
            assert endpoint["hints"] == {"forZones": [{"name": endpoint["zone"]}]}


def test_full_slices_are_left_alone(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for ten in each, 25 pods have three; a pod that leaves changes its own, and its successor one more."""
    monkeypatch.setattr(endpoint_slice, "LARGEST", 10)
    cluster.create(service())
    cluster.create(trees.replica_set(25))
    cluster.run_until(lambda: len(shown(cluster).get(8080, ())) == 25, within=120)
    assert len(slices(cluster)) == 3
    assert max(len(s["endpoints"]) for s in slices(cluster)) <= 10
    before = {objects.name(s): objects.resource_version(s) for s in slices(cluster)}
    one = objects.name(cluster.list("pods", "default")[0])
    cluster.patch(f"pod/{one}", {"metadata": {"labels": {"app": "debug"}}})
    cluster.run_until(lambda: one not in shown(cluster)[8080] and len(shown(cluster)[8080]) == 25, within=60)
    after = {objects.name(s): objects.resource_version(s) for s in slices(cluster)}
    assert before.keys() == after.keys()
    assert 1 <= sum(before[name] != after[name] for name in after) <= 2


# Faults


@pytest.mark.parametrize("number", range(1, 13))
def test_killed_at_any_write_they_come_to_the_same(cluster: Cluster, number: int) -> None:
    """With stale caches, and two sets of controllers at once for a while."""
    faults = Faults(cluster.sim)
    with faults.late_watches(0.2):
        cluster.create(service())
        cluster.create(trees.replica_set(3))
        cluster.create(service("hand", selector=None))
        cluster.create(trees.tree("v1", "Endpoints", "hand", subsets=[{"addresses": [{"ip": "10.1.2.3"}]}]))
        faults.crash_at_write(number, back_after=1)
        cluster.advance(20)
        with faults.duplicate_controllers():
            cluster.scale("replicaset/web", 2)
            cluster.advance(20)
    faults.end()
    cluster.advance(30)
    assert shown(cluster) == {8080: trees.by_name(cluster.list("pods"))}
    assert len(cluster.list("pods")) == 2
    assert [[len(s["endpoints"]) for s in slices(cluster, name)] for name in ("web", "hand")] == [[2], [1]]
