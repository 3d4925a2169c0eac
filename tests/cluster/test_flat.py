"""What comes and goes leaves nothing behind: after many rounds as many objects are alive in this process as after few."""

import gc
from collections import Counter
from typing import Any

import pytest

from sampan.meta.apply import managed
from sampan.node import fetch
from sampan.scheduling import memory
from sampan.server import cache, pipeline
from sampan.testing.cluster import Cluster

pytestmark = pytest.mark.slow

ROUNDS, BATCHES = 2, 3
QUIET_MINUTES = 61
"""Events live for an hour, and no memory of them lives longer."""

Object = dict[str, Any]


@pytest.fixture
def small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is bounded by number is full after the first rounds."""
    for module, name in (
        (cache, "LEAST_EVENTS"), (cache, "FRESH_EVENTS"), (cache, "MAX_FIELD_SETS"), (pipeline, "MAX_KNOWN"), (fetch, "KEPT"),
        (memory, "MAX_KNOWN"), (memory, "MAX_ENTRIES"), (memory, "MAX_TALLIES"), (memory, "FEWEST"), (memory, "MOST"), (managed, "MAX_KNOWN"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, 1)


def template(name: str) -> Object:
    source = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "kept", "key": "a"}}}
    probe = {"httpGet": {"port": 80}}
    container = {"name": "c", "image": "web", "env": [source], "readinessProbe": probe}
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}


def objects(name: str) -> list[Object]:
    """One of each sort of work, named anew in each round."""
    selector, ports = {"matchLabels": {"app": name}}, [{"port": 80}]
    batch = template(f"job-{name}")
    batch["spec"]["restartPolicy"] = "Never"
    storage = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    claims = [{"metadata": {"name": "data"}, "spec": storage}]
    set_ = {"replicas": 1, "serviceName": name, "volumeClaimTemplates": claims}
    made: list[tuple[str, str, Object]] = [
        ("v1", "ConfigMap", {"data": {"a": name}}),
        ("v1", "Service", {"spec": {"selector": {"app": name}, "ports": ports}}),
        ("apps/v1", "Deployment", {"spec": {"replicas": 2, "selector": selector, "template": template(name)}}),
        ("apps/v1", "StatefulSet", {"spec": {**set_, "selector": selector, "template": template(name)}}),
        ("batch/v1", "Job", {"spec": {"template": batch}}),
        ("policy/v1", "PodDisruptionBudget", {"spec": {"minAvailable": 1, "selector": selector}}),
        ("coordination.k8s.io/v1", "Lease", {"spec": {"holderIdentity": name}}),
    ]
    return [
        {"apiVersion": version, "kind": kind, "metadata": {"name": "kept" if kind == "ConfigMap" else name}, **rest}
        for version, kind, rest in made
    ]


def one_round(cluster: Cluster, number: int) -> None:
    """A namespace with work in it, which is changed once, and gone at the end."""
    namespace, name = f"space-{number}", f"web-{number}"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    cluster.apply(*objects(name), namespace=namespace)
    cluster.advance(minutes=1)
    deployment = objects(name)[2]
    deployment["spec"]["template"]["metadata"]["annotations"] = {"round": "2"}
    cluster.apply(deployment, namespace=namespace)
    cluster.advance(minutes=1)
    cluster.delete(f"namespace/{namespace}")
    cluster.advance(minutes=1)
    assert cluster.get("namespace", namespace) is None


def alive(cluster: Cluster, rounds: range) -> Counter[str]:
    """By type, after the rounds and once all that has a time has had it. What a simulated cluster keeps for its user is let go, as by a compaction."""
    for number in rounds:
        one_round(cluster, number)
    for volume in cluster.list("persistentvolume"):
        cluster.delete(volume)
    cluster.advance(minutes=QUIET_MINUTES)
    sim = cluster.sim
    revision = sim.run(sim.store.revision())
    sim.run(sim.store.compact(revision))
    sim.plane.app.cache.forget(revision)
    sim.history.clear()
    cluster.touched.clear()
    gc.collect()
    return Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())


def slack(name: str) -> int:
    """So many more in each round are none: workers keep what they did last, and caches of texts are anywhere between empty and full."""
    return 60 if name.startswith("builtins.") else 2


@pytest.mark.usefixtures("small_caches")
def test_rounds_of_work_leave_nothing_behind() -> None:
    """No sort of object has got two more in each round (workers that are hired keep what they did last)."""
    with Cluster(nodes=2) as cluster:
        counts = [alive(cluster, range(start, start + ROUNDS)) for start in range(0, BATCHES * ROUNDS, ROUNDS)]
        assert cluster.list("event") == []
    before, after = counts[0], counts[-1]
    rounds = ROUNDS * (BATCHES - 1)
    assert {
        name: (before[name], count) for name, count in after.items() if count - before[name] >= rounds * slack(name)
    } == {}
