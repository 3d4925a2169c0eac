"""The simulated cluster: server, controllers, scheduler and nodes in one process, in virtual time, from one seed.

Nothing happens but while it is stepped, time passes only as far as the next thing to do, and the same
seed and the same calls give the same history, byte for byte (which only the signatures of service account
tokens, never stored, are not part of). No socket, no thread, no file.

    with SimulatedCluster(seed=1, nodes=2) as cluster:
        cluster.create(deployment)
        cluster.run_until(lambda: is_available(cluster.get(DEPLOYMENT, "web", "default")), within=60)
"""

import asyncio
import copy
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sampan.client.api import CALM, Client
from sampan.cluster import devices, history, plane, wiring
from sampan.cluster.doors import Doors
from sampan.cluster.history import Change, digest
from sampan.cluster.machine import Machine
from sampan.cluster.near_logs import NearLogs
from sampan.cluster.plane import Plane
from sampan.cluster.settings import DEFAULT_NAME, Settings
from sampan.cluster.simulated_extenders import ExtenderDoor
from sampan.cluster.simulated_outbound import SimulatedOutbound
from sampan.cluster.wiring import Surroundings
from sampan.controllers.registry import Options
from sampan.kinds import feature_gates as gates
from sampan.kinds.builtin import KINDS
from sampan.kinds.core.node import NODE
from sampan.kinds.kind import Kind
from sampan.kinds.resource.resource_slice import RESOURCESLICE
from sampan.kit.ids import Ids, SeededIds
from sampan.kit.simloop import SimLoop, Stuck, VirtualClock
from sampan.kit.tasks import Tasks
from sampan.meta import names, objects
from sampan.node import simulated
from sampan.node.agent import Agent
from sampan.node.parts import Parts
from sampan.node.runtime.orders import Rule, Rules
from sampan.node.runtime.protocol import RUNNING, ContainerState
from sampan.scheduling.config import DEFAULTS, Configuration
from sampan.server.app import App
from sampan.store.memory import MemoryStore
from sampan.store.protocol import Event
from sampan.web.message import Peer

ADMIN = Peer("kubernetes-admin", ("system:masters",))
CALL_SECONDS = 60.0
"""A call of ours that is not answered in this (virtual) time never will be."""

Object = dict[str, Any]
T = TypeVar("T")


class SimulatedCluster:
    """`start()` and `close()`, or `with`. Objects that it hands out are shared: never mutate them."""

    def __init__(
        self,
        *,
        seed: int = 0,
        nodes: int = 1,
        scheduling: Configuration = DEFAULTS,
        feature_gates: Mapping[str, bool] = MappingProxyType({}),
        layers: Sequence[str] = (),
    ) -> None:
        self.scheduling = scheduling
        self.layers = tuple(layers)
        made = Settings(DEFAULT_NAME, Path("/simulated"), nodes=nodes, runtime="simulated", store="memory")
        self.settings = replace(made, feature_gates=gates.checked(feature_gates))
        self.seed = seed
        ids = SeededIds(seed)
        self._set_out(SimLoop(), ids, MemoryStore())  # type: ignore[abstract]  # no sockets and threads, on purpose
        self._token_key = _token_key(ids)
        self.machines = {name: Machine(name, number) for number, name in enumerate(self.settings.node_names())}

    def _set_out(self, loop: SimLoop, ids: SeededIds, store: MemoryStore) -> None:
        self.loop, self._ids, self.store = loop, ids, store
        self.loop.is_calm = self._is_calm
        self.clock = VirtualClock(self.loop)
        self.lock = threading.RLock()
        """Whoever steps the loop holds it: clients on other threads come through a bridge."""
        self.doors = Doors()
        self.client = Client(self.doors.door(ADMIN), "sampan", watch=CALM)
        self.history: list[Change] = []
        self.store.committed = self._record
        self.behaviours = Rules()
        """What simulated containers do, beside their pods' annotations."""
        self.outbound = SimulatedOutbound()
        """How the server reaches webhooks: functions that are served there."""
        self._plane: Plane | None = None
        self._nodes: dict[str, Agent] = {}
        self._alive: dict[str, Tasks] = {}  # what goes on in containers, whoever minds them
        self._left: dict[str, Parts] = {}  # what agents that crashed left behind on their nodes
        self._kinds = {(kind.api_version, kind.name): kind for kind in KINDS}
        self._observers: list[Callable[[Change], None]] = []
        self.unrest: list[Callable[[], bool]] = []
        """Who may tell that heartbeats are not sure to arrive."""
        self.guests: list[Callable[[], None]] = []
        """Ends of those who work here beside its own parts; called when it is closed."""
        self._broken: BaseException | None = None

    def start(self) -> None:
        """Returns when everything runs and every node is Ready."""
        self._begin(_template())
        for name in self.machines:
            self.start_node(name)
        if self.layers:
            self.enable(*self.layers)

    def enable(self, *layers: str) -> None:
        """Enables layers beside those that are; returns when they are at work. Raises LookupError for a name of none."""
        from sampan.cluster import layers as known

        for name in layers:
            known.load(name)
        self.run(known.enable(self.client, *layers))
        self.run_until(lambda: all(map(self.plane.layers.is_ready, layers)), CALL_SECONDS)

    def fork(self, seed: int | None = None) -> "SimulatedCluster":
        """Another cluster that goes on from here, by another seed if one is given, and knows nothing of this one.

        What is under way at this instant is finished first. Observers and interceptors are not taken over.
        """
        before = self.plane
        with self._stepping():
            self.loop.settle()
        self._check()
        made = SimulatedCluster.__new__(SimulatedCluster)
        made.seed = self.seed if seed is None else seed
        made.settings, made._token_key, made.machines = self.settings, self._token_key, dict(self.machines)
        made.scheduling, made.layers = self.scheduling, self.layers
        loop = SimLoop(self.loop.time())  # type: ignore[abstract]
        ids = self._ids.copy() if made.seed == self.seed else SeededIds(made.seed)
        made._set_out(loop, ids, self.store.copy())
        made.outbound = self.outbound.copy()
        made.clock.jump(self.clock.now() - made.clock.now())
        made.history, made.behaviours = list(self.history), copy.deepcopy(self.behaviours)
        made.run(made._resume(before))
        if self._left:
            made.run(made._take_over(self._left))
        for name, agent in self._nodes.items():
            made.start_node(name, agent)
        return made

    async def _take_over(self, left: dict[str, Parts]) -> None:
        for name, parts in left.items():
            here = simulated.parts(
                parts.client, self.machines[name].settings(self.settings).pod_cidr, self._world(name)
            )
            simulated.continue_from(here, parts)
            self._left[name] = here

    def _begin(self, template: "SimulatedCluster") -> None:
        """What every cluster has from its first second is made once for all of them."""
        self.store = template.store.copy()
        self.store.committed = self._record
        self.history = list(template.history)
        for change in self.history:
            self._show(change)
        self.run(self._resume(template.plane))

    @property
    def plane(self) -> Plane:
        """The control plane that runs. Raises RuntimeError while there is none."""
        if self._plane is None:
            raise RuntimeError("the control plane does not run")
        return self._plane

    async def _resume(self, before: Plane) -> None:
        self._plane = Plane(self.store, self.doors, self._around(), self._token_key)
        self._plane.outbound, self._plane.logs = self.outbound, NearLogs(self._agent_at)
        self._plane.make(self.settings)
        self._mind(self._plane.tasks)
        await self._plane.resume(before)

    def close(self) -> None:
        """Ends everything. The history stays."""
        self._observers.clear()
        for end in self.guests:
            end()
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
        item = self.app.registry.get(kind, namespace, name)
        return item.tree if item is not None else None

    def list(self, kind: Kind, namespace: str = "") -> list[Object]:
        """All objects of the kind as the server has them now, by name; `namespace` "" means all of them."""
        return [item.tree for item in self.app.registry.all(kind, namespace)]

    # Time

    @property
    def time(self) -> float:
        """Virtual seconds since the start."""
        return self.loop.time()

    def advance(self, seconds: float) -> None:
        """Lets that much time pass."""
        with self._stepping():
            self.loop.advance(seconds)
        self._check()

    def run_until(self, is_so: Callable[[], bool], within: float) -> None:
        """Lets time pass until the condition holds. Raises Stuck when it does not within so many seconds."""
        with self._stepping():
            self.loop.run_until(lambda: self._broken is not None or is_so(), within)
        self._check()

    def run(self, call: Awaitable[T], within: float = CALL_SECONDS) -> T:
        """Lets a call run to its end, for example one of `client`, and returns its result. Raises Stuck."""
        try:
            with self._stepping():
                done = asyncio.ensure_future(call, loop=self.loop)
        except RuntimeError:
            if asyncio.iscoroutine(call):
                call.close()
            raise
        end = self.loop.time() + within
        try:
            self.run_until(done.done, within)
        except Stuck:
            done.cancel()
            if self.loop.time() < end:
                raise
            why = "" if self.is_up else ": the control plane does not run"
            raise Stuck(f"a call has not ended after {within:g} virtual seconds{why}") from None
        return done.result()

    @contextmanager
    def _stepping(self) -> Iterator[None]:
        """Within it the loop is this thread's to step. Raises RuntimeError where nobody can."""
        with self.lock:
            if self.loop.is_closed():
                raise RuntimeError("the cluster is closed")
            if self.loop.is_running():
                raise RuntimeError("time passes already: a condition or a rule that is asked meanwhile only looks")
            yield

    def observe(self, observer: Callable[[Change], None]) -> None:
        """Shows it each change from now on, as it happens. What it raises ends the step under way."""
        self._observers.append(observer)

    @property
    def ids(self) -> Ids:
        """Where its names and ids come from."""
        return self._ids

    def fail(self, error: BaseException) -> None:
        """Ends the step under way with this error; the first one counts."""
        self._broken = self._broken or error

    # The control plane

    @property
    def is_up(self) -> bool:
        """Whether the control plane runs, or is about to."""
        return self._plane is not None

    @property
    def app(self) -> App:
        """The server that runs. Raises RuntimeError while there is none."""
        return self.plane.app

    def _around(self) -> Surroundings:
        made = plane.surroundings(self.clock, self._ids)
        door = partial(ExtenderDoor, self.outbound)
        return replace(made, scheduling=self.scheduling, extender_door=door, options=self.options)

    @property
    def options(self) -> Options:
        """The controllers'."""
        return Options(wiring.balancing(self.settings))

    def start_control_plane(self) -> None:
        """Server, controllers and scheduler on what is stored; returns when they run."""
        self.run(self.boot_control_plane())

    async def boot_control_plane(self) -> None:
        """The same from within the cluster's own time."""
        if self._plane is not None:
            raise RuntimeError("the control plane runs already")
        made = Plane(self.store, self.doors, self._around(), self._token_key)
        made.outbound, made.logs = self.outbound, NearLogs(self._agent_at)
        made.make(self.settings)
        self._plane = made
        self._mind(made.tasks)
        await made.start()

    def crash_control_plane(self) -> None:
        """Ends it at this very instant, whatever is under way, also from within; nodes and store go on."""
        if self._plane is not None:
            killed, self._plane = self._plane, None
            killed.kill()

    # Nodes

    def behave(self, what: str, behaviour: Any, **where: str) -> Rule:
        """What simulated containers do from now on, also those that run; `behaviour` as in docs/guide/simulated-pods.md.

        `what` is a pattern of images (web, web:2*) or a label selector (app=web); `where` may have patterns for
        `namespace`, `pod`, `container` too. A later word outdoes an earlier one and the pods' own. Raises ValueError.
        """
        made = self.behaviours.add(what, behaviour, **where)
        self._reconsider()
        return made

    def end_behaviour(self, rule: Rule) -> None:
        """Takes back what `behave` said."""
        self.behaviours.remove(rule)
        self._reconsider()

    def containers(self, namespace: str, pod: str) -> dict[str, simulated.Seen]:
        """The containers of a pod by name, as they are now on its node; those that are not there yet are left out."""
        found = (simulated.containers(agent, namespace, pod) for agent in self._nodes.values())
        return next(filter(None, found), {})

    def running(self) -> dict[str, Sequence[ContainerState]]:
        """The containers that run at this moment, by the names of the nodes that have power."""
        equipped = {name: agent.parts for name, agent in self._nodes.items()} | self._left
        found = {name: simulated.states(parts) for name, parts in equipped.items()}
        return {name: [state for state in states if state.state == RUNNING] for name, states in found.items()}

    def _agent_at(self, address: str) -> Agent | None:
        return next((agent for agent in self._nodes.values() if agent.settings.internal_ip == address), None)

    def _reconsider(self) -> None:
        def all_nodes() -> None:
            for parts in (*(agent.parts for agent in self._nodes.values()), *self._left.values()):
                simulated.reconsider(parts)

        if asyncio._get_running_loop() is self.loop:  # from within the cluster's own time
            all_nodes()
        else:
            with self.lock:
                self.loop.call_soon(all_nodes)
            self.advance(0)

    def add_node(self, name: str, **given: Any) -> None:
        """Boots a node that was not there before: `labels`, `taints`, `cpus`, `memory_bytes`, `pods` as in Machine."""
        if name in self.machines:
            raise ValueError(f"there is a node {name} already")
        if wrong := names.dns1123_subdomain(name):
            raise ValueError(f"{name!r} cannot be the name of a node: {wrong[0]}")
        self.machines[name] = Machine(name, 1 + max((m.number for m in self.machines.values()), default=-1), **given)
        self.start_node(name)

    def add_devices(self, node: str, driver: str, given: Sequence[devices.Given]) -> Sequence[Object]:
        """Beside those that the driver tells of already: the slices in which it does. Raises KeyError for a name of none."""
        self.machines[node] = replace(self.machines[node], without=self.machines[node].without - {driver})
        old = devices.of_driver(self.list(RESOURCESLICE), node, driver)
        present, generation = devices.known(old)
        wanted = [*present, *map(devices.device, given)]
        made = devices.slices(self.get(NODE, node) or {}, driver, wanted, generation + 1)
        stored = [self.create(each) for each in made]
        for each in old:
            self.delete(RESOURCESLICE, objects.name(each))
        return stored

    def remove_devices(self, node: str, driver: str) -> None:
        """The driver goes, with its devices. Raises KeyError for a name of none."""
        self.machines[node] = replace(self.machines[node], without=self.machines[node].without | {driver})
        for each in devices.of_driver(self.list(RESOURCESLICE), node, driver):
            self.delete(RESOURCESLICE, objects.name(each))

    def start_node(self, name: str, before: Agent | None = None) -> None:
        """Boots a node, on which nothing runs yet, and returns when it is Ready. Raises KeyError for a name of none.

        It goes on where another agent was `before`, with that one's containers.
        """
        self.run(self.boot_node(name, before))

    async def boot_node(self, name: str, before: Agent | None = None) -> None:
        """The same from within the cluster's own time."""
        machine = self.machine(name)
        if name in self._nodes:
            raise ValueError(f"node {name} runs already")
        settings = machine.settings(self.settings)
        tasks = Tasks(name)
        client = Client(self.doors.door(Peer(f"system:node:{name}", ("system:nodes",))), "kubelet", watch=CALM)
        parts = simulated.parts(client, settings.pod_cidr, self._world(name), self._left.pop(name, None))
        parts = replace(parts, facts=machine.facts, has_driver=lambda driver: self._has_driver(name, driver))
        self._nodes[name] = Agent(settings, parts, tasks)
        self._mind(tasks)
        if before is not None:
            simulated.continue_from(parts, before.parts)
        await self._nodes[name].start(before)

    def _has_driver(self, node: str, driver: str) -> bool:
        machine = self.machines.get(node)
        return machine is not None and driver not in machine.without

    def machine(self, name: str) -> Machine:
        """What the node is like. Raises LookupError for a name of none."""
        if name not in self.machines:
            raise LookupError(f"there is no node {name!r}; there are {', '.join(self.machines) or 'none'}")
        return self.machines[name]

    def is_node_up(self, name: str) -> bool:
        """Whether the node's agent runs, or is about to."""
        return name in self._nodes

    def crash_node(self, name: str) -> None:
        """Ends it at this very instant, whatever is under way, also from within. Raises KeyError when it is not up."""
        self._left.pop(name, None)
        self._alive.pop(name, Tasks(name)).kill()
        self._nodes.pop(name).kill()

    def crash_agent(self, name: str) -> None:
        """Ends the node's agent at this very instant; its containers go on. Raises KeyError when it is not up."""
        agent = self._nodes.pop(name)
        self._left[name] = agent.parts
        agent.kill()

    def stop_node(self, name: str) -> None:
        """As when its power fails: nobody is told, and its containers are gone."""
        self.run(self._stop_node(name))

    async def _stop_node(self, name: str) -> None:
        self.machine(name)
        if name not in self._nodes and name not in self._left:
            raise ValueError(f"node {name} is down already")
        self._left.pop(name, None)
        if name in self._nodes:
            await self._nodes.pop(name).stop()
        await self._alive.pop(name).close()

    def _world(self, name: str) -> simulated.World:
        """Where a node's containers live."""
        if name not in self._alive:
            self._alive[name] = Tasks(f"containers of {name}")
            self._mind(self._alive[name])
        return simulated.World(self.clock, self._ids, self._alive[name], self.behaviours)

    async def _stop(self) -> None:
        for agent in self._nodes.values():
            await agent.stop()
        for alive in self._alive.values():
            await alive.close()
        if self._plane is not None:
            await self._plane.stop()
        await self.store.close()

    def _is_calm(self) -> bool:
        """Whether nothing stands between the nodes' heartbeats and the control plane."""
        is_up = self._plane is not None and len(self._nodes) == len(self.machines)
        return is_up and self.doors.is_open and not any(is_so() for is_so in self.unrest)

    def _record(self, events: Sequence[Event]) -> None:
        for event in events:
            if (change := history.change(event, self.loop.time())) is not None:
                plural, _, group = change.resource.partition(".")
                self.doors.note((group, plural), event.revision)
                self.history.append(change)
                self._show(change)

    def _show(self, change: Change) -> None:
        """An observer's objection must not end the server's own task, so it waits for the end of the step."""
        try:
            for observer in self._observers:
                observer(change)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 (the first one is raised by `_check`)
            self._broken = self._broken or error

    def _mind(self, tasks: Tasks) -> None:
        """A failure of these is a failure of the step in which it happens."""

        def ended(done: asyncio.Future[None]) -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                self._broken = self._broken or (error if isinstance(error, Exception) else _interrupted(error))

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
            found = self.app.served.by_kind(group, version, obj["kind"])
        if found is None:
            raise LookupError(f"{objects.name(obj)}: no kind {obj['kind']} in {obj['apiVersion']}")
        return found


def _interrupted(error: BaseException) -> RuntimeError:
    """What those are told who go on with a cluster after something had ended the step of one of its parts."""
    made = RuntimeError(f"this cluster was interrupted by {error!r} amid its work: go on with another one")
    made.__cause__ = error
    return made


@cache
def _template() -> SimulatedCluster:
    """A cluster without nodes, of which only copies are used."""
    made = SimulatedCluster(seed=1 << 64, nodes=0)  # nobody else's ids
    made.start_control_plane()
    return made


def _token_key(ids: Ids) -> bytes:
    """The signing key of service account tokens that the seed gives (PEM)."""
    key = ec.derive_private_key(int(ids.uid().replace("-", ""), 16), ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


__all__ = ["Change", "SimulatedCluster", "digest"]
