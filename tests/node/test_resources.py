"""A pod's cgroup numbers: sums of its containers', its own where it names them, none where one container has none."""

from typing import Any

import pytest

from sampan.node import resources
from sampan.node.runtime.protocol import Resources

MIB = 1 << 20


def container(cpu: str = "", memory: str = "", **more: Any) -> dict[str, Any]:
    limits = {name: value for name, value in (("cpu", cpu), ("memory", memory)) if value}
    return {"name": "c", "resources": {"limits": limits, "requests": limits}, **more}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"containers": [{"name": "c"}]}, Resources(cpu_shares=2)),
        ({"containers": [container("1", "32Mi")] * 2}, Resources(2048, 200_000, memory_limit=64 * MIB)),
        ({"containers": [container("1", "32Mi"), container("1")]}, Resources(2048, 200_000)),
        ({"containers": [container("1", "32Mi"), container(memory="1Mi")]}, Resources(1024, memory_limit=33 * MIB)),
        (
            {"containers": [container("1", "32Mi")], "initContainers": [container("3", "1Mi")]},
            Resources(3072, 300_000, memory_limit=32 * MIB),
        ),
        ({"containers": [container("1", "32Mi")], "initContainers": [{"name": "i"}]}, Resources(1024)),
        (
            {"containers": [container("1", "32Mi")], "overhead": {"cpu": "500m", "memory": "1Mi"}},
            Resources(1536, 150_000, memory_limit=33 * MIB),
        ),
        (
            {"containers": [{"name": "c"}], "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "500m"}}},
            Resources(512, memory_limit=64 * MIB),
        ),
    ],
)
def test_the_pods_own(spec: dict[str, Any], expected: Resources) -> None:
    """Shares of what it asks for; limits of what is limited everywhere, or for the whole."""
    assert resources.pod_cgroup(spec) == expected


def test_a_container_of_a_limited_pod() -> None:
    """What it has no limit of is limited as the pod is."""
    spec = {"resources": {"limits": {"cpu": "2", "memory": "64Mi"}}}
    assert resources.cgroup({"name": "c"}, spec) == Resources(2048, 200_000, memory_limit=64 * MIB)
    assert resources.cgroup(container("1", "32Mi"), spec) == Resources(1024, 100_000, memory_limit=32 * MIB)


def test_who_is_killed_first() -> None:
    """Memory that only the pod asks for counts for its containers in equal parts."""
    pod = {
        "spec": {
            "containers": [container(memory="20Mi"), {"name": "b"}],
            "resources": {"requests": {"memory": "60Mi"}},
        },
        "status": {"qosClass": "Burstable"},
    }
    scores = [resources.oom_score_adj(c, pod, 1000 * MIB) for c in pod["spec"]["containers"]]  # type: ignore[index]
    assert scores == [960, 980]
