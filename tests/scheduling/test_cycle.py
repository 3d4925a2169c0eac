"""Which node a pod gets, and what it is told when there is none."""

import pytest
from making import Field, node, of, pod

from sampan.scheduling import cycle

NOT_HELPFUL = (
    "no new claims to deallocate, preemption: 0/{0} nodes are available: {0} Preemption is not helpful for scheduling."
)
TAINT = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}


def decide(field: Field, asked) -> cycle.Decision:
    return cycle.decide(of(asked), field.snapshot)


def required(*expressions, fields=()):
    terms = [{"matchExpressions": list(expressions), "matchFields": list(fields)}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def test_without_nodes(field: Field) -> None:
    """No nodes at all has its own message."""
    assert decide(field, pod("p")).message == "no nodes available to schedule pods"


def test_services_are_forgotten_with_their_namespace(field: Field) -> None:
    """A namespace whose last service went leaves nothing."""
    for name in ("a", "b"):
        field.snapshot.set_service("soon-gone", name, {"app": name})
    for name in ("a", "b", "never-there"):
        field.snapshot.set_service("soon-gone", name, None)
    assert not field.snapshot.services
    assert field.snapshot.services_version == 4


def test_reasons_are_counted_and_sorted(field: Field) -> None:
    """Each node counts under the first filter that refuses it; preemption is said not to help."""
    field.add(node("a", cpu="1"), node("b", spec={"taints": [TAINT]}), node("c", spec={"taints": [TAINT]}))
    assert decide(field, pod("p", {"cpu": "2"})).message == (
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). " + NOT_HELPFUL.format(3)
    )


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"nodeName": "z"}, "node(s) didn't match the requested node name"),
        ({"nodeSelector": {"disk": "ssd"}}, "node(s) didn't match Pod's node affinity/selector"),
        (
            {"affinity": required({"key": "disk", "operator": "Exists"})},
            "node(s) didn't match Pod's node affinity/selector",
        ),
        ({"affinity": required()}, "node(s) didn't match Pod's node affinity/selector"),
    ],
)
def test_a_pod_that_asks_for_another_node(field: Field, spec, reason) -> None:
    """Name, selector and required affinity refuse in upstream's words."""
    field.add(node("a"))
    message = decide(field, pod("p", **spec)).message
    assert message == f"0/1 nodes are available: 1 {reason}. " + NOT_HELPFUL.format(1)


def test_cordoned_nodes(field: Field) -> None:
    """A cordoned node takes only pods that tolerate it."""
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    field.add(node("a", spec={"unschedulable": True, "taints": [taint]}))
    assert "1 node(s) were unschedulable." in decide(field, pod("p")).message
    assert decide(field, pod("p", tolerations=[{"key": taint["key"], "operator": "Exists"}])).node == "a"


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "dedicated", "value": "db"}, True),
        ({"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"}, True),
        ({"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "dedicated", "value": "web"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_tolerations(field: Field, toleration, fits) -> None:
    """An absent key, value or effect covers all of them."""
    field.add(node("a", spec={"taints": [TAINT]}))
    assert (decide(field, pod("p", tolerations=[toleration])).node == "a") is fits


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ({"key": "gen", "operator": "In", "values": ["1"]}, "a"),
        ({"key": "gen", "operator": "NotIn", "values": ["1"]}, "b"),
        ({"key": "gen", "operator": "Gt", "values": ["1"]}, "b"),
        ({"key": "gen", "operator": "Lt", "values": ["2"]}, "a"),
        ({"key": "old", "operator": "DoesNotExist"}, "b"),
    ],
)
def test_affinity_operators(field: Field, expression, chosen) -> None:
    """Each operator of a required term picks its node."""
    field.add(node("a", labels={"gen": "1", "old": ""}), node("b", labels={"gen": "2"}))
    assert decide(field, pod("p", affinity=required(expression))).node == chosen


def test_affinity_by_name(field: Field) -> None:
    """matchFields picks a node by name, as DaemonSets do."""
    field.add(node("a"), node("b"))
    term = {"key": "metadata.name", "operator": "In", "values": ["b"]}
    assert decide(field, pod("p", affinity=required(fields=[term]))).node == "b"


def test_every_lacking_resource_is_named(field: Field) -> None:
    """A node may lack several things; each counts. Requests of init containers and overhead count as well."""
    field.add(node("a", cpu="1", memory="1Gi", pods="1")).place("a", pod("x", {"cpu": "500m", "memory": "512Mi"}))
    asked = pod("p", {"cpu": "600m", "memory": "600Mi", "example.com/gpu": "1"})
    assert decide(field, asked).message == (
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient example.com/gpu, 1 Insufficient memory, "
        "1 Too many pods. " + NOT_HELPFUL.format(1)
    )


def test_what_leaving_pods_could_free_says_no_victims(field: Field) -> None:
    """Where another pod's leaving would help but none has a lower priority, no victims were found."""
    field.add(node("a", cpu="1"), node("b", spec={"unschedulable": True})).place("a", pod("x", {"cpu": "1"}))
    assert decide(field, pod("p", {"cpu": "1"})).message == (
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/2 nodes are available: "
        "1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
    )


def test_demand_is_the_most_that_is_ever_needed() -> None:
    """The larger of start-up and running, sidecars in both, plus overhead."""
    init = [
        {"resources": {"requests": {"cpu": "100m"}}, "restartPolicy": "Always"},
        {"resources": {"requests": {"cpu": "2"}}},
    ]
    asked = of(pod("p", {"cpu": "500m", "memory": "1Gi"}, initContainers=init, overhead={"cpu": "50m"}))
    assert dict(asked.requests) == {"cpu": 2150, "memory": 2**30}


def test_host_ports_collide(field: Field) -> None:
    """The same port of the same protocol on the same address is taken once; other addresses are free."""

    def on(name: str, port: int, ip: str = ""):
        ports = [{"containerPort": 1, "hostPort": port, "hostIP": ip}]
        return pod(name, containers=[{"name": "c", "ports": ports}])

    field.add(node("a")).place("a", on("x", 80), on("y", 81, "10.0.0.1"))
    assert "didn't have free ports for the requested pod ports" in decide(field, on("p", 80, "10.0.0.9")).message
    assert decide(field, on("p", 81, "10.0.0.2")).node == "a"
    assert decide(field, on("p", 82)).node == "a"


def test_emptier_nodes_are_liked(field: Field) -> None:
    """Of two alike the one with more left is chosen."""
    field.add(node("a"), node("b")).place("a", pod("x", {"cpu": "2", "memory": "4Gi"}))
    assert decide(field, pod("p", {"cpu": "100m"})).node == "b"


def test_preferences_weigh(field: Field) -> None:
    """Preferred affinity draws, a PreferNoSchedule taint repels; neither forbids."""
    weighted = [{"weight": 10, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]
    liking = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": weighted}}
    field.add(node("a"), node("b", labels={"disk": "ssd"}))
    assert decide(field, pod("p", affinity=liking)).node == "b"
    field.add(node("b", spec={"taints": [{"key": "x", "effect": "PreferNoSchedule"}]}))
    assert decide(field, pod("q")).node == "a"
    field.add(node("a", spec={"unschedulable": True}))
    assert decide(field, pod("r")).node == "b"


def test_pods_of_one_owner_are_spread(field: Field) -> None:
    """Over hosts and zones, and evenly in number."""
    for n in range(6):
        field.add(node(f"n{n}", labels={"topology.kubernetes.io/zone": f"z{n % 2}"}))
    for n in range(12):
        asked = pod(f"p{n}", {"cpu": "100m"}, owner="rs")
        field.place(decide(field, asked).node, asked)
    assert [len(usage.pods) for usage in field.snapshot.usage] == [2] * 6


def test_what_is_remembered_follows_changes(field: Field) -> None:
    """Decisions for pods of one shape change with nodes and pods that come and go."""
    asked = pod("p", {"cpu": "3"})
    field.add(node("a"), node("b", spec={"unschedulable": True}))
    assert decide(field, asked).node == "a"
    field.place("a", pod("x", {"cpu": "3"}))
    assert decide(field, asked).node == ""
    field.add(node("b"))
    assert decide(field, asked).node == "b"
    field.snapshot.remove_node("b")
    assert decide(field, asked).node == ""
    assert field.snapshot.displace("uid-x")
    assert decide(field, asked).node == "a"


def test_pods_on_a_node_that_is_not_there_yet_count_when_it_comes(field: Field) -> None:
    """What is placed on an unknown node is counted as soon as the node appears."""
    field.place("a", pod("x", {"cpu": "3"})).add(node("a"))
    assert decide(field, pod("p", {"cpu": "2"})).node == ""


def labelled(name: str, **spec):
    made = pod(name, **spec)
    return {**made, "metadata": {**made["metadata"], "labels": {"app": "web"}}}


def near(kind: str, key: str = "host"):
    term = {"topologyKey": key, "labelSelector": {"matchLabels": {"app": "web"}}}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_anti_affinity_works_both_ways(field: Field) -> None:
    """A pod is not put near those it shuns, nor near those that shun it."""
    field.add(node("a", labels={"host": "a"})).place("a", labelled("x", affinity=near("podAntiAffinity")))
    assert decide(field, labelled("p", affinity=near("podAntiAffinity"))).message == (
        "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules. no new claims to deallocate, preemption: 0/1 nodes are available: "
        "1 No preemption victims found for incoming pod."
    )
    assert "didn't satisfy existing pods anti-affinity rules" in decide(field, labelled("p")).message
    assert decide(field, pod("other")).node == "a"


def test_affinity_gathers_a_group(field: Field) -> None:
    """The first of a group goes anywhere, the next ones beside it; without the label nowhere."""
    field.add(node("a", labels={"host": "a"}), node("b", labels={"host": "b"}), node("c"))
    assert decide(field, labelled("p", affinity=near("podAffinity"))).node in ("a", "b")
    field.place("b", labelled("x"))
    for n in range(3):
        assert decide(field, labelled(f"p{n}", affinity=near("podAffinity"))).node == "b"
    field.snapshot.displace("uid-x")
    assert "didn't match pod affinity rules" in decide(field, pod("q", affinity=near("podAffinity"))).message


def test_constraints_hold_the_skew(field: Field) -> None:
    """DoNotSchedule keeps every domain within maxSkew of the emptiest."""
    hard = {"topologyKey": "host", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    hard["labelSelector"] = {"matchLabels": {"app": "web"}}
    field.add(node("a", labels={"host": "a"}, cpu="64"), node("b", labels={"host": "b"}), node("c"))
    for n in range(6):
        asked = labelled(f"p{n}", topologySpreadConstraints=[hard])
        field.place(decide(field, asked).node, asked)
    assert [len(usage.pods) for usage in field.snapshot.usage] == [3, 3, 0]
