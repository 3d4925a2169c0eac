"""Claims on this node: has drivers prepare them before a pod's first container starts, and unprepare them after its last.

What is prepared, and for whom, is in a file before anybody is asked: an agent that comes after this one knows what is
to be given back.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sampan.kinds.parts import pod_devices, resource_names
from sampan.meta import objects, quantity
from sampan.node.plugins import checkpoint
from sampan.node.plugins.drivers import DriverFailure, Drivers

CHECKPOINT = "dra_manager_state"

Object = Mapping[str, Any]


@dataclass(slots=True)
class Prepared:
    """One claim. `devices` are the drivers' answers, by driver; `pods` the uids of those that use it."""

    namespace: str
    name: str
    uid: str
    pods: list[str] = field(default_factory=list)
    devices: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    is_done: bool = False

    @property
    def wire(self) -> dict[str, str]:
        """As drivers are told of it."""
        return {"namespace": self.namespace, "uid": self.uid, "name": self.name}

    def of_request(self, request: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The devices for one request of the claim, or all of them, each with its driver."""
        base = request.partition("/")[0]
        for driver, devices in self.devices.items():
            for device in devices:
                if not base or not device["request_names"] or base in device["request_names"]:
                    yield driver, device


class Claims:
    """Of one node."""

    def __init__(self, folder: Path, drivers: Drivers) -> None:
        """`folder` is where it is remembered."""
        self._drivers, self._path = drivers, folder / CHECKPOINT
        self._known: dict[tuple[str, str], Prepared] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    def start(self) -> None:
        """Remembers."""
        for saved in checkpoint.load(self._path) or ():
            claim = Prepared(**{**saved, "is_done": False})  # drivers are asked again: the machine may have begun anew
            self._known[claim.namespace, claim.name] = claim

    async def prepare(self, pod: Object, claims: Mapping[str, Object]) -> None:
        """The pod's claims are prepared; `claims` are they, by name. Raises DriverFailure."""
        async with self._alone(objects.key(dict(claims[name])) for name in pod_devices.names(pod)):
            mine = [self._noted(pod, claims[name]) for name in pod_devices.names(pod)]
            if mine:
                self._save()
            fresh = [claim for claim in mine if not claim.is_done]
            for driver, batch in _batches(fresh).items():
                found = await self._drivers.call(driver, "NodePrepareResources", [claim.wire for claim in batch])
                for claim in batch:
                    claim.devices[driver] = found[claim.uid]["devices"]
            for claim in fresh:
                claim.is_done = True
            if fresh:
                self._save()

    def _noted(self, pod: Object, claim: Object) -> Prepared:
        key = objects.key(dict(claim))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Prepared(*key, objects.uid(claim))
            known.devices = {driver: [] for driver in pod_devices.drivers(claim)}
        elif known.uid != objects.uid(claim):
            text = f"old ResourceClaim with same name {key[1]} and different UID {known.uid} still exists"
            raise DriverFailure(f"{text} (previous pod force-deleted?!)")
        if objects.uid(pod) not in known.pods:
            known.pods.append(objects.uid(pod))
        return known

    async def unprepare(self, pod_uid: str) -> None:
        """The pod needs its claims no more. Raises DriverFailure; to be repeated until it doesn't."""
        keys = [key for key, claim in self._known.items() if pod_uid in claim.pods]
        async with self._alone(keys):
            mine = [claim for claim in self._known.values() if pod_uid in claim.pods]
            last = [claim for claim in mine if claim.pods == [pod_uid]]
            for driver, batch in _batches(last).items():
                await self._drivers.call(driver, "NodeUnprepareResources", [claim.wire for claim in batch])
            for claim in mine:
                claim.pods.remove(pod_uid)
                if not claim.pods:
                    del self._known[claim.namespace, claim.name]
                    self._locks.pop((claim.namespace, claim.name), None)
            if mine:
                self._save()

    @contextlib.asynccontextmanager
    async def _alone(self, keys: Iterable[tuple[str, str]]) -> AsyncIterator[None]:
        """Nobody else prepares or unprepares these claims."""
        async with contextlib.AsyncExitStack() as stack:
            for key in sorted(set(keys)):
                await stack.enter_async_context(self._locks.setdefault(key, asyncio.Lock()))
            yield

    def pods(self) -> set[str]:
        """The pods that claims are prepared for."""
        return {uid for claim in self._known.values() for uid in claim.pods}

    def cdi_devices(self, pod: Object, container: Object) -> tuple[str, ...]:
        """What the container runtime is to know of the devices of a container."""
        found = [id for _, _, device in self._of(pod, container) for id in device["cdi_device_ids"]]
        return tuple(dict.fromkeys(found))

    def used(self, pod: Object, container: Object) -> Iterator[tuple[Prepared, str, dict[str, Any]]]:
        """The claims of a container with drivers and devices."""
        for claim, request in self._requests(pod, container).values():
            for driver, device in claim.of_request(request):
                yield claim, driver, device

    def health(self, pod: Object, container: Object) -> list[dict[str, Any]]:
        """`allocatedResourcesStatus` of a container, as far as claims go."""
        found: dict[str, dict[str, str]] = {}
        for name, driver, device in self._of(pod, container):
            where = driver, device["pool_name"], device["device_name"]
            ids = device["cdi_device_ids"]
            found.setdefault(name, {})[ids[0] if ids else "/".join(where)] = self._drivers.health(where)
        return [
            {"name": name, "resources": [{"resourceID": id, "health": health} for id, health in devices.items()]}
            for name, devices in found.items()
        ]

    def users(self, driver: str) -> set[str]:
        """The pods that have devices of the driver."""
        return {uid for claim in self._known.values() if driver in claim.devices for uid in claim.pods}

    def _of(self, pod: Object, container: Object) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Each device of a container, with its driver and the name of what it was claimed by."""
        for name, (claim, request) in self._requests(pod, container).items():
            for driver, device in claim.of_request(request):
                yield name, driver, device

    def _requests(self, pod: Object, container: Object) -> dict[str, tuple[Prepared, str]]:
        """The claims and requests of a container, as `claim:NAME/REQUEST`."""
        resources = container.get("resources") or {}
        names = {entry["name"]: pod_devices.name_of(pod, entry) for entry in pod_devices.entries(pod)}
        wanted = [
            (w["name"], names.get(w["name"]) or "", w.get("request") or "") for w in resources.get("claims") or ()
        ]
        wanted += _extended(pod, container["name"], resources.get("requests") or {})
        found = {}
        for name, claim_name, request in wanted:
            claim = self._known.get((objects.namespace(pod), claim_name))
            if claim is not None:
                found[f"claim:{name}/{request}" if request else f"claim:{name}"] = (claim, request)
        return found

    def _save(self) -> None:
        try:
            checkpoint.save(self._path, [asdict(claim) for claim in self._known.values()])
        except OSError as error:
            raise DriverFailure(f"checkpoint ResourceClaim state: {error}") from None


def _batches(claims: Iterable[Prepared]) -> dict[str, list[Prepared]]:
    """By driver."""
    found: dict[str, list[Prepared]] = {}
    for claim in claims:
        for driver in claim.devices:
            found.setdefault(driver, []).append(claim)
    return found


def _extended(pod: Object, container: str, requests: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What a container claims by asking for extended resources."""
    status = (pod.get("status") or {}).get("extendedResourceClaimStatus") or {}
    claim = str(status.get("resourceClaimName") or "")
    for mapping in status.get("requestMappings") or ():
        name = mapping["resourceName"]
        is_asked = resource_names.is_extended(name) and quantity.to_int(requests.get(name, "0"))
        if mapping["containerName"] == container and is_asked:
            yield claim, claim, mapping["requestName"]
