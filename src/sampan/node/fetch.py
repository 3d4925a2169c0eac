"""Fetching what pods refer to: ConfigMaps, Secrets and service account tokens, each read once for many pods.

Objects are kept for a few seconds, tokens for 80 % of their life; calls for the same thing share one request.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sampan.client.transport import TransportError
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.secret import SECRET
from sampan.kinds.core.service_account import SERVICEACCOUNT
from sampan.kinds.kind import Kind
from sampan.meta import objects, timestamps
from sampan.meta.status import ApiError
from sampan.node import env
from sampan.node.env import ConfigError, Sources
from sampan.node.parts import Parts
from sampan.node.volumes import sources
from sampan.node.volumes.failure import VolumeFailure

Object = dict[str, Any]

FRESH_SECONDS = 5.0
TOKEN_LIFE_SHARE = 0.8
KEPT = 4096


@dataclass(slots=True)
class _Kept:
    value: Any
    until: float


class Fetcher:
    """One node's reads. `services` gives the Services as now known."""

    def __init__(
        self, parts: Parts, services: Callable[[], Iterable[Object]], allocatable: Callable[[], dict[str, str]]
    ) -> None:
        self._parts, self._services, self._allocatable = parts, services, allocatable
        self._kept: dict[tuple[str, ...], _Kept] = {}
        self._asking: dict[tuple[str, ...], asyncio.Future[Any]] = {}

    async def env_sources(self, pod: Object, pod_ip: str, host_ip: str = "") -> Sources:
        """What the pod's containers may take values from. Raises ConfigError when the API can't be asked."""
        namespace = objects.namespace(pod)
        config_maps, secrets = env.references(pod)
        try:
            found_maps = await self.named(CONFIGMAP, namespace, config_maps)
            found_secrets = await self.named(SECRET, namespace, secrets)
        except (ApiError, TransportError) as error:
            raise ConfigError(str(error)) from error
        return Sources(
            config_maps=found_maps,
            secrets=found_secrets,
            services=tuple(self._services()),
            pod_ip=pod_ip,
            host_ip=host_ip or pod_ip,
            allocatable=self._allocatable(),
        )

    async def volumes(self, pod: Object) -> dict[str, str]:
        """Fetches what the pod's volumes hold and has them written; host paths by name. Raises VolumeFailure."""
        try:
            fetched = await self._fetched(pod)
            return dict(await self._parts.volumes.prepare(pod, fetched))
        except (ApiError, TransportError, OSError) as error:
            raise VolumeFailure(str(error)) from error

    async def _fetched(self, pod: Object) -> sources.Sources:
        namespace = objects.namespace(pod)
        wanted = sources.needed(pod)
        asked = sorted({(w.audience, w.expiration_seconds) for w in wanted if w.kind == sources.TOKEN})
        maps, secrets, texts = await asyncio.gather(
            self.named(CONFIGMAP, namespace, {w.name for w in wanted if w.kind == sources.CONFIG_MAP}),
            self.named(SECRET, namespace, {w.name for w in wanted if w.kind == sources.SECRET}),
            asyncio.gather(*(self.token(pod, audience, seconds) for audience, seconds in asked)),
        )
        tokens = dict(zip(asked, texts, strict=True))
        return sources.Sources(maps, secrets, tokens)

    async def named(self, kind: Kind, namespace: str, names: Iterable[str]) -> dict[str, Object]:
        """The objects of these names that are there."""
        found = {}
        for name in sorted(names):
            obj = await self.get(kind, namespace, name)
            if obj is not None:
                found[name] = obj
        return found

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """One object, at most a few seconds old; None when it isn't there."""

        async def ask() -> _Kept:
            try:
                value = await self._parts.client.get(kind, name, namespace)
            except ApiError as error:
                if error.code != 404:
                    raise
                return _Kept(None, 0.0)
            return _Kept(value, self._parts.clock.now() + FRESH_SECONDS)

        found: Object | None = await self._once((kind.plural, namespace, name), ask)
        return found

    async def token(self, pod: Object, audience: str, seconds: int) -> str:
        """A token of the pod's service account, bound to the pod."""
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
            now = self._parts.clock.now()
            key = (objects.namespace(pod), account)
            answer = await self._parts.client.create_subresource(SERVICEACCOUNT, key, "token", request)
            expires = timestamps.parse(answer["status"]["expirationTimestamp"])
            return _Kept(str(answer["status"]["token"]), now + TOKEN_LIFE_SHARE * (expires - now))

        return str(await self._once(("token", objects.uid(pod), audience, str(seconds)), ask))

    def forget(self, pod_uid: str) -> None:
        """Drops a pod's tokens."""
        for key in [key for key in self._kept if key[:2] == ("token", pod_uid)]:
            del self._kept[key]

    def forget_objects(self, namespace: str) -> None:
        """Has the namespace's objects read anew."""
        for key in [key for key in self._kept if key[0] != "token" and key[1] == namespace]:
            del self._kept[key]

    async def _once(self, key: tuple[str, ...], ask: Callable[[], Awaitable[_Kept]]) -> Any:
        now = self._parts.clock.now()
        kept = self._kept.get(key)
        if kept is not None and kept.until > now:
            return kept.value
        asking = self._asking.get(key)
        if asking is not None:
            return await asyncio.shield(asking)
        asking = self._asking[key] = asyncio.get_running_loop().create_future()
        asking.add_done_callback(lambda done: done.exception())
        try:
            answer = await ask()
        except BaseException as error:
            asking.set_exception(error if isinstance(error, Exception) else ConnectionError("given up"))
            raise
        finally:
            del self._asking[key]
        self._keep(key, answer, now)
        asking.set_result(answer.value)
        return answer.value

    def _keep(self, key: tuple[str, ...], answer: _Kept, now: float) -> None:
        if len(self._kept) >= KEPT:
            self._kept = {k: v for k, v in self._kept.items() if v.until > now}
        if answer.until > now:
            self._kept[key] = answer
