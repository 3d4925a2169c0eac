"""Devices while something goes wrong: nobody gets what another one has, and in the end everybody has his own."""

from collections.abc import Callable, Iterator

import pytest

from sampan.cluster.aim import Aim
from sampan.cluster.faults import Faults
from sampan.kinds.parts import pod_devices
from sampan.testing import Cluster
from tests import thorough
from tests.sim import test_device_scheduling as devices
from tests.sim import trees

SCHEDULER = ("system:kube-scheduler",)
WRITES = ("create", "update", "patch", "delete")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(seed=3, nodes=0) as made:
        for name in ("a", "b"):
            made.add_node(name)
            made.create(devices.resource_slice(name, ["gpu-0", "gpu-1"]))
        made.create(devices.device_class("gpu", extendedResourceName="example.com/gpu"))
        made.create(devices.template("t"))
        yield made


def four(cluster: Cluster) -> None:
    """As many pods as there are devices: three with a claim each, one with an extended resource."""
    for number in range(3):
        cluster.create(devices.pod(f"p{number}", made_from="t"))
    plain = trees.pod("p3")
    plain["spec"]["containers"][0]["resources"] = {"limits": {"example.com/gpu": "1"}}
    cluster.create(plain)


def everybody_has_his_own(cluster: Cluster) -> None:
    """Each pod is bound to where its device is."""
    found = [result for claim in cluster.list("resourceclaim") for result in pod_devices.results(claim)]
    taken = sorted((result["pool"], result["device"]) for result in found)
    assert taken == [(pool, device) for pool in "ab" for device in ("gpu-0", "gpu-1")]
    assert [devices.where(cluster, f"p{number}") != "" for number in range(4)] == [True] * 4
    for claim in cluster.list("resourceclaim"):
        [user] = pod_devices.reservations(claim)
        assert devices.where(cluster, user["name"]) == pod_devices.results(claim)[0]["pool"]


def never_twice(cluster: Cluster) -> None:
    """Of all states that there were, none gave a device to two claims."""
    held: dict[str, list[tuple[str, str]]] = {}
    for change in cluster.history():
        if change.resource == "resourceclaims.resource.k8s.io":
            results = [] if change.type == "DELETED" else pod_devices.results(change.tree)
            held[change.key] = [(each["pool"], each["device"]) for each in results]
            everything = [device for each in held.values() for device in each]
            assert len(everything) == len(set(everything)), held


FAULTS: dict[str, Callable[[Faults], object]] = {
    "lost answers": lambda faults: faults.lost_answers(Aim(SCHEDULER, WRITES, chance=0.5)),
    "answers 504": lambda faults: faults.lost_answers(Aim(SCHEDULER, WRITES, chance=0.5), 504),
    "conflicts": lambda faults: faults.conflicts(Aim(SCHEDULER, WRITES, chance=0.5)),
    "errors": lambda faults: faults.errors(503, Aim(SCHEDULER, WRITES, chance=0.5)),
    "broken connections": lambda faults: faults.broken_connections(Aim(SCHEDULER, chance=0.3)),
    "late watches": lambda faults: faults.late_watches(3, Aim(SCHEDULER)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_schedulers_connection(cluster: Cluster, fault: str) -> None:
    """While it lasts, and after it."""
    FAULTS[fault](cluster.faults)
    four(cluster)
    cluster.advance(60)
    cluster.faults.end()
    cluster.advance(120)
    everybody_has_his_own(cluster)
    never_twice(cluster)


@pytest.mark.parametrize("number", thorough.each(3, range(1, 25)))
def test_a_crash_at_any_write(cluster: Cluster, number: int) -> None:
    """Whatever was under way is taken up again."""
    four(cluster)
    cluster.faults.crash_at_write(number, back_after=3)
    cluster.advance(60)
    cluster.faults.end()
    cluster.advance(120)
    everybody_has_his_own(cluster)
    never_twice(cluster)
