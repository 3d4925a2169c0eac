"""Observer: keeps the snapshot and the queue true to what the API says, and wakes pods that a change may help.

https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/#queueinghint
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sampan.client.api import Client
from sampan.client.cache import Cache, key_of
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Kind
from sampan.kinds.policy.pod_disruption_budget import PODDISRUPTIONBUDGET
from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.meta import objects
from sampan.scheduling import demand, preemption
from sampan.scheduling.demand import SCHEDULER, Demand
from sampan.scheduling.hints import Came, Helps, NodeChanged, Went
from sampan.scheduling.pending import Pending
from sampan.scheduling.plugins import dynamic_resources
from sampan.scheduling.preemption import Budget
from sampan.scheduling.profile import Profile
from sampan.scheduling.snapshot import Snapshot

log = logging.getLogger(__name__)

Object = dict[str, Any]
Handler = Callable[[str, Object | None, Object | None], None]

KINDS = (NODE, NAMESPACE, SERVICE, PODDISRUPTIONBUDGET, POD)
CHUNK = 200
"""Of so many objects at a time note is taken when it begins."""


class Observer:
    """What the scheduler knows. Pods of the given profiles are its own; `gated` is told of those with gates."""

    def __init__(self, client: Client, clock: Clock, tasks: Tasks, pending: Pending) -> None:
        self._clock = clock
        self._caches = {kind: Cache(client, kind, clock=clock, tasks=tasks) for kind in KINDS}
        self.profiles: dict[str, Profile] = {}
        self.gated: Callable[[Object], None] = _ignore
        self.snapshot = Snapshot()
        self.pending = pending
        self.assumed: set[str] = set()  # uids placed by us and not yet seen bound
        self.changed = asyncio.Event()
        self._budgets: tuple[Budget, ...] | None = ()
        self.gates: set[str] = set()  # uids of pods with gates
        self._held: list[Callable[[], object]] | None = None

    async def start(self, before: "Observer | None" = None) -> None:
        """Returns when all is known. What another one saw `before` is known at once."""
        if before is not None:
            for kind, cache in self._caches.items():
                cache.continue_from(before._caches[kind])
            self.snapshot.last = before.snapshot.last
        for cache in self._caches.values():
            await cache.wait_synced()
        handlers = (
            self._node_changed,
            self._namespace_changed,
            self._service_changed,
            self._budget_changed,
            self._pod_changed,
        )
        with self.held():
            for kind, handler in zip(KINDS, handlers, strict=True):
                hear = functools.partial(self._hear, kind, handler)
                self._caches[kind].subscribe(hear, replay=False)
                for number, obj in enumerate(self._caches[kind], 1):
                    try:
                        handler("ADDED", None, obj)
                    except Exception:
                        log.exception("%s %s was not taken in", kind.name, "/".join(key_of(obj)))
                        hear("ADDED", None, obj)
                    if not number % CHUNK:
                        await asyncio.sleep(0)
        if before is not None:
            self.pending.continue_from(before.pending)

    @contextmanager
    def held(self) -> Iterator[None]:
        """As long as it lasts the snapshot stays as it is, and nobody is woken; it is all made up for at its end."""
        waiting = self._held = []
        try:
            yield
        finally:
            self._held = None
        for each in waiting:
            try:
                each()
            except Exception:
                log.exception("what was put off failed")

    def later(self, change: Callable[[], object]) -> None:
        """Makes a change of ours: now, or when the snapshot may change again."""
        if self._held is None:
            change()
        else:
            self._held.append(change)

    def _hear(self, kind: Kind, handler: Handler, change: str, old: Object | None, new: Object | None) -> None:
        if self._held is None:
            handler(change, old, new)
        else:
            hear, key = functools.partial(self._hear, kind, handler), key_of(new or old or {})
            self._held.append(functools.partial(self._caches[kind].tell, hear, key, (change, old, new)))

    def sizes(self) -> dict[str, int]:
        """How many nodes, placed pods, and of these assumed ones are known."""
        placed = sum(len(usage.pods) for usage in self.snapshot.usage)
        return {"nodes": len(self.snapshot), "pods": placed, "assumed_pods": len(self.assumed)}

    def node(self, name: str) -> Object | None:
        """A node as it was last seen."""
        return self._caches[NODE].get(("", name))

    def pod(self, key: tuple[str, str]) -> Object | None:
        """A pod as it was last seen."""
        return self._caches[POD].get(key)

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """All disruption budgets, the same ones until one changes."""
        if self._budgets is None:
            self._budgets = tuple(preemption.budget(each) for each in self._caches[PODDISRUPTIONBUDGET])
        return self._budgets

    def is_current(self, pod: Demand) -> bool:
        """Whether it is still there, and to be placed."""
        found = self.pod(objects.key(pod.pod))
        return found is not None and objects.uid(found) == pod.uid and not objects.is_deleting(found)

    def wake(self, helps: Helps | None = None) -> None:
        """Pods that this helps, or all of them, are tried again."""
        if self._held is not None:
            self._held.append(functools.partial(self._wake, helps))
        else:
            self._wake(helps)

    def _wake(self, helps: Helps | None = None) -> None:
        if self.pending.wake(self._clock.monotonic(), helps):
            self.changed.set()

    def free(self, uid: str) -> bool:
        """The pod's place is free again; says whether it had one."""
        placed = self.snapshot.placed(uid)
        if placed is None:
            return False
        self.snapshot.displace(uid)
        self._wake(Went(placed, self.snapshot).helps)
        return True

    def _node_changed(self, change: str, old: Object | None, new: Object | None) -> None:
        if new is not None:
            if not self.snapshot.set_node(new):
                return
        elif old is not None:
            self.snapshot.remove_node(objects.name(old))
        name = objects.name(new) if new is not None else ""
        self._wake(NodeChanged(name, self.snapshot, self.profiles).helps)

    def _namespace_changed(self, change: str, old: Object | None, new: Object | None) -> None:
        about = new or old or {}
        if self.snapshot.set_namespace(objects.name(about), objects.labels(about) if new is not None else None):
            self._wake()

    def _service_changed(self, change: str, old: Object | None, new: Object | None) -> None:
        namespace, name = objects.key(new or old or {})
        selector = (new.get("spec") or {}).get("selector") if new is not None else None
        self.snapshot.set_service(namespace, name, selector)

    def _budget_changed(self, change: str, old: Object | None, new: Object | None) -> None:
        self._budgets = None

    def _pod_changed(self, change: str, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or objects.uid(old) != objects.uid(new)):
            self._forget(objects.uid(old))
        if new is None:
            return
        uid, node = objects.uid(new), (new.get("spec") or {}).get("nodeName")
        if (new.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            self._forget(uid)
        elif node:
            self._bound(uid, node, new)
        elif uid not in self.assumed:
            self._consider(old, new)

    def _bound(self, uid: str, node: str, new: Object) -> None:
        self.assumed.discard(uid)
        self.pending.remove(uid)
        placed = self.snapshot.placed(uid)
        if placed is not None and self.snapshot.node_of(uid) == node and _is_same(placed.pod, new):
            if objects.labels(placed.pod) != objects.labels(new):  # as when it is bound: the node's topology is added
                self._relabel(placed, new)
                return
            if not (placed.pod.get("spec") or {}).get("nodeName"):
                self._wake(Came(placed, self.snapshot).helps)
            placed.pod = new
            return
        made = demand.of(new)
        self.snapshot.place(made, node)
        self._wake(Came(made, self.snapshot).helps)
        if placed is not None and (placed.requests != made.requests or placed.labels != made.labels):
            self._wake(Went(placed, self.snapshot).helps)

    def _relabel(self, placed: Demand, new: Object) -> None:
        made = demand.relabelled(placed, new)
        self.snapshot.relabel(made)
        self._wake(Came(made, self.snapshot).helps)
        self._wake(Went(placed, self.snapshot).helps)

    def _consider(self, old: Object | None, new: Object) -> None:
        """A pod without a node: ours to place, or not (any more)."""
        uid, spec = objects.uid(new), new.get("spec") or {}
        is_ours = (spec.get("schedulerName") or SCHEDULER) in self.profiles
        if objects.is_deleting(new) or not is_ours or spec.get("schedulingGates"):
            self._drop(uid)
            if spec.get("schedulingGates") and is_ours and not objects.is_deleting(new):
                self.gates.add(uid)
                self.gated(new)
            return
        self.gates.discard(uid)
        self.pending.add(demand.of(new), self._clock.monotonic())
        known = self.pending.get(uid)
        if spec.get("resourceClaims") and old is not None and _claims(old) != _claims(new):
            self._wake(dynamic_resources.after_pod(uid))
        nominated = _nominated(new)
        if known is not None and (old is None or nominated != _nominated(old)):
            self.snapshot.nominate(known, nominated)
        self.changed.set()

    def set_delegated(self, resources: frozenset[str]) -> None:
        """Extended resources for which devices stand in."""
        self.later(functools.partial(self._delegate, resources))

    def _delegate(self, resources: frozenset[str]) -> None:
        if self.snapshot.set_delegated(resources):
            self._wake()

    def _drop(self, uid: str) -> None:
        self.gates.discard(uid)
        known = self.pending.get(uid)
        if known is not None:
            freed = self.snapshot.nominations.get(uid, "")
            self.snapshot.nominate(known, "")
            self.pending.remove(uid)
            if freed:
                self._wake()

    def _forget(self, uid: str) -> None:
        self._drop(uid)
        self.assumed.discard(uid)
        self.free(uid)


def _is_same(old: Mapping[str, Any], new: Object) -> bool:
    """Whether two versions of a pod count for the same, but for their labels and the node that it now has."""
    one, other = old.get("spec") or {}, new.get("spec") or {}
    if objects.is_deleting(old) != objects.is_deleting(new):
        return False
    return one is other or one == other or {**one, "nodeName": other.get("nodeName")} == other


def _claims(pod: Object) -> Any:
    return (pod.get("status") or {}).get("resourceClaimStatuses")


def _nominated(pod: Object) -> str:
    return str((pod.get("status") or {}).get("nominatedNodeName") or "")


def _ignore(pod: Object) -> None:
    """Nobody wants to know."""
