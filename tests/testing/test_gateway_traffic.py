"""Traffic through a route in virtual time: shares by weight, what pods can do, and what autoscalers see of it."""

import pytest

from sampan.testing import queueing
from sampan.testing.cluster import Cluster
from sampan.testing.gateway_traffic import Counts, GatewayTraffic
from sampan.testing.queueing import Server

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec: {{containers: [{{name: web, image: web}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  rules:
  - backendRefs: [{name: stable, port: 80, weight: 90}, {name: canary, port: 80, weight: 10}]
"""
SECONDS = 600


def test_requests_are_shared_by_weight_and_bad_pods_fail() -> None:
    """90 of 100 go to one Service; the other's pod fails each second one; no more is counted than came."""
    with Cluster(layers=["gateway"], seed=3) as cluster:
        traffic = GatewayTraffic(
            cluster, ("default", "web"), lambda pod: Server(fail_share=0.5 * (pod["metadata"]["name"] == "canary"))
        )
        cluster.apply(POD.format(name="stable"), POD.format(name="canary"), ROUTE)
        cluster.wait_for("pod/stable", "Ready")
        cluster.wait_for("pod/canary", "Ready")
        cluster.advance(5)
        traffic.offer(10)
        cluster.advance(SECONDS)
        found = traffic.taken()
        total = sum(found.ends.values())
        assert total == pytest.approx(10 * SECONDS, rel=0.02)
        assert found.ends["stable", 200] == pytest.approx(0.9 * total)
        assert found.ends["canary", 500] == found.ends["canary", 200] == pytest.approx(0.05 * total)
        assert 0.05 < (found.quantile(0.5) or 0) < 0.11
        cluster.delete("pod/canary", grace_seconds=0)
        cluster.advance(5)
        traffic.taken()
        cluster.advance(60)
        assert traffic.taken().ends["", 503] == pytest.approx(60, rel=0.1)


def test_nobody_serves_more_than_they_can() -> None:
    """Twice of what a pod is able to do waits, and then fails; and without pods everything does."""
    pod = Server(slots=2, seconds=0.1)
    backlog, answered, dropped = 0.0, 0.0, 0.0
    for _ in range(60):
        found = queueing.passed(40.0, backlog, 1.0, (pod,))
        backlog, answered, dropped = found.backlog, answered + found.answered, dropped + found.dropped
    assert answered == pytest.approx(20.0 * 60)
    assert backlog == 20.0 * queueing.PATIENCE_SECONDS
    assert answered + dropped + backlog == pytest.approx(40.0 * 60)
    assert found.latency.share_within(1.0) == 0.0
    assert queueing.passed(40.0, 0.0, 1.0, ()).dropped == 40.0


def test_waits_grow_with_the_load() -> None:
    """From the bare service time to several times of it."""
    pod = Server(slots=2, seconds=0.08)
    shares = [queueing.passed(rate, 0.0, 1.0, (pod,)).latency.share_within(0.15) for rate in (1.0, 12.0, 18.0, 23.0)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.99
    assert shares[-1] < 0.7


def test_only_a_2xx_is_answered_well() -> None:
    """What the gateway itself refuses is none."""
    assert Counts({("v1", 200): 2.0, ("", 404): 1.0, ("", 429): 1.0, ("v1", 500): 1.0}).answered == 2.0
