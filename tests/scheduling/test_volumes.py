"""The plugins for volumes, each asked by itself: what they say of nodes, and what they choose."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import making
from making import Field

from sampan.kinds.parts import local_volumes
from sampan.scheduling import cycle
from sampan.scheduling.cycle import Terms
from sampan.scheduling.framework import Extra
from sampan.scheduling.plugins import node_volume_limits, volume_binding, volume_restrictions, volume_zone
from sampan.scheduling.verdict import Demand, Verdict

Tree = dict[str, Any]

ZONE = "topology.kubernetes.io/zone"


class Shelf:
    """A Storage over plain objects."""

    def __init__(self, *found: Tree, nodes: Mapping[str, str] | None = None, taken: Collection[str] = ()) -> None:
        self._found = {(each["kind"], each["metadata"]["name"]): each for each in found}
        self._nodes, self._taken = nodes or {}, taken
        self.counts: dict[str, Mapping[str, int]] = {}
        self.regions: list[Tree] | None = None

    def claim(self, namespace: str, name: str) -> Tree | None:
        return self._found.get(("PersistentVolumeClaim", name))

    def volume(self, name: str) -> Tree | None:
        return self._found.get(("PersistentVolume", name))

    def storage_class(self, name: str) -> Tree | None:
        return self._found.get(("StorageClass", name))

    def volumes(self, storage_class: str) -> Iterable[Tree]:
        found = (each for (kind, _), each in self._found.items() if kind == "PersistentVolume")
        return [each for each in found if each["spec"].get("storageClassName") == storage_class]

    def node_of(self, claim: Tree) -> str:
        return self._nodes.get(claim["metadata"]["name"], "")

    def taken(self, claim: Tree) -> Collection[str]:
        return self._taken

    def limits(self, node: str) -> Mapping[str, int]:
        return self.counts.get(node, {})

    def is_measured(self, provisioner: str) -> bool:
        return self.regions is not None

    def capacities(self, storage_class: str) -> Iterable[Tree]:
        return [each for each in self.regions or () if each["storageClassName"] == storage_class]


def claim(name: str, size: str = "1Gi", volume: str = "", storage_class: str = "disks") -> Tree:
    marks = {"pv.kubernetes.io/bind-completed": "yes"} if volume else {}
    spec: Tree = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    spec |= {"storageClassName": storage_class, **({"volumeName": volume} if volume else {})}
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}", "annotations": marks}
    return {"kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}


def volume(name: str, node: str = "", size: str = "1Gi", labels: Tree | None = None, **spec: Any) -> Tree:
    wanted: Tree = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "disks"}
    wanted |= {"nodeAffinity": local_volumes.affinity(node)} if node else {}
    metadata = {"name": name, "labels": labels or {}}
    return {"kind": "PersistentVolume", "metadata": metadata, "spec": wanted | spec, "status": {"phase": "Available"}}


def storage_class(provisioner: str = "kubernetes.io/no-provisioner", **more: Any) -> Tree:
    kind = {"kind": "StorageClass", "metadata": {"name": "disks"}, "provisioner": provisioner}
    return {**kind, "volumeBindingMode": "WaitForFirstConsumer", **more}


def pod(name: str, *claims: str) -> Demand:
    return making.of(making.pod(name, volumes=of_claims(*claims)))


def nodes(field: Field) -> Field:
    for name, zone in (("a", "east"), ("b", "west")):
        field.add(making.node(name, labels={"kubernetes.io/hostname": name, ZONE: zone}))
    return field


def reasons(found: list[Verdict | None]) -> list[tuple[str, ...]]:
    return [verdict.reasons if verdict is not None else () for verdict in found]


def filtered(plugin: Any, asked: Demand, field: Field, shelf: Shelf) -> list[tuple[str, ...]]:
    return reasons(plugin.filter(asked, range(len(field.snapshot)), field.snapshot, shelf))


def chosen(asked: Demand, field: Field, shelf: Shelf, node: str) -> tuple[dict[str, str], list[str]]:
    """Claim -> volume, and the claims for which volumes are to be made."""
    labels = field.snapshot.labels[field.snapshot.index[node]]
    found = volume_binding.choose(asked, node, labels, shelf)
    bound = {c["metadata"]["name"]: v["metadata"]["name"] for c, v in found.bindings}
    return bound, [c["metadata"]["name"] for c in found.provisions]


def test_what_is_bound_and_what_is_to_be_had(field: Field) -> None:
    """Both count, and a node can lack both."""
    nodes(field)
    used = volume("v", "a", claimRef={"namespace": "default", "name": "x"})
    shelf = Shelf(claim("x", volume="v"), claim("y"), used, volume("w", "b"), storage_class())
    assert filtered(volume_binding, pod("p", "x"), field, shelf) == [(), (volume_binding.NODE_CONFLICT,)]
    assert filtered(volume_binding, pod("p", "y"), field, shelf) == [(volume_binding.BIND_CONFLICT,), ()]
    assert filtered(volume_binding, pod("p", "x", "y"), field, shelf) == [
        (volume_binding.BIND_CONFLICT,),
        (volume_binding.NODE_CONFLICT,),
    ]
    gone = Shelf(claim("x", volume="v"), storage_class())
    assert filtered(volume_binding, pod("p", "x"), field, gone) == [(volume_binding.NO_VOLUME,)] * 2


def test_each_claim_gets_a_volume_of_its_own(field: Field) -> None:
    """The smallest claim chooses first, so that both fit; what others have taken is left to them."""
    nodes(field)
    found = (claim("big", "5Gi"), claim("small", "1Gi"), volume("v5", "a", "5Gi"), volume("v2", "a", "2Gi"))
    shelf = Shelf(*found, storage_class())
    assert chosen(pod("p", "big", "small"), field, shelf, "a") == ({"small": "v2", "big": "v5"}, [])
    less = Shelf(*found, storage_class(), taken=["v2"])
    assert filtered(volume_binding, pod("p", "big", "small"), field, less)[0] == (volume_binding.BIND_CONFLICT,)
    assert chosen(pod("p", "small"), field, less, "a") == ({"small": "v5"}, [])


def test_a_provisioner_makes_what_is_not_there(field: Field) -> None:
    """Where its class allows it, and where the claim's node is, once that is decided."""
    nodes(field)
    anywhere = Shelf(claim("x"), storage_class("example.com/d"))
    assert filtered(volume_binding, pod("p", "x"), field, anywhere) == [(), ()]
    assert chosen(pod("p", "x"), field, anywhere, "b") == ({}, ["x"])
    east = [{"matchLabelExpressions": [{"key": ZONE, "values": ["east"]}]}]
    within = Shelf(claim("x"), storage_class("example.com/d", allowedTopologies=east))
    assert filtered(volume_binding, pod("p", "x"), field, within) == [(), (volume_binding.BIND_CONFLICT,)]
    decided = Shelf(claim("x"), volume("v", "a"), storage_class("example.com/d"), nodes={"x": "b"})
    assert filtered(volume_binding, pod("p", "x"), field, decided) == [(volume_binding.BIND_CONFLICT,), ()]
    assert chosen(pod("p", "x"), field, decided, "b") == ({}, ["x"])


def test_zones(field: Field) -> None:
    """One of several will do; a node that is in none is good."""
    nodes(field).add(making.node("c"))
    several = Shelf(claim("x", volume="v"), volume("v", labels={ZONE: "west__north"}))
    elsewhere = ("node(s) had no available volume zone",)
    assert filtered(volume_zone, pod("p", "x"), field, several) == [elsewhere, (), ()]
    old = Shelf(claim("x", volume="v"), volume("v", labels={"failure-domain.beta.kubernetes.io/zone": "east"}))
    assert filtered(volume_zone, pod("p", "x"), field, old) == [(), elsewhere, ()]


def test_volumes_of_a_driver_have_a_limit(field: Field) -> None:
    """Each volume counts once, however many pods use it; without a limit nothing is refused."""
    nodes(field)
    csi = [volume(f"v{n}", csi={"driver": "d", "volumeHandle": f"h{n}"}) for n in range(3)]
    shelf = Shelf(*csi, *(claim(f"c{n}", volume=f"v{n}") for n in range(3)))
    shelf.counts["a"] = {"d": 2}
    field.place("a", pod("there", "c0").pod)
    assert filtered(node_volume_limits, pod("p", "c1"), field, shelf) == [(), ()]
    assert filtered(node_volume_limits, pod("p", "c0", "c1"), field, shelf) == [(), ()]
    assert filtered(node_volume_limits, pod("p", "c1", "c2"), field, shelf) == [
        ("node(s) exceed max volume count",),
        (),
    ]


def test_storage_that_is_measured(field: Field) -> None:
    """A volume is made only where there is enough of it in one piece, as far as the driver tells."""
    nodes(field)
    shelf = Shelf(claim("x", "5Gi"), claim("y", "1Gi"), storage_class("example.com/d"))
    short = (volume_binding.NO_SPACE,)
    assert filtered(volume_binding, pod("p", "x"), field, shelf) == [(), ()]
    shelf.regions = []
    assert filtered(volume_binding, pod("p", "x"), field, shelf) == [short, short]
    shelf.regions = [capacity("east", "10Gi"), capacity("west", "3Gi")]
    assert filtered(volume_binding, pod("p", "x", "y"), field, shelf) == [(), short]
    assert chosen(pod("p", "x", "y"), field, shelf, "a") == ({}, ["y", "x"])
    shelf.regions = [capacity("east", "10Gi", maximumVolumeSize="2Gi"), capacity("west", "8Gi")]
    assert filtered(volume_binding, pod("p", "x"), field, shelf) == [short, ()]
    shelf.regions = [{**capacity("west", "8Gi"), "storageClassName": "other"}, {"storageClassName": "disks"}]
    assert filtered(volume_binding, pod("p", "x"), field, shelf) == [short, short]


def capacity(zone: str, size: str, **more: Any) -> Tree:
    return {"storageClassName": "disks", "nodeTopology": {"matchLabels": {ZONE: zone}}, "capacity": size, **more}


def test_a_claim_for_one_pod_alone(field: Field) -> None:
    """While a pod has it no node is good for another; but where only that pod is in the way, it may go."""
    nodes(field)
    mine = claim("x", volume="v")
    mine["spec"]["accessModes"] = ["ReadWriteOncePod"]
    shelf = Shelf(mine, volume("v"))
    assert filtered(volume_restrictions, pod("p", "x"), field, shelf) == [(), ()]
    field.place("a", pod("there", "x").pod)
    assert filtered(volume_restrictions, pod("p", "x"), field, shelf) == [volume_restrictions.IN_USE.reasons] * 2
    assert filtered(volume_restrictions, pod("there", "x"), field, shelf) == [(), ()]
    extra = Restricting(shelf)
    decision = cycle.decide(important("p", "x"), field.snapshot, Terms(extras=(extra,)))
    assert decision.outcome.node == "a"
    assert [victim.pod["metadata"]["name"] for victim in decision.outcome.victims] == ["there"]
    field.snapshot.displace("uid-there")
    assert cycle.decide(important("p", "x"), field.snapshot, Terms(extras=(extra,))).node


def test_too_many_volumes_push_out(field: Field) -> None:
    """No more of the less important pods than are needed to come down to the limit."""
    nodes(field)
    csi = [volume(f"v{n}", csi={"driver": "d", "volumeHandle": f"h{n}"}) for n in range(4)]
    shelf = Shelf(*csi, *(claim(f"c{n}", volume=f"v{n}") for n in range(4)))
    shelf.counts["a"] = shelf.counts["b"] = {"d": 2}
    for name, node in (("0", "a"), ("1", "a"), ("2", "b"), ("3", "b")):
        field.place(node, making.pod(f"p{name}", volumes=of_claims(f"c{name}"), priority=0 if node == "b" else 20))
    wanted = Shelf(
        *shelf._found.values(), claim("new", volume="w"), volume("w", csi={"driver": "d", "volumeHandle": "w"})
    )
    wanted.counts = shelf.counts
    decision = cycle.decide(important("p", "new"), field.snapshot, Terms(extras=(Restricting(wanted),)))
    assert decision.message == "0/2 nodes are available: 2 node(s) exceed max volume count."
    assert (decision.outcome.node, len(decision.outcome.victims)) == ("b", 1)


class Restricting(Extra):
    """An Extra of the two plugins that look at the pods on a node."""

    names = frozenset((volume_restrictions.NAME, node_volume_limits.NAME))
    reads_pods = True

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def is_concerned(self, pod: Demand) -> bool:
        return bool(pod.claims)

    def refuse(self, pod: Demand) -> Verdict | None:
        return None

    def filter(self, pod: Demand, nodes: Any, snapshot: Any) -> list[Verdict | None]:
        first = volume_restrictions.filter(pod, nodes, snapshot, self._shelf)
        second = node_volume_limits.filter(pod, nodes, snapshot, self._shelf)
        return [one or other for one, other in zip(first, second, strict=True)]


def of_claims(*claims: str) -> list[Tree]:
    return [{"name": each, "persistentVolumeClaim": {"claimName": each}} for each in claims]


def important(name: str, *claims: str) -> Demand:
    return making.of(making.pod(name, volumes=of_claims(*claims), priority=10))
