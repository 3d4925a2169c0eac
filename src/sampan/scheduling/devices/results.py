"""Results: what is written down of the devices that were found for a claim: its allocation. Pure.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/resource-claim-v1/#ResourceClaimStatus
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sampan.kinds.parts import node_match
from sampan.meta import objects
from sampan.scheduling.devices.table import Pick
from sampan.scheduling.devices.wishes import Claim, Wish

Object = dict[str, Any]
Tree = Mapping[str, Any]
NewId = Callable[[], str]

FROM_CLASS, FROM_CLAIM = "FromClass", "FromClaim"


def allocation(claim: Claim, picks: Sequence[Pick], node: str, new_id: NewId) -> Object:
    """That of a claim on a node. A share of a device gets an id of its own."""
    devices: Object = {"results": [_result(pick, new_id) for pick in picks]}
    if config := [*_of_classes(claim, picks), *_of_claim(claim, picks)]:
        devices["config"] = config
    found: Object = {"devices": devices}
    if (selector := _node_selector(picks, node)) is not None:
        found["nodeSelector"] = selector
    return found


def _result(pick: Pick, new_id: NewId) -> Object:
    device, wish = pick.device, pick.wish
    found: Object = {"request": wish.name, "driver": device.driver, "pool": device.pool, "device": device.name}
    if wish.is_admin:
        found["adminAccess"] = True
    if wish.tolerations:
        found["tolerations"] = list(wish.tolerations)
    for field in ("bindingConditions", "bindingFailureConditions"):
        if device.tree.get(field):
            found[field] = device.tree[field]
    if pick.consumed is not None:
        found["shareID"] = new_id()
        names = {_short(name, device.driver, device.tree): str(amount) for name, amount in pick.consumed.items()}
        found |= {"consumedCapacity": names} if names else {}
    return found


def _short(name: str, driver: str, tree: Tree) -> str:
    """The name of a capacity as the device has it."""
    return name if name in (tree.get("capacity") or {}) else name.removeprefix(f"{driver}/")


def _chosen(claim: Claim, picks: Sequence[Pick]) -> Iterable[tuple[str, Wish]]:
    """The requests, each with what was found for it."""
    picked = {pick.wish for pick in picks}
    for request in claim.requests:
        for wish in request:
            if wish in picked:
                yield wish.request, wish


def _of_classes(claim: Claim, picks: Sequence[Pick]) -> Iterable[Object]:
    """What the classes say to drivers, each class once."""
    names: dict[str, list[str]] = {}
    classes: dict[str, Tree] = {}
    for _, wish in _chosen(claim, picks):
        name = objects.name(wish.device_class)
        names.setdefault(name, []).append(wish.name)
        classes[name] = wish.device_class
    for name, found in classes.items():
        for each in (found.get("spec") or {}).get("config") or ():
            yield {"source": FROM_CLASS, "requests": names[name], **each}


def _of_claim(claim: Claim, picks: Sequence[Pick]) -> Iterable[Object]:
    """What the claim says to drivers, once for each request that it is about."""
    for each in claim.config:
        listed = each.get("requests") or ()
        if not listed:
            yield {"source": FROM_CLAIM, **each}
            continue
        for request, wish in _chosen(claim, picks):
            if request in listed or wish.name in listed:
                yield {"source": FROM_CLAIM, **each}


def _node_selector(picks: Sequence[Pick], node: str) -> Object | None:
    """The nodes from which all the devices can be used; None for all nodes."""
    term: dict[str, list[Tree]] = {}
    for pick in picks:
        place = pick.device.place
        if place.node or pick.device.tree.get("bindsToNode"):
            return _only(place.node or node)
        for each in (place.selector or {}).get("nodeSelectorTerms") or ():
            for field in ("matchFields", "matchExpressions"):
                for requirement in each.get(field) or ():
                    if requirement not in term.setdefault(field, []):
                        term[field].append(requirement)
    return {"nodeSelectorTerms": [term]} if any(term.values()) else None


def _only(node: str) -> Object:
    fields = [{"key": node_match.NAME, "operator": "In", "values": [node]}]
    return {"nodeSelectorTerms": [{"matchFields": fields}]}
