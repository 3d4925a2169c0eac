"""Demand: what one pod asks of a node and of its neighbours, read from its spec once. Pure.

Requests are whole numbers: millicores for cpu, units (bytes, pieces) for the rest. Pods of the same
`shape` ask the same of every node by itself, so what was found out for one holds for the next.

https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from sampan.kinds.parts import pod_claims
from sampan.kit import compact_json
from sampan.kit.texts import Texts
from sampan.meta import objects, quantity
from sampan.scheduling import terms
from sampan.scheduling.terms import Terms

Object = Mapping[str, Any]
Port = tuple[str, str, int]  # protocol, host address, port

# What a container without requests counts for when nodes are compared (never when they are filtered).
ASSUMED = {"cpu": 100, "memory": 200 * 1024 * 1024}
SCHEDULER = "default-scheduler"
REMEMBERED_BYTES = 4096
"""What asks for more than fits here is read each time: it may take tens of times as much memory."""
# Owners whose pods the cluster's default constraints spread.
_SPREADING = ("ReplicaSet", "ReplicationController", "StatefulSet")
_PLAIN = (None, None, None)


@dataclass(slots=True, eq=False)
class Demand:
    """A pod as the plugins see it; all but `pod`, its latest version, stays as it was read.

    `assumed` is (millicores, bytes) for scoring; `owner` the uid of a controller that wants its pods spread; `claims`
    are the names of those behind its volumes; `features` those that a node must have declared.
    """

    pod: Object
    uid: str
    namespace: str
    labels: Mapping[str, str]
    priority: int
    requests: Mapping[str, int]
    assumed: tuple[int, int]
    ports: tuple[Port, ...]
    images: tuple[str, ...]
    claims: tuple[str, ...]
    features: tuple[str, ...]
    owner: str
    is_leaving: bool
    has_terms: bool
    shape: bytes = field(repr=False)
    neighbours: bytes = field(repr=False)

    @property
    def spec(self) -> Object:
        found: Object = self.pod.get("spec") or {}
        return found

    @property
    def scheduler(self) -> str:
        """Who is to place it."""
        return str(self.spec.get("schedulerName") or SCHEDULER)

    @property
    def terms(self) -> Terms:
        """What it says about other pods."""
        if not self.has_terms:
            return terms.NONE
        return _TERMS[self.neighbours]

    def is_like(self, other: "Demand") -> bool:
        """Whether the other, a version of the same pod, counts for the same on a node."""
        return self.shape == other.shape and self.neighbours == other.neighbours and self.is_leaving == other.is_leaving


def of(pod: Object) -> Demand:
    """Reads the pod."""
    spec = pod.get("spec") or {}
    read = [_read(spec, _WANTS), *(_containers(spec, group) for group in _GROUPS)]
    wants = _READ[orjson.dumps(read, option=orjson.OPT_SORT_KEYS)]
    owner = objects.controller_of(pod)
    affinity = spec.get("affinity") or {}
    images = tuple(sorted((*wants.images, *_mounted_images(spec)))) if spec.get("volumes") else wants.images
    amounts = (sorted(wants.requests.items()), *wants.assumed, wants.ports, images)
    places = (spec.get("nodeName"), spec.get("nodeSelector"), affinity.get("nodeAffinity"), spec.get("tolerations"))
    others = _others(spec, affinity)
    namespace, labels = objects.namespace(pod), objects.labels(pod)
    return Demand(
        pod=pod,
        uid=objects.uid(pod),
        namespace=namespace,
        labels=labels,
        priority=int(spec.get("priority") or 0),
        requests=wants.requests,
        assumed=wants.assumed,
        ports=wants.ports,
        images=images,
        claims=tuple(dict.fromkeys(name for _, name in pod_claims.of(pod))) if spec.get("volumes") else (),
        features=wants.features,
        owner=str(owner["uid"]) if owner and owner.get("kind") in _SPREADING else "",
        is_leaving=objects.is_deleting(pod),
        has_terms=others != _PLAIN,
        shape=_text((amounts, places, wants.features) if wants.features else (amounts, places)),
        neighbours=_text((namespace, labels, *others)),
    )


def relabelled(before: Demand, pod: Object) -> Demand:
    """The pod again, of which only the labels are new."""
    spec = pod.get("spec") or {}
    neighbours = _text((before.namespace, objects.labels(pod), *_others(spec, spec.get("affinity") or {})))
    return dataclasses.replace(before, pod=pod, labels=objects.labels(pod), neighbours=neighbours)


class _Wants(NamedTuple):
    """What containers ask for: the same for all pods that are made from one template. See Demand."""

    requests: Mapping[str, int]
    assumed: tuple[int, int]
    ports: tuple[Port, ...]
    images: tuple[str, ...]
    features: tuple[str, ...]


_WANTS = ("resources", "overhead", "hostUsers", "hostNetwork")
_GROUPS = ("containers", "initContainers")
_OF_CONTAINER = ("image", "resources", "restartPolicy", "restartPolicyRules")
_OF_PORT = ("protocol", "hostIP", "hostPort")


def _read(spec: Object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: spec[name] for name in names if name in spec}


def _containers(spec: Object, group: str) -> list[dict[str, Any]]:
    found = []
    for container in spec.get(group) or ():
        read = _read(container, _OF_CONTAINER)
        if ports := [_read(port, _OF_PORT) for port in container.get("ports") or () if port.get("hostPort")]:
            read["ports"] = ports
        found.append(read)
    return found


def _wants(text: bytes) -> _Wants:
    """Remembered by what is read: `_WANTS`, and of each container `_OF_CONTAINER` and the node's ports that it takes."""
    read, *groups = orjson.loads(text)
    spec = {**read, **dict(zip(_GROUPS, groups, strict=True))}
    assumed = _total(spec, ASSUMED)
    return _Wants(
        {name: amount for name, amount in _total(spec, {}).items() if amount},
        (assumed["cpu"], assumed["memory"]),
        tuple(sorted(_ports(spec))),
        tuple(sorted(_images(spec))),
        tuple(_features(spec)),
    )


_READ = Texts(_wants, 1024, REMEMBERED_BYTES)
_TERMS = Texts(terms.read, 1024, REMEMBERED_BYTES)


def _others(spec: Object, affinity: Object) -> tuple[Any, Any, Any]:
    return affinity.get("podAffinity"), affinity.get("podAntiAffinity"), spec.get("topologySpreadConstraints")


def amount(resource: str, value: Any) -> int:
    """A quantity in whole numbers, rounded up: millicores for cpu, units for all else."""
    return quantity.to_milli(value) if resource == "cpu" else quantity.to_int(value)


def image(name: str) -> str:
    """An image's name as a node has it: with a tag."""
    return name if name.rfind(":") > name.rfind("/") else f"{name}:latest"


def _text(tree: Any) -> bytes:
    return compact_json.dumps(tree, orjson.OPT_SORT_KEYS)


def _total(spec: Object, assumed: Mapping[str, int]) -> dict[str, int]:
    """The containers together, or the most that start-up ever needs; pod-level requests go before both."""
    running = _sum(_requests(c, assumed) for c in spec.get("containers") or ())
    sidecars: dict[str, int] = {}
    starting: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        needs = _requests(container, assumed)
        if container.get("restartPolicy") == "Always":
            sidecars = _sum((sidecars, needs))
            starting = _most(starting, sidecars)
        else:
            starting = _most(starting, _sum((sidecars, needs)))
    total = _most(_sum((running, sidecars)), starting) if starting else running
    for name, value in ((spec.get("resources") or {}).get("requests") or {}).items():
        total[name] = amount(name, value)
    overhead = {name: amount(name, value) for name, value in (spec.get("overhead") or {}).items()}
    return _sum((dict.fromkeys(assumed, 0), total, overhead))


def _requests(container: Object, assumed: Mapping[str, int]) -> dict[str, int]:
    requests = (container.get("resources") or {}).get("requests") or {}
    return {**assumed, **{name: amount(name, value) for name, value in requests.items()}}


def _sum(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0) + value
    return total


def _most(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in (*one, *other)}


def _features(spec: Object) -> Iterable[str]:
    """Those that are not on every node."""
    if spec.get("hostUsers") is False and spec.get("hostNetwork"):
        yield "UserNamespacesHostNetworkSupport"
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        rules = container.get("restartPolicyRules")
        if rules and any(rule.get("action") == "RestartAllContainers" for rule in rules):
            yield "RestartAllContainersOnContainerExits"
            return


def _ports(spec: Object) -> set[Port]:
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return {
        (str(port.get("protocol") or "TCP"), str(port.get("hostIP") or "0.0.0.0"), int(port["hostPort"]))
        for container in (*(spec.get("containers") or ()), *sidecars)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }


def _images(spec: Object) -> list[str]:
    """The image of each container; one that is there twice counts twice."""
    containers = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    return [image(str(name)) for name in (c.get("image") for c in containers) if name]


def _mounted_images(spec: Object) -> list[str]:
    """Those that are volumes."""
    mounted = [v["image"].get("reference") for v in spec.get("volumes") or () if v.get("image")]
    return [image(str(name)) for name in mounted if name]
