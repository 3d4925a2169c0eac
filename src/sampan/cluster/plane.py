"""Plane: the control plane of a simulated cluster, from its start to its end or its death.

A new one on the same store takes up where the last one was, as a process does that is started again.
"""

from collections.abc import AsyncIterator, Sequence

from sampan.client.api import CALM
from sampan.cluster import wiring, workers
from sampan.cluster.doors import Doors
from sampan.cluster.enabled_layers import EnabledLayers
from sampan.cluster.near_logs import NearLogs
from sampan.cluster.settings import Settings
from sampan.kinds import builtin
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.kit.version import VERSION
from sampan.server import bootstrap
from sampan.server.app import App, Parts
from sampan.server.outbound import Outbound
from sampan.store.memory import MemoryStore
from sampan.store.protocol import Batch, Compare, Page, Record, Result, StoreError, Write

AUTHORITY = "There is no TLS in a simulated cluster.\n"


class Lent:
    """A store as one server has it: until that is killed, and no longer."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._revoked = False

    def revoke(self) -> None:
        """Nothing is read or written any more."""
        self._revoked = True

    async def txn(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Result:
        """See Store.txn."""
        if self._revoked:
            self._check()
        return await self._store.txn(compares, writes)

    async def get(self, key: str, revision: int = 0) -> Record | None:
        """See Store.get."""
        self._check()
        return await self._store.get(key, revision)

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """See Store.list."""
        self._check()
        return await self._store.list(prefix, after=after, limit=limit, revision=revision)

    def watch(self, prefix: str, after_revision: int) -> AsyncIterator[Batch]:
        """See Store.watch."""
        return self._store.watch(prefix, after_revision)

    async def compact(self, revision: int) -> None:
        """See Store.compact."""
        self._check()
        await self._store.compact(revision)

    def size_bytes(self) -> int | None:
        """See Store.size_bytes."""
        return self._store.size_bytes()

    async def revision(self) -> int:
        """See Store.revision."""
        self._check()
        return await self._store.revision()

    async def close(self) -> None:
        """It is not ours to close."""

    def _check(self) -> None:
        if self._revoked:
            raise StoreError("the server was killed")


class Plane:
    """Server, controllers and scheduler of one life.

    `outbound` is how it reaches others, `logs` how it has containers' logs; None for not at all.
    """

    def __init__(self, store: MemoryStore, doors: Doors, around: wiring.Surroundings, token_key: bytes) -> None:
        self.tasks = around.tasks
        self._doors = doors
        self._around = around
        self._lent = Lent(store)
        self._token_key = token_key
        self.outbound: Outbound | None = None
        self.logs: NearLogs | None = None

    def make(self, settings: Settings) -> None:
        """Puts the parts together; nothing runs yet."""
        self._settings = settings
        self.app = App(self._parts())
        self.workers = workers.workers(self.app, AUTHORITY, self._around, self._doors.door)
        self.layers = EnabledLayers(self.app, self._around, self._doors.door, self.outbound)

    async def start(self) -> None:
        """Returns when everything runs."""
        await self.app.start()
        self.layers.judge()
        self._doors.lead_to(self.app)
        await bootstrap.ensure(self.app, wiring.endpoints(self._settings))
        await self.workers.start()
        self.layers.start()

    async def resume(self, before: "Plane") -> None:
        """The same where another one was, on a copy of its store."""
        await self.app.start(before.app)
        self.layers.judge()
        self._doors.lead_to(self.app)
        bootstrap.resume(self.app, wiring.endpoints(self._settings))
        await self.workers.resume(before.workers)
        self.layers.start(before.layers)

    async def stop(self) -> None:
        """In peace."""
        await self.layers.stop()
        await self.workers.stop()
        await self.app.close()
        await self.tasks.close()

    def kill(self) -> None:
        """At this instant: nothing more is read or written, and whoever is under way is thrown out."""
        self._lent.revoke()
        self._doors.lead_to(None)
        self.layers.kill()
        self.workers.kill()
        self.tasks.kill()

    def _parts(self) -> Parts:
        return Parts(
            store=self._lent,
            kinds=builtin.kinds(self._settings.gates),
            clock=self._around.clock,
            ids=self._around.ids,
            tasks=self.tasks,
            token_key=self._token_key,
            service_cidr=",".join(self._settings.service_cidrs),
            version=VERSION,
            outbound=self.outbound,
            near_logs=self.logs,
            gates=self._settings.gates,
        )


def surroundings(clock: Clock, ids: Ids, name: str = "control plane") -> wiring.Surroundings:
    """What a new life is handed: tasks of its own."""
    return wiring.Surroundings(clock, ids, Tasks(name), CALM)
