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
LEASE_SECONDS = 40
RENEW_SECONDS = 10.0
RETRY_SECONDS = 1.0
STATUS_SECONDS = 300.0
LOOK_SECONDS = 10.0

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
        self.on_node: Callable[[Object], None] = _ignore
        """Told of each version of the Node."""

    @property
    def memory_bytes(self) -> int:
        """The machine's memory."""
        return self._facts.memory_bytes

    def allocatable(self) -> dict[str, str]:
        """What pods may use of the node."""
        return node_object.resources(self._settings, self._facts)

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
        while True:
            await self._parts.clock.pulse(RENEW_SECONDS)
            while not await self._try(self._renew, "lease"):
                await self._parts.clock.sleep(RETRY_SECONDS)

    def _follow_own_node(self, tasks: Tasks) -> None:
        """When others judge the node lost, or delete it, while it is well, it says so at once."""

        def changed(type: str, old: Object | None, new: Object | None) -> None:
            if type == "DELETED" or new is None or not conditions.is_true(new, "Ready"):
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
        while True:
            await self._parts.clock.pulse(LOOK_SECONDS)
            is_due = self._parts.clock.monotonic() - self._said_at >= STATUS_SECONDS
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
        return True

    async def _renew(self) -> None:
        client, name = self._parts.client, self._settings.node
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": timestamps.format_micro(self._parts.clock.now()),
        }
        if self._lease is not None:
            self._lease = await client.update(LEASE, {**self._lease, "spec": {**self._lease["spec"], **spec}})
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
            self._lease = await client.update(LEASE, {**known, "spec": {**known["spec"], **spec}})

    def _offer(self) -> Object:
        parts = self._parts
        offered = dataclasses.replace(self._settings, port=self.port)
        runtime = parts.runtime
        return node_object.status(offered, self._facts, (runtime.version, runtime.features), parts.images.list())

    async def _say(self) -> None:
        """Writes the status; the conditions of others are kept."""
        offer = self._offer()
        known = await self._parts.client.get(NODE, self._settings.node) if self._said else self._node
        before = (known.get("status") or {}).get("conditions") or ()
        patch = {**offer, "conditions": node_object.conditions(before, self._parts.clock.now())}
        key = ("", self._settings.node)
        self._node = await self._parts.client.patch(NODE, key, {"status": patch}, type="merge", subresource="status")
        self._said, self._said_at = offer, self._parts.clock.monotonic()


def _ignore(node: Object) -> None:
    """Nobody wants to know."""
