"""Heartbeat: registers the node, renews its Lease every ten seconds, and its status when something changed.

https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from typing import Any

from sampan.client.cache import Cache
from sampan.client.transport import TransportError
from sampan.kinds.coordination.lease import LEASE
from sampan.kinds.core.node import NODE
from sampan.kit.tasks import Tasks
from sampan.meta import conditions, objects, timestamps
from sampan.meta.status import ApiError
from sampan.node import facts, node_object
from sampan.node.parts import AgentSettings, Parts

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
RENEWALS = 4
"""How often the Lease is renewed within its duration."""
RETRY_SECONDS = 1.0

Object = dict[str, Any]


class Heartbeat:
    """Speaks for the node. `register` when it is able, then `start`."""

    def __init__(self, settings: AgentSettings, parts: Parts) -> None:
        self._settings, self._parts = settings, parts
        self._facts = parts.facts or facts.read(settings.root)
        self.port = settings.port
        self._node: Object = {}
        self._lease: Object | None = None
        self._said: Object = {}
        self._said_at = 0.0
        self._doubted = asyncio.Event()
        self._own: Cache | None = None
        self._own_before: Cache | None = None
        self._pressures: tuple[str, ...] = ()
        self._unready_for: dict[str, str] = {}
        self.on_node: Callable[[Object], None] = _ignore
        """Told of each version of the Node."""
        self.devices: Callable[[], tuple[dict[str, str], dict[str, str]]] = _none
        """Capacity and allocatable of the devices that plugins have."""

    @property
    def facts(self) -> facts.Facts:
        """The machine as its Node tells it."""
        return self._facts

    @property
    def memory_bytes(self) -> int:
        """The machine's memory."""
        return self._facts.memory_bytes

    def allocatable(self) -> dict[str, str]:
        """What pods may use of the node, but for the devices of plugins."""
        others = {name: amount for name, amount in self._extended(self.node()).items() if amount is not None}
        return node_object.allocatable(self._settings, self._facts) | others

    def node(self) -> Object:
        """The Node as it was seen last; before that, as it will be registered."""
        own = self._own.get(("", self._settings.node)) if self._own is not None else None
        return own or self._node or node_object.node(self._settings, self._facts)

    async def look(self) -> None:
        """Sees the Node as the API has it, if it has one. Tries until that is known."""
        while not self._node:
            try:
                self._node = await self._parts.client.get(NODE, self._settings.node)
            except (ApiError, TransportError) as error:
                if isinstance(error, ApiError) and error.code == 404:
                    return
                log.warning("looking at node %s: %s; trying again", self._settings.node, error)
                await self._parts.clock.sleep(RETRY_SECONDS)

    async def register(self) -> Object:
        """The Node is there, with labels and Ready status, and its Lease is held. Tries until it is so."""
        while True:
            try:
                self._node = await self._create_or_adopt()
                await self._renew()
                await self._say()
                return self._node
            except (ApiError, TransportError) as error:
                log.warning("registering node %s: %s; trying again", self._settings.node, error)
                await self._parts.clock.sleep(RETRY_SECONDS)

    def say_unready(self, why: str, who: str = "") -> None:
        """The node takes no work from now on, for this reason; for none, it does again. It says so at once.

        It takes none as long as anybody (`who`) has a reason.
        """
        self._unready_for[who] = why
        self._doubted.set()

    @property
    def _unready(self) -> str:
        reasons = [why for _, why in sorted(self._unready_for.items()) if why]
        return f"[{', '.join(reasons)}]" if len(reasons) > 1 else "".join(reasons)

    def say_pressures(self, conditions: tuple[str, ...]) -> None:
        """The node is under these pressures from now on, and says so at once."""
        self._pressures = conditions
        self._doubted.set()

    def say_soon(self) -> None:
        """The node offers something else from now on."""
        self._doubted.set()

    def continue_from(self, other: "Heartbeat") -> None:
        """The node is registered, and all is known and said that another one has known and said."""
        self._own_before = other._own
        self.port, self._node, self._lease = other.port, other._node, other._lease
        self._said, self._said_at = other._said, other._said_at

    def start(self, tasks: Tasks) -> None:
        """Keeps lease and status fresh."""
        tasks.spawn(self._renew_for_ever(), "lease")
        tasks.spawn(self._say_for_ever(), "node status")
        tasks.spawn(self._answer_doubts(), "doubts about the node")
        self._follow_own_node(tasks)

    async def _create_or_adopt(self) -> Object:
        wanted = node_object.node(self._settings, self._facts)
        client = self._parts.client
        try:
            return await client.create(NODE, wanted)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        described = {field: wanted["metadata"][field] for field in ("labels", "annotations")}
        patch: Object = {"metadata": described}
        known = await client.get(NODE, self._settings.node)
        if not (known.get("spec") or {}).get("podCIDR") and wanted["spec"]:
            patch["spec"] = wanted["spec"]
        is_so = all((known["metadata"].get(f) or {}).items() >= values.items() for f, values in described.items())
        if is_so and "spec" not in patch:
            return known
        return await client.patch(NODE, ("", self._settings.node), patch, type="merge")

    async def _renew_for_ever(self) -> None:
        every = self._settings.kubelet.node_lease_duration_seconds / RENEWALS
        while True:
            await self._parts.clock.pulse(every)
            while not await self._try(self._renew, "lease"):
                await self._parts.clock.sleep(RETRY_SECONDS)

    def _follow_own_node(self, tasks: Tasks) -> None:
        """When others judge the node lost, or delete it, while it is well, or say what else it has, it speaks at once."""

        def changed(type: str, old: Object | None, new: Object | None) -> None:
            if (
                type == "DELETED"
                or new is None
                or conditions.is_true(new, "Ready") == bool(self._unready)
                or not (self._extended(new).items() <= ((new.get("status") or {}).get("allocatable") or {}).items())
            ):
                self._doubted.set()
            if new is not None:
                self.on_node(new)

        name = f"metadata.name={self._settings.node}"
        own = self._own = Cache(self._parts.client, NODE, fields=name, clock=self._parts.clock, tasks=tasks)
        if self._own_before is not None:
            own.continue_from(self._own_before)
            self._own_before = None
        own.subscribe(changed)
        own.start()

    async def _answer_doubts(self) -> None:
        while True:
            await self._doubted.wait()
            self._doubted.clear()
            if not await self._try(self._say, "status"):
                self._doubted.set()
            await self._parts.clock.sleep(RETRY_SECONDS)

    async def _say_for_ever(self) -> None:
        kubelet = self._settings.kubelet
        while True:
            await self._parts.clock.pulse(kubelet.node_status_update_frequency)
            is_due = self._parts.clock.monotonic() - self._said_at >= kubelet.node_status_report_frequency
            if is_due or self._offer() != self._said:
                await self._try(self._say, "status")

    async def _try(self, step: Any, what: str) -> bool:
        try:
            await step()
        except ApiError as error:
            if error.code == 404 and what == "status":
                log.warning("node %s is gone from the API; registering it again", self._settings.node)
                await self.register()
                return True
            log.info("%s of node %s: %s", what, self._settings.node, error)
            self._lease = None
            return False
        except TransportError as error:
            log.info("%s of node %s: %s", what, self._settings.node, error)
            return False
        except Exception:  # our fault, but the node's pods live on, and it is tried again
            log.exception("%s of node %s", what, self._settings.node)
            return False
        return True

    async def _renew(self) -> None:
        client, name = self._parts.client, self._settings.node
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": self._settings.kubelet.node_lease_duration_seconds,
            "renewTime": timestamps.format_micro(self._parts.clock.now()),
        }
        if self._lease is not None:
            self._lease = await client.update(
                LEASE, {**self._lease, "spec": {**(self._lease.get("spec") or {}), **spec}}
            )
            return
        owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": objects.uid(self._node)}
        metadata = {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]}
        fresh = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        try:
            self._lease = await client.create(LEASE, fresh)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            known = await client.get(LEASE, name, LEASE_NAMESPACE)
            self._lease = await client.update(LEASE, {**known, "spec": {**(known.get("spec") or {}), **spec}})

    @property
    def _state(self) -> node_object.State:
        return node_object.State(self._pressures, self._unready)

    def _offer(self) -> Object:
        parts = self._parts
        offered = dataclasses.replace(self._settings, port=self.port)
        runtime = parts.runtime
        status = node_object.status(offered, self._facts, (runtime.version, runtime.handlers), parts.images.list())
        there, usable = self.devices()
        return {**status, "capacity": status["capacity"] | there, "allocatable": status["allocatable"] | usable}

    def _extended(self, node: Object) -> dict[str, str | None]:
        return node_object.extended(node.get("status") or {}, self.devices()[0])

    async def _say(self) -> None:
        """Writes the status; the conditions of others, and what else they say that the node has, are kept."""
        offer = self._offer()
        known = await self._parts.client.get(NODE, self._settings.node) if self._said else self._node
        before = (known.get("status") or {}).get("conditions") or ()
        patch = {
            **offer,
            "allocatable": offer["allocatable"] | self._extended(known),
            "conditions": node_object.conditions(before, self._parts.clock.now(), self._state),
        }
        key = ("", self._settings.node)
        self._node = await self._parts.client.patch(NODE, key, {"status": patch}, type="merge", subresource="status")
        self._said, self._said_at = offer, self._parts.clock.monotonic()


def _ignore(node: Object) -> None:
    """Nobody wants to know."""


def _none() -> tuple[dict[str, str], dict[str, str]]:
    """There are no plugins."""
    return {}, {}
