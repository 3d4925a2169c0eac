"""Daemon rollout: which old pods make room, or which nodes get a new pod beside the old one, within the bounds.

Without surge old pods are deleted while fewer than maxUnavailable nodes are without an available one. With surge
at most maxSurge nodes have a new pod beside an available old one, which goes once the new one is available.

https://kubernetes.io/docs/tasks/manage-daemon/update-daemon-set/
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sampan.control.daemon_nodes import Changes, Fleet
from sampan.kinds.kind import Object
from sampan.meta import objects


@dataclass(frozen=True, slots=True)
class Pair:
    """The new and the old pod of a node; `is_crowded` when there are several of one sort, which are pruned first."""

    node: str
    new: Object | None = None
    old: Object | None = None
    is_crowded: bool = False


def changes(fleet: Fleet) -> Changes:
    """The next step of a rolling update, once every node has what it needs."""
    if all(fleet.is_updated(p) for there in fleet.pods.values() for p in there):
        return Changes()
    wanted = fleet.wanted
    surge, unavailable = fleet.bound("maxSurge", wanted), fleet.bound("maxUnavailable", wanted)
    if surge:
        return _surging(fleet, surge)
    return _replacing(fleet, max(unavailable, 1) if wanted else unavailable)


def _pairs(fleet: Fleet) -> Iterator[Pair]:
    """Of all nodes that have pods or should have one, by name."""
    wanted = [node for node, fit in fleet.fits.items() if fit.wanted]
    for node in sorted({*fleet.pods, *wanted}):
        new: list[Object] = []
        old: list[Object] = []
        for p in fleet.pods.get(node, ()):
            if not objects.is_deleting(p):
                (new if fleet.is_updated(p) else old).append(p)
        if len(new) > 1 or len(old) > 1:
            yield Pair(node, is_crowded=True)
        else:
            yield Pair(node, new[0] if new else None, old[0] if old else None)


def _replacing(fleet: Fleet, most: int) -> Changes:
    unavailable, doomed, candidates = 0, list[Object](), list[Object]()
    for pair in _pairs(fleet):
        if pair.old is None or pair.new is not None:
            is_serving = pair.old is None and pair.new is not None and fleet.is_available(pair.new)
            unavailable += not is_serving
        elif fleet.is_available(pair.old):
            candidates.append(pair.old)
        else:  # it serves nobody as it is
            unavailable += 1
            doomed.append(pair.old)
    return Changes(doomed=[*doomed, *candidates[: max(most - unavailable, 0)]])


@dataclass(slots=True)
class _Surge:
    """What a look at all nodes has found."""

    available: int = 0
    surged: int = 0
    doomed: list[Object] = field(default_factory=list)
    leaving: list[Object] = field(default_factory=list)
    due: list[str] = field(default_factory=list)
    candidates: list[str] = field(default_factory=list)


def _surging(fleet: Fleet, most: int) -> Changes:
    found = _Surge()
    for pair in _pairs(fleet):
        if pair.is_crowded:
            found.surged += 1
            continue
        serving = pair.old or pair.new
        found.available += serving is not None and fleet.is_available(serving)
        if pair.old is not None and pair.new is not None:  # which is not available yet, else the old one would be going
            found.surged += 1
        elif pair.old is not None and pair.node in fleet.fits:
            _sort(fleet, pair.node, pair.old, found)
    spare = max(found.available - fleet.wanted, 0)
    nodes = [*found.due, *found.candidates[: max(most - found.surged, 0)]]
    return Changes(nodes, [*found.doomed, *found.leaving[:spare]])


def _sort(fleet: Fleet, node: str, old: Object, found: _Surge) -> None:
    """An old pod alone on its node: to be joined by a new one, or to go where none is wanted any more."""
    is_wanted, is_available = fleet.fits[node].wanted, fleet.is_available(old)
    if is_wanted:
        (found.candidates if is_available else found.due).append(node)
    else:  # an available one stays until another node serves in its place
        (found.leaving if is_available else found.doomed).append(old)
