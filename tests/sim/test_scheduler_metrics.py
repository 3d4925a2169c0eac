"""What the scheduler's metrics tell, by upstream's names."""

import re
from typing import Any

from sampan.testing import Cluster


def pod(name: str, cpu: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "web", "resources": {"requests": {"cpu": cpu}}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container], **spec}}


def told(cluster: Cluster) -> dict[str, float]:
    """Samples of the scheduler by name and labels."""
    text = cluster.sim.app.metrics.text("")[0].decode()
    found = re.findall(r"^(scheduler_\S+?(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_attempts_and_queues() -> None:
    """Pods with a node, without one, behind a gate; and the room that was made."""
    with Cluster() as cluster:
        cpu = cluster.list("node")[0]["status"]["allocatable"]["cpu"]
        priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}}
        cluster.create({**priority, "value": 1000})
        cluster.create(pod("placed", cpu))
        cluster.wait_for("pod/placed", "Ready")
        cluster.create(pod("gated", "1", schedulingGates=[{"name": "later"}]))
        cluster.create(pod("waiting", cpu))
        cluster.wait_for("pod/waiting", lambda p: p["status"].get("conditions"))
        cluster.create(pod("important", cpu, priorityClassName="high"))
        cluster.wait_for("pod/important", "Ready", within=90)
        cluster.advance(30)
        found = told(cluster)
        own = 'profile="default-scheduler"'
        assert found[f'scheduler_schedule_attempts_total{{{own},result="scheduled"}}'] == 2
        assert found[f'scheduler_schedule_attempts_total{{{own},result="unschedulable"}}'] >= 3
        assert found[f'scheduler_scheduling_attempt_duration_seconds_count{{{own},result="scheduled"}}'] == 2
        assert found['scheduler_pending_pods{queue="gated"}'] == 1
        assert found['scheduler_pending_pods{queue="unschedulable"}'] == 1
        assert found['scheduler_pending_pods{queue="active"}'] == 0
        assert found[f'scheduler_unschedulable_pods{{plugin="NodeResourcesFit",{own}}}'] == 1
        assert found["scheduler_preemption_victims_count"] == found["scheduler_preemption_victims_sum"] == 1
        assert found["scheduler_preemption_attempts_total"] >= 2
        assert found["scheduler_pod_scheduling_attempts_count"] == 2
        assert found['scheduler_pod_scheduling_sli_duration_seconds_count{attempts="1"}'] == 1
        assert found['scheduler_cache_size{type="nodes"}'] == 1
