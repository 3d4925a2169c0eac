"""Attachment: which listeners a route gets behind, parent by parent, and why not.

https://gateway-api.sigs.k8s.io/reference/spec/#parentreference
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.control.view import View
from sampan.gateway import hostnames, kinds, listeners
from sampan.gateway.listeners import Fault, Listener
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.kind import Kind, Object
from sampan.meta import objects, selectors


@dataclass(frozen=True, slots=True)
class Place:
    """A listener, and the names under which the route is served there."""

    listener: Listener
    hostnames: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parent:
    """One of a route's parents that is ours."""

    reference: Object
    gateway: Object
    places: tuple[Place, ...] = ()
    fault: Fault | None = None


def is_ours(view: View, gateway: Object) -> bool:
    """Whether a Gateway's class is looked after here."""
    found = view.get(kinds.GATEWAYCLASS, ("", str(gateway["spec"].get("gatewayClassName"))))
    return found is not None and found["spec"].get("controllerName") == kinds.CONTROLLER_NAME


def gateway_key(route: Object, reference: Object) -> tuple[str, str] | None:
    """Which Gateway a parentRef names; None where it names something else."""
    group, kind = reference.get("group", kinds.GROUP), reference.get("kind", "Gateway")
    if (group, kind) != (kinds.GROUP, "Gateway"):
        return None
    return str(reference.get("namespace") or objects.namespace(route)), str(reference["name"])


def parents(view: View, kind: Kind, route: Object) -> list[Parent]:
    """Those of its parents that are ours, each with where it got."""
    found = []
    for reference in route["spec"].get("parentRefs") or ():
        key = gateway_key(route, reference)
        gateway = view.get(kinds.GATEWAY, key) if key is not None else None
        if gateway is not None and is_ours(view, gateway):
            found.append(_parent(view, kind, route, reference, gateway))
    return found


def _parent(view: View, kind: Kind, route: Object, reference: Object, gateway: Object) -> Parent:
    named = [
        listener
        for listener in listeners.of_gateway(view, gateway)
        if reference.get("sectionName") in (None, "", listener.name) and reference.get("port") in (None, listener.port)
    ]
    if not named:
        return Parent(reference, gateway, fault=Fault("NoMatchingParent", "no listener has this sectionName and port"))
    namespace = objects.namespace(route)
    allowed = [each for each in named if kind.name in each.kinds and is_allowed(view, gateway, each, namespace)]
    if not allowed:
        text = f"no listener allows {kind.plural} of namespace {namespace}"
        return Parent(reference, gateway, fault=Fault("NotAllowedByListeners", text))
    names: Sequence[str] = route["spec"].get("hostnames") or ()
    places = [Place(each, tuple(hostnames.intersection(each.hostname, names))) for each in allowed]
    served = tuple(place for place in places if place.hostnames)
    if not served:
        fault = Fault("NoMatchingListenerHostname", "no hostname of the route is one of the listeners'")
        return Parent(reference, gateway, fault=fault)
    return Parent(reference, gateway, served)


def is_allowed(view: View, gateway: Object, listener: Listener, namespace: str) -> bool:
    """Whether routes of a namespace may attach to the listener."""
    allowed = (listener.spec.get("allowedRoutes") or {}).get("namespaces") or {}
    where = allowed.get("from") or "Same"
    if where == "Selector":
        found = view.get(NAMESPACE, ("", namespace))
        try:
            selector = selectors.from_label_selector(allowed.get("selector"))
        except ValueError:  # the listener says so
            return False
        return found is not None and selector.matches(objects.labels(found))
    return where == "All" or (where == "Same" and namespace == objects.namespace(gateway))
