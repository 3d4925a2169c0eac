"""Ingresses: whether what they name is there: Services, ports, Secrets, a class, and somebody who serves it."""

from collections.abc import Iterator, Mapping
from typing import Any

from sampan.kinds.core.secret import SECRET
from sampan.kinds.core.service import SERVICE
from sampan.kinds.networking.ingress_class import INGRESSCLASS
from sampan.meta import objects
from sampan.platform.health import services, words
from sampan.platform.health.lookup import Lookup
from sampan.platform.health.verdict import HEALTHY, PROGRESSING, STUCK, Verdict, about, because

Object = Mapping[str, Any]
WAIT_SECONDS = 60


def judge(ingress: Object, look: Lookup) -> Verdict:
    """An Ingress, down to the Services that it leads to."""
    causes = [cause for backend in _backends(ingress) if (cause := _backend(ingress, backend, look)) is not None]
    own = _certificate(ingress, look) or _class(ingress, look)
    if own is not None:
        return own
    if any(not cause.is_healthy for cause in causes):
        return because(
            about(ingress, PROGRESSING, "BackendNotReady", "leads to a Service that does not answer"), causes
        )
    if ((ingress.get("status") or {}).get("loadBalancer") or {}).get("ingress"):
        return about(ingress, HEALTHY, "Ready", "is served")
    waited = words.since(ingress, look.now)
    state = STUCK if waited > WAIT_SECONDS else PROGRESSING
    steps = (
        "look whether an ingress controller runs for its class: kubectl get ingressclasses",
        "here: sampan enable gateway",
    )
    return about(ingress, state, "NotServed", "is served by nobody: no controller has given it an address", next=steps)


def _backend(ingress: Object, backend: Object, look: Lookup) -> Verdict | None:
    wanted = backend.get("service")
    if not wanted:
        return None
    namespace, name = objects.namespace(ingress), str(wanted.get("name", ""))
    found = look.get(SERVICE, name, namespace)
    if look.is_hidden(SERVICE, namespace, name):
        return None
    if found is None:
        better = words.nearest_object(name, look.list(SERVICE, namespace))
        missing = {"kind": "Service", "metadata": {"name": name, "namespace": namespace}}
        steps = (f"{words.in_namespace(namespace)} edit ingress {objects.name(ingress)}   # backend.service.name",)
        return about(missing, STUCK, "ServiceMissing", f"does not exist{words.meant(better)}", next=steps)
    port = wanted.get("port") or {}
    ports = [
        p for each in (found.get("spec") or {}).get("ports") or () for p in (each.get("port"), each.get("name")) if p
    ]
    if (port.get("number") or port.get("name")) not in ports:
        message = (
            f"has no port {port.get('number') or port.get('name')}: it has {words.listed([str(p) for p in ports])}"
        )
        steps = (f"{words.in_namespace(namespace)} edit ingress {objects.name(ingress)}   # backend.service.port",)
        return about({"kind": "Service", **found}, STUCK, "ServicePortMissing", message, next=steps)
    return services.judge({"apiVersion": "v1", "kind": "Service", **found}, look)


def _certificate(ingress: Object, look: Lookup) -> Verdict | None:
    for entry in (ingress.get("spec") or {}).get("tls") or ():
        name = str(entry.get("secretName") or "")
        there = look.get(SECRET, name, objects.namespace(ingress)) if name else None
        if name and there is None and not look.is_hidden(SECRET, objects.namespace(ingress), name):
            better = words.nearest_object(name, look.list(SECRET, objects.namespace(ingress)))
            message = f"names the Secret {name} for its certificate, which does not exist{words.meant(better)}"
            make = f"{words.in_namespace(objects.namespace(ingress))} create secret tls {name} --cert=FILE --key=FILE"
            return about(ingress, STUCK, "CertificateMissing", message, next=(make,))
    return None


def _class(ingress: Object, look: Lookup) -> Verdict | None:
    name = (ingress.get("spec") or {}).get("ingressClassName")
    if not name or look.get(INGRESSCLASS, str(name)) is not None or look.is_hidden(INGRESSCLASS, name=str(name)):
        return None
    known = sorted(objects.name(each) for each in look.list(INGRESSCLASS))
    has = f": there are {words.listed(known)}" if known else ": there is none at all"
    steps = (
        f"{words.in_namespace(objects.namespace(ingress))} edit ingress {objects.name(ingress)}   # spec.ingressClassName",
    )
    return about(
        ingress, STUCK, "IngressClassMissing", f"names the class {name}, which does not exist{has}", next=steps
    )


def _backends(ingress: Object) -> Iterator[Object]:
    spec = ingress.get("spec") or {}
    if spec.get("defaultBackend"):
        yield spec["defaultBackend"]
    for rule in spec.get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            yield path.get("backend") or {}
