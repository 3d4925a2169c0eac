"""Telling: what the API is to know of storage on this node: its drivers, the volumes in use, claims that have grown.

https://kubernetes-csi.github.io/docs/csi-node-object.html
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from sampan.client.api import Client
from sampan.kinds.core.node import NODE
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.storage.csi_node import CSINODE
from sampan.meta import objects
from sampan.meta.status import ApiError

Object = dict[str, Any]

NODE_IDS = "csi.volume.kubernetes.io/nodeid"
_OF_GROWTH = ("Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError")
_RETRIES = 5


class Telling:
    """That of one node. Everything may be repeated. Raises ApiError, TransportError."""

    def __init__(self, client: Client, node: str) -> None:
        self._client, self._node = client, node
        self._one_by_one = asyncio.Lock()
        self._in_use: list[str] | None = None

    async def registered(self, driver: str, info: Object) -> None:
        """The driver is in the CSINode, its id of the node in the Node's annotation, its topology in the Node's labels."""
        if not info["node_id"]:
            raise ValueError(f"driver {driver} gives the node no id")
        segments = (info["accessible_topology"] or {}).get("segments") or {}
        async with self._one_by_one:
            await self._describe_node(driver, info["node_id"], segments)
            entry: Object = {"name": driver, "nodeID": info["node_id"], "topologyKeys": sorted(segments) or None}
            if info["max_volumes_per_node"] > 0:
                entry["allocatable"] = {"count": info["max_volumes_per_node"]}
            await self._enter(driver, {name: value for name, value in entry.items() if value is not None})

    async def deregistered(self, driver: str) -> None:
        """The driver is in the CSINode no longer; the Node's labels stay."""
        async with self._one_by_one:
            await self._enter(driver, None)
            await self._describe_node(driver, None, {})

    def forget_in_use(self) -> None:
        """What was told of volumes in use may not be so."""
        self._in_use = None

    async def in_use(self, devices: Iterable[str]) -> None:
        """The attachable volumes that are here, in the Node's status."""
        async with self._one_by_one:
            names = sorted(set(devices))
            if names == self._in_use:
                return
            patch = {"status": {"volumesInUse": names or None}}
            await self._client.patch(NODE, ("", self._node), patch, type="merge", subresource="status")
            self._in_use = names

    async def grown(self, claim: Mapping[str, Any], size: str) -> None:
        """The claim has what its volume has, and nothing is pending any more."""
        status = claim.get("status") or {}
        kept = [c for c in status.get("conditions") or () if c.get("type") not in _OF_GROWTH]
        patch: Object = {"capacity": {"storage": size}, "conditions": kept or None, "allocatedResourceStatuses": None}
        if status.get("allocatedResources"):
            patch["allocatedResources"] = {"storage": size}
        key = objects.key(dict(claim))
        await self._client.patch(PERSISTENTVOLUMECLAIM, key, {"status": patch}, type="merge", subresource="status")

    async def _describe_node(self, driver: str, node_id: str | None, segments: Mapping[str, str]) -> None:
        node = await self._client.get(NODE, self._node)
        labels, annotations = objects.labels(node), objects.annotations(node)
        for key, value in segments.items():
            if labels.get(key, value) != value:
                text = f"detected topology value collision: driver reported {key!r}:{value!r} but existing label is"
                raise ValueError(f"{text} {key!r}:{labels[key]!r}")
        ids = orjson.loads(annotations.get(NODE_IDS) or "{}")
        known = dict(ids)
        ids.pop(driver, None)
        if node_id is not None:
            ids[driver] = node_id
        patch: Object = {}
        if ids != known:
            patch["annotations"] = {NODE_IDS: orjson.dumps(ids).decode() if ids else None}
        if not segments.items() <= labels.items():
            patch["labels"] = dict(segments)
        if patch:
            await self._client.patch(NODE, ("", self._node), {"metadata": patch}, type="merge")

    async def _enter(self, driver: str, entry: Object | None) -> None:
        for attempt in range(_RETRIES):
            try:
                await self._try_to_enter(driver, entry)
                return
            except ApiError as error:
                if error.code != 409 or attempt == _RETRIES - 1:
                    raise

    async def _try_to_enter(self, driver: str, entry: Object | None) -> None:
        try:
            known = await self._client.get(CSINODE, self._node)
        except ApiError as error:
            if error.code != 404:
                raise
            if entry is not None:
                await self._client.create(CSINODE, await self._fresh(entry))
            return
        drivers = known["spec"].get("drivers") or []
        others = [each for each in drivers if each["name"] != driver]
        wanted = others if entry is None else [*others, entry]
        if wanted == drivers or (entry is not None and entry in drivers):
            return
        before = next((each for each in drivers if each["name"] == driver), None)
        if before is not None and entry is not None and _fixed(before) != _fixed(entry):
            known = await self._client.update(CSINODE, {**known, "spec": {**known["spec"], "drivers": others}})
        await self._client.update(CSINODE, {**known, "spec": {**known["spec"], "drivers": wanted}})

    async def _fresh(self, entry: Object) -> Object:
        node = await self._client.get(NODE, self._node)
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": objects.uid(node)}
        metadata = {"name": self._node, "ownerReferences": [owner]}
        kind = {"apiVersion": CSINODE.api_version, "kind": CSINODE.name}
        return {**kind, "metadata": metadata, "spec": {"drivers": [entry]}}


def _fixed(entry: Object) -> Object:
    return {name: value for name, value in entry.items() if name != "allocatable"}
