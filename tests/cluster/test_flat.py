"""What comes and goes leaves nothing behind: after many rounds as many objects are alive in this process as after few."""

import functools
import gc
import logging
from collections import Counter, deque
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from sampan.kit.texts import Texts
from sampan.meta.apply import comparison, fieldset, handover, managed
from sampan.node import fetch
from sampan.scheduling import memory, snapshot
from sampan.server import cache, pipeline
from sampan.testing.cluster import Cluster

pytestmark = pytest.mark.slow

ROUNDS, BATCHES = 2, 3
BOUNDED = ("SimulatedNetwork", "touched")
"""Of what fills up slowly: a node's addresses that are free again, and the scheduler's notes."""
SWEPT_LATE = ("sampan.node.fetch._Kept",)
"""There may be twice as many as were fresh when they were last swept; what holds them is looked at as a container."""
QUIET_MINUTES = 61
"""Events live for an hour, and no memory of them lives longer."""

Object = dict[str, Any]


@pytest.fixture
def small_caches(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """What is bounded by number is full after the first rounds; and no record is kept of what is logged in passing."""
    request.addfinalizer(functools.partial(logging.disable, logging.root.manager.disable))
    logging.disable(logging.INFO)
    for module, name in (
        (cache, "LEAST_EVENTS"), (cache, "FRESH_EVENTS"), (fieldset, "MAX_SHARED"), (handover, "MAX_KNOWN"), (pipeline, "MAX_KNOWN"), (fetch, "KEPT"),
        (memory, "MAX_KNOWN"), (memory, "MAX_ENTRIES"), (memory, "MAX_TALLIES"), (snapshot, "MAX_NOTES"), (comparison, "MAX_KNOWN"), (memory, "FEWEST"), (memory, "MOST"), (managed, "MAX_KNOWN"),
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


def work(cluster: Cluster, rounds: range) -> None:
    """The rounds, until all that has a time has had it. What a simulated cluster keeps for its user is let go, as by a compaction."""
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


def alive() -> Counter[str]:
    """How many objects there are of each type that the garbage collector knows."""
    return Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())


def containers() -> Iterator[Any]:
    """Each dict, list, set and deque, also of texts and numbers alone, but for memories of a given size."""
    seen: set[int] = set()
    todo = gc.get_objects()
    ours = {id(seen), id(todo)}
    for each in (each for each in todo if isinstance(each, functools._lru_cache_wrapper | Texts)):
        ours |= {id(each), *map(id, gc.get_referents(each))}
    while todo:
        each = todo.pop()
        if id(each) in seen or id(each) in ours:
            continue
        seen.add(id(each))
        if isinstance(each, dict | list | set | deque):
            yield each
        todo.extend(gc.get_referents(each))


def story(container: Any) -> str:
    """How much it holds, what for instance, and who holds it."""
    first = str(next(iter(container), ""))[:100]
    holders = [each for each in gc.get_referrers(container) if isinstance(each, dict) or hasattr(each, "__dict__")]
    names = [
        key
        for each in holders
        for key, value in (each if isinstance(each, dict) else vars(each)).items()
        if value is container
    ]
    return f"{len(container)} in {[type(each).__qualname__ for each in holders]} {names}: {first}"


def is_held(noted: tuple[Any, int]) -> bool:
    """Whether the container that is noted here is somebody else's too: one that was replaced meanwhile is nobody's."""
    return any(each is not noted and not isinstance(each, FrameType) for each in gc.get_referrers(noted[0]))


def slack(name: str) -> int:
    """So many more in each round are none: workers keep what they did last, and caches of texts are anywhere between empty and full."""
    return 60 if name.startswith("builtins.") or name in SWEPT_LATE else 2


@pytest.mark.usefixtures("small_caches")
def test_rounds_of_work_leave_nothing_behind() -> None:
    """No sort of object has got two more in each round (workers that are hired keep what they did last), no container has
    grown with each round."""
    before: Counter[str] = Counter()
    lengths: dict[int, int] = {}
    grown: list[tuple[Any, int]] = []
    with Cluster(nodes=2) as cluster:
        for start in range(0, BATCHES * ROUNDS, ROUNDS):
            work(cluster, range(start, start + ROUNDS))
            if not lengths:
                before = alive()
                lengths = {id(each): len(each) for each in containers()}
            elif not grown:
                found = ((each, len(each), lengths.get(id(each))) for each in containers())
                grown = [(each, now) for each, now, before in found if before is not None and now >= before + ROUNDS]
        told = [story(pair[0]) for pair in grown if len(pair[0]) >= pair[1] + ROUNDS and is_held(pair)]
        grown.clear()  # it holds what was replaced meanwhile, with all that is in there
        gc.collect()
        after = alive()
        assert cluster.list("event") == []
        assert [text for text in told if not any(name in text for name in BOUNDED)] == []
    rounds = ROUNDS * (BATCHES - 1)
    assert {
        name: (before[name], count) for name, count in after.items() if count - before[name] >= rounds * slack(name)
    } == {}
