"""A Service's address fields before addresses are given: clusterIP and clusterIPs say the same, families are known.

An update that leaves out what was allocated means to keep it.

https://kubernetes.io/docs/concepts/services-networking/dual-stack/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.parts import ip_rules, service_rules, service_shape
from sampan.meta.status import Cause, invalid_value

Spec = dict[str, Any]

SINGLE, PREFER, REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"
FAMILIES = ("IPv4", "IPv6")


def keep_allocated(spec: Spec, before: Spec | None) -> None:
    """Puts back addresses and ports that an update left out, and brings clusterIP and clusterIPs together."""
    if before is None:
        if spec.get("clusterIP") and not spec.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]
        return
    if service_shape.needs_cluster_ip(before) and service_shape.needs_cluster_ip(spec):
        if not spec.get("clusterIP") and before.get("clusterIP"):
            spec["clusterIP"] = before["clusterIP"]
        if not spec.get("clusterIPs") and spec.get("clusterIP") == before.get("clusterIP"):
            _set(spec, "clusterIPs", before.get("clusterIPs"))
    if service_shape.needs_node_ports(before) and service_shape.needs_node_ports(spec):
        _keep_node_ports(spec, before)
    both_check = service_shape.needs_health_check(before) and service_shape.needs_health_check(spec)
    if both_check and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = before.get("healthCheckNodePort")
    _normalize(spec, before)


def _keep_node_ports(spec: Spec, before: Spec) -> None:
    old = {port.get("nodePort") for port in before.get("ports") or ()}
    used = old & {port.get("nodePort") for port in spec.get("ports") or ()}
    by_name = {port.get("name") or "": port.get("nodePort") for port in before.get("ports") or ()}
    for port in spec.get("ports") or ():
        known = by_name.get(port.get("name") or "")
        if not port.get("nodePort") and known and known not in used:
            port["nodePort"] = known


def _normalize(spec: Spec, before: Spec) -> None:
    """Old clients know clusterIP alone: what they changed, or cleared, holds for clusterIPs too."""
    address, old = spec.get("clusterIP") or "", before.get("clusterIP") or ""
    same_list = (spec.get("clusterIPs") or []) == (before.get("clusterIPs") or [])
    if before.get("clusterIPs") and not spec.get("clusterIPs") and address == old:
        _set(spec, "clusterIPs", before["clusterIPs"])
    if address == old or not same_list:
        return
    _set(spec, "clusterIPs", [address] if address else None)


def initialize(spec: Spec, before: Spec | None, served: Sequence[str]) -> list[Cause]:
    """Sets ipFamilyPolicy and ipFamilies; what is wrong with those given. `served`: the cluster's families."""
    if not service_shape.needs_cluster_ip(spec) or _stays_preferred(spec, before):
        return []
    if not spec.get("ipFamilyPolicy"):
        spec["ipFamilyPolicy"] = _policy(spec, before)
    causes = service_rules.address_causes(spec)
    if not causes:
        causes = _size_causes(spec, before) + _infer_families(spec, served)
    if causes:
        return causes
    if service_shape.is_headless(spec) and not spec.get("selector"):
        families = list(spec.get("ipFamilies") or served[:1])
        if len(families) < 2 and spec["ipFamilyPolicy"] != SINGLE:
            families += [family for family in FAMILIES if family not in families]
        spec["ipFamilies"] = families
        return []
    causes = _served_causes(spec, served)
    if not causes and not spec.get("ipFamilies"):
        spec["ipFamilies"] = list(served[:1])
    if not causes and spec["ipFamilyPolicy"] != SINGLE and len(spec["ipFamilies"]) == 1:
        spec["ipFamilies"] += [family for family in served if family not in spec["ipFamilies"]]
    return causes


def _stays_preferred(spec: Spec, before: Spec | None) -> bool:
    """A service that prefers two families is not changed when the cluster's families have."""
    if before is None or not spec.get("ipFamilyPolicy") == before.get("ipFamilyPolicy") == PREFER:
        return False
    return all((spec.get(name) or []) == (before.get(name) or []) for name in ("clusterIPs", "ipFamilies"))


def _policy(spec: Spec, before: Spec | None) -> str:
    if before is not None and before.get("ipFamilyPolicy"):
        return str(before["ipFamilyPolicy"])
    is_bare = spec.get("clusterIP") == service_shape.HEADLESS and not spec.get("selector")
    return REQUIRE if is_bare else SINGLE


def _size_causes(spec: Spec, before: Spec | None) -> list[Cause]:
    """One family or two: the policy decides, and says so when it gives one up."""
    path, policy, found = "spec.ipFamilyPolicy", spec["ipFamilyPolicy"], []
    words = (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family"))
    for field, word in words if before is not None else ():
        old, new = (before or {}).get(field) or [], spec.get(field) or []
        if policy == SINGLE:
            if old == new and len(new) > 1:
                spec[field] = new[:1]
        elif len(old) == 2 and len(new) == 1 and new[0] == old[0]:
            found.append(invalid_value(path, policy, f"must be 'SingleStack' to release the secondary {word}"))
    for field, words_many in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")):
        if policy == SINGLE and len(spec.get(field) or ()) == 2:
            text = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {words_many} are specified"
            found.append(invalid_value(path, policy, text))
    return found


def _infer_families(spec: Spec, served: Sequence[str]) -> list[Cause]:
    """Each address without a family at its place gives its own."""
    found: list[Cause] = []
    addresses = spec.get("clusterIPs") or []
    families = list(spec.get("ipFamilies") or ())
    for index, text in enumerate(addresses):
        parsed = ip_rules.parse(text)
        if parsed is None:
            break
        if index < len(families):
            continue
        family = ip_rules.family_of(parsed)
        if family not in served:
            why = f"{family} is not configured on this cluster"
            found.append(invalid_value(f"spec.clusterIPs[{index}]", addresses, why))
        else:
            families.append(family)
    _set(spec, "ipFamilies", families)
    return found


def _served_causes(spec: Spec, served: Sequence[str]) -> list[Cause]:
    found: list[Cause] = []
    policy = spec["ipFamilyPolicy"]
    if policy == REQUIRE and len(served) < 2:
        text = "this cluster is not configured for dual-stack services"
        found.append(invalid_value("spec.ipFamilyPolicy", policy, text))
    found += [
        invalid_value(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
        for index, family in enumerate(spec.get("ipFamilies") or ())
        if family not in served
    ]
    return found


def _set(spec: Spec, field: str, value: Any) -> None:
    if value:
        spec[field] = list(value)
    else:
        spec.pop(field, None)
