"""The book of devices: which there are, which of them are well, and which container has which.

Values only: it asks nobody and writes no file.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.kinds.parts import resource_names
from sampan.meta import quantity
from sampan.node import podspec

Object = Mapping[str, Any]
Owner = tuple[str, str]
"""A pod's uid and a container's name."""


class Unavailable(Exception):
    """The pod can't have its devices; the text says why, as a kubelet does."""


@dataclass(slots=True)
class Had:
    """What one container has of one resource: its devices, and what the plugin said is to be done for them."""

    devices: list[str]
    response: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Resource:
    """The devices of one name: by id, whether they are well and their NUMA nodes."""

    healthy: dict[str, tuple[int, ...]] = field(default_factory=dict)
    unhealthy: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def numa_nodes(self, device: str) -> tuple[int, ...]:
        """Where a device is near."""
        return self.healthy.get(device, self.unhealthy.get(device, ()))


class Book:
    """Of one node."""

    def __init__(self) -> None:
        """Empty."""
        self.resources: dict[str, Resource] = {}
        self.gone: set[str] = set()
        """Names that there were devices of, whose plugin has been away for long."""
        self.had: dict[Owner, dict[str, Had]] = {}

    def knows(self, name: str) -> bool:
        """Whether it is a device plugin that such a resource comes from."""
        return name in self.resources or any(name in had for had in self.had.values())

    def wanted(self, container: Object) -> dict[str, int]:
        """How many devices a container asks for, by resource, of those that plugins have or had."""
        limits = (container.get("resources") or {}).get("limits") or {}
        return {name: quantity.to_int(limits[name]) for name in sorted(limits) if self.knows(name)}

    def has_wishes(self, pod: Object) -> bool:
        """Whether any container of the pod asks for devices of plugins."""
        return any(self.wanted(container) for _, container in podspec.all_containers(dict(pod)))

    def update(self, name: str, devices: Iterable[Object]) -> None:
        """What a plugin lists now."""
        resource = Resource()
        for device in devices:
            nodes = tuple(node["ID"] for node in (device.get("topology") or {}).get("nodes") or ())
            kind = resource.healthy if device["health"] == "Healthy" else resource.unhealthy
            kind[device["ID"]] = nodes
        self.resources[name] = resource
        self.gone.discard(name)

    def lose(self, name: str) -> None:
        """The plugin went away: its devices are there, and no longer well."""
        resource = self.resources.get(name)
        if resource is not None:
            self.resources[name] = Resource({}, {**resource.unhealthy, **resource.healthy})

    def forget(self, name: str) -> None:
        """The plugin did not come back."""
        if self.resources.pop(name, None) is not None:
            self.gone.add(name)

    def amounts(self) -> tuple[dict[str, str], dict[str, str]]:
        """Capacity and allocatable, by resource."""
        there, usable = dict.fromkeys(self.gone, "0"), dict.fromkeys(self.gone, "0")
        for name, resource in self.resources.items():
            there[name] = str(len(resource.healthy) + len(resource.unhealthy))
            usable[name] = str(len(resource.healthy))
        return there, usable

    def in_use(self, name: str) -> set[str]:
        """The devices that containers have."""
        return {device for had in self.had.values() if name in had for device in had[name].devices}

    def devices(self, owner: Owner, name: str) -> list[str] | None:
        """What a container has of a resource."""
        had = self.had.get(owner, {}).get(name)
        return had.devices if had else None

    def available(self, owner: Owner, name: str, needed: int, reusable: Iterable[str]) -> tuple[list[str], list[str]]:
        """The devices to choose from, and those of them that are to be taken first. Both empty: it has its devices.

        Raises Unavailable.
        """
        before = self.devices(owner, name)
        if before is not None and len(before) != needed:
            text = f'pod "{owner[0]}" container "{owner[1]}" changed request for resource "{name}"'
            raise Unavailable(f"{text} from {len(before)} to {needed}")
        resource = self.resources.get(name)
        if resource is None:
            raise Unavailable(f"cannot allocate unregistered device {name}")
        if not resource.healthy:
            raise Unavailable(f"no healthy devices present; cannot allocate unhealthy devices {name}")
        if before is not None:
            if not set(before) <= resource.healthy.keys():
                text = "previously allocated devices are no longer healthy; cannot allocate unhealthy devices"
                raise Unavailable(f"{text} {name}")
            return [], []
        first = sorted(set(reusable))[:needed]
        if len(first) == needed:
            return first, first
        free = sorted(resource.healthy.keys() - self.in_use(name))
        if len(free) < needed - len(first):
            counts = f"Requested: {needed - len(first)}, Available: {len(free)}"
            raise Unavailable(f"requested number of devices unavailable for {name}. {counts}")
        return [*first, *free], first

    def give(self, owner: Owner, name: str, had: Had) -> None:
        """From now on these devices are the container's."""
        self.had.setdefault(owner, {})[name] = had

    def release(self, pod_uid: str) -> bool:
        """The pod's containers have no devices any more; whether they had some."""
        owners = [owner for owner in self.had if owner[0] == pod_uid]
        for owner in owners:
            del self.had[owner]
        return bool(owners)

    def pods(self) -> set[str]:
        """The pods that have devices."""
        return {uid for uid, _ in self.had}

    def health(self, owner: Owner) -> list[dict[str, Any]]:
        """`allocatedResourcesStatus` of a container, as far as plugins' devices go."""
        found = []
        for name, had in sorted(self.had.get(owner, {}).items()):
            resource = self.resources.get(name)
            devices = [{"resourceID": device, "health": _health(resource, device)} for device in sorted(had.devices)]
            found.append({"name": name, "resources": devices})
        return found

    def saved(self) -> dict[str, Any]:
        """For `restore`."""
        had = [
            {"pod": uid, "container": container, "resource": name, "devices": each.devices, "response": each.response}
            for (uid, container), by_name in self.had.items()
            for name, each in by_name.items()
        ]
        return {"resources": sorted(self.resources), "had": had}

    def restore(self, saved: Object) -> None:
        """As it was when it was saved, but that all plugins are still to come."""
        self.resources = {name: Resource() for name in saved["resources"]}
        for each in saved["had"]:
            self.give((each["pod"], each["container"]), each["resource"], Had(each["devices"], each["response"]))


def _health(resource: Resource | None, device: str) -> str:
    if resource is None or not (resource.healthy or resource.unhealthy):
        return "Unknown"
    return "Healthy" if device in resource.healthy else "Unhealthy"


def is_valid(name: str) -> bool:
    """Whether devices may be of such a name."""
    return resource_names.is_extended(name)
