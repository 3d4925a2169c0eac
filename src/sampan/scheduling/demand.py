"""Demand: what one pod asks of a node, read from its spec once. Pure.

Requests are whole numbers: millicores for cpu, units (bytes, pieces) for the rest. Pods of the same
`shape` ask the same of every node, so what was found out for one holds for the next.

https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.meta import objects, quantity

Object = Mapping[str, Any]
Port = tuple[str, str, int]  # protocol, host address, port

# What a container without requests counts for when nodes are compared (never when they are filtered).
ASSUMED = {"cpu": 100, "memory": 200 * 1024 * 1024}


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """A pod as the plugins see it. `assumed` is (millicores, bytes) for scoring; `owner` the controller's uid."""

    pod: Object
    uid: str
    priority: int
    requests: Mapping[str, int]
    assumed: tuple[int, int]
    ports: tuple[Port, ...]
    owner: str
    shape: str = field(repr=False)

    @property
    def spec(self) -> Object:
        found: Object = self.pod.get("spec") or {}
        return found

    @property
    def is_guarded(self) -> bool:
        """Whether it does not want certain pods near it."""
        affinity = (self.spec.get("affinity") or {}).get("podAntiAffinity") or {}
        return bool(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))

    def is_like(self, other: "Demand") -> bool:
        """Whether the other, a version of the same pod, counts for the same on a node."""
        same = self.shape == other.shape and objects.labels(self.pod) == objects.labels(other.pod)
        return same and objects.is_deleting(self.pod) == objects.is_deleting(other.pod)


def of(pod: Object) -> Demand:
    """Reads the pod."""
    spec = pod.get("spec") or {}
    requests = {name: amount for name, amount in _total(spec, {}).items() if amount}
    assumed = _total(spec, ASSUMED)
    owner = objects.controller_of(pod)
    ports = tuple(sorted(_ports(spec)))
    node_affinity = (spec.get("affinity") or {}).get("nodeAffinity")
    amounts = (sorted(requests.items()), assumed["cpu"], assumed["memory"], ports)
    places = (spec.get("nodeName"), spec.get("nodeSelector"), node_affinity, spec.get("tolerations"))
    return Demand(
        pod=pod,
        uid=objects.uid(pod),
        priority=int(spec.get("priority") or 0),
        requests=requests,
        assumed=(assumed["cpu"], assumed["memory"]),
        ports=ports,
        owner=str(owner["uid"]) if owner else "",
        shape=json.dumps((amounts, places), sort_keys=True, default=dict),
    )


def amount(resource: str, value: Any) -> int:
    """A quantity in whole numbers, rounded up: millicores for cpu, units for all else."""
    return quantity.to_milli(value) if resource == "cpu" else quantity.to_int(value)


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
    total = _most(_sum((running, sidecars)), starting)
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


def _ports(spec: Object) -> set[Port]:
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return {
        (str(port.get("protocol") or "TCP"), str(port.get("hostIP") or "0.0.0.0"), int(port["hostPort"]))
        for container in (*(spec.get("containers") or ()), *sidecars)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }
