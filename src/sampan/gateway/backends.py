"""Backends: which Service a reference means and whether it may, and which addresses a Service's port has now.

https://gateway-api.sigs.k8s.io/reference/spec/#backendref
"""

from dataclasses import dataclass

from sampan.control.view import View
from sampan.gateway import grants
from sampan.gateway.grants import Origin
from sampan.gateway.traffic import Cluster
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE, SERVICE_NAME_LABEL
from sampan.kinds.kind import Object
from sampan.meta import objects, selectors

HTTP2 = ("kubernetes.io/h2c", "h2c", "http2", "grpc")
ENCRYPTED = ("https", "kubernetes.io/wss", "tls", "grpcs")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a reference can't be followed: reason and message of the condition ResolvedRefs."""

    reason: str
    message: str


def resolve(view: View, origin: Origin, reference: Object) -> Cluster | Problem:
    """The port of the Service that is meant."""
    group, kind = reference.get("group") or "", reference.get("kind") or "Service"
    namespace, name = reference.get("namespace") or origin.namespace, str(reference["name"])
    if (group, kind) not in (("", "Service"), ("core", "Service")):
        return Problem("InvalidKind", f"backend {_kind_text(group, kind)} {name} is not supported, only Service is")
    if not grants.is_permitted(view, origin, ("", "Service"), namespace, name):
        return Problem("RefNotPermitted", f"backend Service {namespace}/{name} is not permitted by any ReferenceGrant")
    return of_service(view, (namespace, name), reference.get("port"), is_http2=origin.kind == "GRPCRoute")


def of_service(
    view: View, key: tuple[str, str], port: int | str | None, *, is_http2: bool = False
) -> Cluster | Problem:
    """A Service's port, by number or by name."""
    where = "/".join(key)
    service = view.get(SERVICE, key)
    if service is None:
        return Problem("BackendNotFound", f"backend Service {where} is not found")
    if (service.get("spec") or {}).get("type") == "ExternalName":
        return Problem("BackendNotFound", f"backend Service {where} is of type ExternalName, which has no endpoints")
    ports = service["spec"].get("ports") or ()
    found = next((p for p in ports if port in (p.get("port"), p.get("name")) and port not in (None, "")), None)
    if found is None:
        return Problem("BackendNotFound", f"backend Service {where} has no port {port}")
    protocol = found.get("appProtocol") or ""
    if (found.get("protocol") or "TCP") != "TCP" or protocol in ENCRYPTED:
        text = protocol if protocol in ENCRYPTED else found["protocol"]
        return Problem(
            "UnsupportedProtocol", f"backend Service {where} port {port} speaks {text}, which is not supported"
        )
    return Cluster(*key, int(found["port"]), found.get("name") or "", is_http2 or protocol in HTTP2)


def endpoints(view: View, cluster: Cluster, *, may_end: bool = True) -> tuple[tuple[str, int], ...]:
    """(address, port) of all that are ready; where none is, of those that still serve while they end, if these may.

    Of pods with addresses of both families, those of IPv4.
    """
    labels = selectors.from_map({SERVICE_NAME_LABEL: cluster.service})
    slices = [s for s in view.selected(ENDPOINTSLICE, cluster.namespace, labels) if not objects.is_deleting(s)]
    for family in ("IPv4", "IPv6"):
        ready, ending = _of_family([s for s in slices if s.get("addressType") == family], cluster.port_name)
        found = ready or (ending if may_end else set())
        if found:
            return tuple(sorted(found))
    return ()


def _of_family(slices: list[Object], port_name: str) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    ready: set[tuple[str, int]] = set()
    ending: set[tuple[str, int]] = set()
    for slice_ in slices:
        ports = [p["port"] for p in slice_.get("ports") or () if (p.get("name") or "") == port_name and p.get("port")]
        for endpoint in slice_.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            found = {(address, port) for address in endpoint["addresses"][:1] for port in ports}
            if conditions.get("ready") is not False:
                ready |= found
            elif conditions.get("serving") and conditions.get("terminating"):
                ending |= found
    return ready, ending


def _kind_text(group: str, kind: str) -> str:
    return f"{group}/{kind}" if group else kind
