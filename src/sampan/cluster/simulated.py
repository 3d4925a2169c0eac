"""The simulated cluster: server, controllers, scheduler and nodes in one process, in virtual time, from one seed.

Nothing happens but while it is stepped, time passes only as far as the next thing to do, and the same
seed and the same calls give the same history, byte for byte (which only the signatures of service account
tokens, never stored, are not part of). No socket, no thread, no file.

    with SimulatedCluster(seed=1, nodes=2) as cluster:
        cluster.create(deployment)
        cluster.run_until(lambda: is_available(cluster.get(DEPLOYMENT, "web", "default")), within=60)
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sampan.cluster import wiring
from sampan.cluster.settings import DEFAULT_NAME, Settings
from sampan.kinds.builtin import KINDS
from sampan.kinds.kind import Kind
from sampan.kit.ids import Ids, SeededIds
from sampan.kit.simloop import SimLoop, VirtualClock
from sampan.kit.tasks import Tasks
from sampan.meta import objects
from sampan.node import simulated
from sampan.node.agent import Agent
from sampan.node.parts import AgentSettings
from sampan.server import bootstrap
from sampan.server.app import App, Parts
from sampan.server.cache import Change as CacheChange
from sampan.store.memory import MemoryStore
from sampan.web.message import Peer

ADMIN = Peer("kubernetes-admin", ("system:masters",))
AUTHORITY = "There is no TLS in a simulated cluster.\n"
CALL_SECONDS = 60.0
"""A call of ours that is not answered in this (virtual) time never will be."""

Object = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Change:
    """One change in the store: ADDED, MODIFIED or DELETED. `time` counts virtual seconds from the start.

    `resource` is the kind's (deployments.apps), `key` is NAMESPACE/NAME or NAME, and `data` the object as
    clients get it; for a deletion its last state, at the deletion's resourceVersion.
    """

    time: float
    resource: str
    key: str
    type: str
    data: bytes

    @cached_property
    def tree(self) -> Object:
        """The object, decoded."""
        decoded: Object = orjson.loads(self.data)
        return decoded


def digest(history: Iterable[Change]) -> str:
    """SHA-256 over every field of every change: equal for equal histories only."""
    summed = hashlib.sha256()
    for change in history:
        head = orjson.dumps([change.time, change.resource, change.key, change.type, len(change.data)])
        summed.update(head + b"\n" + change.data + b"\n")
    return summed.hexdigest()


class SimulatedCluster:
    """`start()` and `close()`, or `with`. Objects that it hands out are shared: never mutate them."""

    def __init__(self, *, seed: int = 0, nodes: int = 1) -> None:
        self.settings = Settings(DEFAULT_NAME, Path("/simulated"), nodes=nodes, runtime="simulated", store="memory")
        self.loop = SimLoop()  # type: ignore[abstract]  # sockets and threads are left out on purpose
        self.clock = VirtualClock(self.loop)
        self.history: list[Change] = []
        self._ids = SeededIds(seed)
        self._tasks = Tasks("simulated cluster")
        self._store = MemoryStore()
        self._app = App(self._parts())
        self.client = wiring.client(self._app, ADMIN, "sampan")
        self._runner, self._scheduler = wiring.workers(self._app, AUTHORITY, self.clock, self._ids, self._tasks)
        self._nodes: dict[str, Agent] = {}
        self._kinds = {(kind.api_version, kind.name): kind for kind in KINDS}
        self._observers: list[Callable[[Change], None]] = []
        self._broken: BaseException | None = None
        self._mind(self._tasks)

    def start(self) -> None:
        """Returns when everything runs and every node is Ready."""
        self.run(self._start())
        for name in self.settings.node_names():
            self.start_node(name)

    def close(self) -> None:
        """Ends everything. The history stays."""
        self._observers.clear()
        stopped = asyncio.ensure_future(self._stop(), loop=self.loop)
        self.loop.run_until(stopped.done, CALL_SECONDS)
        self.loop.close()
        stopped.result()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, story: TracebackType | None
    ) -> None:
        self.close()

    # Objects

    def create(self, obj: Object) -> Object:
        """Creates the object; returns it as stored. Raises ApiError."""
        return self.run(self.client.create(self._kind(obj), obj))

    def apply(self, config: Object, *, manager: str = "sampan") -> Object:
        """Server-side apply of what the object says, by force. Raises ApiError."""
        return self.run(self.client.apply(self._kind(config), config, manager=manager, force=True))

    def patch(self, kind: Kind, name: str, namespace: str, patch: Object) -> Object:
        """A merge patch; returns the object as stored. Raises ApiError."""
        return self.run(self.client.patch(kind, (namespace, name), patch))

    def delete(self, kind: Kind, name: str, namespace: str = "") -> None:
        """Asks for the deletion, which may take its time. Raises ApiError."""
        self.run(self.client.delete(kind, (namespace, name)))

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        """The object as the server has it now, or None. No time passes, so conditions may ask it."""
        item = self._app.registry.get(kind, namespace, name)
        return item.tree if item is not None else None

    def list(self, kind: Kind, namespace: str = "") -> list[Object]:
        """All objects of the kind as the server has them now, by name; `namespace` "" means all of them."""
        return [item.tree for item in self._app.registry.all(kind, namespace)]

    # Time

    @property
    def time(self) -> float:
        """Virtual seconds since the start."""
        return self.loop.time()

    def advance(self, seconds: float) -> None:
        """Lets that much time pass."""
        self.loop.advance(seconds)
        self._check()

    def run_until(self, is_so: Callable[[], bool], within: float) -> None:
        """Lets time pass until the condition holds. Raises Stuck when it does not within so many seconds."""
        self.loop.run_until(lambda: self._broken is not None or is_so(), within)
        self._check()

    def run(self, call: Awaitable[T]) -> T:
        """Lets a call run to its end, for example one of `client`, and returns its result."""
        done = asyncio.ensure_future(call, loop=self.loop)
        self.run_until(done.done, CALL_SECONDS)
        return done.result()

    def observe(self, observer: Callable[[Change], None]) -> None:
        """Shows it each change from now on, as it happens. What it raises ends the step under way."""
        self._observers.append(observer)

    # Nodes

    def start_node(self, name: str) -> None:
        """Boots a node, on which nothing runs yet, and returns when it is Ready."""
        number = self.settings.node_names().index(name)
        settings = AgentSettings(
            cluster=self.settings.name,
            node=name,
            root=self.settings.path(name),
            internal_ip=self.settings.gateway(number),
            pod_cidr=self.settings.node_pod_cidr(number),
            is_simulated=True,
        )
        tasks = Tasks(name)
        client = wiring.client(self._app, Peer(f"system:node:{name}", ("system:nodes",)), "kubelet")
        parts = simulated.parts(client, settings.pod_cidr, self.clock, self._ids, tasks)
        self._nodes[name] = Agent(settings, parts, tasks)
        self._mind(tasks)
        self.run(self._nodes[name].start())

    def stop_node(self, name: str) -> None:
        """As when its power fails: nobody is told, and its containers are gone."""
        self.run(self._nodes.pop(name).stop())

    async def _start(self) -> None:
        await self._app.start()
        for kept in self._app.cache.kinds():
            kept.listen(self._recorder(kept.resource))
        await bootstrap.ensure(self._app, wiring.endpoints(self.settings))
        await self._runner.start()
        await self._scheduler.start()
        await self._runner.wait_synced()

    async def _stop(self) -> None:
        for agent in self._nodes.values():
            await agent.stop()
        await self._runner.stop()
        await self._scheduler.stop()
        await self._app.close()
        await self._tasks.close()
        await self._store.close()

    def _parts(self) -> Parts:
        return Parts(
            store=self._store,
            kinds=KINDS,
            clock=self.clock,
            ids=self._ids,
            tasks=self._tasks,
            token_key=_token_key(self._ids),
            service_cidr=self.settings.service_cidr,
            version=metadata.version("sampan"),
        )

    def _recorder(self, resource: str) -> Callable[[CacheChange], None]:
        def record(change: CacheChange) -> None:
            type = "DELETED" if change.item is None else "MODIFIED" if change.previous else "ADDED"
            last = change.last()
            recorded = Change(self.loop.time(), resource, last.key, type, last.wire)
            self.history.append(recorded)
            self._show(recorded)

        return record

    def _show(self, change: Change) -> None:
        """An observer's objection must not end the server's own task, so it waits for the end of the step."""
        try:
            for observer in self._observers:
                observer(change)
        except Exception as error:  # noqa: BLE001 (the first one is raised by `_check`)
            self._broken = self._broken or error

    def _mind(self, tasks: Tasks) -> None:
        """A failure of these is a failure of the step in which it happens."""

        def ended(done: asyncio.Future[None]) -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                self._broken = self._broken or error

        asyncio.ensure_future(tasks.wait(), loop=self.loop).add_done_callback(ended)

    def _check(self) -> None:
        """Raises what went wrong inside."""
        if self._broken is not None:
            raise self._broken
        for failure in self.loop.failures:
            raise RuntimeError(failure.get("message")) from failure.get("exception")

    def _kind(self, obj: Object) -> Kind:
        found = self._kinds.get((obj["apiVersion"], obj["kind"]))
        if found is None:
            group, _, version = obj["apiVersion"].rpartition("/")
            found = self._app.served.by_kind(group, version, obj["kind"])
        if found is None:
            raise LookupError(f"{objects.name(obj)}: no kind {obj['kind']} in {obj['apiVersion']}")
        return found


def _token_key(ids: Ids) -> bytes:
    """The signing key of service account tokens that the seed gives (PEM)."""
    key = ec.derive_private_key(int(ids.uid().replace("-", ""), 16), ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
