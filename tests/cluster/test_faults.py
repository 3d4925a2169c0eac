"""Faults: each does what it says, can be told to end, and a Deployment is what it should be afterwards."""

import gc
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sampan.client.transport import TransportError
from sampan.cluster import invariants
from sampan.cluster.aim import CONTROLLERS, SCHEDULER, WATCHES, WRITES, Aim
from sampan.cluster.faults import Fault, Faults
from sampan.cluster.simulated import SimulatedCluster, digest
from sampan.kinds.admissionregistration.validating_webhook_configuration import (
    VALIDATING_WEBHOOK_CONFIGURATION as WEBHOOKS,
)
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.meta import conditions, objects
from sampan.meta.status import ApiError
from sampan.web.message import Request, Response
from tests.sim import trees

Tree = dict[str, Any]
ADMIN = ("kubernetes-admin",)


@pytest.fixture
def cluster() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(seed=1, nodes=2) as made:
        yield made


@pytest.fixture
def faults(cluster: SimulatedCluster) -> Faults:
    return Faults(cluster)


def one(name: str = "one") -> Tree:
    return trees.config_map(name)


def restart(cluster: SimulatedCluster, replicas: int = 4) -> None:
    """A Deployment is wanted, and becomes what it should be."""
    cluster.apply(trees.deployment(replicas))


def assert_well(cluster: SimulatedCluster, replicas: int = 4) -> None:
    """The Deployment is complete, and nothing is left undone."""
    cluster.run_until(lambda: is_complete(cluster, replicas), within=600)
    cluster.advance(60)


def is_complete(cluster: SimulatedCluster, replicas: int) -> bool:
    if not cluster.is_up or (found := cluster.get(DEPLOYMENT, "web", "default")) is None:
        return False
    status = found.get("status") or {}
    return status.get("availableReplicas") == replicas == status.get("updatedReplicas")


# Requests


@pytest.mark.parametrize(
    ("code", "reason"),
    [(500, "InternalError"), (503, "ServiceUnavailable"), (429, "TooManyRequests"), (409, "Conflict")],
)
def test_errors(cluster: SimulatedCluster, faults: Faults, code: int, reason: str) -> None:
    """The server refuses with this code, does nothing, and is well again afterwards."""
    with faults.errors(code, Aim(users=ADMIN), retry_seconds=7), pytest.raises(ApiError) as caught:
        cluster.create(one())
    assert (caught.value.code, caught.value.reason) == (code, reason)
    assert caught.value.headers["Retry-After"] == "7"
    assert cluster.get(CONFIGMAP, "one", "default") is None
    cluster.create(one())


def test_an_aim_chooses(cluster: SimulatedCluster, faults: Faults) -> None:
    """By user, verb and resource; at most so many times; by default nobody but the cluster's own parts is struck."""
    faults.errors(500)
    cluster.create(one())
    faults.errors(500, Aim(users=("*",), verbs=("delete",), resources=("configmaps",), times=1))
    cluster.patch(CONFIGMAP, "one", "default", {"data": {"a": "1"}})
    with pytest.raises(ApiError):
        cluster.delete(CONFIGMAP, "one", "default")
    cluster.delete(CONFIGMAP, "one", "default")


def test_a_chance_is_the_seeds(cluster: SimulatedCluster) -> None:
    """Some requests are struck and some are not; the same ones with the same seed."""

    def struck(seed: int) -> list[bool]:
        with Faults(cluster, seed).errors(500, Aim(users=ADMIN, chance=0.5)):
            return [fails(cluster) for _ in range(20)]

    first = struck(1)
    assert 2 < sum(first) < 18
    assert struck(1) == first
    assert struck(2) != first


def fails(cluster: SimulatedCluster) -> bool:
    try:
        cluster.run(cluster.client.list(NODE))
    except ApiError:
        return True
    return False


def test_latency(cluster: SimulatedCluster, faults: Faults) -> None:
    """The answer comes as late as it was told to."""
    with faults.latency(2, 3, Aim(users=ADMIN)):
        cluster.create(one())
    assert 2 <= cluster.time <= 3


def test_broken_connections(cluster: SimulatedCluster, faults: Faults) -> None:
    """Before the write: it is not done. After it: it is, and only its answer is lost."""
    with faults.broken_connections(Aim(users=ADMIN)), pytest.raises(TransportError, match="connection reset by peer"):
        cluster.create(one())
    assert cluster.get(CONFIGMAP, "one", "default") is None
    with faults.lost_answers(Aim(users=ADMIN, verbs=WRITES)), pytest.raises(TransportError):
        cluster.create(one())
    assert cluster.get(CONFIGMAP, "one", "default")


# Watches


def watched(cluster: SimulatedCluster) -> list[str]:
    """What somebody who watches ConfigMaps is told, to the end of the watch."""
    told: list[str] = []

    async def follow() -> None:
        listing = await cluster.client.list(CONFIGMAP, "default")
        events = cluster.client.watch(CONFIGMAP, "default", resource_version=listing.resource_version)
        try:
            async for event in events:
                told.extend([objects.name(event.object)])
        except (TransportError, ApiError) as error:
            told.append(type(error).__name__)

    cluster.loop.call_soon(lambda: cluster.plane.tasks.spawn(follow(), "follow"))
    cluster.advance(0)
    return told


def test_watches_are_dropped(cluster: SimulatedCluster, faults: Faults) -> None:
    """Those that are open break off, and caches take them up again without missing anything."""
    told = watched(cluster)
    assert faults.drop_watches(Aim(users=ADMIN)) == 1
    cluster.advance(1)
    assert told == ["TransportError"]
    assert faults.drop_watches() > 20
    restart(cluster)
    assert_well(cluster)


def test_watches_expire(cluster: SimulatedCluster, faults: Faults) -> None:
    """Who takes one up again is told 410, and lists anew."""
    lists: list[str] = []

    async def count(request: Request, identity: str, send: Any) -> Response:
        if request.method == "GET" and not request.param("watch"):
            lists.append(request.path)
        return await send(request)

    cluster.doors.interceptors.append(count)
    restart(cluster)
    cluster.advance(5)
    aim = Aim(users=CONTROLLERS, resources=("replicasets.apps",))
    before = lists.count("/apis/apps/v1/replicasets")
    assert faults.expire_watches(aim) >= 1
    cluster.advance(20)
    assert lists.count("/apis/apps/v1/replicasets") > before
    assert_well(cluster)


def test_late_watches(cluster: SimulatedCluster, faults: Faults) -> None:
    """Each change is heard of so many seconds after it happened, a burst as one."""
    told = watched(cluster)
    with faults.late_watches(10, Aim(users=ADMIN)):
        cluster.create(one("a"))
        cluster.create(one("b"))
        cluster.advance(9.9)
        assert told == []
        cluster.advance(0.2)
        assert told == ["a", "b"]
        cluster.create(one("c"))
    cluster.advance(0)
    assert told == ["a", "b", "c"]


def test_silent_watches(cluster: SimulatedCluster, faults: Faults) -> None:
    """Nothing is heard and nobody notices, until it ends; then nothing is missing."""
    told = watched(cluster)
    with faults.silent_watches(Aim(users=ADMIN)):
        cluster.create(one("a"))
        cluster.advance(300)
        assert told == []
    cluster.advance(0)
    assert told == ["a"]


def test_a_stale_controller_does_nothing_twice(cluster: SimulatedCluster, faults: Faults) -> None:
    """Whoever does not see what it made waits for that, and makes no more: no pod is one too many."""
    watching = invariants.watch(cluster)
    with faults.late_watches(60, Aim(users=CONTROLLERS, resources=("pods",))):
        restart(cluster)
        cluster.advance(300)
    assert_well(cluster)
    watching.settled()
    made = [c for c in cluster.history if c.resource == "pods" and c.type == "ADDED"]
    assert len(made) == 4


# The control plane


def test_the_control_plane_comes_back(cluster: SimulatedCluster, faults: Faults) -> None:
    """While it is gone connections are refused; afterwards everything goes on."""
    restart(cluster)
    faults.crash_control_plane(back_after=30)
    with pytest.raises(TransportError, match="connection refused"):
        cluster.create(one())
    cluster.advance(31)
    cluster.create(one())
    assert_well(cluster)


@pytest.mark.parametrize("number", [1, 2, 5, 9, 14, 20])
def test_a_crash_at_a_write(cluster: SimulatedCluster, faults: Faults, number: int) -> None:
    """What was written stays, also what nobody was told of; what was under way is done afterwards, and once."""
    watching = invariants.watch(cluster)
    faults.crash_at_write(number, back_after=3)
    try:
        restart(cluster)
    except TransportError:
        assert number == 1
    assert_well(cluster)
    assert "crash the control plane" in [what for _, what in faults.log]
    assert cluster.time > 3
    watching.settled()


def test_crashes_by_chance_end(cluster: SimulatedCluster, faults: Faults) -> None:
    """At most so often; and again while it starts, it is started once more."""
    restart(cluster)
    faults.crash_at_writes(0.2, back_after=2, times=3)
    cluster.advance(120)
    assert [what for _, what in faults.log].count("crash the control plane") == 3
    assert_well(cluster)


def test_duplicate_controllers(cluster: SimulatedCluster, faults: Faults) -> None:
    """Two sets of them get in each other's way, and still come to the same end."""
    watching = invariants.watch(cluster)
    with faults.duplicate_controllers():
        restart(cluster)
        cluster.advance(30)
    assert_well(cluster)
    watching.settled()


def test_rivals_need_no_control_plane(cluster: SimulatedCluster, faults: Faults) -> None:
    """They begin while it is down, outlive its crashes, and are gone when they end."""
    faults.crash_control_plane(back_after=10)
    rivals = faults.duplicate_controllers()
    faults.after(20, lambda: faults.crash_control_plane(back_after=5))
    cluster.advance(11)
    restart(cluster)
    cluster.advance(30)
    assert len(watches_of_rivals(cluster)) > 20
    rivals.end()
    assert_well(cluster)
    assert watches_of_rivals(cluster) == []


def test_rivals_end_with_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who forgets to end them hears nothing of it afterwards."""
    ignored: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    with SimulatedCluster(seed=1, nodes=1) as cluster:
        Faults(cluster).duplicate_controllers()
        restart(cluster, 1)
        cluster.advance(2)
    del cluster
    gc.collect()
    assert ignored == []


def watches_of_rivals(cluster: SimulatedCluster) -> list[Request]:
    return [s.request for s in cluster.doors.streams if Aim(groups=("rivals",)).is_about(s.request)]


def test_a_stale_instance_beside_the_first(cluster: SimulatedCluster, faults: Faults) -> None:
    """It sees everything late, the first one does not; what it does in vain is put right."""
    watching = invariants.watch(cluster, faults=faults)
    with faults.duplicate_controllers(late=20):
        restart(cluster)
        cluster.advance(60)
        cluster.patch(DEPLOYMENT, "web", "default", {"spec": {"replicas": 1}})
        cluster.advance(60)
    assert_well(cluster, 1)
    watching.settled()
    assert [what for _, what in faults.log] == [
        "duplicate controllers, stale by 20 s", "end of duplicate controllers, stale by 20 s",
    ]  # fmt: skip


def test_controllers_stand_still(cluster: SimulatedCluster, faults: Faults) -> None:
    """Nothing is done while they are frozen; then they go on, and nothing is done twice."""
    watching = invariants.watch(cluster, faults=faults)
    restart(cluster)
    assert_well(cluster)
    with faults.freeze(*CONTROLLERS):
        cluster.patch(DEPLOYMENT, "web", "default", {"spec": {"replicas": 2}})
        cluster.advance(100)
        assert len(cluster.list(POD)) == 4
        cluster.patch(DEPLOYMENT, "web", "default", {"spec": {"replicas": 3}})
    assert_well(cluster, 3)
    watching.settled()
    assert [what for _, what in faults.log] == [f"{what}freeze {CONTROLLERS[0]}" for what in ("", "end of ")]


# Nodes


def test_a_frozen_node(cluster: SimulatedCluster, faults: Faults) -> None:
    """It says nothing, and is taken for lost; then it is there again with what it had."""
    restart(cluster)
    assert_well(cluster)
    before = containers(cluster, "sampan-2")
    with faults.freeze("sampan-2"):
        cluster.advance(60)
        assert not conditions.is_true(cluster.get(NODE, "sampan-2"), "Ready")
    cluster.advance(30)
    assert conditions.is_true(cluster.get(NODE, "sampan-2"), "Ready")
    assert containers(cluster, "sampan-2") == before


def test_a_node_crashes_and_returns(cluster: SimulatedCluster, faults: Faults) -> None:
    """It is not Ready 50 seconds later, and Ready again when it is back; its pods' containers start anew."""
    restart(cluster)
    assert_well(cluster)
    faults.crash_node("sampan-2", back_after=100)
    cluster.advance(60)
    assert not conditions.is_true(cluster.get(NODE, "sampan-2"), "Ready")
    assert not cluster.is_node_up("sampan-2")
    cluster.advance(50)
    assert conditions.is_true(cluster.get(NODE, "sampan-2"), "Ready")
    assert_well(cluster)


def test_a_partition(cluster: SimulatedCluster, faults: Faults) -> None:
    """The node is lost to the others while its containers go on; afterwards they are the same ones."""
    restart(cluster)
    assert_well(cluster)
    before = containers(cluster, "sampan-2")
    with faults.partition("sampan-2"):
        cluster.advance(60)
        assert not conditions.is_true(cluster.get(NODE, "sampan-2"), "Ready")
    cluster.advance(30)
    assert conditions.is_true(cluster.get(NODE, "sampan-2"), "Ready")
    assert containers(cluster, "sampan-2") == before


def containers(cluster: SimulatedCluster, node: str) -> list[str]:
    found = [p for p in cluster.list(POD) if p["spec"].get("nodeName") == node]
    return sorted(c["containerID"] for p in found for c in p["status"].get("containerStatuses", ()))


# Containers, webhooks, time


def test_containers(cluster: SimulatedCluster, faults: Faults) -> None:
    """Images that can't be had, and containers that fail, as long as the fault lasts."""
    with faults.containers("web", {"pull": {"takes": "1s", "error": "timeout"}}):
        restart(cluster)
        cluster.advance(30)
        assert {waiting(p) for p in cluster.list(POD)} <= {"ErrImagePull", "ImagePullBackOff"}
    assert_well(cluster)


def test_slow_pulls(cluster: SimulatedCluster, faults: Faults) -> None:
    """The container waits for its image."""
    with faults.containers("web", {"pull": "90s"}):
        restart(cluster)
        cluster.advance(60)
        assert {waiting(p) for p in cluster.list(POD)} == {"ContainerCreating"}
        assert_well(cluster)
    assert cluster.time >= 90


def test_exit_codes(cluster: SimulatedCluster, faults: Faults) -> None:
    """Containers that run, too, end with the code, and are restarted until it is over."""
    restart(cluster)
    assert_well(cluster)
    with faults.containers("app=web", {"run": "5s", "exit": 3}):
        cluster.advance(60)
        found = [p["status"]["containerStatuses"][0] for p in cluster.list(POD)]
        assert {each["lastState"]["terminated"]["exitCode"] for each in found} == {3}
        assert all(each["restartCount"] > 1 for each in found)
    assert_well(cluster)


def test_probe_failures(cluster: SimulatedCluster, faults: Faults) -> None:
    """A readiness probe takes the pods out, a liveness probe kills the containers; both end with the fault."""
    probe = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 2, "failureThreshold": 2}
    made = trees.deployment(2)
    made["spec"]["template"]["spec"]["containers"][0] |= {"readinessProbe": probe, "livenessProbe": probe}
    cluster.apply(made)
    assert_well(cluster, 2)
    with faults.containers("web", {"readiness": "HTTP probe failed with statuscode: 503"}):
        cluster.advance(10)
        assert not any(conditions.is_true(p, "Ready") for p in cluster.list(POD))
    assert_well(cluster, 2)
    assert sum(p["status"]["containerStatuses"][0]["restartCount"] for p in cluster.list(POD)) == 0
    with faults.containers("web", {"liveness": False}):
        cluster.advance(60)
        assert all(p["status"]["containerStatuses"][0]["restartCount"] for p in cluster.list(POD))
    assert_well(cluster, 2)


def waiting(p: Tree) -> str:
    state = p["status"]["containerStatuses"][0]["state"]
    return str(state.get("waiting", {}).get("reason", ""))


def hook(url: str, **more: Any) -> Tree:
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    client: Tree = {"url": url}
    if ".svc" in url:
        client = {"service": {"name": "policy", "namespace": "default", "path": "/check"}}
    only = {"matchLabels": {"kubernetes.io/metadata.name": "default"}}
    webhook = {
        "name": "policy.example.com", "clientConfig": client, "rules": [rule], "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "timeoutSeconds": 5, "namespaceSelector": only, **more,
    }  # fmt: skip
    return trees.tree(
        "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "policy", "", webhooks=[webhook]
    )


def deny(review: Tree) -> Tree:
    return {"allowed": False, "status": {"message": f"no {review['request']['name']}"}}


def test_webhooks_by_url(cluster: SimulatedCluster, faults: Faults) -> None:
    """A function answers in a webhook's place; late, broken or failing calls are as its failurePolicy says."""
    url = "https://policy.example.com/check"
    cluster.outbound.serve(url, deny)
    cluster.create(hook(url, failurePolicy="Fail"))
    with pytest.raises(ApiError, match=r'"policy\.example\.com" denied the request: no one'):
        cluster.create(one())
    began = cluster.time
    with faults.webhooks(seconds=60), pytest.raises(ApiError, match="context deadline exceeded"):
        cluster.create(one())
    assert cluster.time - began == 5
    with faults.webhooks(error="connection refused"), pytest.raises(ApiError, match="connection refused"):
        cluster.create(one())
    with faults.webhooks("*/other", status=500), pytest.raises(ApiError, match="no one"):
        cluster.create(one())
    cluster.patch(WEBHOOKS, "policy", "", {"webhooks": hook(url, failurePolicy="Ignore")["webhooks"]})
    with faults.webhooks(status=500):
        cluster.create(one())


def test_webhooks_by_service(cluster: SimulatedCluster) -> None:
    """It answers while its Service has a ready endpoint, on simulated nodes too."""
    cluster.outbound.serve("https://policy.default.svc/check", deny)
    cluster.create(hook("https://policy.default.svc/check"))
    cluster.create(
        trees.tree("v1", "Service", "policy", spec={"selector": {"app": "policy"}, "ports": [{"port": 443}]})
    )
    with pytest.raises(ApiError, match='no endpoints available for service "policy"'):
        cluster.create(one())
    cluster.create(trees.pod("policy", {"app": "policy"}))
    cluster.advance(5)
    with pytest.raises(ApiError, match="denied the request: no one"):
        cluster.create(one())


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
def test_the_clock_jumps(cluster: SimulatedCluster, faults: Faults, seconds: float) -> None:
    """What people read jumps; nobody is evicted for it, and no node is lost."""
    restart(cluster)
    assert_well(cluster)
    pods = sorted(map(objects.uid, cluster.list(POD)))
    before = cluster.clock.now()
    faults.jump_clock(seconds)
    assert cluster.clock.now() == before + seconds
    cluster.advance(200)
    assert all(conditions.is_true(node, "Ready") for node in cluster.list(NODE))
    assert sorted(map(objects.uid, cluster.list(POD))) == pods


# When


def test_the_log_says_what_ended(cluster: SimulatedCluster, faults: Faults) -> None:
    """Each entry can be read alone, and says what the fault was aimed at."""
    with faults.partition("sampan-2"), faults.errors(500, Aim(chance=0.25, verbs=("create",), resources=("pods",))):
        cluster.advance(3)
    assert faults.log == [
        (0.0, "partition of sampan-2"),
        (0.0, "errors 500 create of pods (25%)"),
        (3.0, "end of errors 500 create of pods (25%)"),
        (3.0, "end of partition of sampan-2"),
    ]


def test_again_and_again(cluster: SimulatedCluster) -> None:
    """As the seed says: when, and for how long; the same with the same one, until it is over."""

    def play(seed: int) -> list[tuple[float, str]]:
        faults, began = Faults(cluster, seed), cluster.time
        many = faults.every(10, 30, lambda: faults.webhooks(status=500), lasting=(1, 5))
        faults.after((40, 60), lambda: faults.jump_clock(1), lasting=3)
        cluster.advance(100)
        many.end()
        cluster.advance(50)
        return [(round(time - began, 6), what) for time, what in faults.log]

    first = play(1)
    begun = [time for time, what in first if what == "webhooks *: status 500"]
    ended = [time for time, what in first if what == "end of webhooks *: status 500"]
    assert 3 <= len(begun) <= 10
    assert all(1 <= end - begin <= 5 for begin, end in zip(begun, ended, strict=True))
    assert [40 <= time <= 60 for time, what in first if what == "clock jumps by 1 s"] == [True]
    assert play(1) == first
    assert play(2) != first


def test_blindness_passes(cluster: SimulatedCluster, faults: Faults) -> None:
    """What may be unknown to somebody while watches are silent is known a while after; two at once count as one."""
    one, other = faults.silent_watches(), faults.silent_watches(Aim(resources=("pods",)))
    cluster.advance(20)
    one.end()
    assert cluster.doors.lag_seconds == float("inf")
    cluster.advance(20)
    other.end()
    assert cluster.doors.lag_seconds == 70
    cluster.advance(69)
    assert cluster.doors.lag_seconds == 70
    cluster.advance(2)
    assert cluster.doors.lag_seconds == 0


# All of them


def test_what_is_wrong_ends(cluster: SimulatedCluster, faults: Faults) -> None:
    """On a schedule; `end` mends everything, and the end of a fault that is over does nothing."""
    kept: list[Fault] = []
    faults.after(5, lambda: kept.append(faults.errors(500, Aim(users=("*",)))))
    faults.after(8, lambda: faults.crash_node("sampan-2"))
    cluster.create(one("a"))
    cluster.advance(9)
    with pytest.raises(ApiError):
        cluster.create(one("b"))
    faults.crash_control_plane()
    faults.end()
    kept[0].end()
    cluster.advance(30)
    cluster.create(one("b"))
    assert cluster.is_node_up("sampan-2")
    assert conditions.is_true(cluster.get(NODE, "sampan-2"), "Ready")


def test_the_scheduler_does_not_forget_what_it_bound(cluster: SimulatedCluster, faults: Faults) -> None:
    """A binding without an answer may be there: nobody gets its room before that is known."""
    watching = invariants.watch(cluster)
    aim = Aim(users=SCHEDULER, resources=("pods/binding",), verbs=("create",))
    spec = {"containers": [{"name": "main", "image": "web", "resources": {"requests": {"cpu": "20"}}}]}
    with faults.lost_answers(aim), faults.late_watches(5, Aim(users=SCHEDULER, verbs=WATCHES)):
        for name in ("a", "b", "c", "d"):
            cluster.create(trees.pod(name, **spec))
        cluster.advance(60)
    cluster.advance(600)
    assert len([p for p in cluster.list(POD) if p["spec"].get("nodeName")]) == 2
    watching.settled()


def test_the_same_seed_goes_wrong_alike() -> None:
    """Everything that chance decides follows from the seed."""

    def play(seed: int) -> str:
        with SimulatedCluster(seed=seed, nodes=2) as cluster:
            faults = Faults(cluster)
            restart(cluster)
            faults.errors(503, Aim(chance=0.3))
            faults.crash_at_writes(0.05, back_after=1, times=2)
            cluster.advance(30)
        return digest(cluster.history)

    assert play(1) == play(1)
    assert play(1) != play(2)
