"""What a pod asks of a node: summed requests, and the class of service they earn.

https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
"""

from collections.abc import Mapping
from typing import Any

from sampan.meta import quantity
from sampan.meta.quantity import Quantity

Amounts = dict[str, Quantity]


def requests(spec: Mapping[str, Any]) -> Amounts:
    """Effective requests of a pod spec: the greater of running and initializing, plus overhead."""
    return _effective(spec, "requests")


def limits(spec: Mapping[str, Any]) -> Amounts:
    """Effective limits of a pod spec, by the same rule; overhead adds to what there is a limit of."""
    return _effective(spec, "limits")


def _effective(spec: Mapping[str, Any], kind: str) -> Amounts:
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, _of(container, kind))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        asked = _of(container, kind)
        if container.get("restartPolicy") == "Always":
            _add(total, asked)
            _add(sidecars, asked)
            asked = sidecars
        else:
            asked = {**asked}
            _add(asked, sidecars)
        _raise_to(peak, asked)
    _raise_to(total, peak)
    whole = (spec.get("resources") or {}).get(kind) or {}
    total.update((name, quantity.parse(value)) for name, value in whole.items())
    if spec.get("overhead"):
        overhead = {name: quantity.parse(value) for name, value in spec["overhead"].items()}
        _add(total, {n: value for n, value in overhead.items() if kind == "requests" or total.get(n)})
    return total


def qos_class(spec: Mapping[str, Any]) -> str:
    """Guaranteed when every container's cpu and memory limits equal its requests; BestEffort when none has any."""
    holders = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    if (spec.get("resources") or {}).get("requests") or (spec.get("resources") or {}).get("limits"):
        holders = [spec]
    guaranteed, none = bool(holders), True
    for holder in holders:
        resources = holder.get("resources")
        if not resources:
            guaranteed = False
            continue
        asked = _nonzero(resources.get("requests"))
        limits = _nonzero(resources.get("limits"))
        none = none and not asked and not limits
        full = limits.keys() >= {"cpu", "memory"}
        guaranteed = guaranteed and full and all(asked.get(n, limits[n]) == limits[n] for n in limits)
    if none:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _of(container: Mapping[str, Any], kind: str) -> Amounts:
    asked = (container.get("resources") or {}).get(kind) or {}
    return {name: quantity.parse(value) for name, value in asked.items()}


def _nonzero(amounts: Mapping[str, Any] | None) -> Amounts:
    parsed = {name: quantity.parse(v) for name, v in (amounts or {}).items() if name in ("cpu", "memory")}
    return {name: value for name, value in parsed.items() if value}


def _add(total: Amounts, more: Amounts) -> None:
    for name, value in more.items():
        total[name] = total[name] + value if name in total else value


def _raise_to(total: Amounts, least: Amounts) -> None:
    for name, value in least.items():
        if name not in total or quantity.compare(total[name], value) < 0:
            total[name] = value
