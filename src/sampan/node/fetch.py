"""Fetching what pods refer to: ConfigMaps, Secrets, claims and service account tokens, each read once for many pods.

Objects are kept for a few seconds, tokens for 80 % of their life; calls for the same thing share one request.
A pod never gets an object that was read before the pod was known here: who changes a ConfigMap and then makes
a pod finds the change in it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sampan.client.transport import TransportError
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.secret import SECRET
from sampan.kinds.core.service_account import SERVICEACCOUNT
from sampan.kinds.kind import Kind
from sampan.kinds.parts import pod_claims, volume_match
from sampan.kinds.resource.resource_claim import RESOURCECLAIM
from sampan.meta import objects, timestamps
from sampan.meta.status import ApiError
from sampan.node import devices, env
from sampan.node.env import ConfigError, Sources
from sampan.node.parts import Parts
from sampan.node.record import version
from sampan.node.volumes import sources
from sampan.node.volumes.failure import VolumeFailure

if TYPE_CHECKING:
    from sampan.node.csi.orders import Orders

Object = dict[str, Any]

FRESH_SECONDS = 5.0
NO_IMAGES: Mapping[str, tuple[str, ...]] = MappingProxyType({})
TOKEN_LIFE_SHARE = 0.8
DRIVER_SECONDS = 60.0
"""How often the volumes of storage drivers are looked at: whether they have grown, or are to be published again."""
KEPT = 64
"""So many things that were read are kept before those that are no longer fresh are let go; or twice those that are fresh."""


@dataclass(slots=True)
class _Kept:
    """`asked` is when its reading began."""

    value: Any
    until: float
    asked: float = 0.0


class Fetcher:
    """One node's reads. `services` gives the Services as now known."""

    def __init__(
        self, parts: Parts, services: Callable[[], Iterable[Object]], allocatable: Callable[[], dict[str, str]]
    ) -> None:
        self._parts, self._services, self._allocatable = parts, services, allocatable
        self._kept: dict[tuple[str, ...], _Kept] = {}
        self._most_kept = KEPT
        self._asking: dict[tuple[str, ...], tuple[float, asyncio.Future[Any]]] = {}
        self._known: dict[str, float] = {}
        self._orders: Orders | None = None
        self._looked_after: set[str] = set()
        self._jumps = 0

    async def env_sources(self, pod: Object, pod_ips: tuple[str, ...], host_ips: tuple[str, ...]) -> Sources:
        """What the pod's containers may take values from. Raises ConfigError when the API can't be asked."""
        config_maps, secrets = env.references(pod)
        try:
            found_maps = await self.named(CONFIGMAP, pod, config_maps)
            found_secrets = await self.named(SECRET, pod, secrets)
        except (ApiError, TransportError) as error:
            raise ConfigError(str(error)) from error
        return Sources(
            config_maps=found_maps,
            secrets=found_secrets,
            services=tuple(self._services()),
            pod_ips=pod_ips,
            host_ips=host_ips,
            allocatable=self._allocatable(),
        )

    async def volumes(self, pod: Object, images: Mapping[str, tuple[str, ...]] = NO_IMAGES) -> dict[str, str]:
        """Fetches what the pod's volumes hold and has them written; host paths by name. Raises VolumeFailure.

        `images` are the layers of image volumes that are to be made.
        """
        try:
            fetched = replace(await self._fetched(pod), images=images)
            return dict(await self._parts.volumes.prepare(pod, fetched))
        except (ApiError, TransportError, OSError) as error:
            raise VolumeFailure(str(error)) from error

    async def devices(self, pod: Object) -> None:
        """Sees to it that the pod may use its devices here. Raises VolumeFailure when it can't (yet)."""
        try:
            wanted = devices.names(pod)
            if wanted:
                claims = await self.named(RESOURCECLAIM, pod, wanted)
                if self._parts.plugins is not None:
                    await self._parts.plugins.prepare(pod, claims)
                else:
                    devices.check(pod, claims, self._parts.has_driver)
        except (ApiError, TransportError) as error:
            raise devices.failure(str(error)) from error

    async def _fetched(self, pod: Object) -> sources.Sources:
        wanted = sources.needed(pod)
        asked = sorted({(w.audience, w.expiration_seconds) for w in wanted if w.kind == sources.TOKEN})
        volumes = await self._volumes(pod)
        maps, secrets, texts = await asyncio.gather(
            self.named(CONFIGMAP, pod, {w.name for w in wanted if w.kind == sources.CONFIG_MAP}),
            self.named(SECRET, pod, {w.name for w in wanted if w.kind == sources.SECRET}),
            asyncio.gather(*(self.token(pod, audience, seconds) for audience, seconds in asked)),
        )
        tokens = dict(zip(asked, texts, strict=True))
        found = sources.Sources(maps, secrets, tokens, volumes, allocatable=self._allocatable())
        return replace(found, csi=await self._of_drivers(pod, volumes)) if _has_driver(pod, volumes) else found

    async def _of_drivers(self, pod: Object, volumes: Mapping[str, Object]) -> tuple[Any, ...]:
        """What drivers are to be told of the pod's CSI volumes. Raises VolumeFailure."""
        if self._parts.csi is None:
            return ()
        uid = objects.uid(pod)
        since = self._known.setdefault(uid, self._parts.clock.monotonic())
        if self._orders is None:
            from sampan.node.csi.orders import Orders

            self._orders = Orders(pod["spec"]["nodeName"], self, self._parts.clock)
        orders = await self._orders.of(pod, volumes, since)
        self._looked_after.add(uid)
        return tuple(orders)

    async def _volumes(self, pod: Object) -> dict[str, Object]:
        """The persistent volumes behind the pod's claims, by the claims' names. Raises VolumeFailure."""
        claims = list(pod_claims.of(pod))
        found = await self.named(PERSISTENTVOLUMECLAIM, pod, {name for _, name in claims})
        since, volumes = self._known.get(objects.uid(pod), 0.0), {}
        for volume, name in claims:
            claim = found.get(name)
            if claim is None:
                raise _unclaimed(
                    pod, volume, f'failed to fetch PVC from API server: persistentvolumeclaims "{name}" not found'
                )
            if not volume_match.is_bound(claim):
                raise _unclaimed(pod, volume, "PVC is not bound")
            bound = await self.get(PERSISTENTVOLUME, "", claim["spec"]["volumeName"], since)
            if bound is None or not volume_match.is_for(bound, claim):
                raise _unclaimed(pod, volume, f'PV "{claim["spec"]["volumeName"]}" is not there for it')
            volumes[name] = bound
        return volumes

    async def named(self, kind: Kind, pod: Object, names: Iterable[str]) -> dict[str, Object]:
        """The objects of these names in the pod's namespace that are there, read since the pod is known."""
        since = self._known.setdefault(objects.uid(pod), self._parts.clock.monotonic())
        found = {}
        for name in sorted(names):
            obj = await self.get(kind, objects.namespace(pod), name, since)
            if obj is not None:
                found[name] = obj
        return found

    async def get(self, kind: Kind, namespace: str, name: str, since: float) -> Object | None:
        """One object, at most a few seconds old and read after `since` (monotonic); None when it isn't there."""

        async def ask() -> _Kept:
            try:
                value = await self._parts.client.get(kind, name, namespace)
            except ApiError as error:
                if error.code != 404:
                    raise
                return _Kept(None, 0.0)
            return _Kept(value, self._parts.clock.now() + FRESH_SECONDS)

        found: Object | None = await self._once((kind.plural, namespace, name), ask, since)
        return found

    async def token(self, pod: Object, audience: str, seconds: int) -> str:
        """A token of the pod's service account, bound to the pod."""
        return (await self.token_of(pod, audience, seconds))[0]

    async def token_of(self, pod: Object, audience: str, seconds: int) -> tuple[str, str]:
        """The same, with its expiration."""
        account = pod["spec"].get("serviceAccountName") or "default"
        spec: Object = {
            "expirationSeconds": seconds,
            "boundObjectRef": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": objects.name(pod),
                "uid": objects.uid(pod),
            },
        }
        if audience:
            spec["audiences"] = [audience]
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}

        async def ask() -> _Kept:
            key, jumps = (objects.namespace(pod), account), -1
            while jumps != self._jumps:  # one that was asked for before a jump is of another time
                now, jumps = self._parts.clock.now(), self._jumps
                answer = await self._parts.client.create_subresource(SERVICEACCOUNT, key, "token", request)
            expires = timestamps.parse(answer["status"]["expirationTimestamp"])
            found = str(answer["status"]["token"]), str(answer["status"]["expirationTimestamp"])
            return _Kept(found, now + TOKEN_LIFE_SHARE * (expires - now))

        found: tuple[str, str] = await self._once(("token", objects.uid(pod), audience, str(seconds)), ask)
        return found

    def known(self, place: tuple[str, str, str]) -> Object | None:
        """The object (plural, namespace, name) as it was when it was read last, if that is still known."""
        kept = self._kept.get(place)
        return kept.value if kept is not None else None

    def saw(self, place: tuple[str, str, str], obj: Object | None) -> None:
        """The object as it is now, or that it is gone: who watches it has seen that."""
        now, seen = self._parts.clock.now(), self._parts.clock.monotonic()
        before = self.known(place)
        if obj is None or before is None or version(obj) >= version(before):
            self._keep(place, _Kept(obj, now + FRESH_SECONDS, seen), now)

    def renewal(self, pod: Object) -> float | None:
        """When the pod's volumes are to be looked at again (unix seconds): a token nears its end, or a driver is asked."""
        wanted = [w for w in sources.of_volumes(pod) if w.kind == sources.TOKEN]
        keys = [("token", objects.uid(pod), w.audience, str(w.expiration_seconds)) for w in wanted]
        soon = self._parts.clock.now() + DRIVER_SECONDS
        times = [self._kept[key].until if key in self._kept else soon for key in keys]  # it may be forgotten already
        if objects.uid(pod) in self._looked_after:
            times.append(soon)
        return min(times, default=None)

    def forget_tokens(self) -> None:
        """The wall clock has jumped: they may have ended, or not hold yet. Those under way are asked for again."""
        self._jumps += 1
        self._kept = {key: kept for key, kept in self._kept.items() if key[0] != "token"}

    def forget(self, pod_uid: str) -> None:
        """Drops a pod's tokens."""
        self._known.pop(pod_uid, None)
        self._looked_after.discard(pod_uid)
        for key in [key for key in self._kept if key[:2] == ("token", pod_uid)]:
            del self._kept[key]

    async def _once(self, key: tuple[str, ...], ask: Callable[[], Awaitable[_Kept]], since: float = 0.0) -> Any:
        while True:
            now, began = self._parts.clock.now(), self._parts.clock.monotonic()
            kept = self._kept.get(key)
            if kept is not None and kept.until > now and kept.asked >= since:
                return kept.value
            started, asking = self._asking.get(key, (0.0, None))
            if asking is None or started < since:
                break
            try:
                return await asyncio.shield(asking)
            except _GivenUpError:
                pass  # whoever asked for all of us needs it no more
        mine: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        mine.add_done_callback(lambda done: done.exception())
        self._asking[key] = (began, mine)
        try:
            answer = await ask()
        except BaseException as error:
            mine.set_exception(error if isinstance(error, Exception) else _GivenUpError())
            raise
        finally:
            if self._asking.get(key) == (began, mine):
                del self._asking[key]
        answer.asked = began
        self._keep(key, answer, self._parts.clock.now())
        mine.set_result(answer.value)
        return answer.value

    def _keep(self, key: tuple[str, ...], answer: _Kept, now: float) -> None:
        if len(self._kept) >= self._most_kept:
            self._kept = {k: v for k, v in self._kept.items() if v.until > now}
            self._most_kept = max(KEPT, 2 * len(self._kept))
        if answer.until > now:
            self._kept[key] = answer


class _GivenUpError(Exception):
    """Who was asking was broken off."""


def _has_driver(pod: Object, volumes: Mapping[str, Object]) -> bool:
    """Whether one of the pod's volumes is a storage driver's."""
    if any(bound["spec"].get("csi") is not None for bound in volumes.values()):
        return True
    return any(volume.get("csi") is not None for volume in pod["spec"].get("volumes") or ())


def _unclaimed(pod: Object, volume: Mapping[str, Any], why: str) -> VolumeFailure:
    """In the kubelet's words."""
    name, claim = volume["name"], f"{objects.namespace(pod)}/{pod_claims.name_of(pod, volume)}"
    text = f"Unable to attach or mount volumes: unmounted volumes=[{name}], unattached volumes=[]"
    return VolumeFailure(f"{text}, failed to process volumes=[{name}]: error processing PVC {claim}: {why}")
