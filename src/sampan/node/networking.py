"""Networking: hands what the API says to those who keep the node's network so: the followers.

Each kind that a follower names is watched once, whoever else names it. Changes that come together are applied
together; a follower that fails is asked again in a second, and holds up no other. `apply` is handed all objects by
their kind's plural, each list made only when it is looked at. A follower may have more than the protocol asks for:

- `starts_with`, a kind: its other kinds are only watched once there is an object of this one.
- `changed(plural, old, new)`: called at once for each change, so that `apply` need look at nothing else. What is there
  when a kind is first watched comes so too, with no old one.
- `node_changed(node)`: called with each version of this node's own object, first with the one known at the start;
  `apply` follows when it returns true.
- `attend(wake)`: called before all else; `apply` follows when `wake` is called.
- `figures(exposition)`: adds what it counts to the agent's metrics.
- `close()`, awaited when the agent ends.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sampan.client.cache import Cache
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.kinds.kind import Kind
from sampan.kit.tasks import Tasks
from sampan.node.exposition import Exposition
from sampan.node.parts import Follower, Parts

log = logging.getLogger(__name__)

TOGETHER_SECONDS = 0.01
AGAIN_SECONDS = 1.0

Object = dict[str, Any]


class Networking:
    """One node's followers. `pods` are this node's; `node` gives its own object as it is known."""

    def __init__(self, parts: Parts, pods: Cache, node: Callable[[], Object], tasks: Tasks) -> None:
        self._parts, self._node, self._tasks = parts, node, tasks
        self.services, self._slices = self._cache_of(SERVICE), self._cache_of(ENDPOINTSLICE)
        self._caches = {SERVICE: self.services, ENDPOINTSLICE: self._slices}
        for follower in parts.followers:
            for kind in follower.kinds:
                if kind not in self._caches:
                    self._caches[kind] = self._cache_of(kind)
        self._followings = [_Following(follower, self) for follower in parts.followers]

    def first(self) -> list[Cache]:
        """What must be known before the node is Ready."""
        kinds = dict.fromkeys([SERVICE, ENDPOINTSLICE, *(kind for one in self._followings for kind in one.first())])
        return [self._caches[kind] for kind in kinds]

    def continue_from(self, other: "Networking") -> None:
        """All is known that another one has known; before `start`."""
        for kind, cache in self._caches.items():
            if kind in other._caches:
                cache.continue_from(other._caches[kind])

    async def apply(self) -> None:
        """Tells each follower once all there is."""
        self._see_node(self._node())
        await asyncio.gather(*(one.apply() for one in self._followings))

    def follow(self) -> None:
        """Tells them of changes from now on."""
        for one in self._followings:
            one.follow(self._tasks)

    async def stop(self) -> None:
        """Lets the followers go."""
        for one in self._followings:
            await one.close()

    def tell(self, found: Exposition) -> None:
        """Adds what the followers count."""
        for one in self._followings:
            one.tell(found)

    def before(self, then: Callable[[Object], None]) -> Callable[[Object], None]:
        """Who is to hear of each version of this node's own object, before `then` does."""

        def heard(node: Object) -> None:
            self._see_node(node)
            then(node)

        return heard

    def _see_node(self, node: Object) -> None:
        for one in self._followings:
            one.see_node(node)

    async def cache(self, kind: Kind) -> Cache:
        """The objects of a kind, all of them known."""
        await self._caches[kind].wait_synced()
        return self._caches[kind]

    async def sleep(self, seconds: float) -> None:
        """By the node's clock."""
        await self._parts.clock.sleep(seconds)

    def _cache_of(self, kind: Kind) -> Cache:
        return Cache(self._parts.client, kind, clock=self._parts.clock, tasks=self._tasks)


class _Following:
    """One follower, what it has been handed, and whether there is news for it."""

    def __init__(self, follower: Follower, networking: Networking) -> None:
        self._follower, self._networking = follower, networking
        self._starts_with: Kind | None = getattr(follower, "starts_with", None)
        self._tell: Callable[[str, Object | None, Object | None], None] | None = getattr(follower, "changed", None)
        self._tell_node: Callable[[Object], bool] | None = getattr(follower, "node_changed", None)
        self._caches: dict[str, Cache] = {}
        self._news = asyncio.Event()
        attend: Callable[[Callable[[], None]], None] | None = getattr(follower, "attend", None)
        if attend is not None:
            attend(self._news.set)

    def first(self) -> tuple[Kind, ...]:
        """The kinds that are watched from the start."""
        return self._follower.kinds if self._starts_with is None else (self._starts_with,)

    def see_node(self, node: Object) -> None:
        if self._tell_node is not None and self._tell_node(node):
            self._news.set()

    def tell(self, found: Exposition) -> None:
        figures = getattr(self._follower, "figures", None)
        if figures is not None:
            figures(found)

    async def close(self) -> None:
        close = getattr(self._follower, "close", None)
        if close is not None:
            await close()

    def follow(self, tasks: Tasks) -> None:
        tasks.spawn(self._follow_for_ever(), "network")

    async def apply(self) -> bool:
        """Tells the follower once. What it fails at is said, to be tried again."""
        try:
            await self._watch()
            self._news.clear()
            await self._follower.apply(_Objects(self._caches))
        except Exception as error:  # noqa: BLE001 (the kernel's refusal: old rules stand)
            log.warning("%s: %r; trying again", type(self._follower).__name__, error)
            self._news.set()
            return False
        return True

    async def _follow_for_ever(self) -> None:
        while True:
            await self._news.wait()
            await self._networking.sleep(TOGETHER_SECONDS)
            if not await self.apply():
                await self._networking.sleep(AGAIN_SECONDS)

    async def _watch(self) -> None:
        """Knows all of the follower's kinds; of one that waits for its first object, the others once that is there."""
        await self._watch_each(self.first())
        if self._starts_with is None or len(self._caches[self._starts_with.plural]):
            await self._watch_each(self._follower.kinds)

    async def _watch_each(self, kinds: tuple[Kind, ...]) -> None:
        for kind in kinds:
            if kind.plural not in self._caches:
                cache = await self._networking.cache(kind)
                self._caches[kind.plural] = cache
                cache.subscribe(partial(self._changed, kind.plural), replay=self._tell is not None)

    def _changed(self, plural: str, type: str, old: Object | None, new: Object | None) -> None:
        if self._tell is not None:
            self._tell(plural, old, new)
        self._news.set()


class _Objects(Mapping[str, Sequence[Object]]):
    """What is known, by plural; a kind that is not watched yet has none."""

    def __init__(self, caches: Mapping[str, Cache]) -> None:
        self._caches = caches

    def __getitem__(self, plural: str) -> Sequence[Object]:
        cache = self._caches.get(plural)
        return cache.items() if cache is not None else ()

    def __iter__(self) -> Iterator[str]:
        return iter(self._caches)

    def __len__(self) -> int:
        return len(self._caches)
