"""Mirrored Endpoints: those that somebody made by hand for a Service without a selector, as EndpointSlices.

Each set of ports has one slice for each address family, of at most 1000 addresses.

https://kubernetes.io/docs/concepts/services-networking/service/#endpointslice-mirroring
"""

import ipaddress
from collections.abc import Iterable, Sequence

from sampan.control import backends, endpoint_slices
from sampan.control.backends import Ports
from sampan.control.controller import Controller, Watch
from sampan.control.endpoint_slices import Slices
from sampan.control.plan import Create, Delete, Event, Key, Plan, Update, Write, plan, warning
from sampan.control.view import View
from sampan.kinds.core.endpoints import ENDPOINTS, SKIP_MIRROR_LABEL
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE, MANAGED_BY_LABEL, SERVICE_NAME_LABEL
from sampan.kinds.kind import Object
from sampan.kinds.parts import endpoint_subsets
from sampan.meta import objects, selectors

LARGEST = 1000
MANAGER = "endpointslicemirroring-controller.k8s.io"

Groups = dict[tuple[str, Ports], list[Object]]


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Slices as the Endpoints are; none where they are not to be mirrored."""
    endpoints, service = view.get(ENDPOINTS, key), view.get(SERVICE, key)
    labels = {SERVICE_NAME_LABEL: key[1], MANAGED_BY_LABEL: MANAGER}
    found = view.selected(ENDPOINTSLICE, key[0], selectors.from_map(labels))
    present = [s for s in found if not objects.is_deleting(s)]
    if endpoints is None or not _is_mirrored(endpoints) or service is None or service["spec"].get("selector"):
        return plan(Delete(ENDPOINTSLICE, objects.key(s), objects.uid(s)) for s in present)
    groups, events = _groups(endpoints)
    slices = _slices({"apiVersion": "v1", "kind": "Endpoints", **endpoints}, groups, present)
    slices.recycle()
    return plan(_writes(endpoints, slices), events=events)


def _is_mirrored(endpoints: Object) -> bool:
    is_skipped = objects.labels(endpoints).get(SKIP_MIRROR_LABEL) == "true"
    return not is_skipped and backends.LEADER not in objects.annotations(endpoints)


def _groups(endpoints: Object) -> tuple[Groups, list[Event]]:
    """Endpoints by family and ports, and what is to be told of those left out."""
    groups: Groups = {}
    invalid = skipped = 0
    for subset in endpoint_subsets.repacked(endpoints.get("subsets") or ()):
        ports = endpoint_slices.ports_of(subset)
        count = 0
        listed = [
            (a, field == "addresses") for field in ("addresses", "notReadyAddresses") for a in subset.get(field) or ()
        ]
        for address, is_ready in listed:
            family, endpoint = _endpoint(address, is_ready=is_ready)
            if not family:
                invalid += 1
            elif count < LARGEST:
                groups.setdefault((family, ports), []).append(endpoint)
                count += 1
            else:
                skipped += 1
    return groups, _told(invalid, skipped)


def _told(invalid: int, skipped: int) -> list[Event]:
    events = []
    if invalid:
        text = f"Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"
        events.append(warning("InvalidIPAddress", text))
    if skipped:
        text = f"A max of {LARGEST} addresses can be mirrored to EndpointSlices per Endpoints subset."
        events.append(warning("TooManyAddressesToMirror", f"{text} {skipped + invalid} addresses were skipped"))
    return events


def _endpoint(address: Object, *, is_ready: bool) -> tuple[str, Object]:
    """(address family, endpoint); ("", {}) for what is no address."""
    try:
        ip = ipaddress.ip_address(address.get("ip") or "")
    except ValueError:
        return "", {}
    made: Object = {"addresses": [str(ip)], "conditions": {"ready": is_ready}}
    made |= {field: address[field] for field in ("targetRef", "nodeName", "hostname") if address.get(field)}
    return f"IPv{ip.version}", made


def _slices(endpoints: Object, groups: Groups, present: Sequence[Object]) -> Slices:
    slices = Slices()
    there = endpoint_slices.by_family_and_ports(present)
    for (family, ports), listed in groups.items():
        same = there.pop((family, tuple(sorted(ports))), [])
        made = _slice(endpoints, family, ports, listed)
        slices.gone += same[1:]
        if not same:
            slices.new.append(made)
        elif not _says(same[0], made):
            slices.changed.append(endpoint_slices.put(same[0], made))
    slices.gone += [old for same in there.values() for old in same]
    return slices


def _says(old: Object, new: Object) -> bool:
    """Whether a slice needs no change."""
    before = endpoint_slices.by_identity(old.get("endpoints") or ())
    after = endpoint_slices.by_identity(new["endpoints"])
    is_same = before.keys() == after.keys() and all(endpoint_slices.is_same(before[i], after[i]) for i in after)
    said = (objects.labels, objects.annotations, objects.owner_references)
    return is_same and len(before) == len(old.get("endpoints") or ()) and all(f(old) == f(new) for f in said)


def _slice(endpoints: Object, family: str, ports: Ports, listed: list[Object]) -> Object:
    left_out = (backends.TRIGGER_TIME, backends.LAST_APPLIED)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{objects.name(endpoints)}-",
            "namespace": objects.namespace(endpoints),
            "labels": endpoint_slices.labels(endpoints, MANAGER),
            "annotations": {k: v for k, v in objects.annotations(endpoints).items() if k not in left_out},
            "ownerReferences": [objects.owner_reference(endpoints)],
        },
        "addressType": family,
        "endpoints": listed,
        "ports": endpoint_slices.port_trees(ports),
    }


def _writes(endpoints: Object, slices: Slices) -> Iterable[Write]:
    for new in slices.new if not objects.is_deleting(endpoints) else ():
        yield Create(ENDPOINTSLICE, new)
    for changed in slices.changed:
        yield Update(ENDPOINTSLICE, changed)
    for old in slices.gone:
        yield Delete(ENDPOINTSLICE, objects.key(old), objects.uid(old))


def _service_keys(view: View, service: Object) -> Iterable[Key]:
    """A service without a selector, now or before -> its Endpoints."""
    if not service["spec"].get("selector"):
        yield objects.key(service)


def _slice_keys(view: View, slice_: Object) -> Iterable[Key]:
    labels = objects.labels(slice_)
    if labels.get(MANAGED_BY_LABEL) == MANAGER and labels.get(SERVICE_NAME_LABEL):
        yield objects.namespace(slice_), labels[SERVICE_NAME_LABEL]


CONTROLLER = Controller(
    name="endpoint-slice-mirroring-controller",
    parent=ENDPOINTS,
    reconcile=reconcile,
    watches=(Watch(SERVICE, _service_keys), Watch(ENDPOINTSLICE, _slice_keys)),
)
