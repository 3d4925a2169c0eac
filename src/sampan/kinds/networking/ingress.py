"""Ingress: which Service answers which host and path from outside.

https://kubernetes.io/docs/reference/kubernetes-api/service-resources/ingress-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import STATUS, Column, Kind, Object
from sampan.kinds.parts import cells, ingress_rules
from sampan.meta.status import Cause

CLASS_ANNOTATION = "kubernetes.io/ingress.class"


def class_text(obj: Object, now: float) -> str:
    """The class it names."""
    name = (obj.get("spec") or {}).get("ingressClassName")
    return cells.NONE if name is None else str(name)


def hosts_text(obj: Object, now: float) -> str:
    """a.example,b.example, three at most; * for any."""
    rules = (obj.get("spec") or {}).get("rules") or ()
    hosts = [rule["host"] for rule in rules[:3] if rule.get("host")]
    if not hosts:
        return "*"
    return ",".join(hosts) + (f" + {len(rules) - 3} more..." if len(rules) > 3 else "")


def address_text(obj: Object, now: float) -> str:
    """Where it is reached."""
    entries = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return ",".join(sorted({entry.get("ip") or entry.get("hostname") or "" for entry in entries} - {""}))


def ports_text(obj: Object, now: float) -> str:
    """80, and 443 with TLS."""
    return "80, 443" if (obj.get("spec") or {}).get("tls") else "80"


_CLASS = "The name of the IngressClass resource that should be used for additional configuration"

INGRESS = Kind(
    group="networking.k8s.io",
    versions=("v1",),
    name="Ingress",
    plural="ingresses",
    schema="io.k8s.api.networking.v1.Ingress",
    short_names=("ing",),
    subresources=(STATUS,),
    columns=(
        Column("Class", class_text, description=_CLASS),
        Column(
            "Hosts", hosts_text, description="Hosts that incoming requests are matched against before the ingress rule"
        ),
        Column(
            "Address",
            address_text,
            description="Address is a list containing ingress points for the load-balancer",
        ),
        Column("Ports", ports_text, description="Ports of TLS configurations that open"),
        cells.AGE,
    ),
    has_generation=True,
)


def default(obj: Object) -> None:
    """Nothing but the status has any."""
    default_status(obj)


def default_status(obj: Object) -> None:
    """It always has its load balancer."""
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one has no status yet."""
    if old is None:
        new["status"] = {"loadBalancer": {}}


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Rules or a default backend, each naming a service with a port, or a resource."""
    if subresource == "status":
        balancer = (new.get("status") or {}).get("loadBalancer") or {}
        before = ((old or {}).get("status") or {}).get("loadBalancer") or {}
        return ingress_rules.balancer_causes(balancer, before, "status.loadBalancer")
    return ingress_rules.causes(new, old)
