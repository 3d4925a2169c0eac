"""Extenders of the scheduler: programs outside that refuse nodes, like some better, name victims, and bind."""

from typing import Any

import pytest

from sampan.testing import Cluster

URL = "https://extender.example/v1"
FPGA = "example.com/fpga"


def configured(**extender: Any) -> dict[str, Any]:
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "extenders": [{"urlPrefix": URL, **extender}],
    }


def pod(name: str, cpu: str = "100m", **spec: Any) -> dict[str, Any]:
    requests = {"cpu": cpu}
    container = {"name": "c", "image": "web", "resources": {"requests": requests}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container], **spec}}


def node_of(cluster: Cluster, name: str) -> str:
    return cluster.wait_for(f"pod/{name}", lambda p: p["spec"].get("nodeName"))["spec"]["nodeName"]


def refusal(cluster: Cluster, name: str) -> dict[str, Any]:
    def told(obj: Any) -> Any:
        return any(c["type"] == "PodScheduled" for c in obj["status"].get("conditions") or ())

    found = cluster.wait_for(f"pod/{name}", told)
    return next(c for c in found["status"]["conditions"] if c["type"] == "PodScheduled")


def test_a_filter_with_nodes_in_full() -> None:
    """It sees the pod and the nodes that are left; it may say why, and whether others' leaving could help."""
    asked = []

    def review(args: Any) -> Any:
        asked.append(args)
        *others, last = args["Nodes"]["items"]
        failed = {each["metadata"]["name"]: "no licence left" for each in others}
        return {"Nodes": {"items": [last]}, "FailedNodes": failed}

    with Cluster(nodes=3, scheduling=configured(filterVerb="filter")) as cluster:
        names = sorted(each["metadata"]["name"] for each in cluster.list("node"))
        cluster.sim.outbound.serve(f"{URL}/filter", review)
        cluster.create(pod("p"))
        assert node_of(cluster, "p") == names[2]
        assert asked[0]["Pod"]["metadata"]["name"] == "p"
        assert [each["metadata"]["name"] for each in asked[0]["Nodes"]["items"]] == names
        assert asked[0]["NodeNames"] is None


def test_a_filter_that_knows_the_nodes() -> None:
    """It is told names, and answers with names, keys in any case; whatever changes, pods that it refused are tried again."""
    kept: list[str] = []
    reasons = {}

    def review(args: Any) -> Any:
        assert args["Nodes"] is None
        return {"nodenames": kept, "failednodes": reasons}

    with Cluster(nodes=2, scheduling=configured(filterVerb="filter", nodeCacheCapable=True)) as cluster:
        names = sorted(each["metadata"]["name"] for each in cluster.list("node"))
        reasons |= dict.fromkeys(names, "no licence left")
        cluster.sim.outbound.serve(f"{URL}/filter", review)
        cluster.create(pod("there", nodeName=names[0]))
        cluster.wait_for("pod/there", "Ready")
        cluster.create(pod("p"))
        told = refusal(cluster, "p")
        assert told["reason"] == "Unschedulable"
        assert told["message"] == (
            "0/2 nodes are available: 2 no licence left. no new claims to deallocate, preemption: 0/2 nodes are "
            "available: 2 No preemption victims found for incoming pod."
        )
        kept.append(names[1])
        cluster.advance(30)
        assert not cluster.get("pod/p")["spec"].get("nodeName")
        cluster.delete("pod/there")
        assert node_of(cluster, "p") == names[1]


def test_points_count_beside_the_scheduler_s_own() -> None:
    """Ten of its points with weight 2 outdo all else; with one node left nobody is asked."""
    asked = []

    def rate(args: Any) -> Any:
        asked.append(args["NodeNames"])
        return [{"Host": name, "Score": 10 if name == names[0] else 0} for name in args["NodeNames"]]

    settings = configured(prioritizeVerb="rate", weight=2, nodeCacheCapable=True)
    with Cluster(nodes=2, scheduling=settings) as cluster:
        names = sorted(each["metadata"]["name"] for each in cluster.list("node"))
        cluster.sim.outbound.serve(f"{URL}/rate", rate)
        for name in ("one", "two", "three"):
            cluster.create(pod(name))
            assert node_of(cluster, name) == names[0]
        cluster.create(pod("picky", nodeSelector={"kubernetes.io/hostname": names[1]}))
        assert node_of(cluster, "picky") == names[1]
        assert asked == [names] * 3


def test_an_extender_that_does_not_answer() -> None:
    """The attempt goes wrong and is made again; unless the extender may be left out."""
    with Cluster(scheduling=configured(filterVerb="filter")) as cluster:
        cluster.create(pod("p"))
        told = refusal(cluster, "p")
        assert told["reason"] == "SchedulerError"
        assert told["message"] == f'Post "{URL}/filter": dial tcp extender.example:443: connect: connection refused'
        (event,) = [each for each in cluster.events("pod/p") if each["reason"] == "FailedScheduling"]
        assert event["message"] == told["message"]
        cluster.sim.outbound.serve(f"{URL}/filter", lambda args: {"Nodes": args["Nodes"]})
        assert node_of(cluster, "p")
    with Cluster(scheduling=configured(filterVerb="filter", ignorable=True)) as cluster:
        cluster.create(pod("p"))
        assert node_of(cluster, "p")


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ({"Error": "the database is gone"}, "the database is gone"),
        (
            {"NodeNames": ["elsewhere"]},
            f'extender "{URL}" claims a filtered node "elsewhere" which is not found in the input node list',
        ),
    ],
)
def test_answers_that_are_no_good(answer: Any, complaint: str) -> None:
    """The pod is told what is wrong with them."""
    with Cluster(scheduling=configured(filterVerb="filter", nodeCacheCapable=True)) as cluster:
        cluster.sim.outbound.serve(f"{URL}/filter", lambda args: answer)
        cluster.create(pod("p"))
        assert refusal(cluster, "p")["message"] == complaint


def test_only_pods_with_its_resources_concern_it() -> None:
    """And what it manages, the scheduler need not count."""
    managed = [{"name": FPGA, "ignoredByScheduler": True}]
    asked = []

    def review(args: Any) -> Any:
        asked.append(args["Pod"]["metadata"]["name"])
        return {"Nodes": args["Nodes"]}

    with Cluster(scheduling=configured(filterVerb="filter", managedResources=managed)) as cluster:
        cluster.sim.outbound.serve(f"{URL}/filter", review)
        cluster.create(pod("plain"))
        assert node_of(cluster, "plain")
        wanting = pod("wanting")
        wanting["spec"]["containers"][0]["resources"] = {"requests": {FPGA: "1"}, "limits": {FPGA: "1"}}
        cluster.create(wanting)
        assert node_of(cluster, "wanting")
        assert asked == ["wanting"]


def test_it_binds_itself() -> None:
    """With what the API would be told; what it says against it is told the pod."""
    answers = [{"Error": "not now"}, {}]
    asked = []

    async def bind(args: Any) -> Any:
        asked.append(args)
        answer = answers.pop(0)
        if not answer:
            target = {"apiVersion": "v1", "kind": "Node", "name": args["Node"]}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": args["PodName"]}, "target": target}
            key = (args["PodNamespace"], args["PodName"])
            await cluster.client.create_subresource(cluster.kinds_by_name["Pod"], key, "binding", binding)
        return answer

    with Cluster(scheduling=configured(bindVerb="bind")) as cluster:
        cluster.kinds_by_name = {kind.name: kind for kind in cluster.kinds if kind.group == ""}  # type: ignore[attr-defined]
        cluster.sim.outbound.serve(f"{URL}/bind", bind)
        made = cluster.create(pod("p"))
        assert refusal(cluster, "p")["message"] == "not now"
        found = cluster.wait_for("pod/p", lambda p: p["spec"].get("nodeName"))
        assert [each["PodUID"] for each in asked] == [made["metadata"]["uid"]] * 2
        assert asked[1]["Node"] == found["spec"]["nodeName"]
        cluster.wait_for("pod/p", "Ready")
        assert "Scheduled" in [each["reason"] for each in cluster.events("pod/p")]


def test_it_has_a_say_in_who_is_pushed_out() -> None:
    """Of the nodes with victims it leaves those that it agrees to."""
    asked = []

    def narrow(args: Any) -> Any:
        asked.append(args)
        victims = args["NodeNameToMetaVictims"]
        return {"NodeNameToMetaVictims": {name: victims[name] for name in list(victims)[1:]}}

    settings = configured(preemptVerb="preempt", nodeCacheCapable=True)
    with Cluster(nodes=2, scheduling=settings) as cluster:
        cluster.sim.outbound.serve(f"{URL}/preempt", narrow)
        cpu = cluster.list("node")[0]["status"]["allocatable"]["cpu"]
        cluster.create(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": "high"},
                "value": 1000,
            }
        )
        for name in ("one", "two"):
            cluster.create(pod(name, cpu))
        places = {node_of(cluster, name): cluster.get(f"pod/{name}")["metadata"] for name in ("one", "two")}
        cluster.create(pod("important", cpu, priorityClassName="high"))
        chosen = node_of(cluster, "important")
        offered = asked[0]["NodeNameToMetaVictims"]
        assert {name: each["Pods"] for name, each in offered.items()} == {
            name: [{"UID": metadata["uid"]}] for name, metadata in places.items()
        }
        assert chosen == list(offered)[1]
        assert cluster.get(f"pod/{places[chosen]['name']}") is None
        others = [metadata["name"] for name, metadata in places.items() if name != chosen]
        assert cluster.get(f"pod/{others[0]}") is not None
