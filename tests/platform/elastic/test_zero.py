"""Down to zero and back, in virtual time; and whom the gateway may wake, with how many replicas."""

from collections.abc import Iterator
from typing import Any, cast

import pytest

from sampan.control import scales
from sampan.gateway.sleepers import Sleepers
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.feature_gates import HPA_SCALE_TO_ZERO
from sampan.kit.tasks import Tasks
from sampan.meta import objects
from sampan.meta.status import ApiError
from sampan.platform import zero
from sampan.platform.layer import Around
from sampan.testing.cluster import Cluster
from tests.platform.elastic.test_cron_cluster import replicas, workload
from tests.platform.elastic.test_metrics_cluster import Gateway, autoscaler, external

Tree = dict[str, Any]
SERVICE: Tree = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(layers=["elastic"]) as made:
        yield made


def by_requests(least: int = 1, after: str = "") -> Tree:
    """Ten requests a second for each pod."""
    metric = external("gateway_requests_per_second", {"service": "web"}, type="AverageValue", averageValue="10")
    made = autoscaler(metric)
    made["spec"] |= {"minReplicas": least, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}
    if after:
        made["metadata"]["annotations"] = {zero.AFTER_SECONDS: after}
    return made


def condition(cluster: Cluster, type_: str) -> tuple[str, str]:
    status = (cluster.get("hpa/web") or {})["status"]
    found = {each["type"]: each for each in status["conditions"]}[type_]
    return found["status"], found["reason"]


def told(cluster: Cluster, reason: str) -> list[str]:
    return [event["message"] for event in cluster.list("events") if event["reason"] == reason]


def test_an_autoscaler_with_the_gate_goes_to_zero_and_back() -> None:
    """minReplicas 0: down when there were no requests for the window, up with the first ones; by hand it stays down."""
    with Cluster(layers=["elastic"], feature_gates={HPA_SCALE_TO_ZERO: True}) as cluster:
        gateway = Gateway(cluster)
        cluster.apply(workload(), SERVICE, by_requests(least=0))
        gateway.per_second = 20.0
        cluster.advance(60)
        assert replicas(cluster) == 2
        gateway.per_second = 0.0
        cluster.advance(60)
        assert replicas(cluster) > 0
        cluster.advance(90)
        assert replicas(cluster) == 0
        assert condition(cluster, "ScaledToZero") == ("True", "ScaledToZero")
        gateway.per_second = 30.0
        cluster.advance(60)
        assert replicas(cluster) == 3
        assert condition(cluster, "ScaledToZero") == ("False", "NotScaledToZero")
        cluster.run(cluster.client.patch(DEPLOYMENT, ("default", "web"), {"spec": {"replicas": 0}}))
        cluster.advance(60)
        assert replicas(cluster) == 0
        assert condition(cluster, "ScalingActive") == ("False", "ScalingDisabled")


def test_without_the_gate_zero_is_refused(cluster: Cluster) -> None:
    """With the reference server's words; a metric of pods alone leads to no way back."""
    with pytest.raises(ApiError, match="spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"):
        cluster.create(by_requests(least=0))
    made = by_requests(least=0)
    resource = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    made["spec"]["metrics"] = [{"type": "Resource", "resource": resource}]
    with Cluster(feature_gates={HPA_SCALE_TO_ZERO: True}) as open_:
        with pytest.raises(ApiError, match="must specify at least one Object or External metric to support scaling"):
            open_.create(made)
        made = by_requests(least=-1)
        with pytest.raises(ApiError, match="spec.minReplicas: Invalid value: -1: must be greater than or equal to 0"):
            open_.create(made)


def test_an_annotation_leads_to_zero_without_the_gate(cluster: Cluster) -> None:
    """After so long without a request, and not before the autoscaler has come down to its least."""
    gateway = Gateway(cluster)
    cluster.apply(workload(), SERVICE, by_requests(after="120"))
    gateway.per_second = 30.0
    cluster.advance(60)
    assert replicas(cluster) == 3
    gateway.per_second = 0.0
    cluster.advance(120)
    assert replicas(cluster) == 1
    cluster.advance(150)
    assert replicas(cluster) == 0
    assert told(cluster, "ScaledToZero") == ["no request for 120 seconds"]
    cluster.advance(600)
    assert replicas(cluster) == 0


def test_a_request_now_and_then_keeps_it_up(cluster: Cluster) -> None:
    """The idle time begins anew with each."""
    gateway = Gateway(cluster)
    cluster.apply(workload(replicas=1), SERVICE, by_requests(after="120"))
    for _ in range(6):
        gateway.per_second = 1.0
        cluster.advance(30)
        gateway.per_second = 0.0
        cluster.advance(90)
    assert replicas(cluster) == 1


def test_who_cannot_be_measured_is_not_idle(cluster: Cluster) -> None:
    """Without a gateway nobody knows whether requests come; neither where no Service leads to the workload."""
    cluster.apply(workload(replicas=1), SERVICE, by_requests(after="15"))
    cluster.advance(120)
    assert replicas(cluster) == 1
    Gateway(cluster)
    cluster.delete("service/web")
    cluster.advance(120)
    assert replicas(cluster) == 1


def test_an_annotation_that_says_nothing_is_told(cluster: Cluster) -> None:
    """Once, and it does nothing."""
    Gateway(cluster)
    cluster.apply(workload(replicas=1), SERVICE, by_requests(after="5m"))
    cluster.advance(600)
    assert replicas(cluster) == 1
    assert told(cluster, "InvalidAnnotation") == [
        f'the annotation {zero.AFTER_SECONDS} must be a positive number of seconds, not "5m"'
    ]


@pytest.mark.parametrize(
    ("least", "after", "is_so"),
    [(0, "", True), (1, "60", True), (1, "", False), (1, "0", False), (2, "x", False), (1, "9" * 5000, False)],
)
def test_whose_workload_may_be_at_zero(least: int, after: str, is_so: bool) -> None:
    """By minReplicas or by the annotation."""
    assert zero.may_sleep(by_requests(least, after)) is is_so


@pytest.mark.parametrize(("waiting", "size"), [(1, 1), (10, 1), (11, 2), (95, 10), (5000, 20)])
def test_how_many_replicas_those_who_wait_ask_for(waiting: int, size: int) -> None:
    """As if they had come within a second; no more than the autoscaler may have."""
    assert zero.first_size(by_requests(0), waiting) == size
    assert zero.first_size({"spec": {"maxReplicas": 3, "minReplicas": 2}}, waiting) == 2


def test_which_services_are_meant() -> None:
    """By their selectors, whatever a roll-out adds to these; one without a selector is nobody's."""
    labels = zero.pod_labels(workload())
    assert labels == {"app": "web"}
    assert zero.leads_to(SERVICE, labels)
    assert zero.leads_to({"spec": {"selector": {"app": "web", "rollouts-pod-template-hash": "x"}}}, labels)
    assert not zero.leads_to({"spec": {"selector": {"app": "web", "tier": "x"}}}, labels)
    assert not zero.leads_to({"spec": {}}, labels)


@pytest.mark.parametrize(
    "spec",
    [
        "abc",
        {"template": "abc"},
        {"template": {"metadata": "abc"}},
        {"template": {"metadata": {"labels": "abc"}}},
        {"selector": "abc"},
        {"selector": {"matchLabels": "abc"}},
        {"selector": {"matchLabels": {"app": 1}}},
    ],
)
def test_an_object_of_another_shape_has_no_pods(spec: Any) -> None:
    """An autoscaler may name any object, and any user may write one."""
    assert zero.pod_labels({"spec": spec}) == {}


def odd(name: str, version: str = "v1") -> Tree:
    """An autoscaler of a Service."""
    made = by_requests(after="60")
    made["metadata"] |= {"name": name}
    made["spec"]["scaleTargetRef"] = {"apiVersion": version, "kind": "Service", "name": "odd"}
    return made


def test_no_autoscaler_keeps_others_from_being_known(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for a Service whose selector is no selector, one of no group, and one that can't be read at all."""
    service = {
        **SERVICE,
        "metadata": {"name": "odd"},
        "spec": {"selector": {"matchLabels": "abc"}, "ports": [{"port": 80}]},
    }
    cluster.apply(workload(), service, odd("a"), odd("b", "a/b/c/d"), odd("c"), by_requests(after="60"))
    labels = zero.pod_labels

    def reading(found: Tree) -> dict[str, str]:
        if found["kind"] == "Service":
            raise ValueError("odd")
        return labels(found)

    async def known() -> list[tuple[str, dict[str, str]]]:
        tasks = Tasks("sleepers")
        around = Around(cluster.client, cluster.sim.clock, cast("Any", None), tasks, None)
        found = Sleepers(around, lambda: None)
        try:
            await found.start()
            return [(objects.name(sleeper.hpa), sleeper.labels) for sleeper in found.found]
        finally:
            await tasks.close()

    expected = [("a", {}), ("b", {}), ("c", {}), ("web", {"app": "web"})]
    assert cluster.run(known()) == expected
    monkeypatch.setattr(zero, "pod_labels", reading)
    assert cluster.run(known()) == expected


async def test_an_api_version_is_no_path() -> None:
    """What an autoscaler's author writes there must not become a question for anything else: nobody is asked."""
    assert await scales.resource(cast("Any", None), "a/b/c/d", "Service") is None
