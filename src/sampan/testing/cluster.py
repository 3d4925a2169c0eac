"""Cluster: a whole Kubernetes cluster as a value in a test: no process, no container, no waiting.

    with Cluster(nodes=3) as cluster:
        cluster.apply("deployment.yaml")
        cluster.wait_for("deployment/web", "Available", within=60)
        cluster.advance(hours=24)

Time is virtual and passes only when it is told to. The same seed and the same calls give the same history,
byte for byte.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from sampan.client.api import Client, DeleteOptions
from sampan.cluster import naming, story
from sampan.cluster.manifests import objects_of
from sampan.cluster.naming import Reference
from sampan.cluster.simulated import Change, SimulatedCluster
from sampan.kinds.core.event import EVENT
from sampan.kinds.kind import Kind
from sampan.kit.simloop import Stuck
from sampan.meta import objects, selectors
from sampan.meta.status import ApiError
from sampan.node.runtime.orders import Rule
from sampan.node.runtime.stages import Moment
from sampan.node.simulated import Seen
from sampan.scheduling import config
from sampan.scheduling.config import DEFAULTS
from sampan.testing import words
from sampan.testing.outside import Outside
from sampan.testing.words import Condition, Seconds, Selector

if TYPE_CHECKING:
    from sampan.cluster.faults import Faults
    from sampan.cluster.invariants import Invariants, Own

Object = dict[str, Any]
Objects = list[Object]
Lines = list[str]
Manifest = Object | str | Path | Sequence[Any]

MANAGER = "test"
PATCH_TYPES = ("merge", "json", "strategic")
NO_GATES: Mapping[str, bool] = MappingProxyType({})


class Cluster:
    """`with`, `async with`, or `start()` and `close()`. Objects that it hands out are shared: never mutate them.

    `nodes` is how many nodes there are at first; `scheduling` a KubeSchedulerConfiguration: an object, YAML or a file;
    `feature_gates` opens parts of Kubernetes that are closed, as {"MaxUnavailableStatefulSet": True} does; `layers` are
    enabled, as `sampan enable` does it: ["rollouts"].
    Refusals of the API are raised as `ApiError`, which carries the Status that kubectl would show.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        nodes: int = 1,
        scheduling: Object | str | Path | None = None,
        feature_gates: Mapping[str, bool] = NO_GATES,
        layers: Sequence[str] = (),
    ) -> None:
        for name, number, least in (("nodes", nodes, 0), ("seed", seed, None)):
            if not isinstance(number, int) or (least is not None and number < least):
                raise ValueError(f"{name} is a number{' from 0 on' if least == 0 else ''}, not {number!r}")
        configuration = DEFAULTS if scheduling is None else config.read(next(iter(objects_of(scheduling)), None))
        self.sim = SimulatedCluster(
            seed=seed,
            nodes=nodes,
            scheduling=configuration,
            feature_gates=feature_gates,
            layers=(layers,) if isinstance(layers, str) else layers,
        )
        self._outside = Outside(self.sim)
        self._faults: Faults | None = None
        self._invariants: Invariants | None = None
        self.touched: dict[naming.Named, None] = {}
        """The objects that were named here or came out of here, those of the latest calls last."""
        self._started = self._closed = False

    def start(self) -> Self:
        """Returns when everything runs and every node is Ready. A fork runs already. Raises RuntimeError when it is closed."""
        if self._closed:
            raise RuntimeError(
                "the cluster is closed, and does not start again: make another one, or a fork before that"
            )
        if not self._started:
            self.sim.start()
            self._started = True
        return self

    def fork(self, seed: int | None = None) -> Self:
        """Another cluster that goes on from here, by another seed if one is given.

        What happens in one of them, the other never learns.
        """
        made = type(self).__new__(type(self))
        made.__dict__.update(self._forked(seed))
        return made

    def _forked(self, seed: int | None) -> dict[str, Any]:
        """What a fork is made of."""
        self._check_started()
        with self.sim.lock:
            sim = self.sim.fork(seed)
        own = {"sim": sim, "touched": {}, "_outside": Outside(sim), "_faults": None, "_invariants": None}
        return {**vars(self), **own}

    def _check_started(self) -> None:
        if not self._started:
            raise RuntimeError("the cluster is not started: write `with Cluster() as cluster:`, or call start()")

    def close(self) -> None:
        """Ends everything; what happened can still be read."""
        if self._started and not self._closed:
            self._closed = True
            self._outside.close()
            self.sim.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Objects

    def apply(self, *manifests: Manifest, namespace: str = "default") -> list[Object]:
        """Server-side apply of objects, YAML texts or files (folders: every .yaml, .yml and .json in them), or lists of these."""
        return [
            self._seen(self.sim.apply(self._placed(words.named(obj), namespace), manager=MANAGER))
            for manifest in manifests
            for obj in objects_of(manifest)
        ]

    def create(self, obj: Manifest, namespace: str = "default") -> Object:
        """Creates the object, given as for `apply`; returns it as stored. Raises ApiError."""
        return self._seen(self.sim.create(self._placed(words.one(obj), namespace)))

    def get(self, what: Reference | Kind, name: str = "", namespace: str = "default") -> Object | None:
        """The object, or None: `get("deployment/web")` or `get("deployment", "web")`."""
        found = self._named(what, name, namespace)
        return self.sim.get(found.kind, found.name, found.namespace)

    def list(
        self, kind: str | Kind, namespace: str | None = None, *, labels: Selector = "", fields: Selector = ""
    ) -> Objects:
        """Objects by name; `namespace` None means all. `labels` and `fields` are selectors as kubectl takes them, or mappings."""
        found = naming.kind_of(kind, self.kinds)
        labels, fields = words.selector(labels), words.selector(fields)
        if fields:
            call = self.sim.client.list(found, namespace or "", labels=labels, fields=fields)
            return list(self.sim.run(call).items)
        chosen = selectors.parse_labels(labels) if labels else None
        items = self.sim.list(found, namespace or "")
        return [obj for obj in items if chosen is None or chosen.matches(objects.labels(obj))]

    def patch(
        self,
        what: Reference | Kind,
        patch: Any,
        *,
        namespace: str = "default",
        type: str = "merge",
        subresource: str = "",
    ) -> Object:
        """Patches by `type` (merge, json, strategic); returns the object as stored. Raises ApiError."""
        if type not in PATCH_TYPES:
            raise ValueError(f"a patch is of type {', '.join(PATCH_TYPES)}, not {type!r}")
        found = self._named(what, "", namespace)
        key = (found.namespace, found.name)
        return self.sim.run(self.client.patch(found.kind, key, patch, type=type, subresource=subresource))

    def delete(self, what: Reference | Kind, name: str = "", namespace: str = "default", **options: Any) -> None:
        """Asks for the deletion, which may take its time. Raises ApiError.

        Options: `propagation` ("Foreground", "Background", "Orphan"), `grace_seconds`, `uid`, `resource_version`.
        """
        if unknown := sorted(options.keys() - DeleteOptions.__annotations__.keys()):
            raise TypeError(f"delete takes {', '.join(DeleteOptions.__annotations__)}, not {', '.join(unknown)}")
        found = self._named(what, name, namespace)
        self.sim.run(self.client.delete(found.kind, (found.namespace, found.name), **options))

    def scale(self, what: Reference, replicas: int, namespace: str = "default") -> Object:
        """Sets how many replicas are wanted."""
        return self.patch(what, {"spec": {"replicas": replicas}}, namespace=namespace, subresource="scale")

    @property
    def seed(self) -> int:
        """What decides about everything that is left to chance."""
        return self.sim.seed

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Everything that is served, custom kinds too."""
        self._check_started()
        return self.sim.app.served.all()

    @property
    def client(self) -> Client:
        """The API without sockets, for coroutines that `run` runs."""
        return self.sim.client

    def run(self, call: Any, within: Seconds = 60) -> Any:
        """Lets a coroutine on this cluster's own loop run to its end, and returns its result. Raises TimeoutError."""
        try:
            return self.sim.run(call, words.seconds(within))
        except Stuck as error:
            raise TimeoutError(str(error)) from None

    # What goes wrong, and what must not

    @property
    def faults(self) -> "Faults":
        """What can go wrong here: see docs/guide/faults.md."""
        if self._faults is None:
            from sampan.cluster.faults import Faults

            self._faults = Faults(self.sim)
        return self._faults

    def invariants(self, *own: "Own | Callable[..., Any]") -> "Invariants":
        """What must hold from now on, at every change, with your own rules; what is broken ends a step with a Violation."""
        if self._invariants is None:
            from sampan.cluster import invariants

            self._invariants = invariants.watch(self.sim, shown=self, faults=self.faults)
        for rule in own:
            self._invariants.add(rule)
        return self._invariants

    # Other programs

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of the administrator, for any client in this process or outside: kubectl, an operator, a library.

        The first use opens the API on a loopback port. From then on the cluster's time follows the real one, unless
        it is virtual for everybody.
        """
        self._check_started()
        return self._outside.kubeconfig

    @property
    def url(self) -> str:
        """Where the API is, for those who have the kubeconfig's certificates. The first use opens it."""
        self._check_started()
        return self._outside.url

    def virtual_time(self) -> AbstractContextManager[None]:
        """Within it the cluster's time is that of all other code in this process too: event loops, threads, clocks.

        An operator that runs here then sleeps, retries and reads the date in virtual time, which passes as ever by
        `advance`, `run_until` and `wait_for`, and whenever this thread waits itself. Raises RuntimeError when another
        cluster's time is this process's already.
        """
        self._check_started()
        return self._outside.virtual_time()

    # What happened

    def events(self, what: Reference | None = None, namespace: str = "default") -> Objects:
        """Events in the order of their making, or those about one object."""
        found = sorted(self.sim.list(EVENT), key=lambda event: int(event["metadata"]["resourceVersion"]))
        if what is None:
            return found
        named = self._named(what, "", namespace)
        return [event for event in found if _is_about(event, named)]

    def history(self, what: Reference | None = None, namespace: str = "default") -> Sequence[Change]:
        """Every change of every object since the start, or of one object."""
        if what is None:
            return tuple(self.sim.history)
        named = self._named(what, "", namespace)
        key = f"{named.namespace}/{named.name}" if named.namespace else named.name
        return [c for c in self.sim.history if (c.resource, c.key) == (named.kind.resource, key)]

    def story(self, what: Reference, namespace: str = "default") -> str:
        """The state, the events and the changes of an object, for people."""
        found = self._named(what, "", namespace)
        obj = self.sim.get(found.kind, found.name, found.namespace)
        return f"{found}\n{story.of_object(obj, self.events(what, namespace), self.history(what, namespace))}"

    # Time

    @property
    def time(self) -> float:
        """Virtual seconds since the start."""
        return self.sim.time

    @property
    def now(self) -> datetime:
        """What the cluster's clocks show."""
        return datetime.fromtimestamp(self.sim.clock.now(), UTC)

    def advance(self, seconds: Seconds = 0, *, minutes: float = 0, hours: float = 0, days: float = 0) -> None:
        """Lets that much time pass."""
        self._check_started()
        more = words.duration(days=days, hours=hours, minutes=minutes)
        self._outside.advance(words.seconds(seconds) + words.seconds(more))

    def run_until(self, is_so: Callable[[], Any], within: Seconds = 60) -> None:
        """Lets time pass until the condition holds. Raises TimeoutError when it does not within so many seconds."""
        self._check_started()
        within = words.seconds(within)
        try:
            self._outside.run_until(words.question(is_so), within)
        except Stuck:
            raise TimeoutError(f"still not so after {within:g} virtual seconds") from None

    def wait_for(
        self, what: Reference, condition: Condition = "exists", within: Seconds = 60, namespace: str = "default"
    ) -> Object:
        """Lets time pass until the object is so; returns it as it then is.

        `condition` is that of a status ("Available", "Ready=False"), "exists", "deleted", or a function of the object,
        which is not asked while there is none. Raises TimeoutError with the object's story.
        """
        is_so, within = words.condition(condition), words.seconds(within)
        named = self._named(what, "", namespace)
        last: Object = {}

        def holds() -> bool:
            nonlocal last
            found = self.sim.get(named.kind, named.name, named.namespace)
            last = found or last
            return is_so(found)

        try:
            self._outside.run_until(holds, within)
        except Stuck:
            wanted = condition if isinstance(condition, str) else getattr(condition, "__name__", "so")
            error = TimeoutError(f"{named} is not {wanted} after {within:g} virtual seconds")
            error.add_note(self.story(what, namespace))
            raise error from None
        return last

    # Nodes

    def behave(self, what: str, behaviour: Any, **where: str) -> Rule:
        """What simulated containers do from now on, also those that run; `behaviour` as in docs/guide/simulated-pods.md.

        `what` is a pattern of images (web, web:2*) or a label selector (app=web); `where` may have patterns for
        `namespace`, `pod`, `container` too. A later word outdoes an earlier one and the pods' own. Raises ValueError.
        """
        return self.sim.behave(what, behaviour, **where)

    def end_behaviour(self, rule: Rule) -> None:
        """Takes back what `behave` said."""
        self.sim.end_behaviour(rule)

    def logs(self, what: Reference, container: str = "", namespace: str = "default") -> Lines:
        """The lines that a pod's container (its only one, if none is named) has logged since it last started."""
        lines = self._container(what, container, namespace).lines
        if lines is None:
            raise LookupError(f"{what}: there is no log, as its behaviour says nothing of one")
        return [line for _, line in lines]

    def usage(self, what: Reference, container: str = "", namespace: str = "default") -> Moment | None:
        """What a pod's container uses now: `cpu` in cores, `memory` in bytes. None when it does not run."""
        return self._container(what, container, namespace).moment

    def _container(self, what: Reference, container: str, namespace: str) -> Seen:
        named = self._named(what, "", namespace)
        found = self.sim.containers(named.namespace, named.name)
        wanted = container or (next(iter(found)) if len(found) == 1 else "")
        if not found:
            raise LookupError(
                f"{named}: no container of it is on a node; it is a pod that has begun to run that has logs and usage"
            )
        if not wanted:
            raise LookupError(f"{named}: say which container; there are {sorted(found)}")
        if wanted not in found:
            raise LookupError(f"{named}: no container {container!r} is there; there are {sorted(found)}")
        return found[wanted]

    def add_node(self, name: str, **settings: Any) -> Object:
        """A new node, Ready. `labels`, `taints`, `cpus`, `memory_bytes`, `pods` say what it is like."""
        self.sim.add_node(name, **settings)
        return self.wait_for(f"node/{name}", "Ready")

    def add_devices(self, node: str, devices: Sequence[str | Mapping[str, Any]], *, driver: str) -> Objects:
        """Devices of a node, beside those that the driver has there already; the ResourceSlices that tell of them.

        A device is a name, or all that a slice says of one, in which attributes and capacities may stand plain:
        `{"name": "gpu-0", "attributes": {"model": "a100"}, "capacity": {"memory": "40Gi"}}`. Raises ApiError.
        """
        return [self._seen(each) for each in self.sim.add_devices(node, driver, devices)]

    def remove_devices(self, node: str, *, driver: str) -> None:
        """Takes away what a driver has on a node, and the driver: no pod that needs it starts there any more."""
        self.sim.remove_devices(node, driver)

    def remove_node(self, name: str) -> None:
        """Takes the node away for good: its machine and its object."""
        with contextlib.suppress(LookupError, ValueError):
            self.sim.stop_node(name)
        self.sim.machines.pop(name, None)
        self.delete(f"node/{name}")

    def crash_node(self, name: str) -> None:
        """As when its power fails: nobody is told, and its containers are gone."""
        self.sim.stop_node(name)

    def start_node(self, name: str) -> None:
        """Boots a node that was crashed; nothing runs on it yet."""
        self.sim.start_node(name)

    def _named(self, what: Reference | Kind, name: str, namespace: str) -> naming.Named:
        if isinstance(what, Kind) or name:
            kind = naming.kind_of(what, self.kinds)  # type: ignore[arg-type]  # with a name, no reference to an object
            return self._touch(naming.Named(kind, name, namespace if kind.namespaced else ""))
        return self._touch(naming.named(what, self.kinds, namespace))

    def _seen(self, obj: Object) -> Object:
        self._touch(naming.named(obj, self.kinds))
        return obj

    def _touch(self, named: naming.Named) -> naming.Named:
        self.touched.pop(named, None)
        self.touched[named] = None
        return named

    def _placed(self, obj: Object, namespace: str) -> Object:
        """The object in its namespace, where it says none. Raises ValueError, LookupError."""
        words.complete(obj)
        kind = naming.kind_of(f"{obj['apiVersion']}/{obj['kind']}", self.kinds)
        if not kind.namespaced or objects.namespace(obj):
            return obj
        return {**obj, "metadata": {**(obj.get("metadata") or {}), "namespace": namespace}}


def _is_about(event: Object, named: naming.Named) -> bool:
    about = event.get("involvedObject") or {}
    where = (about.get("kind"), about.get("name"), about.get("namespace") or "")
    return where == (named.kind.name, named.name, named.namespace)


__all__ = ["ApiError", "Cluster"]
