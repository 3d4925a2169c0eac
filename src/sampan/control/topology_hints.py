"""Topology hints: each zone gets endpoints in proportion to the CPUs of its nodes, where there are enough of them.

A zone may be given less than its share by a fifth at most; where that can't be had, there are no hints.

https://kubernetes.io/docs/concepts/services-networking/topology-aware-routing/
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sampan.control import traffic_hints
from sampan.control.endpoint_slices import Slices
from sampan.control.plan import Event, normal, warning
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects, quantity

ZONE = "topology.kubernetes.io/zone"
OVERLOAD = 0.2
DISABLED = "TopologyAwareHintsDisabled"
_EXCLUDED = {"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"}


class Impossible(Exception):
    """Why there are no hints."""


def distribute(slices: Slices, nodes: Iterable[Object], family: str) -> list[Event]:
    """Puts hints on, or takes them off where the nodes or the endpoints don't allow any; tells which."""
    before = any("hints" in e for s in (*slices.kept, *slices.gone, *slices.changed) for e in s.get("endpoints") or ())
    try:
        _hint(slices, shares(nodes))
    except Impossible as why:
        traffic_hints.remove(slices)
        return [warning(DISABLED, f"{why}, addressType: {family}")]
    text = f"Topology Aware Hints has been enabled, addressType: {family}"
    return [] if before else [normal("TopologyAwareHintsEnabled", text)]


def shares(nodes: Iterable[Object]) -> dict[str, float]:
    """Zone -> its part of the ready nodes' CPUs. Raises Impossible."""
    cpus: dict[str, float] = {}
    for node in nodes:
        if _EXCLUDED & objects.labels(node).keys() or not conditions.is_true(node, "Ready"):
            continue
        zone = objects.labels(node).get(ZONE)
        cpu = float(quantity.parse(((node.get("status") or {}).get("allocatable") or {}).get("cpu", "0")))
        if not zone or not cpu:
            cpus.clear()
            break
        cpus[zone] = cpus.get(zone, 0.0) + cpu
    if len(cpus) < 2:
        text = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
        raise Impossible(text)
    total = sum(cpus.values())
    return {zone: cpu / total for zone, cpu in sorted(cpus.items())}


def facts(node: Object) -> tuple[object, ...]:
    """What of a node counts for endpoints."""
    labels, cpu = objects.labels(node), ((node.get("status") or {}).get("allocatable") or {}).get("cpu")
    return labels.get(ZONE), bool(_EXCLUDED & labels.keys()), conditions.is_true(node, "Ready"), cpu


def _hint(slices: Slices, ratios: Mapping[str, float]) -> None:
    everything = [e for s in (*slices.new, *slices.changed, *slices.kept) for e in s.get("endpoints") or ()]
    ready = [e for e in everything if traffic_hints.is_ready(e)]
    least = _least(ratios, len(ready))
    spare = len(ready) - sum(least.values())
    given = _keep_fitting(slices, {zone: count + spare for zone, count in least.items()})
    open_ones = [e for s in (*slices.new, *slices.changed) for e in s.get("endpoints") or ()]
    if any(traffic_hints.is_ready(e) and not e.get("zone") for e in open_ones):
        raise Impossible("One or more endpoints do not have a zone specified")
    given.update(e["zone"] for e in open_ones if traffic_hints.is_ready(e))
    if not given:
        raise Impossible("No hints allocated for zones")
    moves = _moves({zone: max(ratio * len(ready), least[zone]) for zone, ratio in ratios.items()}, given)

    def hinted(endpoint: Object) -> Object:
        if not traffic_hints.is_ready(endpoint):
            return traffic_hints.without(endpoint)
        zone = endpoint["zone"]
        others = moves.get(zone)
        return {**endpoint, "hints": {"forZones": [{"name": others.pop(0) if others else zone}]}}

    slices.map(hinted, lambda e: False)


def _least(ratios: Mapping[str, float], count: int) -> dict[str, int]:
    """How many endpoints each zone must have, of so many."""
    told = f"({count} endpoints, {len(ratios)} zones)"
    if len(ratios) > count:
        raise Impossible(f"Insufficient number of endpoints {told}")
    least = {zone: math.ceil(ratio * count / (1 + OVERLOAD)) for zone, ratio in ratios.items()}
    if sum(least.values()) > count:
        text = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
        raise Impossible(f"{text} {told}")
    return least


def _keep_fitting(slices: Slices, most: Mapping[str, int]) -> Counter[str]:
    """Leaves slices as they are whose hints still fit; the others change. Returns how many each zone has by then."""
    given: Counter[str] = Counter()
    for slice_ in list(slices.kept):
        hints = _hints_of(slice_)
        if hints is None or any(given[zone] + count > most.get(zone, -1) for zone, count in hints.items()):
            slices.kept.remove(slice_)
            slices.changed.append(slice_)
        else:
            given += hints
    return given


def _hints_of(slice_: Object) -> Counter[str] | None:
    """Zone -> hints for it; None where a ready endpoint has none."""
    listed = [
        (e.get("hints") or {}).get("forZones") for e in slice_.get("endpoints") or () if traffic_hints.is_ready(e)
    ]
    if not all(listed):
        return None
    return Counter(zone["name"] for zones in listed for zone in zones or ())


def _moves(wanted: Mapping[str, float], given: Mapping[str, int]) -> dict[str, list[str]]:
    """Zone with too many -> the zones that get one of its endpoints each."""
    surplus = {zone: given.get(zone, 0) - count for zone, count in wanted.items()}
    giving = {zone: count for zone, count in surplus.items() if count > 0}
    getting = {zone: -count for zone, count in surplus.items() if count < 0}
    moves: dict[str, list[str]] = {}
    while giving and getting:
        giver, getter = max(giving, key=giving.__getitem__), max(getting, key=getting.__getitem__)
        if not _is_worth_it((giving[giver], getting[getter])):
            break
        moves.setdefault(giver, []).append(getter)
        giving[giver] -= 1
        getting[getter] -= 1
    return moves


def _is_worth_it(parts: Sequence[float]) -> bool:
    """One endpoint has to be a whole one for one of the two, and at least a half for both."""
    return max(parts) >= 1 and min(parts) >= 0.5
