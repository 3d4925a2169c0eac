"""A route's status: by parent that is ours, whether it got there, and whether all that it refers to is there.

https://gateway-api.sigs.k8s.io/reference/spec/#routeparentstatus
"""

from collections.abc import Iterable

from sampan.control.controller import Controller, Index, Reconcile, Watch
from sampan.control.plan import Key, Plan, Update, plan
from sampan.control.view import View
from sampan.gateway import attachment, grpc_rules, http_rules, kinds, status
from sampan.gateway.attachment import Parent
from sampan.gateway.listeners import Fault
from sampan.gateway.rule_parts import Translated
from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.core.secret import SECRET
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Kind, Object
from sampan.meta import objects

_MOST_PARENTS = 32
_BACKENDS = "spec.rules.backendRefs.name"
_MIRRORS = "spec.rules.filters.requestMirror.backendRef.name"
_PARENTS = "spec.parentRefs.name"
_TRANSLATE = {kinds.HTTPROUTE: http_rules.translate, kinds.GRPCROUTE: grpc_rules.translate}


def unsupported(view: View, kind: Kind, route: Object) -> Fault | None:
    """Why nothing of a route is served; None where something is."""
    return _unsupported(_TRANSLATE[kind](view, route))


def _unsupported(translated: Translated) -> Fault | None:
    if translated.dropped and not translated.route.rules:
        return Fault("UnsupportedValue", "; ".join(translated.dropped))
    return None


def _rule(kind: Kind) -> Reconcile:
    def reconcile(view: View, key: Key, now: float) -> Plan:
        route = view.get(kind, key)
        if route is None or objects.is_deleting(route):
            return Plan()
        entries = (route.get("status") or {}).get("parents") or []
        ours = {_identity(e["parentRef"]): e for e in entries if e.get("controllerName") == kinds.CONTROLLER_NAME}
        others = [entry for entry in entries if entry.get("controllerName") != kinds.CONTROLLER_NAME]
        parents = attachment.parents(view, kind, route)
        if not parents and not ours:
            return Plan()
        translated = _TRANSLATE[kind](view, route)
        made = [_entry(route, parent, translated, ours.get(_identity(parent.reference)), now) for parent in parents]
        wanted = {"parents": [*others, *made][:_MOST_PARENTS]}
        return plan((Update(kind, {**route, "status": wanted}, "status"),) if wanted != route.get("status") else ())

    return reconcile


def _entry(route: Object, parent: Parent, translated: Translated, old: Object | None, now: float) -> Object:
    fault = parent.fault or _unsupported(translated)
    verdicts = [("Accepted", status.verdict(fault, "Accepted", "the route is accepted"))]
    first = next(iter(translated.unresolved), None)
    unresolved = Fault(first.reason, first.message) if first is not None else None
    verdicts.append(("ResolvedRefs", status.verdict(unresolved, "ResolvedRefs", "all references are resolved")))
    if translated.dropped and translated.route.rules:
        verdicts.append(
            ("PartiallyInvalid", (True, "UnsupportedValue", f"Dropped Rule: {'; '.join(translated.dropped)}"))
        )
    before = (old or {}).get("conditions")
    return {
        "parentRef": parent.reference,
        "controllerName": kinds.CONTROLLER_NAME,
        "conditions": status.listed(route, before, verdicts, now),
    }


def _identity(reference: Object) -> tuple[object, ...]:
    return tuple(reference.get(field) for field in ("group", "kind", "namespace", "name", "sectionName", "port"))


def controller(kind: Kind) -> Controller:
    """The controller of one kind of routes."""

    def every(view: View, changed: Object) -> Iterable[Key]:
        for route in view.list(kind):
            yield objects.key(route)

    def of_gateway(view: View, gateway: Object) -> Iterable[Key]:
        for route in view.indexed(kind, _PARENTS, objects.name(gateway)):
            yield objects.key(route)

    def of_service(view: View, service: Object) -> Iterable[Key]:
        for index in (_BACKENDS, _MIRRORS):
            for route in view.indexed(kind, index, objects.name(service)):
                yield objects.key(route)

    def of_namespace(view: View, namespace: Object) -> Iterable[Key]:
        for route in view.list(kind, objects.name(namespace)):
            yield objects.key(route)

    return Controller(
        f"{kind.name.lower()}",
        kind,
        _rule(kind),
        watches=(
            Watch(kinds.GATEWAY, of_gateway, _says_else),
            Watch(kinds.GATEWAYCLASS, every, _says_else),
            Watch(kinds.REFERENCEGRANT, every),
            Watch(SERVICE, of_service, _says_else),
            Watch(NAMESPACE, of_namespace, _has_other_labels),
        ),
        reads=(SECRET,),
        indexes=tuple(Index(kind, path) for path in (_PARENTS, _BACKENDS, _MIRRORS)),
        matters=_matters,
    )


def _says_else(old: Object | None, new: Object | None) -> bool:
    return old is None or new is None or old.get("spec") != new.get("spec")


def _has_other_labels(old: Object | None, new: Object | None) -> bool:
    return old is None or new is None or objects.labels(old) != objects.labels(new)


def _matters(old: Object | None, new: Object | None) -> bool:
    """Also a status that somebody else changed."""
    return old is None or new is None or old.get("spec") != new.get("spec") or old.get("status") != new.get("status")
