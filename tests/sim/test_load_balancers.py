"""Load balancers in virtual time: addresses from the pool or of the nodes, never one twice, whoever works at once."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sampan.meta import objects
from sampan.testing import Cluster
from tests.sim import trees
from tests.sim.trees import Tree

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1, nodes=2) as made:
        yield made


def chosen(load_balancer: str) -> Cluster:
    """A cluster that was asked for other addresses."""
    made = Cluster(seed=1, nodes=2)
    made.sim.settings = replace(made.sim.settings, load_balancer=load_balancer)
    return made


def balancer(name: str, port: int = 80, **spec: Any) -> Tree:
    return trees.tree("v1", "Service", name, spec={"type": "LoadBalancer", "ports": [{"port": port}], **spec})


def shown(service: Tree | None) -> list[str]:
    return [entry["ip"] for entry in objects.get_path(service, "status.loadBalancer.ingress") or ()]


def given(cluster: Cluster) -> dict[str, list[str]]:
    """Service -> its addresses, of those that have some."""
    return {objects.name(s): shown(s) for s in cluster.list("services") if shown(s)}


def told(cluster: Cluster, name: str) -> list[str]:
    events = [e for e in cluster.list("events") if e["involvedObject"]["name"] == name]
    return [f"{e['type']} {e['reason']} {e['message']}" for e in sorted(events, key=lambda e: e["firstTimestamp"])]


def test_the_life_of_one(cluster: Cluster) -> None:
    """It gets an address, keeps it through another start of the control plane, and gives it back with its type."""
    cluster.create(balancer("web"))
    cluster.run_until(lambda: shown(cluster.get("service/web")) == ["10.32.0.1"], within=5)
    assert objects.finalizers(cluster.get("service/web") or {}) == [FINALIZER]
    cluster.faults.crash_control_plane(back_after=1)
    cluster.advance(5)
    cluster.create(balancer("api"))
    cluster.run_until(lambda: given(cluster) == {"web": ["10.32.0.1"], "api": ["10.32.0.2"]}, within=30)
    cluster.patch("service/web", {"spec": {"type": "ClusterIP"}})
    cluster.run_until(lambda: cluster.get("ipaddress/10.32.0.1") is None, within=5)
    assert objects.finalizers(cluster.get("service/web") or {}) == []
    cluster.delete("service/api")
    cluster.run_until(lambda: cluster.get("service/api") is None, within=5)
    assert cluster.get("ipaddress/10.32.0.2") is None
    assert told(cluster, "api")[:2] == [
        "Normal EnsuringLoadBalancer Ensuring load balancer",
        "Normal EnsuredLoadBalancer Ensured load balancer",
    ]


def test_more_services_than_addresses() -> None:
    """Those that come too late are told, wait, and get what the first ones give back."""
    with chosen("10.40.0.0/29") as cluster:
        for number in range(8):
            cluster.create(balancer(f"s{number}"))
        cluster.run_until(lambda: len(given(cluster)) == 6, within=60)
        assert sorted(shown(cluster.get(f"service/s{number}"))[0] for number in range(6)) == [
            f"10.40.0.{number}" for number in range(1, 7)
        ]
        text = (
            "Error syncing load balancer: failed to ensure load balancer: no address is free in the pool 10.40.0.0/29"
        )
        cluster.advance(5)
        assert all(f"Warning SyncLoadBalancerFailed {text}" in told(cluster, name) for name in ("s6", "s7"))
        cluster.delete("service/s3")
        cluster.patch("service/s1", {"spec": {"type": "ClusterIP"}})
        cluster.run_until(lambda: {"s6", "s7"} <= given(cluster).keys(), within=5)
        assert sorted(given(cluster)["s6"] + given(cluster)["s7"]) == ["10.40.0.2", "10.40.0.4"]


@pytest.mark.parametrize("late", [0.0, 2.0])
def test_two_at_once(cluster: Cluster, late: float) -> None:
    """Another set of controllers, which may see late: each service has one address of its own, and nothing is held idly."""
    with cluster.faults.duplicate_controllers(late=late):
        for number in range(12):
            cluster.create(balancer(f"s{number}", **({"loadBalancerIP": "10.32.0.3"} if number == 5 else {})))
        cluster.advance(30)
        cluster.delete("service/s1")
        cluster.patch("service/s2", {"spec": {"type": "NodePort"}})
        cluster.patch("service/s3", {"spec": {"loadBalancerIP": "10.32.0.99"}})
        cluster.advance(30)
    cluster.advance(60)
    found = given(cluster)
    addresses = [address for [address] in found.values()]
    held = [objects.name(a) for a in cluster.list("ipaddresses") if objects.name(a).startswith("10.32.")]
    assert found["s3"] == ["10.32.0.99"]
    assert len(set(addresses)) == len(addresses) and set(held) == set(addresses)
    assert len(found) == 10 and found["s5"] == ["10.32.0.3"]


def test_the_nodes_own_addresses() -> None:
    """Without a pool a service is reached under the ready nodes; one port is only given to one service."""
    with chosen("node") as cluster:
        nodes = [node["status"]["addresses"][0]["address"] for node in cluster.list("nodes")]
        cluster.create(balancer("web"))
        cluster.run_until(lambda: given(cluster) == {"web": nodes}, within=5)
        cluster.create(balancer("twin"))
        cluster.create(balancer("api", 443))
        cluster.run_until(lambda: given(cluster) == {"web": nodes, "api": nodes}, within=5)
        text = "port 80/TCP of the nodes is already used by service default/web"
        cluster.advance(5)
        assert any(text in line for line in told(cluster, "twin"))
        cluster.delete("service/web")
        cluster.run_until(lambda: given(cluster) == {"twin": nodes, "api": nodes}, within=5)
        cluster.faults.crash_node(objects.name(cluster.list("nodes")[1]))
        cluster.run_until(lambda: given(cluster) == {"twin": nodes[:1], "api": nodes[:1]}, within=120)


def test_none() -> None:
    """Where somebody else is to look after load balancers, nobody here does."""
    with chosen("none") as cluster:
        cluster.create(balancer("web"))
        cluster.advance(30)
        assert shown(cluster.get("service/web")) == objects.finalizers(cluster.get("service/web") or {}) == []
