"""Claim writing: what becomes of ResourceClaims when their devices are found, taken back, or wait to be got ready."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.client.api import Client
from sampan.client.cache import Cache
from sampan.client.transport import TransportError
from sampan.kinds.core.pod import POD
from sampan.kinds.parts import pod_devices
from sampan.kinds.resource.resource_claim import RESOURCECLAIM
from sampan.kit.clock import Clock
from sampan.meta import objects, status, timestamps
from sampan.meta.status import ApiError
from sampan.scheduling.devices import extended
from sampan.scheduling.plugins import dynamic_resources as plugin
from sampan.scheduling.verdict import Demand

BIND_SECONDS = 600.0
ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 0.01
ASK_AGAIN_SECONDS = 1.0
PENDING = "BindingConditionsPending"

Object = dict[str, Any]
Change = Callable[[Object], Awaitable[Object]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A claim of a pod, and the allocation that was found for it; None for one that it has already.

    `is_lost` says that it needs one, and that what was found is not there any more; `mappings` which container gets
    what of a claim for extended resources.
    """

    uid: str
    claim: Object
    allocation: Object | None
    is_lost: bool = False
    mappings: tuple[Object, ...] = ()

    @property
    def is_there(self) -> bool:
        """Whether the claim does not have to be made first."""
        return bool(objects.uid(self.claim))


class Writer:
    """Writes claims. `tell` makes an event about a pod."""

    def __init__(
        self, client: Client, clock: Clock, cache: Cache, tell: Callable[[Demand, str, str], Awaitable[None]]
    ) -> None:
        self._client, self._clock, self._cache, self._tell = client, clock, cache, tell

    async def write(self, pod: Demand, found: Found) -> Object:
        """The allocation and the pod as its user; returns the claim as it is then. Raises ApiError, TransportError."""
        if found.is_lost:
            raise _failed("claim allocation not found for node")
        claim = found.claim if found.is_there else await self._made(found.claim)
        if not pod_devices.is_reserved(pod.pod, claim):
            claim = await self._again(claim, lambda latest: self._bind(pod, found, latest))
        if not found.is_there:
            patch = {
                "metadata": {"uid": pod.uid},
                "status": extended.status(objects.name(claim), found.mappings),
            }
            await self._client.patch(POD, objects.key(pod.pod), patch, type="strategic", subresource="status")
        return claim

    async def find_out(self, claim: Object) -> None:
        """Returns when it is known here what became of a claim. Until then, nobody else gets its devices."""
        while objects.uid(claim):
            try:
                found = await self._client.get(RESOURCECLAIM, objects.name(claim), objects.namespace(claim))
            except (ApiError, TransportError) as error:
                if isinstance(error, ApiError) and error.code == 404:
                    return
                await self._clock.sleep(ASK_AGAIN_SECONDS)
            else:
                await self._cache.wait_seen(objects.resource_version(found))
                return

    async def deallocate(self, claim: Object) -> None:
        """Takes the devices of a claim back. Raises ApiError, TransportError."""
        gone = ("allocation", "reservedFor", "devices")
        left = {name: value for name, value in claim["status"].items() if name not in gone}
        await self._client.update(RESOURCECLAIM, {**claim, "status": left}, "status")

    async def give_back(self, claim: Object, pod: Demand) -> None:
        """The pod does not use it any more. Raises ApiError, TransportError."""
        entry = {"$patch": "delete", "uid": pod.uid}
        patch = {"metadata": {"uid": objects.uid(claim)}, "status": {"reservedFor": [entry]}}
        await self._client.patch(RESOURCECLAIM, objects.key(claim), patch, type="strategic", subresource="status")

    async def delete(self, claim: Object) -> None:
        """Raises ApiError, TransportError."""
        await self._again(claim, self._unprotected)
        try:
            await self._client.delete(RESOURCECLAIM, objects.key(claim), uid=objects.uid(claim))
        except ApiError as error:
            if error.code != 404:
                raise

    async def wait_ready(self, pod: Demand, keys: Sequence[tuple[str, str]], node: str, seconds: float) -> None:
        """Returns when the devices of these claims of the pod are ready for it. Raises ApiError."""
        if not any(plugin.waits(claim) for key in keys if (claim := self._cache.get(key)) is not None):
            return
        await self._tell(pod, PENDING, f"waiting for binding conditions for device on node {node}")
        problems: list[str] = []

        def is_over() -> bool:
            claims = [(key, self._cache.get(key)) for key in keys]
            problems[:] = [_problem(key, claim) for key, claim in claims if claim is None or plugin.failure(claim)]
            return bool(problems) or all(plugin.is_ready(claim) for _, claim in claims if claim is not None)

        try:
            async with asyncio.timeout(seconds):
                await self._cache.wait_until(is_over)
        except TimeoutError:
            raise _failed("device binding timeout") from None
        if problems:
            raise _failed(problems[0])

    async def _made(self, claim: Object) -> Object:
        try:
            return await self._client.create(RESOURCECLAIM, claim)
        except ApiError as error:
            raise _failed(f"create claim for extended resources {objects.namespace(claim)}/: {error}") from error

    async def _bind(self, pod: Demand, found: Found, claim: Object) -> Object:
        label = plugin.label(claim)
        if objects.is_deleting(claim):
            raise _failed(f"claim {label} got deleted in the meantime")
        doing = "reservation"
        if found.allocation is not None:
            doing = "allocation and reservation"
            if pod_devices.allocation(claim) is not None:
                raise _failed(f"claim {label} got allocated elsewhere in the meantime")
            claim = await self._protected(claim)
        changed = dict(claim.get("status") or {})
        changed["allocation"] = dict(changed.get("allocation") or found.allocation or {})
        changed["allocation"].setdefault("allocationTimestamp", timestamps.format(self._clock.now()))
        changed["reservedFor"] = [*pod_devices.reservations(claim), pod_devices.reservation(pod.pod)]
        try:
            return await self._client.update(RESOURCECLAIM, {**claim, "status": changed}, "status")
        except ApiError as error:
            raise _with(error, f"add {doing} to claim {label}") from error

    async def _protected(self, claim: Object) -> Object:
        """The claim with the finalizer."""
        finalizers = objects.finalizers(claim)
        if pod_devices.FINALIZER in finalizers:
            return claim
        metadata = {**claim["metadata"], "finalizers": [*finalizers, pod_devices.FINALIZER]}
        try:
            return await self._client.update(RESOURCECLAIM, {**claim, "metadata": metadata})
        except ApiError as error:
            raise _with(error, f"add finalizer to claim {plugin.label(claim)}") from error

    async def _unprotected(self, claim: Object) -> Object:
        """The claim without the finalizer."""
        left = [name for name in objects.finalizers(claim) if name != pod_devices.FINALIZER]
        return await self._client.update(
            RESOURCECLAIM, {**claim, "metadata": {**claim["metadata"], "finalizers": left}}
        )

    async def _again(self, claim: Object, change: Change) -> Object:
        """The change of the latest version, as long as others change it as well."""
        for attempt in range(ATTEMPTS):
            try:
                return await change(claim)
            except ApiError as error:
                if error.code != 409 or attempt == ATTEMPTS - 1:
                    raise
            await self._clock.sleep(FIRST_PAUSE_SECONDS)
            claim = await self._client.get(RESOURCECLAIM, objects.name(claim), objects.namespace(claim))
        raise AssertionError


def _problem(key: tuple[str, str], claim: Object | None) -> str:
    if claim is None:
        return f'could not find ResourceClaim "{"/".join(key)}": object not found'
    return plugin.failure(claim)


def _with(error: ApiError, doing: str) -> ApiError:
    """The same, with what was being done; a conflict stays one."""
    return status.failure(error.code, error.reason, f"{doing}: {error}")


def _failed(why: str) -> ApiError:
    return status.failure(500, "InternalError", why)
