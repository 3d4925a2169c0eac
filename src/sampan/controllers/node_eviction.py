"""Whom a failing node drives away: one node of a zone each 10 s is tainted NoExecute, fewer where most of a zone fails.

Where more than two nodes and 55 % of a zone fail, a zone of over 50 nodes goes on at a tenth of the pace, and a
smaller one stops. When no node of any zone is ready, it is rather the control plane that hears nothing: then the
taints are taken back, and nobody is driven away until some node is ready again.

https://kubernetes.io/docs/concepts/architecture/nodes/#rate-limits-on-eviction
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sampan.control.controller import Controller, Index, Watch
from sampan.control.plan import NOTHING, Key, Plan, Update, plan
from sampan.control.view import View
from sampan.kinds.core.node import NODE
from sampan.kinds.kind import Object
from sampan.kinds.parts import node_taints
from sampan.meta import conditions, objects, timestamps

PACE = 0.1  # nodes a second: --node-eviction-rate
SECOND_PACE = 0.01  # --secondary-node-eviction-rate
LARGE_ZONE = 50  # --large-cluster-size-threshold
UNHEALTHY = 0.55  # --unhealthy-zone-threshold
FEW = 2  # so many failing nodes are never most of a zone
REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
EXCLUDED = "node.kubernetes.io/exclude-disruption"
ALL: Key = ("zones", "")
"""The only key: zones are looked at together."""

Turn = tuple[float, float]
"""A zone's pace, and when its next node may be tainted."""


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Taints whose turn it is. Memory: the zones' turns that are not over yet, and whether all nodes fail."""
    if key != ALL:
        return NOTHING
    failing, known = _failing(view), dict(view.memory.get("turns") or {})
    if failing and not _is_any_ready(view):
        back = [_without(node) for node in failing if _is_driving(node)]
        return replace(plan(back), memory={"all": True})
    sizes = _sizes(view) if len(failing) > FEW else {}
    refused = {_zone(outcome.write.obj) for outcome in view.refusals() if isinstance(outcome.write, Update)}
    writes, dues = [], []
    for zone, nodes in _by_zone(failing):
        pace, due = known[zone] = _turn(view.memory, zone, _pace(sizes.get(zone, (0, 0))), now)
        waiting = sorted((node for node in nodes if not _is_driving(node)), key=_age)
        if waiting and pace and (due <= now or zone in refused):
            writes.append(_tainted(waiting.pop(0), now))
            known[zone] = pace, now + 1 / pace
        if waiting and pace:
            dues.append(known[zone][1] - now)
    turns = {zone: list(turn) for zone, turn in known.items() if turn[1] > now or turn[0] != PACE}
    return replace(plan(writes, again=min(dues, default=None)), memory={"turns": turns} if turns else {})


def _failing(view: View) -> list[Object]:
    """Those that are tainted as not ready or unreachable, and are so."""
    found = (node for name in node_taints.FAILURES for node in view.indexed(NODE, "spec.taints.key", name))
    unique = {objects.name(node): node for node in found}
    return [node for node in unique.values() if conditions.status_of(node, "Ready") in ("False", "Unknown")]


def _is_any_ready(view: View) -> bool:
    nodes = view.each(NODE)
    return any(conditions.is_true(node, "Ready") and EXCLUDED not in objects.labels(node) for node in nodes)


def _sizes(view: View) -> dict[str, tuple[int, int]]:
    """How many nodes of each zone are ready, and how many there are."""
    ready: dict[str, int] = defaultdict(int)
    there: dict[str, int] = defaultdict(int)
    for node in view.each(NODE):
        if EXCLUDED not in objects.labels(node):
            zone = _zone(node)
            there[zone] += 1
            ready[zone] += conditions.is_true(node, "Ready")
    return {zone: (ready[zone], count) for zone, count in there.items()}


def _pace(size: tuple[int, int]) -> float:
    """Nodes a second in a zone of so many ready ones out of so many."""
    ready, count = size
    failing = count - ready
    if not ready or failing <= FEW or failing / count < UNHEALTHY:
        return PACE
    return SECOND_PACE if count > LARGE_ZONE else 0.0


def _turn(memory: Mapping[str, Any], zone: str, pace: float, now: float) -> Turn:
    """Who changes its pace while it waits for its turn begins to wait anew; so does everybody after all have failed."""
    before, due = (memory.get("turns") or {}).get(zone, (PACE, now))
    if not pace:
        return pace, due
    if memory.get("all") or not before or (before != pace and due > now):
        return pace, now + 1 / pace
    return pace, min(due, now + 1 / pace)  # also when the wall clock was set back


def _by_zone(nodes: Iterable[Object]) -> list[tuple[str, list[Object]]]:
    found: dict[str, list[Object]] = defaultdict(list)
    for node in nodes:
        found[_zone(node)].append(node)
    return sorted(found.items())


def _zone(node: Object) -> str:
    labels = objects.labels(node)
    return f"{labels.get(REGION, '')}:{labels.get(ZONE, '')}"


def _age(node: Object) -> tuple[str, str]:
    """Who has been failing for longer comes first."""
    return str((conditions.get(node, "Ready") or {}).get("lastTransitionTime") or ""), objects.name(node)


def _is_driving(node: Object) -> bool:
    return any(node_taints.is_driving(taint) for taint in _taints(node))


def _taints(node: Object) -> Sequence[Object]:
    return node["spec"].get("taints") or ()


def _tainted(node: Object, now: float) -> Update:
    name = node_taints.of_failure(conditions.status_of(node, "Ready"))
    taint = {"key": name, "effect": "NoExecute", "timeAdded": timestamps.format(now)}
    return Update(NODE, {**node, "spec": {**node["spec"], "taints": [*_taints(node), taint]}})


def _without(node: Object) -> Update:
    kept = [taint for taint in _taints(node) if not node_taints.is_driving(taint)]
    return Update(NODE, {**node, "spec": {**node["spec"], "taints": kept}})


def _keys(view: View, node: Object) -> Iterable[Key]:
    yield ALL


def _matters(old: Object | None, new: Object | None) -> bool:
    """Only what says who fails, and where; a heartbeat does not."""
    return _seen(old) != _seen(new)


def _seen(node: Object | None) -> object:
    if node is None:
        return None
    taints = [(t["key"], t.get("effect")) for t in _taints(node) if t["key"] in node_taints.FAILURES]
    return _zone(node), taints, conditions.status_of(node, "Ready"), EXCLUDED in objects.labels(node)


CONTROLLER = Controller(
    name="node-eviction-controller",
    parent=NODE,
    reconcile=reconcile,
    watches=(Watch(NODE, _keys, _matters),),
    indexes=(Index(NODE, "spec.taints.key"),),
    workers=1,
    matters=lambda old, new: False,
)
