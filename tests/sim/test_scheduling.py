"""Scheduling in virtual time: where pods go, what is said when they go nowhere, and who has to make room."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.client.transport import TransportError
from sampan.cluster.faults import Faults
from sampan.meta import conditions, objects
from sampan.scheduling.config import ConfigError
from sampan.testing import Cluster
from tests.sim import trees
from tests.sim.trees import Tree

CPUS = 4


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=5, nodes=0) as made:
        for name in ("a", "b"):
            made.add_node(name, cpus=CPUS, labels={"disk": name, "kubernetes.io/hostname": name})
        yield made


def pod(name: str, cpu: str = "", **spec: Any) -> Tree:
    made = trees.pod(name, {"app": name.partition("-")[0]}, **spec)
    if cpu:
        made["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
    return made


def priority(name: str, value: int, **fields: Any) -> Tree:
    made = trees.tree("scheduling.k8s.io/v1", "PriorityClass", name, "")
    return made | {"value": value} | fields


def where(cluster: Cluster, name: str) -> str:
    return ((cluster.get(f"pod/{name}") or {}).get("spec") or {}).get("nodeName") or ""


def refusal(cluster: Cluster, name: str) -> str:
    told = conditions.get(cluster.wait_for(f"pod/{name}", "PodScheduled=False", 5), "PodScheduled")
    assert told is not None
    assert told["reason"] == "Unschedulable"
    return str(told["message"])


def told(cluster: Cluster, name: str, reason: str) -> list[str]:
    return [event["message"] for event in cluster.events(f"pod/{name}") if event["reason"] == reason]


def fill(cluster: Cluster, **spec: Any) -> None:
    """Each node runs one pod that leaves no room for another like it."""
    for name in ("low-1", "low-2"):
        cluster.create(pod(name, "3", **spec))
        cluster.wait_for(f"pod/{name}", "Ready")


def test_resource_limits_hold(cluster: Cluster) -> None:
    """What does not fit waits, and is placed when somebody leaves; also extended resources and overhead count."""
    fill(cluster)
    cluster.create(pod("more", "2"))
    assert refusal(cluster, "more") == (
        "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, "
        "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
    )
    cluster.create(pod("gpu", nodeSelector={"disk": "b"}))
    cluster.wait_for("pod/gpu", "Ready")
    cluster.delete("pod/low-2")
    free = "a" if where(cluster, "low-1") == "b" else "b"
    cluster.wait_for("pod/more", lambda p: p["spec"].get("nodeName") == free, 60)
    assert told(cluster, "more", "Scheduled") == [f"Successfully assigned default/more to {free}"]


def test_extended_resources(cluster: Cluster) -> None:
    """A resource that a node's status tells of is given out like any other."""
    patch = {"status": {"capacity": {"example.com/foo": "3"}, "allocatable": {"example.com/foo": "3"}}}
    wanted = {"requests": {"example.com/foo": "2"}, "limits": {"example.com/foo": "2"}}
    first = pod("first")
    first["spec"]["containers"][0]["resources"] = wanted
    cluster.create(first)
    assert "2 Insufficient example.com/foo." in refusal(cluster, "first")
    cluster.patch("node/b", patch, subresource="status", type="strategic")
    cluster.wait_for("pod/first", lambda p: p["spec"].get("nodeName") == "b", 20)
    second = pod("second")
    second["spec"]["containers"][0]["resources"] = wanted
    cluster.create(second)
    assert "2 Insufficient example.com/foo." in refusal(cluster, "second")


def test_overhead_of_a_runtime_class_counts(cluster: Cluster) -> None:
    """The overhead that a RuntimeClass adds is part of the request."""
    made = trees.tree("node.k8s.io/v1", "RuntimeClass", "heavy", "")
    cluster.create(made | {"handler": "heavy", "overhead": {"podFixed": {"cpu": "2"}}})
    assert cluster.create(pod("p", "3", runtimeClassName="heavy"))["spec"]["overhead"] == {"cpu": "2"}
    assert "2 Insufficient cpu." in refusal(cluster, "p")


def test_a_runtime_class_without_overhead(cluster: Cluster) -> None:
    """Then the pod asks for no more than its containers do."""
    made = trees.tree("node.k8s.io/v1", "RuntimeClass", "light", "")
    cluster.create(made | {"handler": "runc"})
    cluster.create(pod("p", "4", runtimeClassName="light"))
    placed = cluster.wait_for("pod/p", "PodScheduled", 5)
    assert "overhead" not in placed["spec"]


def test_a_node_selector_that_matches(cluster: Cluster) -> None:
    """The pod goes where the label is."""
    cluster.patch("node/b", {"metadata": {"labels": {"kubernetes.io/e2e": "42"}}})
    cluster.create(pod("p", nodeSelector={"kubernetes.io/e2e": "42"}))
    assert where(cluster, objects.name(cluster.wait_for("pod/p", "Ready"))) == "b"


def test_a_node_selector_that_does_not_match(cluster: Cluster) -> None:
    """The pod goes nowhere, and says why, until a node has the label."""
    cluster.create(pod("p", nodeSelector={"label": "nonempty"}))
    assert refusal(cluster, "p") == (
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, "
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )
    assert told(cluster, "p", "FailedScheduling") == [refusal(cluster, "p")]
    cluster.patch("node/a", {"metadata": {"labels": {"label": "nonempty"}}})
    cluster.wait_for("pod/p", lambda p: p["spec"].get("nodeName") == "a", 1)


def test_a_host_port_on_all_addresses_takes_it_on_each(cluster: Cluster) -> None:
    """With 0.0.0.0 on a node, the same port and protocol on one address of it is taken; another protocol is not."""
    cluster.patch("node/b", {"spec": {"unschedulable": True}})

    def on(name: str, address: str, protocol: str = "TCP") -> Tree:
        made = pod(name)
        ports = [{"containerPort": 8080, "hostPort": 54322, "hostIP": address, "protocol": protocol}]
        made["spec"]["containers"][0]["ports"] = ports
        return made

    cluster.create(on("pod4", "0.0.0.0"))
    cluster.wait_for("pod/pod4", "PodScheduled")
    cluster.create(on("pod5", "127.0.0.1"))
    message = refusal(cluster, "pod5")
    assert "1 node(s) didn't have free ports for the requested pod ports, 1 node(s) were unschedulable." in message
    cluster.create(on("pod6", "127.0.0.1", "UDP"))
    cluster.wait_for("pod/pod6", "PodScheduled")


def test_basic_preemption(cluster: Cluster) -> None:
    """A more important pod pushes the least important one out, waits for it, and takes its place."""
    for each in (priority("low", 1), priority("middle", 100), priority("high", 1000)):
        cluster.create(each)
    cluster.create(pod("low-1", "3", priorityClassName="low", terminationGracePeriodSeconds=7))
    low = where(cluster, objects.name(cluster.wait_for("pod/low-1", "Ready")))
    cluster.create(pod("middle-1", "3", priorityClassName="middle"))
    cluster.wait_for("pod/middle-1", "Ready")
    cluster.behave("app=low", {"stop": "5s"})
    cluster.create(pod("high-1", "3", priorityClassName="high"))
    waiting = cluster.wait_for("pod/high-1", lambda p: (p.get("status") or {}).get("nominatedNodeName"), 1)
    assert waiting["status"]["nominatedNodeName"] == low
    assert refusal(cluster, "high-1") == "0/2 nodes are available: 2 Insufficient cpu."
    victim = cluster.wait_for("pod/low-1", objects.is_deleting, 1)
    target = conditions.get(victim, "DisruptionTarget")
    assert target is not None
    assert (target["status"], target["reason"], target["message"]) == (
        "True",
        "PreemptionByScheduler",
        "default-scheduler: preempting to accommodate a higher priority pod",
    )
    assert told(cluster, "low-1", "Preempted") == [f"Preempted by pod {objects.uid(waiting)} on node {low}"]
    placed = cluster.wait_for("pod/high-1", "Ready", 30)
    assert placed["spec"]["nodeName"] == low
    assert "nominatedNodeName" not in placed["status"]
    assert where(cluster, "middle-1")


def test_a_critical_pod_pushes_others_out(cluster: Cluster) -> None:
    """system-cluster-critical is above all that users may have."""
    cluster.create(priority("middle", 1_000_000))
    fill(cluster, priorityClassName="middle")
    critical = pod("critical", "3", priorityClassName="system-cluster-critical")
    critical["metadata"]["namespace"] = "kube-system"
    cluster.create(critical)
    cluster.wait_for("pod/critical", "Ready", 60, namespace="kube-system")
    assert len([p for p in cluster.list("pod", "default") if not objects.is_deleting(p)]) == 1


def test_who_is_pushed_out_with_a_finalizer_says_why(cluster: Cluster) -> None:
    """The condition DisruptionTarget stays to be seen on a victim that a finalizer holds."""
    cluster.create(priority("high", 1000))
    for name in ("victim-1", "victim-2"):
        held = pod(name, "3")
        held["metadata"]["finalizers"] = ["example.com/test-finalizer"]
        cluster.create(held)
        cluster.wait_for(f"pod/{name}", "Ready")
    cluster.create(pod("preemptor", "3", priorityClassName="high"))
    cluster.run_until(lambda: any(objects.is_deleting(p) for p in cluster.list("pod")), 5)
    (victim,) = [p for p in cluster.list("pod") if objects.is_deleting(p)]
    cluster.wait_for(f"pod/{objects.name(victim)}", lambda p: conditions.is_true(p, "DisruptionTarget"), 5)
    cluster.patch(f"pod/{objects.name(victim)}", {"metadata": {"finalizers": None}})
    cluster.wait_for("pod/preemptor", "Ready", 60)


def test_replica_sets_of_rising_priority(cluster: Cluster) -> None:
    """ReplicaSets with ever more important pods push one another out along one node's extended resource."""
    amounts = {"example.com/fake": "10"}
    cluster.patch("node/a", {"status": {"capacity": amounts, "allocatable": amounts}}, subresource="status")
    for at, (replicas, wanted) in enumerate(((4, "1"), (3, "2"), (2, "3")), 1):
        cluster.create(priority(f"p{at}", at))
        cluster.create(replica_set(f"rs{at}", replicas, wanted, f"p{at}"))
        cluster.advance(40)
    running = {n: sum(bool(p["spec"].get("nodeName")) for p in pods_of(cluster, n)) for n in ("rs1", "rs2", "rs3")}
    assert running["rs3"] == 2
    assert running["rs1"] + 2 * running["rs2"] + 3 * running["rs3"] <= 10
    assert running == {"rs1": 0, "rs2": 2, "rs3": 2}


def replica_set(name: str, replicas: int, wanted: str, class_name: str) -> Tree:
    made = trees.replica_set(replicas, name)
    spec = made["spec"]["template"]["spec"]
    spec["priorityClassName"] = class_name
    resources = {"example.com/fake": wanted}
    spec["containers"][0]["resources"] = {"requests": resources, "limits": resources}
    return made


def pods_of(cluster: Cluster, app: str) -> list[Tree]:
    return [p for p in cluster.list("pod", labels=f"app={app}") if not objects.is_deleting(p)]


def test_a_pod_that_never_preempts(cluster: Cluster) -> None:
    """preemptionPolicy Never waits, and says so."""
    cluster.create(priority("polite", 1000, preemptionPolicy="Never"))
    fill(cluster)
    cluster.create(pod("p", "3", priorityClassName="polite"))
    assert refusal(cluster, "p") == (
        "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, "
        "preemption: not eligible due to preemptionPolicy=Never."
    )
    cluster.advance(60)
    assert len(cluster.list("pod")) == 3


def test_budgets_are_spared(cluster: Cluster) -> None:
    """Of two equal victims the one goes that no disruption budget protects."""
    cluster.create(priority("high", 1000))
    fill(cluster)
    cluster.create(
        trees.tree(
            "policy/v1",
            "PodDisruptionBudget",
            "b",
            spec={"minAvailable": 1, "selector": {"matchLabels": {"only": "this"}}},
        )
    )
    cluster.patch("pod/low-1", {"metadata": {"labels": {"only": "this"}}})
    cluster.wait_for("pdb/b", lambda b: (b.get("status") or {}).get("currentHealthy") == 1, 60)
    free = where(cluster, "low-2")
    cluster.create(pod("high-1", "3", priorityClassName="high"))
    assert cluster.wait_for("pod/high-1", "Ready", 60)["spec"]["nodeName"] == free
    assert where(cluster, "low-1")


def test_a_dead_scheduler_is_followed_by_another_that_knows_who_waits(cluster: Cluster) -> None:
    """The nomination is in the API: after a crash while the victim ends, nobody else is pushed out."""
    cluster.create(priority("high", 1000))
    fill(cluster, terminationGracePeriodSeconds=30)
    cluster.behave("app=low", {"stop": "20s"})
    cluster.create(pod("high-1", "3", priorityClassName="high"))
    node = cluster.wait_for("pod/high-1", lambda p: (p.get("status") or {}).get("nominatedNodeName"), 1)
    cluster.run_until(lambda: sum(objects.is_deleting(p) for p in cluster.list("pod")) == 1, 1)
    cluster.sim.crash_control_plane()
    cluster.sim.start_control_plane()
    placed = cluster.wait_for("pod/high-1", "Ready", 60)
    assert placed["spec"]["nodeName"] == node["status"]["nominatedNodeName"]
    assert len(cluster.list("pod")) == 2


@pytest.mark.parametrize("at", range(1, 11))
def test_preemption_survives_a_crash_at_any_write(cluster: Cluster, at: int) -> None:
    """Whichever write was the last one: the pod gets its place, and one victim is enough."""
    cluster.create(priority("high", 1000))
    fill(cluster, terminationGracePeriodSeconds=5)
    cluster.create(pod("high-1", "3", priorityClassName="high", schedulingGates=[{"name": "example.com/wait"}]))
    faults = Faults(cluster.sim)
    faults.crash_at_write(at, back_after=3)
    with contextlib.suppress(TransportError):
        cluster.patch("pod/high-1", {"spec": {"schedulingGates": []}})
    cluster.advance(60)
    faults.end()
    assert cluster.wait_for("pod/high-1", "Ready", 30)["spec"]["nodeName"]
    assert len(cluster.list("pod")) == 2


def test_a_fork_knows_what_was_tried(cluster: Cluster) -> None:
    """Nothing is tried or told again in it, and what helps is seen."""
    cluster.create(pod("p", "6"))
    refusal(cluster, "p")
    cluster.advance(5)
    fork = cluster.fork()
    before = len(fork.history())
    fork.advance(60)
    assert [c.key for c in fork.history()[before:] if c.resource != "leases.coordination.k8s.io"] == []
    fork.add_node("c", cpus=8)
    fork.wait_for("pod/p", "Ready", 5)
    fork.close()


def test_gates_hold_a_pod_back(cluster: Cluster) -> None:
    """Until the last gate is taken away."""
    cluster.create(pod("p", schedulingGates=[{"name": "example.com/one"}, {"name": "example.com/two"}]))
    cluster.advance(10)
    found = cluster.get("pod/p")
    assert found is not None
    assert trees.condition(found, "PodScheduled") == (
        "False",
        "SchedulingGated",
        "Scheduling is blocked due to non-empty scheduling gates",
    )
    cluster.patch("pod/p", {"spec": {"schedulingGates": [{"name": "example.com/two"}]}})
    cluster.advance(5)
    assert not where(cluster, "p")
    cluster.patch("pod/p", {"spec": {"schedulingGates": []}})
    cluster.wait_for("pod/p", "Ready", 5)


def test_namespaces_are_chosen_by_label(cluster: Cluster) -> None:
    """A namespaceSelector counts pods of the namespaces that have the label, also when it comes later."""
    cluster.create(trees.tree("v1", "Namespace", "other", ""))
    made = pod("there")
    made["metadata"]["namespace"] = "other"
    cluster.create(made)
    cluster.wait_for("pod/there", "Ready", namespace="other")
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "namespaceSelector": {"matchLabels": {"team": "x"}},
        "labelSelector": {"matchLabels": {"app": "there"}},
    }
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    cluster.create(pod("p", affinity=near))
    assert "2 node(s) didn't match pod affinity rules" in refusal(cluster, "p")
    cluster.patch("namespace/other", {"metadata": {"labels": {"team": "x"}}})
    cluster.wait_for("pod/p", "Ready", 20)
    assert where(cluster, "p") == (cluster.get("pod/there", namespace="other") or {})["spec"]["nodeName"]


CONFIGURATION = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
- schedulerName: packing
  plugins:
    score: {disabled: [{name: "*"}], enabled: [{name: NodeResourcesFit}]}
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated}}
"""


def test_a_configuration_of_one_s_own(tmp_path: Path) -> None:
    """As YAML or as a file; forks and the scheduler after a crash have it too; what is wrong in it is said."""
    file = tmp_path / "scheduler.yaml"
    file.write_text(CONFIGURATION)
    with Cluster(nodes=3, scheduling=file) as cluster, cluster.fork() as fork:
        fork.sim.crash_control_plane()
        fork.sim.start_control_plane()
        for each in (cluster, fork):
            for name in ("one", "two", "three"):
                each.create(pod(name, "500m", schedulerName="packing"))
                each.wait_for(f"pod/{name}", "Ready")
            assert len({where(each, name) for name in ("one", "two", "three")}) == 1
            assert told(each, "one", "Scheduled")
    with pytest.raises(ConfigError, match="percentageOfNodesToScore"):
        Cluster(scheduling=CONFIGURATION + "percentageOfNodesToScore: 200\n")
