"""IPAddress: one address of the service range, taken by the object that its parentRef names.

https://kubernetes.io/docs/reference/kubernetes-api/service-resources/ip-address-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, Column, Kind, Object
from sampan.kinds.parts import cells, ip_rules
from sampan.meta import names
from sampan.meta.status import Cause, invalid_value, required

FAMILY_LABEL = "ipaddress.kubernetes.io/ip-family"
MANAGED_BY_LABEL = "ipaddress.kubernetes.io/managed-by"
MANAGER = "ipallocator.k8s.io"


def parent_text(obj: Object, now: float) -> str:
    """services/default/kubernetes."""
    parent = (obj.get("spec") or {}).get("parentRef")
    if parent is None:
        return cells.NONE
    group = f".{parent['group']}" if parent.get("group") else ""
    where = f"/{parent['namespace']}" if parent.get("namespace") else ""
    return f"{parent.get('resource', '')}{group}".lower() + f"{where}/{parent.get('name', '')}"


IPADDRESS = Kind(
    group="networking.k8s.io",
    versions=("v1",),
    name="IPAddress",
    plural="ipaddresses",
    scope=CLUSTER,
    schema="io.k8s.api.networking.v1.IPAddress",
    list_name="IPAddressList",
    short_names=("ip",),
    columns=(Column("ParentRef", parent_text),),
    immutable=("spec.parentRef",),
    name_check=ip_rules.canonical_address,
)


def of_service(address: str, namespace: str, name: str) -> Object:
    """The IPAddress that a Service holds; an address is named by itself."""
    family = "IPv6" if ":" in address else "IPv4"
    labels = {FAMILY_LABEL: family, MANAGED_BY_LABEL: MANAGER}
    return {
        "apiVersion": IPADDRESS.api_version,
        "kind": IPADDRESS.name,
        "metadata": {"name": address, "labels": labels},
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
    }


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """The parent is named, and stays."""
    if old is not None:
        return ()
    parent = (new.get("spec") or {}).get("parentRef")
    path = "spec.parentRef"
    if parent is None:
        return [required(path)]
    found = []
    if parent.get("group"):
        found += [invalid_value(f"{path}.group", parent["group"], e) for e in names.dns1123_subdomain(parent["group"])]
    for field in ("resource", "name", "namespace"):
        value = parent.get(field) or ""
        if value:
            found += [invalid_value(f"{path}.{field}", value, error) for error in names.path_segment(value)]
        elif field != "namespace":
            found.append(required(f"{path}.{field}"))
    return found
