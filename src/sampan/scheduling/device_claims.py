"""Device claims: the plugin that knows claims for devices and what drivers advertise, and has them given to pods.

What is found for a pod counts as taken at once. It is written down before the pod is bound.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.cel import times
from sampan.client.api import Client
from sampan.client.cache import Cache
from sampan.client.transport import TransportError
from sampan.kinds.kind import Kind
from sampan.kinds.parts import pod_devices
from sampan.kinds.resource.device_class import DEVICECLASS
from sampan.kinds.resource.resource_claim import RESOURCECLAIM
from sampan.kinds.resource.resource_slice import RESOURCESLICE
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.meta import objects, status, timestamps
from sampan.meta.status import ApiError
from sampan.scheduling.claim_writing import BIND_SECONDS, Found, Writer
from sampan.scheduling.devices import extended, results
from sampan.scheduling.devices.answers import Answers
from sampan.scheduling.devices.ledger import Ledger
from sampan.scheduling.devices.pools import Catalogue
from sampan.scheduling.framework import Extra
from sampan.scheduling.hints import Helps
from sampan.scheduling.inquiry import Desk, Inquiry
from sampan.scheduling.plugins import dynamic_resources as plugin
from sampan.scheduling.profile import Profile
from sampan.scheduling.steps import Steps
from sampan.scheduling.verdict import Demand, Nodes, Snapshot, Verdict

KINDS = (DEVICECLASS, RESOURCESLICE, RESOURCECLAIM)
MAX_INQUIRIES = 64

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Around:
    """What it tells others: pods that a change may help, which extended resources are devices, and events."""

    wake: Callable[[Helps], None]
    delegate: Callable[[frozenset[str]], None]
    tell: Callable[[Demand, str, str], Awaitable[None]]
    profiles: Mapping[str, Profile]


class DeviceClaims(Extra):
    """An Extra for DynamicResources, and its Claims."""

    names = frozenset((plugin.NAME,))
    reads_pods = False

    def __init__(self, client: Client, clock: Clock, tasks: Tasks, ids: Ids, around: Around) -> None:
        self._clock, self._ids, self._around = clock, ids, around
        self._caches = {kind.resource: Cache(client, kind, clock=clock, tasks=tasks) for kind in KINDS}
        self._writer = Writer(client, clock, self._of(RESOURCECLAIM), around.tell)
        self._catalogue, self._ledger = Catalogue(), Ledger()
        self._answers = Answers(self._catalogue, self._ledger)
        self._snapshot = Snapshot()
        self._resources: Mapping[str, str] = {}
        self._inquiries: dict[str, Inquiry] = {}  # by pod uid
        self._todo: dict[str, Object] = {}  # by pod uid, the claim that it cannot use
        self._found: dict[str, list[Found]] = {}  # by pod uid, what is to be written
        self._open: dict[str, Object] = {}  # by claim uid, an allocation that is not written yet

    async def start(self, before: "DeviceClaims | None" = None) -> None:
        """Returns when all is known. What another one saw `before` is known at once."""
        handlers = (self._class_changed, self._slice_changed, self._claim_changed)
        for kind, handler in zip(KINDS, handlers, strict=True):
            cache = self._of(kind)
            if before is not None:
                cache.continue_from(before._of(kind))
            await cache.wait_synced()
            cache.subscribe(handler)

    def is_concerned(self, pod: Demand) -> bool:
        """Whether it claims devices, by name or as extended resources."""
        if pod.spec.get("resourceClaims"):
            return True
        return bool(self._resources) and any(name in self._resources for name in pod.requests)

    def awaits(self, pod: Demand) -> bool:
        """Whether its claims have to come first."""
        try:
            plugin.claims(pod, self)
        except plugin.NotReadyError:
            return True
        return False

    def refuse(self, pod: Demand) -> Verdict | None:
        """Claims that are not there, that others use or that cannot be had at all."""
        self._inquiries.pop(pod.uid, None)
        try:
            claims = plugin.claims(pod, self)
        except plugin.NotReadyError as why:
            return plugin.verdict(str(why))
        left_over = self._left_over(pod)
        for claim in [*claims, *([left_over] if left_over is not None else [])]:
            if reason := plugin.fault(pod, claim, self):
                return plugin.verdict(reason)
        while len(self._inquiries) >= MAX_INQUIRIES:
            del self._inquiries[next(iter(self._inquiries))]
        desk = Desk(self._answers, self.device_class, self._resources)
        inquiry = self._inquiries[pod.uid] = Inquiry(pod, claims, desk, left_over)
        inquiry.lost = frozenset(objects.uid(claim) for claim in claims if self._is_lost(pod, claim))
        return None

    def ready(self, pod: Demand, nodes: Nodes, snapshot: Snapshot) -> Steps[None]:
        """Searches that may take long, so that `filter` only has to look."""
        inquiry = self._inquiries[pod.uid]
        for at in nodes:
            yield from inquiry.steps(at, snapshot)

    def filter(self, pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[Verdict | None]:
        """Whether the claims can be used there, or fulfilled. Raises FailureError."""
        self._snapshot = snapshot
        inquiry = self._inquiries[pod.uid]
        return [inquiry.verdict(at, snapshot) for at in nodes]

    def score(self, pod: Demand, nodes: Nodes, snapshot: Snapshot) -> list[int] | None:
        """How early among their alternatives the requests are fulfilled."""
        inquiry = self._inquiries[pod.uid]
        if not inquiry.has_choice:
            return None
        answers = [inquiry.answer(at, snapshot) for at in nodes]
        return [answer.score if answer is not None else 0 for answer in answers]

    def remedy(self, pod: Demand) -> str:
        """Takes note of what could be taken back for the pod, and says so; "" when it has no claims to speak of."""
        inquiry = self._inquiries.get(pod.uid)
        if inquiry is None:
            return ""
        for at in sorted(inquiry.unavailable):
            if plugin.is_idle(inquiry.unavailable[at], pod):
                self._todo[pod.uid] = inquiry.unavailable[at]
                return plugin.DEALLOCATED
        if inquiry.left_over is not None:
            self._todo[pod.uid] = inquiry.left_over
            return plugin.DELETED
        return plugin.STILL_NOT

    async def relieve(self, pod: Demand) -> None:
        """Does what `remedy` has promised. Raises ApiError, TransportError."""
        claim = self._todo.pop(pod.uid, None)
        if claim is None:
            return
        if extended.is_for(pod.pod, claim):
            await self._writer.delete(claim)
        else:
            await self._writer.deallocate(claim)

    def reserve(self, pod: Demand, node: str) -> None:
        """What was found is taken."""
        inquiry, at = self._inquiries.pop(pod.uid), self._snapshot.index[node]
        problem, own = inquiry.problem(at, self._snapshot)
        answer = inquiry.answer(at, self._snapshot)
        made: list[Object] = []
        if problem is not None and answer is not None and answer.picks is not None:
            pairs = zip(problem.claims, answer.picks, strict=True)
            made = [results.allocation(claim, picks, node, self._ids.uid) for claim, picks in pairs]
        is_lost = problem is not None and not made
        given = {objects.uid(claim): allocation for claim, allocation in zip(inquiry.wanted, made, strict=False)}
        found = [Found(objects.uid(c), c, given.get(objects.uid(c)), is_lost=is_lost) for c in inquiry.claims]
        if own is not None:
            claim, allocation = extended.claim(pod.pod, own.spec), made[-1] if made else None
            found.append(Found(f"{pod.uid}/extended", claim, allocation, is_lost=is_lost, mappings=own.mappings))
        self._found[pod.uid] = found
        for each in found:
            if each.allocation is not None:
                self._open[each.uid] = each.allocation
                self._settle(each.uid, None)

    def release(self, pod: Demand) -> None:
        """Nothing is taken any more but what was written down."""
        for each in self._found.pop(pod.uid, ()):
            if self._open.pop(each.uid, None) is not None:
                self._settle(each.uid, self._of(RESOURCECLAIM).get(objects.key(each.claim)) if each.is_there else None)

    async def prepare(self, pod: Demand, node: str) -> None:
        """Writes down what was found, and waits until the devices are ready. Raises ApiError, TransportError."""
        keys = []
        try:
            for each in self._found.get(pod.uid, ()):
                try:
                    written = await self._writer.write(pod, each)
                except (ApiError, TransportError) as error:
                    if not isinstance(error, ApiError) or error.code >= 500:
                        await self._writer.find_out(each.claim)
                    raise
                await self._of(RESOURCECLAIM).wait_seen(objects.resource_version(written))
                keys.append(objects.key(written))
                if self._open.pop(each.uid, None) is not None and not each.is_there:
                    self._settle(each.uid, None)
            self._found.pop(pod.uid, None)
            await self._writer.wait_ready(pod, keys, node, self._bind_seconds(pod))
        except ApiError as error:
            why = f'running PreBind plugin "{plugin.NAME}": {error}'
            raise status.failure(500, "InternalError", why) from error

    async def withdraw(self, pod: Demand) -> None:
        """The pod was not bound: its claims are not its own any more. Raises ApiError, TransportError."""
        left_over = self._left_over(pod)
        if left_over is not None:
            await self._writer.delete(left_over)
        for name in pod_devices.names(pod.pod):
            claim = self.claim(pod.namespace, name)
            if claim is not None and claim is not left_over and pod_devices.is_reserved(pod.pod, claim):
                await self._writer.give_back(claim, pod)

    def claim(self, namespace: str, name: str) -> Object | None:
        """See Claims."""
        return self._of(RESOURCECLAIM).get((namespace, name))

    def device_class(self, name: str) -> Object | None:
        """See Claims."""
        return self._of(DEVICECLASS).get(("", name))

    def is_being_allocated(self, claim: Object) -> bool:
        """See Claims."""
        return objects.uid(claim) in self._open

    def _left_over(self, pod: Demand) -> Object | None:
        """A claim for the pod's extended resources that is there already."""
        found = self._of(RESOURCECLAIM).owned_by(pod.uid)
        return next((claim for claim in found if extended.is_for(pod.pod, claim)), None)

    def _is_lost(self, pod: Demand, claim: Object) -> bool:
        """Whether its devices could not be got ready."""
        if not plugin.waits(claim):
            return False
        written = str((pod_devices.allocation(claim) or {}).get("allocationTimestamp") or "")
        is_late = bool(written) and self._clock.now() > timestamps.parse(written) + self._bind_seconds(pod)
        return bool(plugin.failure(claim)) or (is_late and not plugin.is_ready(claim))

    def _bind_seconds(self, pod: Demand) -> float:
        given = (self._around.profiles[pod.scheduler].args.get(plugin.NAME) or {}).get("bindingTimeout")
        return BIND_SECONDS if given is None else times.parse_duration(str(given)).nanos / 1e9

    def _of(self, kind: Kind) -> Cache:
        return self._caches[kind.resource]

    def _settle(self, uid: str, claim: Object | None) -> None:
        """Notes what a claim has, or will have when that is written."""
        allocation = self._open.get(uid) or (pod_devices.allocation(claim) if claim is not None else None) or {}
        self._ledger.set(uid, (allocation.get("devices") or {}).get("results") or ())

    def _claim_changed(self, change: str, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or objects.uid(old) != objects.uid(new)):
            self._settle(objects.uid(old), None)
        if new is not None:
            self._settle(objects.uid(new), new)
        self._around.wake(plugin.after_claim(old, new, self))

    def _slice_changed(self, change: str, old: Object | None, new: Object | None) -> None:
        if old is not None:
            self._catalogue.remove(old)
        if new is not None:
            self._catalogue.put(new)
            self._around.wake(_any)

    def _class_changed(self, change: str, old: Object | None, new: Object | None) -> None:
        self._resources = extended.mapping(self._of(DEVICECLASS))
        self._around.delegate(frozenset(self._resources))
        if new is not None:
            self._around.wake(_any)


def _any(waiting: Demand, refusers: frozenset[str]) -> bool:
    return plugin.NAME in refusers
