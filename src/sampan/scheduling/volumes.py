"""Volumes: the plugins that know claims, volumes and classes, and what they have done before a pod is bound.

What is chosen counts at once for the pods that come next. Before the binding, volumes get their claims and claims
their nodes, and then it is waited until all claims are bound.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from sampan.client.api import Client
from sampan.client.cache import Cache
from sampan.control import volume_binding as binding
from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.kind import Kind
from sampan.kinds.parts import volume_match
from sampan.kinds.storage.csi_driver import CSIDRIVER
from sampan.kinds.storage.csi_node import CSINODE
from sampan.kinds.storage.csi_storage_capacity import CSISTORAGECAPACITY
from sampan.kinds.storage.storage_class import STORAGECLASS
from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.meta import objects, status
from sampan.scheduling.framework import Extra
from sampan.scheduling.plugins import node_volume_limits, volume_binding, volume_restrictions, volume_zone
from sampan.scheduling.profile import Profile
from sampan.scheduling.storage import Choice
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

KINDS = (PERSISTENTVOLUMECLAIM, PERSISTENTVOLUME, STORAGECLASS, CSINODE, CSIDRIVER, CSISTORAGECAPACITY)
BIND_SECONDS = 600.0
BOUND = "bound"
_CLASS = "storage class"
PLUGINS = (volume_restrictions, node_volume_limits, volume_binding, volume_zone)

Object = dict[str, Any]


class Volumes(Extra):
    """An Extra for four plugins, and their Storage. `wake` is told of the plugins that may judge otherwise now.

    Which of them are asked is the choice of the pod's profile.
    """

    names = frozenset(plugin.NAME for plugin in PLUGINS)
    reads_pods = True

    def __init__(
        self, client: Client, clock: Clock, tasks: Tasks, wake: Callable[[str], None], profiles: Mapping[str, Profile]
    ) -> None:
        self._client, self._wake, self._profiles = client, wake, profiles
        self._caches = {kind.resource: Cache(client, kind, clock=clock, tasks=tasks) for kind in KINDS}
        self._of(PERSISTENTVOLUME).add_index(_CLASS, lambda volume: (volume_match.storage_class(volume),))
        self._of(CSISTORAGECAPACITY).add_index(_CLASS, lambda capacity: (capacity.get("storageClassName") or "",))
        self._snapshot = Snapshot()
        self._chosen: dict[str, Choice] = {}  # by pod uid
        self._taken: dict[str, str] = {}  # volume -> uid of the claim that it was chosen for
        self._nodes: dict[str, str] = {}  # uid of a claim -> node that its volume is to be made for

    async def start(self, before: "Volumes | None" = None) -> None:
        """Returns when all is known. What another one saw `before` is known at once."""
        for kind in KINDS:
            cache = self._of(kind)
            if before is not None:
                cache.continue_from(before._of(kind))
            await cache.wait_synced()
            cache.subscribe(self._changed, replay=False)

    def is_concerned(self, pod: Demand) -> bool:
        """Whether it has claims."""
        return bool(pod.claims)

    def refuse(self, pod: Demand) -> Verdict | None:
        """Claims that are not there, or not ready."""
        return volume_binding.refuse(pod, self) if self._binds(pod) else None

    def filter(self, pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
        """The first word of the plugins about each node."""
        self._snapshot = snapshot
        found: list[Verdict | None] = [None] * len(nodes)
        enabled = self._profiles[pod.scheduler].enabled
        for each in PLUGINS:
            if each.NAME not in enabled:
                continue
            left = [at for at, verdict in enumerate(found) if verdict is None]
            for at, verdict in zip(left, each.filter(pod, [nodes[at] for at in left], snapshot, self), strict=True):
                found[at] = verdict
        return found

    def reserve(self, pod: Demand, node: str) -> None:
        """What was chosen is taken."""
        if not self._binds(pod):
            return
        labels = self._snapshot.labels[self._snapshot.index[node]]
        choice = self._chosen[pod.uid] = volume_binding.choose(pod, node, labels, self)
        for claim, volume in choice.bindings:
            self._taken[objects.name(volume)] = objects.uid(claim)
        for claim in choice.provisions:
            self._nodes[objects.uid(claim)] = node

    def release(self, pod: Demand) -> None:
        """Nothing is taken any more."""
        choice = self._chosen.pop(pod.uid, Choice())
        for _, volume in choice.bindings:
            self._taken.pop(objects.name(volume), None)
        for claim in choice.provisions:
            self._nodes.pop(objects.uid(claim), None)

    async def prepare(self, pod: Demand, node: str) -> None:
        """Writes down what was chosen, and waits until all is bound. Raises ApiError, TransportError."""
        choice = self._chosen.get(pod.uid, Choice())
        for claim, volume in choice.bindings:
            changed = binding.bound_volume(volume, claim)
            if changed is not None:
                written = await self._client.update(PERSISTENTVOLUME, changed)
                await self._of(PERSISTENTVOLUME).wait_seen(objects.resource_version(written))
        for claim in choice.provisions:
            if objects.annotations(claim).get(volume_match.SELECTED_NODE) != node:
                written = await self._client.update(PERSISTENTVOLUMECLAIM, _selected(claim, node))
                await self._of(PERSISTENTVOLUMECLAIM).wait_seen(objects.resource_version(written))
        given = (self._profiles[pod.scheduler].args.get(volume_binding.NAME) or {}).get("bindTimeoutSeconds")
        await self._wait_bound(choice, BIND_SECONDS if given is None else float(given))
        self.release(pod)

    async def _wait_bound(self, choice: Choice, seconds: float) -> None:
        claims = [*(claim for claim, _ in choice.bindings), *choice.provisions]
        problems: list[str] = []

        def is_over() -> bool:
            states = [self._state(claim, choice) for claim in claims]
            problems[:] = [state for state in states if state not in (BOUND, "")]
            return bool(problems) or all(state == BOUND for state in states)

        try:
            async with asyncio.timeout(seconds):
                await self._of(PERSISTENTVOLUMECLAIM).wait_until(is_over)
        except TimeoutError:
            raise _failed("context deadline exceeded") from None
        if problems:
            raise _failed(problems[0])

    def _state(self, claim: Object, choice: Choice) -> str:
        """BOUND, or why it won't be; "" while it is waited for."""
        found = self._of(PERSISTENTVOLUMECLAIM).get(objects.key(claim))
        if found is None or objects.uid(found) != objects.uid(claim):
            return f'persistentvolumeclaim "{objects.name(claim)}" not found'
        if objects.is_deleting(found):
            return f'persistentvolumeclaim "{objects.name(claim)}" is being deleted'
        if volume_match.is_bound(found):
            return BOUND
        is_lost = claim in choice.provisions and volume_match.SELECTED_NODE not in objects.annotations(found)
        return f'selectedNode annotation reset for PVC "{objects.name(claim)}"' if is_lost else ""

    def claim(self, namespace: str, name: str) -> Object | None:
        """See Storage."""
        return self._of(PERSISTENTVOLUMECLAIM).get((namespace, name))

    def volume(self, name: str) -> Object | None:
        """See Storage."""
        return self._of(PERSISTENTVOLUME).get(("", name))

    def storage_class(self, name: str) -> Object | None:
        """See Storage."""
        return self._of(STORAGECLASS).get(("", name))

    def volumes(self, storage_class: str) -> Iterable[Object]:
        """See Storage."""
        return self._of(PERSISTENTVOLUME).indexed(_CLASS, storage_class)

    def node_of(self, claim: Object) -> str:
        """See Storage."""
        chosen = self._nodes.get(objects.uid(claim), "")
        return chosen or objects.annotations(claim).get(volume_match.SELECTED_NODE, "")

    def taken(self, claim: Object) -> Collection[str]:
        """See Storage."""
        uid = objects.uid(claim)
        return [name for name, other in self._taken.items() if other != uid]

    def limits(self, node: str) -> Mapping[str, int]:
        """See Storage."""
        found = self._of(CSINODE).get(("", node))
        drivers = (found.get("spec") or {}).get("drivers") or () if found is not None else ()
        counts = {each["name"]: (each.get("allocatable") or {}).get("count") for each in drivers}
        return {name: int(count) for name, count in counts.items() if count is not None}

    def is_measured(self, provisioner: str) -> bool:
        """See Storage."""
        found = self._of(CSIDRIVER).get(("", provisioner))
        return found is not None and bool((found.get("spec") or {}).get("storageCapacity"))

    def capacities(self, storage_class: str) -> Iterable[Object]:
        """See Storage."""
        return self._of(CSISTORAGECAPACITY).indexed(_CLASS, storage_class)

    def _binds(self, pod: Demand) -> bool:
        return volume_binding.NAME in self._profiles[pod.scheduler].enabled

    def _of(self, kind: Kind) -> Cache:
        return self._caches[kind.resource]

    def _changed(self, change: str, old: Object | None, new: Object | None) -> None:
        for plugin in (volume_binding.NAME, volume_zone.NAME, node_volume_limits.NAME):
            self._wake(plugin)


def _selected(claim: Object, node: str) -> Object:
    annotations = {**objects.annotations(claim), volume_match.SELECTED_NODE: node}
    return {**claim, "metadata": {**claim["metadata"], "annotations": annotations}}


def _failed(why: str) -> status.ApiError:
    return status.failure(
        500, "InternalError", f'running PreBind plugin "{volume_binding.NAME}": binding volumes: {why}'
    )
