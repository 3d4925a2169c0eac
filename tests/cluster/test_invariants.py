"""Invariants: each of them sees what breaks it, and lets pass what does not; they work in a cluster as users have them."""

import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest

from sampan.cluster import invariants
from sampan.cluster.aim import Aim
from sampan.cluster.faults import Faults
from sampan.cluster.history import Change
from sampan.cluster.invariants import Invariants, Violation, invariant
from sampan.cluster.rules import settled
from sampan.cluster.rules.world import World
from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.store.protocol import Delete, Put

Tree = dict[str, Any]
APP = {"app": "web"}
T1, T2 = "2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z"


class Story:
    """A history made by hand: each change is later than the one before, and long after it."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.now: dict[tuple[str, str], Tree] = {}

    def put(self, resource: str, name: str, **fields: Any) -> "Story":
        """Makes or changes an object; `metadata` is added to what it has."""
        key = name if resource in ("nodes", "namespaces") else f"default/{name}"
        old = self.now.get((resource, key))
        count = len(self.changes)
        metadata: Tree = {"name": name, "uid": f"uid-{resource}-{name}-{count}", "creationTimestamp": T1}
        if key != name:
            metadata["namespace"] = "default"
        metadata = {**metadata, **(old["metadata"] if old else {}), **fields.pop("metadata", {})}
        metadata["resourceVersion"] = str(fields.pop("revision", 100 + count))
        tree = {**(old or {"kind": "Any", "apiVersion": "v1"}), **fields, "metadata": metadata}
        return self._add(resource, key, "MODIFIED" if old else "ADDED", tree)

    def delete(self, resource: str, name: str) -> "Story":
        """It goes."""
        key = name if resource in ("nodes", "namespaces") else f"default/{name}"
        old = self.now.pop((resource, key))
        metadata = {**old["metadata"], "resourceVersion": str(100 + len(self.changes))}
        return self._add(resource, key, "DELETED", {**old, "metadata": metadata})

    def _add(self, resource: str, key: str, type: str, tree: Tree) -> "Story":
        if type != "DELETED":
            self.now[resource, key] = tree
        self.changes.append(Change(100.0 * len(self.changes), resource, key, type, orjson.dumps(tree)))
        return self


def world_of(story: Story) -> World:
    """What the story adds up to."""
    world = World()
    for change in story.changes:
        world.take(change)
    return world


def verdict(name: str, story: Story) -> str:
    """What the rule of that name says of the last change; it lets all others pass."""
    found: type = next(rule for rule in invariants.ALL if rule.__name__ == name)
    world = World()
    rule = found(world)
    said = ""
    for number, change in enumerate(story.changes):
        assert not said, f"change {number - 1}: {said}"
        world.now, world.time = 1_767_225_600.0 + change.time, change.time
        if not rule.resources or change.resource in rule.resources:
            said = rule.judge(change, world.get(change.resource, change.key))
        world.take(change)
    return str(said)


def owner(kind: str, name: str, uid: str) -> Tree:
    return {"ownerReferences": [{"kind": kind, "name": name, "uid": uid, "controller": True}]}


def pod(node: str = "", cpu: str = "1", **more: Any) -> Tree:
    container = {"name": "main", "resources": {"requests": {"cpu": cpu}}}
    spec: Tree = {"containers": [container], **({"nodeName": node} if node else {})}
    return {"spec": {**spec, **more.pop("spec", {})}, "status": {"phase": "Pending"}, **more}


def ready(phase: str = "Running", **more: Any) -> Tree:
    return {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}], **more}


def node(cpu: str = "2", **spec: Any) -> Tree:
    return {"spec": spec, "status": {"allocatable": {"cpu": cpu, "pods": "10"}}}


def replica_set(replicas: int, deployment: Tree | None = None) -> Story:
    return Story().put("replicasets.apps", "web", metadata={"uid": "rs"}, spec={"replicas": replicas})


def deployment(story: Story, replicas: int = 4) -> Story:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}}
    return story.put(
        "deployments.apps", "web", metadata={"uid": "dep"}, spec={"replicas": replicas, "strategy": strategy}
    )


def old_set(story: Story, name: str, replicas: int) -> Story:
    made = owner("Deployment", "web", "dep")
    return story.put("replicasets.apps", name, metadata={"uid": name, **made}, spec={"replicas": replicas})


def job(**spec: Any) -> Story:
    return Story().put("jobs.batch", "sum", metadata={"uid": "job"}, spec={"parallelism": 1, **spec})


def job_pod(story: Story, name: str, index: str = "") -> Story:
    marks = {"annotations": {"batch.kubernetes.io/job-completion-index": index}} if index else {}
    return story.put("pods", name, metadata=owner("Job", "sum", "job") | marks, **pod())


def quota(**hard: str) -> Story:
    return Story().put("resourcequotas", "q", spec={"hard": hard}, status={"hard": hard})


def budget(allowed: int, needs: int) -> Story:
    story = Story()
    for name in ("a", "b"):
        story.put("pods", name, metadata={"labels": APP}, **pod("n", status=ready()))
    status = {"disruptionsAllowed": allowed, "desiredHealthy": needs}
    return story.put("poddisruptionbudgets.policy", "pdb", spec={"selector": {"matchLabels": APP}}, status=status)


def evicted(story: Story, name: str = "a") -> Story:
    target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    status = ready()
    return story.put(
        "pods",
        name,
        metadata={"deletionTimestamp": T2},
        status={**status, "conditions": [*status["conditions"], target]},
    )


def cm(**fields: Any) -> Story:
    return Story().put("configmaps", "x", **fields)


def service(name: str, **spec: Any) -> Any:
    return {"resource": "services", "name": name, "spec": spec}


def finished(type: str = "Complete", **status: Any) -> Tree:
    return {"status": {"succeeded": 1, "conditions": [{"type": type, "status": "True"}], **status}}


def condition(status: str, time: str) -> Tree:
    return {"status": {"conditions": [{"type": "Ready", "status": status, "lastTransitionTime": time}]}}


GOING = {"deletionTimestamp": T2}


def balanced(address: str) -> Tree:
    return {"spec": {"ports": [{"port": 80}]}, "status": {"loadBalancer": {"ingress": [{"ip": address}]}}}


BROKEN: Sequence[tuple[str, Story, str]] = [
    ("ObjectsAreWhole", cm(kind=""), "it has no kind"),
    ("ObjectsAreWhole", cm(metadata={"uid": ""}), "it has no uid"),
    ("ObjectsAreWhole", cm(metadata={"name": "y"}), "it calls itself default/y"),
    ("VersionsGrow", cm().put("configmaps", "y", revision=5), "resourceVersion 5 came after 100"),
    ("VersionsGrow", cm().put("configmaps", "x", revision=100), "not larger than the object's last one"),
    ("IdentityStays", cm().put("configmaps", "x", metadata={"uid": "other"}), "uid was"),
    ("IdentityStays", cm().put("configmaps", "x", metadata={"creationTimestamp": T2}), "creationTimestamp was"),
    (
        "UidsAreUnique",
        cm(metadata={"uid": "u"}).delete("configmaps", "x").put("secrets", "y", metadata={"uid": "u"}),
        "its uid u is that of configmaps default/x",
    ),
    (
        "GenerationFollowsTheSpec",
        cm(metadata={"generation": 2}).put("configmaps", "x", metadata={"generation": 1}),
        "generation fell from 2 to 1",
    ),
    (
        "GenerationFollowsTheSpec",
        cm(metadata={"generation": 1}, spec=1).put("configmaps", "x", metadata={"generation": 2}, status={}),
        "nothing that is wanted changed",
    ),
    (
        "ObservedGenerationIsReal",
        cm(metadata={"generation": 1}).put("configmaps", "x", status={"observedGeneration": 2}),
        "observedGeneration 2 is beyond generation 1",
    ),
    ("FinalizersHold", cm(metadata={"finalizers": ["a/b"]}).delete("configmaps", "x"), "in spite of a/b"),
    (
        "FinalizersHold",
        cm(metadata={"finalizers": ["a/b"], **GOING}).put("configmaps", "x", metadata={"finalizers": ["a/b", "c/d"]}),
        "finalizer c/d was added",
    ),
    (
        "DeletionIsFinal",
        cm(metadata=GOING).put("configmaps", "x", metadata={"deletionTimestamp": None}),
        "deletionTimestamp is gone",
    ),
    (
        "DeletionIsFinal",
        cm(metadata={"deletionTimestamp": T1}).put("configmaps", "x", metadata=GOING),
        "put off",
    ),
    (
        "ConditionsTellOfTransitions",
        Story().put("nodes", "n", **condition("True", T1)).put("nodes", "n", **condition("True", T2)),
        "condition Ready is True as before",
    ),
    (
        "ReplicaSetsKeepTheirSize",
        replica_set(1)
        .put("pods", "a", metadata=owner("ReplicaSet", "web", "rs"), **pod())
        .put("pods", "b", metadata=owner("ReplicaSet", "web", "rs"), **pod()),
        "it is pod 2 of web, which wants 1",
    ),
    (
        "DeploymentsKeepTheirSurge",
        old_set(old_set(deployment(Story()), "one", 4), "two", 2),
        "it makes 6 replicas of Deployment web, which allows 5",
    ),
    ("JobsKeepTheirBounds", job_pod(job_pod(job(), "a"), "b"), "active pod 2 of Job sum, whose parallelism is 1"),
    ("JobsKeepTheirBounds", job_pod(job(suspend=True), "a"), "which is suspended"),
    ("JobsKeepTheirBounds", job_pod(job().put("jobs.batch", "sum", **finished()), "a"), "which is over"),
    (
        "JobsKeepTheirBounds",
        job_pod(job(completions=1).put("jobs.batch", "sum", status={"succeeded": 1}), "a"),
        "wants 1 completions and has 1",
    ),
    (
        "JobsKeepTheirBounds",
        job_pod(job_pod(job(parallelism=2, completions=2), "a", "0"), "b", "0"),
        "index 0 of Job sum is taken already",
    ),
    ("JobsKeepTheirBounds", job_pod(job(completions=2), "a", "2"), "index 2 of Job sum is too high"),
    (
        "JobsCountUp",
        job().put("jobs.batch", "sum", status={"failed": 2}).put("jobs.batch", "sum", status={"failed": 1}),
        "status.failed fell from 2 to 1",
    ),
    (
        "JobsCountUp",
        job().put("jobs.batch", "sum", **finished()).put("jobs.batch", "sum", status={"succeeded": 1}),
        "it was Complete and is no longer",
    ),
    (
        "PodsEndOnce",
        Story().put("pods", "a", **pod(status={"phase": "Failed"})).put("pods", "a", status={"phase": "Running"}),
        "it was Failed and is Running",
    ),
    (
        "PodsEndOnce",
        Story()
        .put("pods", "a", **pod(status={"containerStatuses": [{"name": "main", "restartCount": 2}]}))
        .put("pods", "a", status={"containerStatuses": [{"name": "main", "restartCount": 1}]}),
        "restartCount of container main fell from 2 to 1",
    ),
    (
        "RestartsFollowEnds",
        Story()
        .put("pods", "a", **pod(status={"containerStatuses": [{"name": "main", "containerID": "x://1"}]}))
        .put("pods", "a", status={"containerStatuses": [{"name": "main", "containerID": "x://2"}]}),
        "container main was x://1 and is x://2: nothing is said of an end of it",
    ),
    (
        "NothingIsMadeInATerminatingNamespace",
        Story().put("namespaces", "default").put("namespaces", "default", metadata=GOING).put("configmaps", "x"),
        "though namespace default is being deleted",
    ),
    (
        "NothingIsMadeInATerminatingNamespace",
        Story().put("namespaces", "default").put("configmaps", "x").delete("namespaces", "default"),
        "left configmaps x behind",
    ),
    (
        "PodsStayWhereTheyAre",
        Story().put("pods", "a", **pod("one")).put("pods", "a", **pod("two")),
        "it moved from node one to two",
    ),
    ("BoundPodsHaveANode", Story().put("pods", "a", **pod()).put("pods", "a", **pod("ghost")), "which there is not"),
    (
        "BoundPodsFit",
        Story().put("nodes", "n", **node()).put("pods", "a", **pod("n", "1.5")).put("pods", "b", **pod())
        .put("pods", "b", **pod("n", "1")),
        "node n has 2000 of cpu, and its pods now take 2500",
    ),
    (
        "RunningPodsFit",
        Story().put("nodes", "n", **node()).put("pods", "a", **pod("n", "1.5", status=ready()))
        .put("pods", "b", **pod("n", "1")).put("pods", "b", status=ready()),
        "node n has 2000 of cpu, and its pods now take 2500",
    ),
    (
        "TaintsKeepPodsAway",
        Story().put("nodes", "n", **node(taints=[{"key": "gpu", "effect": "NoSchedule"}])).put("pods", "a", **pod())
        .put("pods", "a", **pod("n")),
        "whose taint gpu:NoSchedule it does not tolerate",
    ),
    (
        "TaintsKeepPodsAway",
        Story().put("nodes", "n", **node(unschedulable=True)).put("pods", "a", **pod()).put("pods", "a", **pod("n")),
        "node.kubernetes.io/unschedulable",
    ),
    (
        "QuotasHold",
        quota(pods="1").put("pods", "a", **pod()).put("pods", "b", **pod()),
        "quota q allows 1 of pods, and now 2 are taken",
    ),
    (
        "QuotasHold",
        quota(**{"count/configmaps": "1"}).put("configmaps", "a").put("configmaps", "b"),
        "quota q allows 1 of count/configmaps",
    ),
    ("BudgetsHold", evicted(budget(0, 1)), "though budget pdb allows no disruption"),
    ("BudgetsHold", evicted(budget(1, 2)), "which leaves 1 of the 2 pods that pdb needs"),
    (
        "AddressesAreUnique",
        Story().put("services", "a", spec={"clusterIP": "10.96.0.7"}).put("services", "b", spec={"clusterIP": "10.96.0.7"}),
        "cluster IP 10.96.0.7 is that of Service default/a",
    ),
    (
        "AddressesAreUnique",
        Story().put("services", "a", spec={"ports": [{"nodePort": 30000}]})
        .put("services", "b", spec={"ports": [{"nodePort": 30000}]}),
        "node port 30000/TCP",
    ),
    (
        "AddressesAreUnique",
        Story().put("services", "a", **balanced("10.32.0.1")).put("services", "b", **balanced("10.32.0.1")),
        "load balancer address 10.32.0.1, port 80/TCP, is that of Service default/a",
    ),
]  # fmt: skip

FINE: Sequence[tuple[str, Story]] = [
    ("GenerationFollowsTheSpec", cm(metadata={"generation": 1}).put("configmaps", "x", metadata={"generation": 2}, spec=1)),
    (
        "FinalizersHold",
        cm(metadata={"finalizers": ["a/b"]}).put("configmaps", "x", metadata=GOING).delete("configmaps", "x"),
    ),
    ("DeletionIsFinal", cm(metadata=GOING).put("configmaps", "x", metadata={"deletionTimestamp": T1})),
    (
        "ConditionsTellOfTransitions",
        Story().put("nodes", "n", **condition("True", T1)).put("nodes", "n", **condition("False", T2)),
    ),
    ("DeploymentsKeepTheirSurge", old_set(old_set(deployment(Story()), "one", 4), "two", 1)),
    ("JobsKeepTheirBounds", job_pod(job_pod(job(parallelism=2, completions=2), "a", "0"), "b", "1")),
    ("BudgetsHold", evicted(budget(1, 1))),
    ("ObjectsAreWhole", cm()),
    (
        "TaintsKeepPodsAway",
        Story().put("nodes", "n", **node(taints=[{"key": "gpu", "effect": "PreferNoSchedule"}]))
        .put("pods", "a", **pod()).put("pods", "a", **pod("n")),
    ),
    ("QuotasHold", quota(pods="1").put("pods", "a", **pod(status={"phase": "Failed"})).put("pods", "b", **pod())),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "story", "said"), BROKEN, ids=[f"{b[0]}-{i}" for i, b in enumerate(BROKEN)])
def test_a_broken_rule_is_seen(rule: str, story: Story, said: str) -> None:
    """The change that breaks it is judged, and no other."""
    assert said in verdict(rule, story)


@pytest.mark.parametrize(("rule", "story"), FINE, ids=[f"{f[0]}-{i}" for i, f in enumerate(FINE)])
def test_what_is_right_passes(rule: str, story: Story) -> None:
    """Near what is forbidden, but not beyond."""
    assert verdict(rule, story) == ""


def test_every_rule_is_shown_to_work() -> None:
    """No rule is without a case above, or below."""
    shown = {name for name, _, _ in BROKEN} | {"TimeDoesNotGoBack", "OneOfEachName"}
    assert shown == {rule.__name__ for rule in invariants.ALL}
    assert {name for name, _, _ in AT_REST} == {rule.__name__ for rule in settled.RULES}


def test_order_and_existence() -> None:
    """A change of before, a second birth, and a change of what is not there."""
    first = cm().changes[0]
    world = World()
    rules = {rule.__name__: rule(world) for rule in invariants.ALL}
    assert rules["OneOfEachName"].judge(Change(1.0, "configmaps", "default/x", "MODIFIED", first.data), None)
    world.take(first)
    assert rules["OneOfEachName"].judge(first, first.tree)
    assert rules["TimeDoesNotGoBack"].judge(Change(-1.0, "configmaps", "default/y", "ADDED", first.data), None)


def test_nobody_is_blamed_for_what_was_so_a_moment_ago() -> None:
    """A ReplicaSet's pod is made while another makes it smaller: only after the lag it is one too many."""
    story = replica_set(1).put("replicasets.apps", "web", spec={"replicas": 0})
    story.put("pods", "a", metadata=owner("ReplicaSet", "web", "rs"), **pod())
    assert "which wants 0" in verdict("ReplicaSetsKeepTheirSize", story)
    story.changes[2] = Change(100.5, *(getattr(story.changes[2], name) for name in ("resource", "key", "type", "data")))
    assert verdict("ReplicaSetsKeepTheirSize", story) == ""


def test_two_may_see_the_same_turn() -> None:
    """A condition may have another time from each who saw it turn, but not from one who must know."""
    story = Story().put("nodes", "n", **condition("True", T1)).put("nodes", "n", **condition("False", T1))
    story.put("nodes", "n", **condition("False", T2))
    assert "condition Ready is False as before" in verdict("ConditionsTellOfTransitions", story)
    last = story.changes[2]
    story.changes[2] = Change(100.5, last.resource, last.key, last.type, last.data)
    assert verdict("ConditionsTellOfTransitions", story) == ""


def test_an_eviction_is_judged_by_what_was_known() -> None:
    """A pod that was ready a moment ago counts, also if it is being deleted or gone; long ago it does not."""
    story = budget(1, 1)
    evicted(story.delete("pods", "b"))
    assert "which leaves 0 of the 1" in verdict("BudgetsHold", story)
    last = story.changes[4]
    story.changes[4] = Change(300.5, last.resource, last.key, last.type, last.data)
    assert verdict("BudgetsHold", story) == ""


def ready_pod(name: str, ip: str = "10.0.0.1", **more: Any) -> Tree:
    return {"resource": "pods", "name": name, **pod("n", status=ready(podIP=ip)), **more}


def endpoints(*addresses: str) -> Story:
    story = Story().put("services", "web", spec={"selector": APP})
    labels = {"labels": {"kubernetes.io/service-name": "web"}}
    return story.put("endpointslices.discovery.k8s.io", "web-1", metadata=labels, endpoints=[{"addresses": addresses}])


def daemon_set(told: int, **spec: Any) -> Story:
    """For nodes n and m, of which n has a pod of it."""
    made = Story().put("nodes", "n", spec={}).put("nodes", "m", spec={"taints": [{"key": "k", "effect": "NoExecute"}]})
    made.put("daemonsets.apps", "log", metadata={"uid": "ds"}, spec={"template": {"spec": spec}})
    made.put("daemonsets.apps", "log", status={"desiredNumberScheduled": told})
    return made.put("pods", "a", metadata=owner("DaemonSet", "log", "ds"), **pod("n", status=ready()))


AT_REST: Sequence[tuple[str, Story, str]] = [
    (
        "DependentsFollowTheirOwners",
        cm(metadata=owner("ReplicaSet", "gone", "nobody")),
        "configmaps default/x is left of ReplicaSet gone",
    ),
    ("NothingLingers", cm(metadata=GOING), "configmaps default/x is being deleted since"),
    (
        "NothingLingers",
        Story().put("nodes", "n", **condition("True", T1)).put("pods", "a", metadata=GOING, **pod("n")),
        "pods default/a is being deleted",
    ),
    (
        "StatusesAreUpToDate",
        Story().put("deployments.apps", "web", metadata={"generation": 3}, status={"observedGeneration": 2}),
        "has seen generation 2 of 3",
    ),
    ("ReplicaSetsAreFull", replica_set(1), "wants 1 pods and has 0"),
    (
        "ReplicaSetsAreFull",
        replica_set(1).put("pods", "a", metadata=owner("ReplicaSet", "web", "rs"), **pod(status=ready())),
        "has 1 pods, 1 of them ready, and says otherwise",
    ),
    ("DeploymentsArrive", old_set(deployment(Story()), "one", 3), "wants 4 replicas; its ReplicaSets are of [3]"),
    ("DeploymentsArrive", old_set(deployment(Story()), "one", 4), "has 0 of 4 replicas up to date"),
    ("DaemonSetsCoverTheirNodes", daemon_set(2, tolerations=[{"operator": "Exists"}]), "log has no pod on m"),
    ("DaemonSetsCoverTheirNodes", daemon_set(2), "says that 2 nodes should have a pod: it is 1"),
    ("DaemonSetsCoverTheirNodes", daemon_set(0, nodeName="else"), "has a pod on n, where it may not be"),
    ("JobsAreDone", job_pod(job().put("jobs.batch", "sum", **finished()), "a"), "is over, and 1 pods of it are at work"),
    ("JobsAreDone", job_pod(job(), "a"), "has 1 pods at work and says 0"),
    ("PodsArePlaced", Story().put("pods", "a", **pod()), "has no node and does not say why"),
    (
        "PodAddressesAreUnique",
        Story().put(**ready_pod("a")).put(**ready_pod("b")),
        "pods default/a and default/b both have the address 10.0.0.1",
    ),
    (
        "QuotasCountTruly",
        quota(pods="5").put("resourcequotas", "q", status={"used": {"pods": "2"}}).put("pods", "a", **pod()),
        "says that 2 of pods are used: it is 1",
    ),
    ("BudgetsCountTruly", budget(1, 1), "says that 0 pods are healthy: it is 2"),
    (
        "EndpointsAreTrue",
        endpoints("10.0.0.9").put(**ready_pod("a", metadata={"labels": APP})),
        "has the endpoints ['10.0.0.9']: its ready pods are ['10.0.0.1']",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "story", "said"), AT_REST, ids=[f"{b[0]}-{i}" for i, b in enumerate(AT_REST)])
def test_what_is_left_undone_is_seen(rule: str, story: Story, said: str) -> None:
    """Each rule about a cluster at rest finds what is wrong with it, and once."""
    found: type = next(each for each in settled.RULES if each.__name__ == rule)
    said_of = list(found(world_of(story)).judge())
    assert len(said_of) == 1
    assert said in said_of[0]


# In a cluster


def config_map(name: str, **data: str) -> Tree:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


@pytest.fixture
def cluster() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(seed=1) as made:
        yield made


def rewrite(cluster: SimulatedCluster, name: str, old: bytes, new: bytes) -> None:
    """Somebody changes what is stored, past the server."""
    key = f"/registry/core/configmaps/default/{name}"
    record = cluster.run(cluster.store.get(key))
    cluster.run(cluster.store.txn((), [Put(key, record.value.replace(old, new))]))


def test_a_violation_names_rule_object_and_change(cluster: SimulatedCluster) -> None:
    """What is raised by the step that broke it can be read without looking anything up."""
    invariants.watch(cluster)
    made = cluster.create(config_map("one"))
    with pytest.raises(Violation) as caught:
        rewrite(cluster, "one", made["metadata"]["uid"].encode(), b"00000000-0000-4000-8000-000000000000")
    assert caught.value.rule == "IdentityStays"
    assert caught.value.change.key == "default/one"
    assert str(caught.value).startswith("configmaps default/one (MODIFIED at 0 s): uid was ")
    assert "never change" in str(caught.value)


def test_a_violation_tells_its_story(cluster: SimulatedCluster) -> None:
    """Seed, time, what went wrong before, and what happened to the objects; printed with the exception."""
    faults = Faults(cluster)

    @invariant
    def nothing_is_secret(shown: SimulatedCluster) -> str:
        """Nothing is called default/secret."""
        return "there is default/secret" if shown.get(CONFIGMAP, "secret", "default") else ""

    invariants.watch(cluster, nothing_is_secret, faults=faults)
    with faults.errors(503, Aim(chance=0.1)):
        cluster.advance(10)
    with pytest.raises(Violation) as caught:
        cluster.create(config_map("secret"))
    assert str(caught.value) == "there is default/secret\nnothing_is_secret: Nothing is called default/secret."
    told = caught.value.story.splitlines()
    assert told[:4] == [
        "seed 1, 00:00:10.000 (virtual)",
        "faults so far:",
        "  00:00:00.000 errors 503 (10%)",
        "  00:00:10.000 end of errors 503 (10%)",
    ]
    assert told[4] == "configmaps default/secret:"
    assert told[-1] == "    00:00:10.000 ADDED    configmaps default/secret made"
    assert "".join(traceback.format_exception_only(caught.value)).endswith(caught.value.story + "\n")


def test_a_story_without_an_object_has_the_last_changes(cluster: SimulatedCluster) -> None:
    """Where nothing is named, it is what happened last."""
    invariants.watch(cluster, invariant(lambda shown: False))
    with pytest.raises(Violation) as caught:
        cluster.create(config_map("one"))
    assert "last changes:\n  ... " in caught.value.story
    assert "configmaps default/one made" in caught.value.story


def test_nobody_asks_a_server_that_knows_nothing_yet(cluster: SimulatedCluster) -> None:
    """While the control plane is down, or has not read everything, a user's rules about the cluster rest."""

    @invariant
    def there_is_one(shown: SimulatedCluster) -> bool:
        return shown.get(CONFIGMAP, "one", "default") is not None

    cluster.create(config_map("one"))
    invariants.watch(cluster, there_is_one)
    faults = Faults(cluster)
    faults.crash_at_write(1, back_after=5)
    cluster.advance(60)
    assert [what for _, what in faults.log] == ["crash the control plane", "start the control plane"]


def test_a_quiet_cluster_is_at_rest(cluster: SimulatedCluster) -> None:
    """Nothing is wrong with a cluster that nothing happened to."""
    watched = invariants.watch(cluster)
    cluster.create(config_map("one"))
    cluster.advance(60)
    watched.settled()


def test_a_lost_write_is_seen(cluster: SimulatedCluster) -> None:
    """What the server has acknowledged is there, or its deletion was told."""
    watched = invariants.watch(cluster)
    cluster.create(config_map("one"))
    cluster.store.committed = None  # nobody is told
    cluster.run(cluster.store.txn((), [Delete("/registry/core/configmaps/default/one")]))
    with pytest.raises(Violation, match="configmaps default/one: the server has resourceVersion None") as caught:
        watched.settled()
    assert caught.value.rule == "EverybodyAgrees"


def test_an_acknowledged_write_is_remembered(cluster: SimulatedCluster) -> None:
    """A write that was answered with success and never reached the store is a lost one."""
    watched = invariants.watch(cluster)
    cluster.store.committed = None  # so that the changes say nothing of it
    cluster.create(config_map("one"))
    lost = [text for text in watched.lost() if text.startswith("create of configmaps default/one was acknowledged")]
    assert len(lost) == 1


def test_a_users_rule_about_changes(cluster: SimulatedCluster) -> None:
    """It gets each change and the cluster; False, a text or an AssertionError is an objection."""

    @invariant
    def names_are_short(change: Change, shown: SimulatedCluster) -> bool:
        """Names have at most twenty letters."""
        assert shown is cluster
        return change.resource != "configmaps" or len(change.tree["metadata"]["name"]) <= 20

    invariants.watch(cluster, names_are_short)
    cluster.create(config_map("short"))
    with pytest.raises(Violation, match="Names have at most twenty letters") as caught:
        cluster.create(config_map("much-longer-than-twenty-letters"))
    assert caught.value.rule == "names_are_short"


def test_a_users_rule_about_the_cluster(cluster: SimulatedCluster) -> None:
    """It is asked when an instant in which something changed is over, not in its middle."""
    asked: list[int] = []

    @invariant
    def at_most_one(shown: SimulatedCluster) -> str:
        found = [one for one in shown.list(CONFIGMAP, "default") if one["metadata"]["name"] != "kube-root-ca.crt"]
        asked.append(len(found))
        return f"there are {len(found)}" if len(found) > 1 else ""

    watched = Invariants(cluster, [at_most_one])
    cluster.create(config_map("one"))
    with pytest.raises(Violation, match="there are 2\nat_most_one: at most one"):
        cluster.create(config_map("two"))
    assert asked == [1, 2]
    assert watched.world.get("configmaps", "default/two")


def test_a_users_rule_has_one_or_two_arguments() -> None:
    """Anything else is refused where it is written."""
    with pytest.raises(TypeError, match=r"takes \(cluster\) or \(change, cluster\), not 0 arguments"):

        @invariant
        def nothing() -> None: ...
