"""What of a pod's status is written: only what changed, in a strategic merge patch."""

from typing import Any

Object = dict[str, Any]

_ADDRESSES = {"podIPs", "hostIPs"}
_STARTING = ("ContainerCreating", "PodInitializing")


def changes(old: Object, new: Object) -> Object:
    """The patch from the old status to the new one; empty when they say the same."""
    changed = {key: value for key, value in new.items() if old.get(key) != value and key != "conditions"}
    changed |= {key: None for key in old if key not in new}
    for key in _ADDRESSES & changed.keys():
        changed[key] = _addresses(old.get(key) or [], new.get(key) or [])
    conditions = _conditions(old.get("conditions") or [], new.get("conditions") or [])
    if conditions:
        changed["$setElementOrder/conditions"] = [{"type": c.get("type", "")} for c in new.get("conditions") or ()]
        changed["conditions"] = conditions
    return changed


def _addresses(old: list[Object], new: list[Object]) -> list[Object]:
    """These lists are merged by address: one that went away has to be named."""
    return [*new, *({"$patch": "delete", **entry} for entry in old if entry not in new)]


def _conditions(old: list[Object], new: list[Object]) -> list[Object]:
    """Each changed condition whole, with null for the fields that went away; null is the same as absent.

    The list is merged by type: one that went away has to be named.
    """
    before = {condition.get("type", ""): condition for condition in old}
    found = []
    for condition in new:
        known = before.get(condition.get("type", ""), {})
        if known != condition and _said(known) != _said(condition):
            found.append({**{key: None for key in known if key not in condition}, **condition})
    gone = before.keys() - {condition.get("type", "") for condition in new}
    return [*found, *({"$patch": "delete", "type": type} for type in sorted(gone))]


def _said(condition: Object) -> Object:
    return {key: value for key, value in condition.items() if value is not None}


def is_merely_starting(status: Object) -> bool:
    """Whether there is nothing to tell yet but that its containers are being made."""
    if status.get("phase") != "Pending":
        return False
    both = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
    return all((found.get("state") or {}).get("waiting", {}).get("reason") in _STARTING for found in both)
