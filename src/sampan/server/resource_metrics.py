"""metrics.k8s.io: what nodes and containers use, asked of the nodes' agents when somebody reads.

An agent is asked once in ten seconds at most, which is the time over which it averages.

https://kubernetes.io/docs/tasks/debug/debug-cluster/resource-metrics-pipeline/
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.metrics.node_metrics import NODEMETRICS
from sampan.kinds.metrics.pod_metrics import PODMETRICS
from sampan.kit.clock import Clock
from sampan.meta import objects, quantity, status, timestamps
from sampan.meta.wire import table
from sampan.server import codec, reads
from sampan.server.cache import Item
from sampan.server.call import Call
from sampan.server.registry import Registry
from sampan.server.subresources import streams
from sampan.server.subresources.streams import NearLogs, NodeDialer
from sampan.web.message import Response

LOG = logging.getLogger(__name__)
KINDS = (NODEMETRICS, PODMETRICS)
FRESH_SECONDS = 10.0
WINDOW_SECONDS = 10.0
ANSWER_SECONDS = 10.0
AT_ONCE = 64
LARGEST_BYTES = 32 << 20
PATH = "stats/summary?only_cpu_and_memory=true"

Tree = dict[str, Any]


@dataclass(slots=True)
class _Known:
    """What a node's agent said last; one question at a time."""

    at: float = float("-inf")
    summary: Tree = field(default_factory=dict)
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class ResourceMetrics:
    """GET of nodes and pods of the group. A node that does not answer has no figures, nor have its pods."""

    def __init__(self, registry: Registry, ways: tuple[NodeDialer | None, NearLogs | None], clock: Clock) -> None:
        self._registry, self._clock = registry, clock
        self._dialer, self._near = ways
        self._known: dict[str, _Known] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def handle(self, call: Call) -> Response:
        """Raises ApiError 400, 404."""
        match = reads.selection(call)
        is_node = call.kind.name == NODEMETRICS.name
        items = self._registry.all(NODE, "") if is_node else self._registry.all(POD, call.namespace)
        if call.info.verb == "get":
            items = [item for item in items if objects.name(item.tree) == call.name]
        chosen = [item for item in items if match is None or match(item)]
        trees = await (self._nodes(chosen, call.now) if is_node else self._pods(chosen, call.now))
        if call.info.verb != "get":
            return _listed(call, trees)
        if not trees:
            named = call.name if is_node else f"{call.namespace}/{call.name}"
            raise status.not_found(call.kind.group, call.kind.name.lower(), named)
        return codec.respond_tree(call, trees[0])

    async def _nodes(self, items: Sequence[Item], now: float) -> list[Tree]:
        summaries = await self._summaries([item.tree for item in items])
        found = []
        for item in items:
            told = summaries.get(objects.name(item.tree), {}).get("node") or {}
            usage = _usage(told)
            if usage is not None:
                found.append({**_head(NODEMETRICS.name, item.tree, now), **_time(told), "usage": usage})
        return found

    async def _pods(self, items: Sequence[Item], now: float) -> list[Tree]:
        nodes = sorted({item.tree["spec"].get("nodeName", "") for item in items} - {""})
        there = (self._registry.get(NODE, "", name) for name in nodes)
        summaries = await self._summaries([item.tree for item in there if item is not None])
        told = {pod["podRef"]["uid"]: pod for summary in summaries.values() for pod in summary.get("pods") or ()}
        found = []
        for item in items:
            pod = told.get(objects.uid(item.tree))
            containers = _containers(pod) if pod is not None else []
            if pod is not None and containers:
                made = {**_head(PODMETRICS.name, item.tree, now), **_time(pod), "containers": containers}
                found.append(made)
        return found

    async def _summaries(self, nodes: Iterable[Tree]) -> Mapping[str, Tree]:
        listed = list(nodes)
        found = await asyncio.gather(*(self._summary(node) for node in listed))
        return {objects.name(node): summary for node, summary in zip(listed, found, strict=True)}

    async def _summary(self, node: Tree) -> Tree:
        """What the node's agent says, or said a moment ago; nothing if it says nothing."""
        known = self._known.setdefault(objects.uid(node), _Known())
        async with known.asking:
            if self._clock.monotonic() - known.at < FRESH_SECONDS:
                return known.summary
            try:
                async with self._slots, asyncio.timeout(ANSWER_SECONDS):
                    known.summary = await self._ask(node)
            except (OSError, TimeoutError, ValueError) as error:
                LOG.info("node %s does not say what it uses: %s", objects.name(node), error)
                known.summary = {}
            known.at = self._clock.monotonic()
            self._forget()
            return known.summary

    async def _ask(self, node: Tree) -> Tree:
        """Raises OSError where it cannot be reached, ValueError for what is no answer."""
        way = self._near if self._near is not None and streams.is_simulated(node) else self._dialer
        where = streams.agent_address(node)
        if way is None or where is None:
            raise ConnectionRefusedError("it has no address, or nobody dials nodes here")
        code, body = await way.get(f"https://{where}/{PATH}")
        data = await _whole(body)
        tree = orjson.loads(data)
        if code != 200 or not isinstance(tree, dict):
            raise ValueError(f"the agent answered {code}")
        return tree

    def _forget(self) -> None:
        """Nodes that are gone are not kept for ever."""
        if len(self._known) > 2 * len(self._registry.all(NODE, "")) + 16:
            alive = {objects.uid(item.tree) for item in self._registry.all(NODE, "")}
            self._known = {uid: known for uid, known in self._known.items() if uid in alive}


async def _whole(body: AsyncIterator[bytes]) -> bytes:
    data = bytearray()
    async for chunk in body:
        data += chunk
        if len(data) > LARGEST_BYTES:
            raise ValueError("the agent says too much")
    return bytes(data)


def _head(kind: str, obj: Tree, now: float) -> Tree:
    metadata: Tree = {"name": objects.name(obj), "creationTimestamp": timestamps.format(now)}
    if objects.namespace(obj):
        metadata["namespace"] = objects.namespace(obj)
    if objects.labels(obj):
        metadata["labels"] = dict(objects.labels(obj))
    return {"kind": kind, "apiVersion": NODEMETRICS.api_version, "metadata": metadata}


def _time(told: Tree) -> Tree:
    """When it was measured, and over how long before: not longer than there was something to measure."""
    at, start = told["cpu"]["time"], told.get("startTime")
    age = timestamps.parse(at) - timestamps.parse(start) if start else WINDOW_SECONDS
    seconds = min(max(age, 0.0), WINDOW_SECONDS)
    return {"timestamp": at, "window": f"{seconds:g}s"}


def _containers(pod: Tree) -> list[Tree]:
    listed = pod.get("containers") or ()
    return [{"name": c["name"], "usage": usage} for c in listed if (usage := _usage(c)) is not None]


def _usage(told: Tree) -> Tree | None:
    cores = (told.get("cpu") or {}).get("usageNanoCores")
    memory = (told.get("memory") or {}).get("workingSetBytes")
    if cores is None or memory is None:
        return None
    return {"cpu": str(quantity.Quantity(cores)), "memory": str(quantity.of_int(memory, binary=True))}


def _listed(call: Call, trees: list[Tree]) -> Response:
    form = codec.negotiate(call.request.headers.get("accept", ""), call.kind)
    headers = codec.warning_headers(call.warnings)
    if form.shape == "Table":
        shown = table.table(call.kind.columns, trees, call.now, codec.table_options(call))
        shown = table.in_version(shown, form.shape_version)
        return Response(200, codec.encode(shown, form), headers, form.content_type)
    if form.shape:
        raise status.not_acceptable(["application/json"])
    plain = [reads.untyped(tree) for tree in trees]
    made = {"kind": call.kind.list_kind, "apiVersion": call.kind.api_version, "metadata": {}, "items": plain}
    return Response(200, codec.encode(made, form), headers, form.content_type)
