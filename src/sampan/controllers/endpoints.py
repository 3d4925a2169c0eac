"""A Service's Endpoints: what its EndpointSlices say, in one object of the older form, of at most 1000 addresses.

Endpoints of a service that is gone go too, which a live read confirms.

https://kubernetes.io/docs/concepts/services-networking/service/#endpoints
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sampan.control import backends
from sampan.control.controller import Controller, Watch
from sampan.control.plan import Ask, Create, Delete, Key, Plan, Update, Write, plan, warning
from sampan.control.pods import rest
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core import pod
from sampan.kinds.core.endpoints import ENDPOINTS
from sampan.kinds.core.pod import POD
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Object
from sampan.kinds.parts import endpoint_subsets
from sampan.meta import objects

LARGEST = 1000
MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Writes down the addresses as they are."""
    service, current = view.get(SERVICE, key), view.get(ENDPOINTS, key)
    if service is None:
        return _bereft(view, key, current)
    if not backends.is_looked_after(service):
        return Plan()
    with_all = bool(service["spec"].get("publishNotReadyAddresses"))
    pods = backends.members(view, service, with_terminating=with_all)
    shown = {objects.uid(p): with_all or pod.is_ready(p) for p in pods}
    whole = endpoint_subsets.repacked(s for p in pods for s in _subsets(service, p, is_ready=shown[objects.uid(p)]))
    subsets = _truncated(whole)
    if current is not None and _says(current, service, subsets, is_truncated=subsets != whole):
        return Plan(rest=rest(len(pods)))
    stamp = backends.trigger_time(service, pods, shown, _shown(current) if current is not None else None)
    annotations = backends.stamped(objects.annotations(current or {}), stamp)
    annotations.pop(OVER_CAPACITY, None)
    if subsets != whole:
        annotations[OVER_CAPACITY] = "truncated"
    return replace(plan([_write(service, current, subsets, annotations)]), rest=rest(len(pods)))


def _bereft(view: View, key: Key, current: Object | None) -> Plan:
    if current is None or backends.LEADER in objects.annotations(current):
        return Plan()
    question = Ask(SERVICE, key)
    live = view.answer(question)
    if live is UNANSWERED:
        return Plan(ask=(question,))
    return plan(() if live is not None else [Delete(ENDPOINTS, key, objects.uid(current))])


def _subsets(service: Object, p: Object, *, is_ready: bool) -> Iterable[Object]:
    """A subset for each port, or one without any for a headless service that has none."""
    found = backends.addresses(p, (service["spec"].get("ipFamilies") or ["IPv4"])[0])
    if not found:
        return
    address = {"ip": found[0], "nodeName": p["spec"].get("nodeName") or "", "targetRef": backends.reference(p)}
    if hostname := backends.hostname(service, p):
        address["hostname"] = hostname
    listed = {"addresses" if is_ready else "notReadyAddresses": [address]}
    if not service["spec"].get("ports"):
        if service["spec"].get("clusterIP") == "None":
            yield listed
        return
    for name, number, protocol, application in backends.ports(service, p):
        port = {"name": name, "port": number, "protocol": protocol, "appProtocol": application}
        yield {**listed, "ports": [{field: value for field, value in port.items() if value}]}


def _truncated(subsets: Sequence[Object]) -> list[Object]:
    """At most so many addresses, ready ones first, each subset in proportion."""
    ready = sum(len(s.get("addresses") or ()) for s in subsets)
    others = sum(len(s.get("notReadyAddresses") or ()) for s in subsets)
    if ready + others <= LARGEST:
        return list(subsets)
    if ready > LARGEST:
        subsets = [{name: value for name, value in s.items() if name != "notReadyAddresses"} for s in subsets]
        return [s for s in _shared_out(subsets, "addresses", LARGEST, ready) if s.get("addresses")]
    shared = _shared_out(subsets, "notReadyAddresses", LARGEST - ready, others)
    return [s for s in shared if s.get("addresses") or s.get("notReadyAddresses")]


def _shared_out(subsets: Iterable[Object], field: str, room: int, total: int) -> Iterable[Object]:
    left = room
    for subset in subsets:
        listed = subset.get(field) or []
        kept = listed[: min(math.ceil(len(listed) / total * room), left)]
        left -= len(kept)
        yield {name: kept if name == field else value for name, value in subset.items() if kept or name != field}


def _says(current: Object, service: Object, subsets: list[Object], *, is_truncated: bool) -> bool:
    """Whether nothing is to be written."""
    is_same = (current.get("subsets") or []) == subsets and objects.labels(current) == _labels(service)
    return is_same and (OVER_CAPACITY in objects.annotations(current)) == is_truncated


def _labels(service: Object) -> dict[str, str]:
    return {**objects.labels(backends.with_headless_label(service)), MANAGED_BY: MANAGER}


def _shown(current: Object) -> dict[str, bool]:
    return {
        (address.get("targetRef") or {}).get("uid", ""): field == "addresses"
        for subset in current.get("subsets") or ()
        for field in ("addresses", "notReadyAddresses")
        for address in subset.get(field) or ()
    }


def _write(service: Object, current: Object | None, subsets: list[Object], annotations: dict[str, str]) -> Write:
    namespace, name = objects.key(service)
    about: Object = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"namespace": namespace, "name": name}}
    said = {"labels": _labels(service), "annotations": annotations}
    if current is None:
        text = f"Failed to create endpoint for service {namespace}/{name}: {{error}}"
        made = {**about, "metadata": {**about["metadata"], **said}, "subsets": subsets}
        return Create(ENDPOINTS, made, refused=warning("FailedToCreateEndpoint", text, about))
    text = f"Failed to update endpoint {namespace}/{name}: {{error}}"
    about = {**about, "metadata": current["metadata"]}
    changed = {**current, "metadata": {**current["metadata"], **said}, "subsets": subsets}
    return Update(ENDPOINTS, changed, refused=warning("FailedToUpdateEndpoint", text, about))


def _endpoints_keys(view: View, endpoints: Object) -> Iterable[Key]:
    """Those that somebody deleted, and ours that a service has left behind while nobody looked."""
    key = objects.key(endpoints)
    is_ours = objects.labels(endpoints).get(MANAGED_BY) == MANAGER
    if view.get(ENDPOINTS, key) is None or (is_ours and view.get(SERVICE, key) is None):
        yield key


CONTROLLER = Controller(
    name="endpoint-controller",
    parent=SERVICE,
    reconcile=reconcile,
    watches=(Watch(ENDPOINTS, _endpoints_keys), Watch(POD, backends.pod_keys, backends.matters)),
)
