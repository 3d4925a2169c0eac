"""LimitRanger: pods get what they don't ask for from their namespace's LimitRanges, and may not ask for too much.

https://kubernetes.io/docs/concepts/policy/limit-range/
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sampan.kinds.core import pod as pods
from sampan.kinds.core.limit_range import CLAIM, CONTAINER, LIMITRANGE, POD
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.parts import quota_usage
from sampan.meta import objects, quantity, status
from sampan.meta.quantity import Quantity
from sampan.server import aside
from sampan.server.admission.chain import CREATE, UPDATE, Attributes, Concern, Lookup
from sampan.server.cache import Item

CONCERNS = Concern(operations=(CREATE, UPDATE), kinds=(pods.POD, PERSISTENTVOLUMECLAIM), needs=(LIMITRANGE,))
ANNOTATION = "kubernetes.io/limit-ranger"

Tree = dict[str, Any]
Amounts = Mapping[str, Quantity]
Check = Callable[[str, Quantity], str]


async def admit(attributes: Attributes, lookup: Lookup) -> None:
    """Fills in a new pod's missing requests and limits."""
    pod = attributes.obj
    if pod is None or attributes.operation != CREATE or attributes.kind != pods.POD or attributes.subresource:
        return
    told: list[str] = []
    for item in lookup.all(LIMITRANGE, attributes.namespace):
        size = _size(item, pod)
        told += await aside.run(_fill, pod, item.tree, size=size)
        attributes.grown += size
    if told:
        metadata = pod["metadata"]
        noted = {ANNOTATION: "LimitRanger plugin set: " + "; ".join(told)}
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **noted}


async def validate(attributes: Attributes, lookup: Lookup) -> None:
    """Raises ApiError 403 for a pod or claim beyond a LimitRange."""
    obj, kind = attributes.obj, attributes.kind
    if obj is None or objects.is_deleting(obj):
        return
    if kind == pods.POD:
        is_resize = attributes.subresource == "resize"
        if not is_resize and (attributes.subresource or attributes.operation == UPDATE):
            return
        find: Callable[[Tree, Tree], list[str]] = pod_complaints
    elif attributes.subresource:
        return
    else:
        find = claim_complaints
    for item in lookup.all(LIMITRANGE, attributes.namespace):
        complaints = list(dict.fromkeys(await aside.run(find, item.tree, obj, size=_size(item, obj))))
        if complaints:
            why = complaints[0] if len(complaints) == 1 else f"[{', '.join(complaints)}]"
            raise status.forbidden(kind.group, kind.plural, attributes.called, why)


def _size(limit_range: Item, obj: Tree) -> int:
    """What a LimitRange may add to an object's containers."""
    spec = obj.get("spec") or {}
    containers = sum(len(spec.get(name) or ()) for name in ("containers", "initContainers"))
    return max(1, containers) * len(limit_range.stored)


# What is filled in


def _fill(pod: Tree, limit_range: Tree) -> list[str]:
    requests: Tree = {}
    limits: Tree = {}
    for item in _items(limit_range, CONTAINER):
        requests |= item.get("defaultRequest") or {}
        limits |= item.get("default") or {}
    told: list[str] = []
    spec = pod.get("spec") or {}
    for name, word in (("containers", "container"), ("initContainers", "init container")):
        for container in spec.get(name) or ():
            for part, usual, what in (("requests", requests, "request"), ("limits", limits, "limit")):
                filled = _fill_part(container, part, usual)
                if filled:
                    told.append(f"{', '.join(filled)} {what} for {word} {container.get('name')}")
    return told


def _fill_part(container: Tree, part: str, usual: Tree) -> list[str]:
    """The names of what was missing, sorted."""
    resources = container["resources"] = container.get("resources") or {}
    given = resources.get(part) or {}
    missing = sorted(name for name in usual if name not in given)
    if missing:
        resources[part] = {**given, **{name: usual[name] for name in missing}}
    return missing


def _items(limit_range: Tree, *kinds: str) -> list[Tree]:
    return [i for i in (limit_range.get("spec") or {}).get("limits") or () if i.get("type") in kinds]


# What is refused


def pod_complaints(limit_range: Tree, pod: Tree) -> list[str]:
    """All that a LimitRange has against a pod."""
    found: list[str] = []
    spec = pod.get("spec") or {}
    for item in _items(limit_range, CONTAINER, POD):
        if item["type"] == POD:
            found += _complaints(item, _whole(pod, "requests."), _whole(pod, "limits."))
            continue
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
            resources = container.get("resources") or {}
            asked, limits = (quota_usage.parse(resources.get(part)) for part in ("requests", "limits"))
            found += _complaints(item, asked, limits)
    return found


def _whole(pod: Tree, prefix: str) -> Amounts:
    usage = quota_usage.pod_amounts(pod)
    return {name.removeprefix(prefix): value for name, value in usage.items() if name.startswith(prefix)}


def claim_complaints(limit_range: Tree, claim: Tree) -> list[str]:
    """All that a LimitRange has against a PersistentVolumeClaim."""
    asked = quota_usage.parse(objects.get_path(claim, "spec.resources.requests"))
    found: list[str] = []
    for item in _items(limit_range, CLAIM):
        kind = item["type"]
        found += _each(item.get("min"), lambda n, v, k=kind: _too_little(k, n, v, asked, {}))  # type: ignore[misc]
        found += _each(item.get("max"), lambda n, v, k=kind: _asks_too_much(k, n, v, asked))  # type: ignore[misc]
    return found


def _complaints(item: Tree, asked: Amounts, limits: Amounts) -> list[str]:
    kind = item["type"]
    return [
        *_each(item.get("min"), lambda n, v: _too_little(kind, n, v, asked, limits)),
        *_each(item.get("max"), lambda n, v: _too_much(kind, n, v, asked, limits)),
        *_each(item.get("maxLimitRequestRatio"), lambda n, v: _too_uneven(kind, n, v, asked, limits)),
    ]


def _each(bounds: Mapping[str, Any] | None, check: Check) -> Iterable[str]:
    found = (check(name, quantity.parse(value)) for name, value in sorted((bounds or {}).items()))
    return [text for text in found if text]


def _too_little(kind: str, name: str, bound: Quantity, asked: Amounts, limits: Amounts) -> str:
    head = f"minimum {name} usage per {kind} is {bound}"
    if name not in asked:
        return f"{head}.  No request is specified"
    if asked[name].nanos < bound.nanos:
        return f"{head}, but request is {asked[name]}"
    if name in limits and limits[name].nanos < bound.nanos:
        return f"{head}, but limit is {limits[name]}"
    return ""


def _too_much(kind: str, name: str, bound: Quantity, asked: Amounts, limits: Amounts) -> str:
    head = f"maximum {name} usage per {kind} is {bound}"
    if name not in limits:
        return f"{head}.  No limit is specified"
    if limits[name].nanos > bound.nanos:
        return f"{head}, but limit is {limits[name]}"
    if name in asked and asked[name].nanos > bound.nanos:
        return f"{head}, but request is {asked[name]}"
    return ""


def _asks_too_much(kind: str, name: str, bound: Quantity, asked: Amounts) -> str:
    head = f"maximum {name} usage per {kind} is {bound}"
    if name not in asked:
        return f"{head}.  No request is specified"
    return f"{head}, but request is {asked[name]}" if asked[name].nanos > bound.nanos else ""


def _too_uneven(kind: str, name: str, bound: Quantity, asked: Amounts, limits: Amounts) -> str:
    head = f"{name} max limit to request ratio per {kind} is {bound}"
    if name not in asked or not asked[name]:
        return f"{head}, but no request is specified or request is 0"
    if name not in limits or not limits[name]:
        return f"{head}, but no limit is specified or limit is 0"
    ratio = float(limits[name]) / float(asked[name])
    return f"{head}, but provided ratio is {ratio:f}" if ratio > float(bound) else ""
