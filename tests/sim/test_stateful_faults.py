"""StatefulSets whose controller is killed, hears late or has a rival: the end is the same, and so is the order."""

from collections.abc import Iterator

import pytest

from sampan.cluster import invariants
from sampan.cluster.aim import CONTROLLERS, Aim
from sampan.cluster.faults import Faults
from sampan.cluster.history import Change
from sampan.kinds.apps.controller_revision import CONTROLLERREVISION
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.meta import objects
from sampan.testing.cluster import Cluster
from tests.sim import stateful
from tests.sim.stateful import WEB, stateful_set

CLAIMED = {
    "volumeClaimTemplates": [stateful.claim_template()],
    "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"},
}

CRASHED = ["crash the control plane", "start the control plane"]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=1, nodes=2) as made:
        yield made


class Order:
    """Sees to it that a pod comes only when all before it are there, and that one at most is missing meanwhile."""

    def __init__(self, cluster: Cluster) -> None:
        self.there: set[str] = set()
        self.wrong: list[str] = []
        cluster.sim.observe(self.see)

    def see(self, change: Change) -> None:
        name = change.key.rpartition("/")[2]
        if change.resource != POD.resource or not name.startswith("web-"):
            return
        if change.type == "DELETED":
            self.there.discard(name)
        elif change.type == "ADDED":
            number = int(name.removeprefix("web-"))
            self.wrong += [f"{name} without web-{n}" for n in range(number) if f"web-{n}" not in self.there]
            self.there.add(name)


@pytest.mark.parametrize("number", range(2, 24, 2))
def test_killed_at_any_write_of_the_first_pods(cluster: Cluster, number: int) -> None:
    """The control plane dies right after the n-th write; no pod or claim is made twice or out of order."""
    watching, order = invariants.watch(cluster.sim), Order(cluster)
    faults = Faults(cluster.sim)
    faults.crash_at_write(number, back_after=3)
    cluster.sim.create(stateful_set(3, **CLAIMED))
    cluster.sim.advance(5)
    assert [what for _, what in faults.log] == CRASHED
    stateful.wait_ready(cluster, 3)
    cluster.advance(60)
    watching.settled()
    assert stateful.happenings(cluster) == ["+web-0", "+web-1", "+web-2"]
    assert order.wrong == []
    assert len(cluster.list(PERSISTENTVOLUMECLAIM)) == 3


@pytest.mark.parametrize("number", range(2, 34, 4))
def test_killed_at_any_write_of_an_update(cluster: Cluster, number: int) -> None:
    """Each pod is replaced once, from the highest."""
    watching = invariants.watch(cluster.sim)
    cluster.create(stateful_set(2, **CLAIMED))
    stateful.wait_ready(cluster, 2)
    faults = Faults(cluster.sim)
    faults.crash_at_write(number, back_after=3)
    stateful.set_image(cluster, "web:2")
    cluster.sim.advance(5)
    assert [what for _, what in faults.log] == CRASHED
    stateful.wait_ready(cluster, 2)
    cluster.advance(60)
    watching.settled()
    assert stateful.happenings(cluster)[2:] == ["-web-1", "+web-1", "-web-0", "+web-0"]
    assert sorted(r["revision"] for r in cluster.list(CONTROLLERREVISION)) == [1, 2]


@pytest.mark.parametrize("number", range(2, 14, 2))
def test_killed_at_any_write_of_scaling_down(cluster: Cluster, number: int) -> None:
    """Claims go with their pods, whenever that is."""
    watching = invariants.watch(cluster.sim)
    cluster.create(stateful_set(3, **CLAIMED))
    stateful.wait_ready(cluster, 3)
    faults = Faults(cluster.sim)
    faults.crash_at_write(number, back_after=3)
    cluster.scale(WEB, 1)
    cluster.sim.advance(5)
    assert [what for _, what in faults.log] == CRASHED
    stateful.wait_ready(cluster, 1)
    cluster.advance(60)
    watching.settled()
    assert stateful.happenings(cluster)[3:] == ["-web-2", "-web-1"]
    assert list(map(objects.name, cluster.list(PERSISTENTVOLUMECLAIM))) == ["data-web-0"]


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
def test_late_news_and_rivals(cluster: Cluster, policy: str) -> None:
    """Controllers that hear late, and two at once, end up where one would have."""
    watching, faults = invariants.watch(cluster.sim), Faults(cluster.sim)
    with faults.late_watches(7, Aim(users=CONTROLLERS)), faults.duplicate_controllers():
        cluster.create(stateful_set(3, podManagementPolicy=policy, **CLAIMED))
        cluster.advance(60)
        stateful.set_image(cluster, "web:2")
        cluster.advance(30)
        cluster.scale(WEB, 2)
        cluster.advance(30)
    stateful.wait_ready(cluster, 2)
    cluster.advance(60)
    watching.settled()
    assert stateful.pods(cluster) == {"web-0": "web:2", "web-1": "web:2"}
    assert sorted(r["revision"] for r in cluster.list(CONTROLLERREVISION)) == [1, 2]
    assert len(cluster.list(PERSISTENTVOLUMECLAIM)) == 2


def test_refusals_and_lost_answers(cluster: Cluster) -> None:
    """Every third write fails or goes unanswered for a while."""
    watching, faults = invariants.watch(cluster.sim), Faults(cluster.sim)
    aim = Aim(users=CONTROLLERS, verbs=("create", "update", "patch", "delete"), chance=0.3)
    with faults.errors(503, aim), faults.lost_answers(aim), faults.conflicts(aim):
        cluster.create(stateful_set(3, **CLAIMED))
        cluster.advance(120)
        stateful.set_image(cluster, "web:2")
        cluster.advance(120)
    stateful.wait_ready(cluster, 3, within=1200)
    cluster.advance(60)
    watching.settled()
    assert set(stateful.pods(cluster).values()) == {"web:2"}
    assert sorted(r["revision"] for r in cluster.list(CONTROLLERREVISION)) == [1, 2]
