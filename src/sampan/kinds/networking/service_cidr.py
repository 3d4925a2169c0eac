"""ServiceCIDR: a range from which Services get their cluster IPs.

https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-cidr-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, METADATA, STATUS, Column, Kind, Object
from sampan.kinds.parts import cells, ip_rules
from sampan.meta.status import Cause, invalid_value, required

DEFAULT_NAME = "kubernetes"
FINALIZER = "networking.k8s.io/service-cidr-finalizer"


def cidrs_text(obj: Object, now: float) -> str:
    """10.96.0.0/16,fd00::/112."""
    return ",".join(cidrs(obj)) or cells.NONE


SERVICECIDR = Kind(
    group="networking.k8s.io",
    versions=("v1",),
    name="ServiceCIDR",
    plural="servicecidrs",
    scope=CLUSTER,
    schema="io.k8s.api.networking.v1.ServiceCIDR",
    subresources=(STATUS,),
    status_keeps=METADATA,
    columns=(Column("CIDRs", cidrs_text), cells.AGE),
)


def cidrs(obj: Object) -> list[str]:
    """Its ranges, at most one of each family."""
    listed: list[str] = (obj.get("spec") or {}).get("cidrs") or []
    return listed


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one has no status yet."""
    if old is None:
        new["status"] = {}


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """One or two ranges, of different families; a second one may be added, nothing else changes."""
    if subresource == "status":
        return ()
    if old is None:
        return _causes(cidrs(new))
    given, before = cidrs(new), cidrs(old)
    if len(given) == len(before):
        changed = [index for index, value in enumerate(before) if given[index] != value]
        return [invalid_value(f"spec.cidrs[{index}]", given[index], "field is immutable") for index in changed]
    if len(before) == 1 and len(given) == 2:
        moved = [invalid_value("spec.cidrs[0]", given[0], "field is immutable")] if given[0] != before[0] else []
        return [*moved, *_causes(given)]
    return [invalid_value("spec.cidrs", given, "field is immutable")]


def _causes(given: Sequence[str]) -> list[Cause]:
    if not given:
        return [required("spec.cidrs", "at least one CIDR required")]
    if len(given) > 2:
        return [invalid_value("spec.cidrs", {"cidrs": list(given)}, "may only hold up to 2 values")]
    found = [c for i, value in enumerate(given) for c in ip_rules.cidr(f"spec.cidrs[{i}]", value, canonical=True)]
    families = [ip_rules.family_of(network) for value in given if (network := ip_rules.network(value))]
    if len(families) == 2 and families[0] == families[1]:
        text = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        found.append(invalid_value("spec.cidrs", list(given), text))
    return found
