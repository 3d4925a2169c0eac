"""What of a pod's status is written: only what changed, in a strategic merge patch bound to the pod's uid."""

from typing import Any

Object = dict[str, Any]

_ADDRESSES = {"podIPs", "hostIPs"}
_STARTING = ("ContainerCreating", "PodInitializing")


def patch(uid: str, old: Object, new: Object) -> Object:
    """The patch from the old status to the new one."""
    changed = {key: value for key, value in new.items() if old.get(key) != value and key != "conditions"}
    changed |= {key: None for key in old if key not in new}
    for key in _ADDRESSES & changed.keys():
        changed[key] = _addresses(old.get(key) or [], new.get(key) or [])
    conditions = _conditions(old.get("conditions") or [], new.get("conditions") or [])
    if conditions:
        changed["$setElementOrder/conditions"] = [{"type": c["type"]} for c in new["conditions"]]
        changed["conditions"] = conditions
    return {"metadata": {"uid": uid}, "status": changed}


def _addresses(old: list[Object], new: list[Object]) -> list[Object]:
    """These lists are merged by address: one that went away has to be named."""
    return [*new, *({"$patch": "delete", **entry} for entry in old if entry not in new)]


def _conditions(old: list[Object], new: list[Object]) -> list[Object]:
    """Each changed condition whole, with null for the fields that went away; null is the same as absent."""
    before = {condition["type"]: condition for condition in old}
    found = []
    for condition in new:
        known = before.get(condition["type"], {})
        if _said(known) != _said(condition):
            found.append({**{key: None for key in known if key not in condition}, **condition})
    return found


def _said(condition: Object) -> Object:
    return {key: value for key, value in condition.items() if value is not None}


def is_merely_starting(status: Object) -> bool:
    """Whether there is nothing to tell yet but that its containers are being made."""
    if status.get("phase") != "Pending":
        return False
    both = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
    return all(found["state"].get("waiting", {}).get("reason") in _STARTING for found in both)
