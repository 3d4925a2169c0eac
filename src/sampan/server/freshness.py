"""Freshness: what a read must have seen where other servers write to the same store.

The cache of this server may be behind a write that another one has acknowledged. So a read that asks for the present
first learns from the store how far it is, and waits until the cache is there. Reads that come together share a question;
one that comes while it is under way needs the next, for the answer may be older than it. If nobody answers, those who
came meanwhile are told so too: the store had its time.

A store of this server alone needs none of it: its cache has every acknowledged write.

https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
"""

import asyncio

from sampan.kit.tasks import Tasks
from sampan.meta import status
from sampan.server import list_options
from sampan.server.cache import Cache
from sampan.server.call import Call
from sampan.store.protocol import Store, StoreError

PATIENCE_SECONDS = 3.0
HEALTH_SECONDS = 2.0
READS = ("get", "list", "watch")


class Freshness:
    """`is_shared`: whether other servers write to the store too; else nobody waits here."""

    def __init__(self, cache: Cache, store: Store, tasks: Tasks, *, is_shared: bool) -> None:
        self._cache = cache
        self._store = store
        self._tasks = tasks
        self._is_shared = is_shared
        self._next: asyncio.Future[int] | None = None
        self._is_asking = False

    async def of(self, call: Call) -> None:
        """Returns when the cache has what the call is to see: what it names, or all that was acknowledged before.

        What it names may be old; a page after the first comes from the store. Raises StoreError, ApiError 400 and 504.
        """
        if not self._is_shared:
            return
        is_read = call.info.verb in READS and not call.sub
        if is_read and call.request.param("continue"):
            return
        wanted = call.request.param("resourceVersion") if is_read else ""
        await self._reach(list_options.revision(wanted) if wanted else await self._revision())

    async def failure(self) -> str:
        """Why nobody can learn what is in the store at present; "" when somebody just has."""
        if not self._is_shared:
            return ""
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                await self._revision()
        except TimeoutError:
            return f"the store does not answer within {HEALTH_SECONDS:.0f} s"
        except StoreError as error:
            return str(error)
        return ""

    async def _reach(self, revision: int) -> None:
        if revision <= self._cache.revision:
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._cache.wait(revision)
        except TimeoutError as error:
            raise status.too_new(revision, self._cache.revision) from error

    async def _revision(self) -> int:
        """The store's, asked for after this was called."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        answer = self._next
        if not self._is_asking:
            self._is_asking = True
            self._tasks.spawn(self._ask(), "freshness", critical=False)
        return await asyncio.shield(answer)

    async def _ask(self) -> None:
        """Answers those who wait, until nobody does."""
        try:
            while self._next is not None:
                waiting, self._next = self._next, None
                try:
                    found = await self._store.revision()
                except Exception as error:  # noqa: BLE001 (it is told to everyone who asked)
                    came_meanwhile, self._next = self._next, None
                    for each in filter(None, (waiting, came_meanwhile)):
                        each.set_exception(error)
                        each.exception()  # somebody may have gone
                else:
                    waiting.set_result(found)
        finally:
            self._is_asking = False
