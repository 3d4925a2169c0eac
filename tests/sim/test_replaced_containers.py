"""A container that its node makes anew: clients that write the pod's status meanwhile find it ready, as with a kubelet."""

from typing import Any

import pytest

from sampan.testing import Cluster

Seen = tuple[str | None, int, str]
BEFORE, AFTER = ("True", 0, "running"), ("True", 1, "running")


def seen(pod: dict[str, Any]) -> Seen:
    """Whether it is ready, how often its container was made anew, and how that is."""
    status = pod["status"]
    ready = {each["type"]: each["status"] for each in status["conditions"]}["Ready"]
    (container,) = status["containerStatuses"]
    (state,) = container["state"]
    return ready, container["restartCount"], state


def told_after_another_image(cluster: Cluster, behaviour: dict[str, Any]) -> list[Seen]:
    """What was said of the pod since then, each once."""
    container = {"name": "c", "image": "one"}
    cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [container]}})
    cluster.wait_for("pod/a", "Ready")
    cluster.behave("two", behaviour)
    begin = len(cluster.history("pod/a"))
    cluster.patch("pod/a", {"spec": {"containers": [{"name": "c", "image": "two"}]}}, type="strategic")
    cluster.advance(seconds=30)
    stages = [seen(change.tree) for change in cluster.history("pod/a")[begin:]]
    return [stage for number, stage in enumerate(stages) if not number or stage != stages[number - 1]]


@pytest.mark.parametrize("start", ["0s", "800ms"])
def test_another_image(start: str) -> None:
    with Cluster() as cluster:
        assert told_after_another_image(cluster, {"start": start}) == [BEFORE, AFTER]


def test_another_image_whose_start_takes_long() -> None:
    """That it is not ready is told after a second."""
    with Cluster() as cluster:
        assert told_after_another_image(cluster, {"start": "5s"}) == [BEFORE, ("False", 0, "terminated"), AFTER]


def test_a_container_that_ends_by_itself() -> None:
    """Nothing is kept back."""
    with Cluster() as cluster:
        told = told_after_another_image(cluster, {"run": 3, "exit": 1, "start": "500ms"})
    assert told[:3] == [BEFORE, AFTER, ("False", 1, "waiting")]
