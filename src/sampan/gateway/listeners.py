"""Listeners: what each listener of a Gateway is good for, and what is wrong with it.

https://gateway-api.sigs.k8s.io/reference/spec/#listener
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sampan.control.view import View
from sampan.gateway import certificates, grants, kinds
from sampan.gateway.grants import Origin
from sampan.kinds.core.secret import SECRET
from sampan.kinds.kind import Object
from sampan.meta import objects, selectors

SUPPORTED_KINDS = ("HTTPRoute", "GRPCRoute")


@dataclass(frozen=True, slots=True)
class Fault:
    """Reason and message of a condition that is not as it should be."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Listener:
    """One listener as it was found. `secrets` are the keys of those that can be used; faults are None where all is well.

    `kinds` are those of routes that may attach.
    """

    spec: Object
    kinds: tuple[str, ...]
    secrets: tuple[tuple[str, str], ...] = ()
    unacceptable: Fault | None = None
    conflict: Fault | None = None
    unresolved: Fault | None = None

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def hostname(self) -> str:
        return str(self.spec.get("hostname") or "")

    @property
    def port(self) -> int:
        return int(self.spec["port"])

    @property
    def is_tls(self) -> bool:
        return bool(self.spec["protocol"] == "HTTPS")

    @property
    def is_served(self) -> bool:
        """Whether Envoy listens for it."""
        is_good = self.unacceptable is None and self.conflict is None
        return is_good and bool(self.kinds) and (bool(self.secrets) or not self.is_tls)


def of_gateway(view: View, gateway: Object) -> list[Listener]:
    """All of them, in their order."""
    specs = gateway["spec"].get("listeners") or ()
    return [_listener(view, gateway, spec, _conflict(spec, specs)) for spec in specs]


def _listener(view: View, gateway: Object, spec: Object, conflict: Fault | None) -> Listener:
    if spec["protocol"] not in ("HTTP", "HTTPS"):
        text = f"protocol {spec['protocol']} is not supported, only HTTP and HTTPS are"
        return Listener(spec, (), unacceptable=Fault("UnsupportedProtocol", text), conflict=conflict)
    allowed, unresolved = _kinds(spec)
    secrets: tuple[tuple[str, str], ...] = ()
    unacceptable = _selector_fault(spec)
    if spec["protocol"] == "HTTPS":
        secrets, wrong = _secrets(view, objects.namespace(gateway), spec.get("tls") or {})
        unresolved = unresolved or wrong
        unacceptable = unacceptable or _unsupported(spec.get("tls") or {})
    return Listener(spec, allowed, secrets, unacceptable, conflict, unresolved)


def _selector_fault(spec: Object) -> Fault | None:
    namespaces = (spec.get("allowedRoutes") or {}).get("namespaces") or {}
    try:
        selectors.from_label_selector(namespaces.get("selector"))
    except ValueError as error:
        return Fault("UnsupportedValue", f"allowedRoutes.namespaces.selector can't be used: {error}")
    return None


def _unsupported(tls: Object) -> Fault | None:
    if tls.get("mode") == "Passthrough":
        return Fault("UnsupportedValue", "tls.mode Passthrough is not supported with protocol HTTPS")
    if tls.get("options"):
        return Fault("UnsupportedValue", f"tls.options {', '.join(sorted(tls['options']))} are not supported")
    unknown = sorted(set(tls) - {"mode", "certificateRefs", "options"})
    return Fault("UnsupportedValue", f"tls.{unknown[0]} is not supported") if unknown else None


def _kinds(spec: Object) -> tuple[tuple[str, ...], Fault | None]:
    wanted = (spec.get("allowedRoutes") or {}).get("kinds")
    if not wanted:
        return SUPPORTED_KINDS, None
    named = [(kind.get("group") or kinds.GROUP, kind["kind"]) for kind in wanted]
    good = [kind for group, kind in named if group == kinds.GROUP and kind in SUPPORTED_KINDS]
    bad = [f"{group}/{kind}" for group, kind in named if group != kinds.GROUP or kind not in SUPPORTED_KINDS]
    fault = Fault("InvalidRouteKinds", f"routes of kind {', '.join(bad)} are not supported") if bad else None
    return tuple(dict.fromkeys(good)), fault


def _secrets(view: View, namespace: str, tls: Object) -> tuple[tuple[tuple[str, str], ...], Fault | None]:
    references = tls.get("certificateRefs") or ()
    good: list[tuple[str, str]] = []
    fault = None if references else Fault("InvalidCertificateRef", "no certificate is named")
    for reference in references:
        key = (str(reference.get("namespace") or namespace), str(reference["name"]))
        found = _fault(view, namespace, reference, key)
        if found is None:
            good.append(key)
        fault = fault or found
    return tuple(good), fault


def _fault(view: View, namespace: str, reference: Object, key: tuple[str, str]) -> Fault | None:
    target = (reference.get("group") or "", reference.get("kind") or "Secret")
    if target != ("", "Secret"):
        return Fault("InvalidCertificateRef", f"certificate {key[1]} is of kind {target[1]}, only Secret is supported")
    if not grants.is_permitted(view, Origin("Gateway", namespace), target, *key):
        return Fault("RefNotPermitted", f"Secret {'/'.join(key)} is not permitted by any ReferenceGrant")
    secret = view.get(SECRET, key)
    if secret is None:
        return Fault("InvalidCertificateRef", f"Secret {'/'.join(key)} is not found")
    try:
        certificates.of_secret(secret)
    except ValueError as error:
        return Fault("InvalidCertificateRef", f"Secret {'/'.join(key)} can't be used: {error}")
    return None


def _conflict(spec: Object, others: Iterable[Object]) -> Fault | None:
    for other in others:
        if other["name"] == spec["name"] or other["port"] != spec["port"]:
            continue
        if other["protocol"] != spec["protocol"]:
            return Fault("ProtocolConflict", f"listener {other['name']} has the same port and another protocol")
        if (other.get("hostname") or "") == (spec.get("hostname") or ""):
            return Fault("HostnameConflict", f"listener {other['name']} has the same port and hostname")
    return None
