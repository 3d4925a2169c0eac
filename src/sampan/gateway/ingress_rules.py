"""Ingress rules: what all Ingresses of our class say together, as hosts and certificates.

Of two that claim the same host and path the older one has it.

https://kubernetes.io/docs/concepts/services-networking/ingress/
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sampan.control.view import View
from sampan.gateway import backends, certificates, kinds, rule_parts
from sampan.gateway.backends import Problem
from sampan.gateway.rule_parts import Unsupported
from sampan.gateway.traffic import EXACT, PREFIX, Backend, Cluster, Host, Match, Route, Rule
from sampan.kinds.core.secret import SECRET
from sampan.kinds.kind import Object
from sampan.kinds.networking.ingress import CLASS_ANNOTATION, INGRESS
from sampan.kinds.networking.ingress_class import INGRESSCLASS
from sampan.meta import objects

DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"


@dataclass(frozen=True, slots=True)
class Complaint:
    """What of an Ingress is not served, and why."""

    reason: str
    message: str


def is_ours(view: View, ingress: Object) -> bool:
    """Whether its class, or the default one where it names none, is looked after here."""
    name = (ingress.get("spec") or {}).get("ingressClassName") or objects.annotations(ingress).get(CLASS_ANNOTATION)
    if name:
        found = view.get(INGRESSCLASS, ("", name))
        return found is not None and _is_our_class(found)
    defaults = (c for c in view.list(INGRESSCLASS) if objects.annotations(c).get(DEFAULT_CLASS) == "true")
    return any(map(_is_our_class, defaults))


def ours(view: View) -> list[Object]:
    """All Ingresses that are served here, the oldest first."""
    found = [ingress for ingress in view.list(INGRESS) if is_ours(view, ingress)]
    return sorted(found, key=lambda i: (i["metadata"].get("creationTimestamp", ""), objects.key(i)))


def hosts(view: View, ingresses: Iterable[Object]) -> tuple[Host, ...]:
    """The routes of each host; whatever no rule matches goes to the oldest default backend."""
    by_host: dict[str, list[Route]] = {"*": []}
    fallback: Route | None = None
    for ingress in ingresses:
        for rule in ingress["spec"].get("rules") or ():
            made = _route(ingress, _rules(view, ingress, rule))
            by_host.setdefault(rule.get("host") or "*", []).append(made)
        if ingress["spec"].get("defaultBackend") and fallback is None:
            found = _cluster(view, ingress, ingress["spec"]["defaultBackend"])
            fallback = _route(ingress, (_rule(Match(), found),))
    last = (replace(fallback, tier=2),) if fallback is not None else ()
    anywhere = tuple(replace(route, tier=1) for route in by_host["*"])  # *.example.com is one label only
    return tuple(
        Host(name, (*routes, *(anywhere if name.startswith("*.") else ()), *last))
        for name, routes in sorted(by_host.items())
    )


def doors(view: View, ingresses: Iterable[Object]) -> dict[str, tuple[str, str]]:
    """By host in TLS, the key of the Secret; "" for whoever asks for another."""
    found: dict[str, tuple[str, str]] = {}
    for ingress in ingresses:
        for entry in ingress["spec"].get("tls") or ():
            key = (objects.namespace(ingress), entry.get("secretName") or "")
            if _secret_fault(view, key):
                continue
            named = entry.get("hosts") or [rule.get("host") or "" for rule in ingress["spec"].get("rules") or [{}]]
            for host in named:
                found.setdefault("" if host == "*" else host, key)
    return found


def complaints(view: View, ingress: Object) -> list[Complaint]:
    """What its author should know."""
    spec, found = ingress["spec"], []
    paths = [path for rule in spec.get("rules") or () for path in (rule.get("http") or {}).get("paths") or ()]
    named = [path["backend"] for path in paths] + ([spec["defaultBackend"]] if spec.get("defaultBackend") else [])
    found += [Complaint("UnsupportedValue", fault) for fault in map(_path_fault, paths) if fault]
    for backend in named:
        if backend.get("resource"):
            found.append(Complaint("UnsupportedValue", "a backend of type resource is not supported, only service is"))
            continue
        resolved = _cluster(view, ingress, backend)
        if isinstance(resolved, Problem):
            found.append(Complaint(resolved.reason, resolved.message))
    keys = ((objects.namespace(ingress), entry.get("secretName") or "") for entry in spec.get("tls") or ())
    faults = filter(None, (_secret_fault(view, key) for key in keys))
    found += [Complaint("InvalidCertificateRef", fault) for fault in faults]
    return list(dict.fromkeys(found))


def _is_our_class(ingress_class: Object) -> bool:
    return bool((ingress_class.get("spec") or {}).get("controller") == kinds.INGRESS_CONTROLLER)


def _route(ingress: Object, rules: Iterable[Rule]) -> Route:
    created = str(ingress["metadata"].get("creationTimestamp", ""))
    return Route("Ingress", *objects.key(ingress), created, tuple(rules))


def _rules(view: View, ingress: Object, rule: Object) -> Iterable[Rule]:
    host = rule.get("host") or ""
    authority = rf"(?i)[^.]+{re.escape(host[1:])}(?::[0-9]+)?" if host.startswith("*.") else ""
    for path in (rule.get("http") or {}).get("paths") or ():
        if _path_fault(path):
            continue
        type_ = EXACT if path.get("pathType") == "Exact" else PREFIX
        match = Match(type_, path.get("path") or "/", authority=authority)
        yield _rule(match, _cluster(view, ingress, path["backend"]))


def _path_fault(path: Object) -> str:
    try:
        rule_parts.literal_path(path.get("path") or "/")
    except Unsupported as refusal:
        return str(refusal)
    return ""


def _rule(match: Match, found: Cluster | Problem) -> Rule:
    return Rule((match,), (Backend(None if isinstance(found, Problem) else found),))


def _cluster(view: View, ingress: Object, backend: Object) -> Cluster | Problem:
    service = backend.get("service")
    if not service:
        return Problem("UnsupportedValue", "a backend of type resource is not supported")
    port = service.get("port") or {}
    return backends.of_service(
        view, (objects.namespace(ingress), service["name"]), port.get("number") or port.get("name")
    )


def _secret_fault(view: View, key: tuple[str, str]) -> str:
    secret = view.get(SECRET, key) if key[1] else None
    if secret is None:
        return f"Secret {'/'.join(key)} is not found" if key[1] else "tls without secretName is not supported"
    try:
        certificates.of_secret(secret)
    except ValueError as error:
        return f"Secret {'/'.join(key)} can't be used: {error}"
    return ""
