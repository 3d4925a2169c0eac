"""Following: one metadata cache for each kind that there is, for controllers about all kinds at once.

Discovery says which kinds there are. It is asked again when a definition or an aggregated API comes, goes or
changes, and now and then anyway; a kind that is gone is followed no longer.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from sampan.client.api import Client
from sampan.client.cache import Cache
from sampan.client.discovery import Discovered, Discovery
from sampan.client.transport import TransportError
from sampan.kinds.kind import Kind
from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.meta import objects
from sampan.meta.status import ApiError

log = logging.getLogger(__name__)

REDISCOVER_SECONDS = 30.0
CALM_SECONDS = 3600.0  # where nobody but the server itself says which kinds there are: its changes are told
SETTLE_SECONDS = 0.05  # definitions often come in groups
FOLLOWED_VERBS = {"list", "watch", "delete"}
OWN_APIS = "kube-aggregator.kubernetes.io/automanaged"
TELLERS = ("customresourcedefinitions.apiextensions.k8s.io", "apiservices.apiregistration.k8s.io")


class Following:
    """`shared` are caches of whole objects that somebody keeps already; `is_wanted` chooses kinds."""

    def __init__(self, client: Client, shared: Mapping[str, Cache], clock: Clock, tasks: Tasks) -> None:
        self._metadata_client = client.metadata_only()
        self._shared = shared
        self._clock = clock
        self._tasks = tasks
        self._again = asyncio.Event()
        self._discovery = Discovery(client)
        self.caches: dict[str, Cache] = {}
        self.kinds: dict[str, Kind] = {}

    def continue_from(self, other: "Following", begin: Callable[[Cache], None]) -> None:
        """Follows what another one followed; `begin` as for `run`."""
        for resource, kind in other.kinds.items():
            self._begin(kind, begin, other.caches[resource])

    async def run(self, is_wanted: Callable[[Kind], bool], begin: Callable[[Cache], None]) -> None:
        """Follows for ever; `begin` is told of each new cache before it starts."""
        if self.caches:  # as those were that it continues from
            await self._pause(REDISCOVER_SECONDS)
        known = None
        while True:
            self._again.clear()
            try:
                found = await self._discovery.read()
            except (ApiError, TransportError) as error:
                log.warning("discovery: %s", error)
                await self._clock.sleep(1.0)
                continue
            except Exception:  # an answer that nobody can read: of what is known already more may be heard
                log.exception("discovery")
                await self._clock.sleep(REDISCOVER_SECONDS)
                continue
            if found is not known:
                wanted = {k.resource: k for k in found.kinds if set(k.verbs) >= FOLLOWED_VERBS and is_wanted(k)}
                self._end(wanted, found)
                for kind in wanted.values():
                    if kind.resource not in self.caches:
                        self._begin(kind, begin)
                known = found
            await self._pause(REDISCOVER_SECONDS if found.failures or self._has_foreign() else CALM_SECONDS)

    async def wait_first(self) -> None:
        """Returns once the first kinds' caches are complete."""
        while not self.caches:
            await self._clock.sleep(SETTLE_SECONDS)
        for cache in list(self.caches.values()):
            await cache.wait_synced()

    def _begin(self, kind: Kind, begin: Callable[[Cache], None], before: Cache | None = None) -> None:
        cache = self._shared.get(kind.resource)
        if cache is None:
            cache = Cache(self._metadata_client, kind, clock=self._clock, tasks=self._tasks)
            if before is not None:
                cache.continue_from(before)
        self.caches[kind.resource] = cache
        self.kinds[kind.resource] = kind
        begin(cache)
        if kind.resource in TELLERS:
            cache.subscribe(lambda change, old, new: self._again.set(), replay=before is None)
        cache.start()

    def _end(self, wanted: Mapping[str, Kind], found: Discovered) -> None:
        """Lets go of kinds that are gone, or served in another version now; not of those behind a failing API."""
        failing = {version.rpartition("/")[0] for version, _ in found.failures}
        for resource, kind in list(self.kinds.items()):
            now = wanted.get(resource)
            is_same = now is not None and (now.versions, now.scope) == (kind.versions, kind.scope)
            if is_same or kind.group in failing or resource in self._shared:
                continue
            self.caches.pop(resource).stop()
            del self.kinds[resource]

    def _has_foreign(self) -> bool:
        """Whether other servers have a say: their kinds change without a word."""
        apis = self.caches.get(TELLERS[1])
        return apis is None or any(OWN_APIS not in objects.labels(api) for api in apis)

    async def _pause(self, seconds: float) -> None:
        """Until something says that there are other kinds, or so much time has passed."""
        waiting = self._tasks.spawn(self._again.wait(), "other kinds", critical=False)
        timing = self._tasks.spawn(self._clock.pulse(seconds), "discovery's pause", critical=False)
        try:
            await asyncio.wait((waiting, timing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            timing.cancel()
        await self._clock.sleep(SETTLE_SECONDS)
