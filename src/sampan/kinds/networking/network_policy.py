"""NetworkPolicy: which traffic the pods that it selects take and make.

https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
"""

import ipaddress
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from sampan.kinds.kind import Column, Kind, Object
from sampan.kinds.parts import cells, ip_rules
from sampan.meta import names, selectors, validation
from sampan.meta.status import Cause, forbidden_field, invalid_value, not_supported, required

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_TYPES = ("Egress", "Ingress")
_SIDES = (("ingress", "from"), ("egress", "to"))


def selector_text(obj: Object, now: float) -> str:
    """The selector of its pods; <none> selects all."""
    selector = (obj.get("spec") or {}).get("podSelector") or {}
    return str(selectors.from_label_selector(selector)) or cells.NONE


NETWORKPOLICY = Kind(
    group="networking.k8s.io",
    versions=("v1",),
    name="NetworkPolicy",
    plural="networkpolicies",
    schema="io.k8s.api.networking.v1.NetworkPolicy",
    short_names=("netpol",),
    columns=(Column("Pod-Selector", selector_text), cells.AGE),
    has_generation=True,
)


def default(obj: Object) -> None:
    """Ports are TCP; a policy is about ingress, and about egress when it has such rules; about all pods unless it selects."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    for port in _ports(spec):
        if port.get("protocol") is None:
            port["protocol"] = "TCP"
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Selectors, ports and peers that mean something."""
    spec = new.get("spec") or {}
    known = set(_cidrs((old or {}).get("spec") or {}))
    found = validation.label_selector(spec.get("podSelector") or {}, "spec.podSelector")
    for side, peers in _SIDES:
        for index, rule in enumerate(spec.get(side) or ()):
            path = f"spec.{side}[{index}]"
            for number, port in enumerate(rule.get("ports") or ()):
                found += _port_causes(port, f"{path}.ports[{number}]")
            for number, peer in enumerate(rule.get(peers) or ()):
                found += _peer_causes(peer, f"{path}.{peers}[{number}]", known)
    types = spec.get("policyTypes") or ()
    if len(types) > len(_TYPES):
        return [*found, invalid_value("spec.policyTypes", types, "may not specify more than two policyTypes")]
    unknown = [(index, value) for index, value in enumerate(types) if value not in _TYPES]
    return found + [not_supported(f"spec.policyTypes[{index}]", value, _TYPES) for index, value in unknown]


def _port_causes(port: Mapping[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    if port.get("protocol") is not None and port["protocol"] not in _PROTOCOLS:
        found.append(not_supported(f"{path}.protocol", port["protocol"], _PROTOCOLS))
    number, end = port.get("port"), port.get("endPort")
    if number is None:
        if end is not None:
            found.append(invalid_value(f"{path}.endPort", end, "may not be specified when `port` is not specified"))
    elif isinstance(number, str):
        if end is not None:
            found.append(invalid_value(f"{path}.endPort", end, "may not be specified when `port` is non-numeric"))
        found += [invalid_value(f"{path}.port", number, error) for error in names.port_name(number)]
    else:
        found += [invalid_value(f"{path}.port", number, error) for error in names.port_number(number)]
        if end is not None:
            if end < number:
                found.append(invalid_value(f"{path}.endPort", end, "must be greater than or equal to `port`"))
            found += [invalid_value(f"{path}.endPort", end, error) for error in names.port_number(end)]
    return found


def _peer_causes(peer: Mapping[str, Any], path: str, known: Container[str]) -> list[Cause]:
    found: list[Cause] = []
    given = [name for name in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(name) is not None]
    for name in given:
        if name == "ipBlock":
            found += _block_causes(peer[name], f"{path}.ipBlock", known)
        else:
            found += validation.label_selector(peer[name], f"{path}.{name}")
    if not given:
        found.append(required(path, "must specify a peer"))
    elif len(given) > 1 and "ipBlock" in given:
        found.append(forbidden_field(path, "may not specify both ipBlock and another peer"))
    return found


def warn(new: Object, old: Object | None) -> Sequence[str]:
    """CIDRs that are not written as others write them."""
    return [
        text for path, value in _placed_cidrs(new.get("spec") or {}) for text in ip_rules.cidr_warnings(path, value)
    ]


def _block_causes(block: Mapping[str, Any], path: str, known: Container[str]) -> list[Cause]:
    value = block.get("cidr") or ""
    if not value:
        return [required(f"{path}.cidr")]
    found = ip_rules.cidr(f"{path}.cidr", value, known=known)
    whole = _network(value)
    for index, part in enumerate(block.get("except") or () if whole is not None else ()):
        where = f"{path}.except[{index}]"
        found += ip_rules.cidr(where, part, known=known)
        inner = _network(part)
        if inner is not None and not _is_strict_subset(inner, whole):
            found.append(invalid_value(where, part, "must be a strict subset of `cidr`"))
    return found


def _is_strict_subset(inner: ip_rules.Network, whole: ip_rules.Network | None) -> bool:
    if whole is None or inner.version != whole.version:
        return False
    return inner.network_address in whole and inner.prefixlen > whole.prefixlen


def _network(value: str) -> ip_rules.Network | None:
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        return None


def _ports(spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for side, _ in _SIDES:
        for rule in spec.get(side) or ():
            yield from rule.get("ports") or ()


def _cidrs(spec: Mapping[str, Any]) -> Iterator[str]:
    """Every CIDR of a policy: one that was there already is not looked at again."""
    return (value for _, value in _placed_cidrs(spec))


def _placed_cidrs(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for side, peers in _SIDES:
        for r, rule in enumerate(spec.get(side) or ()):
            for p, peer in enumerate(rule.get(peers) or ()):
                block, path = peer.get("ipBlock") or {}, f"spec.{side}[{r}].{peers}[{p}].ipBlock"
                yield f"{path}.cidr", block.get("cidr") or ""
                yield from ((f"{path}.except[{e}]", part) for e, part in enumerate(block.get("except") or ()))
