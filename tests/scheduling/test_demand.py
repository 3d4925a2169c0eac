"""What a pod asks for, read from its spec."""

import tracemalloc
from typing import Any

from sampan.kit.frozen import freeze
from sampan.scheduling import demand


def pod(name: str, volumes: tuple[Any, ...] = (), **container: Any) -> Any:
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
    mounts = [{"name": f"token-{name}", "mountPath": "/token"}]
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "web:1", "volumeMounts": mounts, **container}]}
    return freeze({"metadata": metadata, "spec": {**spec, "volumes": list(volumes)} if volumes else spec})


def asked(cpu: str) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}


def test_pods_of_one_template_are_read_once() -> None:
    """Names and mounts are no part of what is asked for; amounts, ports and images are."""
    first, second = demand.of(pod("a", **asked("100m"))), demand.of(pod("b", **asked("100m")))
    assert first.requests is second.requests and first.shape == second.shape
    assert first.requests == {"cpu": 100, "memory": 1 << 30}
    more = demand.of(pod("c", **asked("200m")))
    assert (more.requests["cpu"], more.assumed) == (200, (200, 1 << 30)) and more.shape != first.shape
    ports = demand.of(pod("d", ports=[{"containerPort": 80, "hostPort": 8080}], **asked("100m")))
    assert ports.ports == (("TCP", "0.0.0.0", 8080),) and ports.shape != first.shape
    assert demand.of(pod("e", image="db", **asked("100m"))).images == ("db:latest",)


def test_ports_that_a_node_does_not_give_are_no_part_of_it() -> None:
    """Nor are the names of those that it does."""
    plain = demand.of(pod("a", ports=[{"containerPort": n} for n in range(1, 15000)], **asked("300m")))
    assert plain.requests is demand.of(pod("b", **asked("300m"))).requests
    taken = [
        demand.of(pod(name, ports=[{"name": name, "containerPort": 80, "hostPort": 8080}], **asked("300m")))
        for name in ("c", "d")
    ]
    assert taken[0].requests is taken[1].requests is not plain.requests


def test_what_asks_for_much_is_not_remembered() -> None:
    """So what is remembered has a bound in bytes."""
    before = len(demand._READ)
    for name in "ab":
        many = demand.of(pod(name, ports=[{"containerPort": n, "hostPort": n} for n in range(1, 1000)]))
        assert many.ports[0] == ("TCP", "0.0.0.0", 1) and len(many.ports) == 999
    assert len(demand._READ) == before


def test_what_is_kept_of_a_pod_is_small() -> None:
    """Two texts for each that is placed, and there may be tens of thousands."""
    demand.of(pod("before", **asked("100m")))
    tracemalloc.start()
    try:
        kept = [(each.shape, each.neighbours) for each in (demand.of(pod("a", **asked("100m"))) for _ in range(200))]
        assert tracemalloc.get_traced_memory()[0] < len(kept) * 1500
    finally:
        tracemalloc.stop()


def test_images_that_are_volumes_count_with_those_of_containers() -> None:
    """Each pod's own volumes are looked at, whatever its containers have in common with others."""
    plain = demand.of(pod("a"))
    mounting = demand.of(pod("b", volumes=({"name": "v", "image": {"reference": "data"}},)))
    assert plain.images == ("web:1",) and mounting.images == ("data:latest", "web:1")
    assert plain.shape != mounting.shape
