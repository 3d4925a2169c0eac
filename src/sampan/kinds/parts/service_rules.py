"""Which services are refused: ports, types, selectors, addresses, policies, and what may not change.

https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.kind import Object
from sampan.kinds.parts import ingress_rules, ip_rules, service_shape
from sampan.meta import names, objects, validation
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_AFFINITIES = ("ClientIP", "None")
_POLICIES = ("Cluster", "Local")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_IP_MODES = ("Proxy", "VIP")
_MAX_AFFINITY_SECONDS = 86400
_RANGES_ANNOTATION = "service.beta.kubernetes.io/load-balancer-source-ranges"
_HINTS_ANNOTATION = "service.kubernetes.io/topology-aware-hints"
_MODE_ANNOTATION = "service.kubernetes.io/topology-mode"
_BALANCER_ONLY = "may only be used when `type` is 'LoadBalancer'"

Spec = Mapping[str, Any]


def causes(new: Object, old: Object | None) -> list[Cause]:
    """All that is wrong with a service, new or an update of `old`."""
    spec = new.get("spec") or {}
    before = (old or {}).get("spec") or {}
    found = _update_causes(spec, before) if old is not None else []
    found += _annotation_causes(objects.annotations(new))
    headless = service_shape.is_headless(spec)
    if not spec.get("ports") and spec.get("type") != "ExternalName" and not headless:
        found.append(required("spec.ports"))
    found += _type_causes(spec, headless=headless)
    found += _ports_causes(spec.get("ports") or ())
    if spec.get("selector"):
        found += validation.labels(spec["selector"], "spec.selector")
    found += _affinity_causes(spec)
    found += address_causes(spec)
    known = set(before.get("externalIPs") or ())
    for index, address in enumerate(spec.get("externalIPs") or ()):
        path = f"spec.externalIPs[{index}]"
        found += ip_rules.address(path, address, known=known) or ip_rules.not_special(path, address)
    if spec.get("type") not in _TYPES:
        found.append(not_supported("spec.type", spec.get("type") or "", _TYPES))
    found += _repeated_causes(spec)
    found += _balancer_causes(new, before)
    return found + _policy_causes(spec)


def status_causes(new: Object, old: Object | None) -> list[Cause]:
    """What is wrong with a status: only load balancers have addresses there."""
    balancer = (new.get("status") or {}).get("loadBalancer") or {}
    before = ((old or {}).get("status") or {}).get("loadBalancer") or {}
    path = "status.loadBalancer"
    if balancer.get("ingress") and (new.get("spec") or {}).get("type") != "LoadBalancer":
        return [forbidden_field(f"{path}.ingress", "may only be used when `spec.type` is 'LoadBalancer'")]
    found: list[Cause] = []
    for index, entry in enumerate(balancer.get("ingress") or ()):
        where, mode = f"{path}.ingress[{index}].ipMode", entry.get("ipMode")
        if mode is None and entry.get("ip"):
            found.append(required(where, "must be specified when `ip` is set"))
        elif mode is not None and not entry.get("ip"):
            found.append(forbidden_field(where, "may not be specified when `ip` is not set"))
        elif mode is not None and mode not in _IP_MODES:
            found.append(not_supported(where, mode, _IP_MODES))
    return found + ingress_rules.balancer_causes(balancer, before, path)


def address_causes(spec: Spec) -> list[Cause]:
    """clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy: each well formed, and one with the others."""
    if spec.get("type") == "ExternalName":
        return []
    single, listed = spec.get("clusterIP") or "", list(spec.get("clusterIPs") or ())
    families, path = list(spec.get("ipFamilies") or ()), "spec.clusterIPs"
    found: list[Cause] = []
    if single and not listed:
        found.append(required(path))
    elif single and listed[0] != single:
        found.append(invalid_value(path, listed, "first value must match `clusterIP`"))
    elif not single and listed:
        found.append(invalid_value(path, listed, "must be empty when `clusterIP` is not specified"))
    for index, family in enumerate(families):
        if family not in _FAMILIES:
            found.append(not_supported(f"spec.ipFamilies[{index}]", family, _FAMILIES))
        if family in families[:index]:
            found.append(duplicate(f"spec.ipFamilies[{index}]", family))
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in _FAMILY_POLICIES:
        found.append(not_supported("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES))
    wrong = _listed_causes(listed, path)
    if len(listed) > 2:
        wrong.append(invalid_value(path, listed, "may only hold up to 2 values"))
    found += wrong
    return found if wrong else found + _stack_causes(listed, families, path)


def _listed_causes(listed: Sequence[str], path: str) -> list[Cause]:
    if listed and listed[0] == service_shape.HEADLESS:
        text = "'None' must be the first and only value"
        return [invalid_value(path, list(listed), text)] if len(listed) > 1 else []
    return [cause for index, value in enumerate(listed) for cause in ip_rules.address(f"{path}[{index}]", value)]


def _stack_causes(listed: Sequence[str], families: Sequence[str], path: str) -> list[Cause]:
    """`listed` are well formed."""
    parsed = [address for value in listed if (address := ip_rules.parse(value))]
    found: list[Cause] = []
    if len(parsed) == 2 and parsed[0].version == parsed[1].version:
        found.append(invalid_value(path, list(listed), "may specify no more than one IP for each IP family"))
    for index, (address, family) in enumerate(zip(parsed, families, strict=False)):
        if family in _FAMILIES and ip_rules.family_of(address) != family:
            text = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            found.append(invalid_value(f"{path}[{index}]", listed[index], text))
    return found


def _ports_causes(ports: Sequence[Spec]) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        name = port.get("name") or ""
        if not name and len(ports) > 1:
            found.append(required(f"{path}.name"))
        elif name:
            found += [invalid_value(f"{path}.name", name, text) for text in names.dns1123_label(name)]
            if name in seen:
                found.append(duplicate(f"{path}.name", name))
            seen.add(name)
        number = port.get("port") or 0
        found += [invalid_value(f"{path}.port", number, text) for text in names.port_number(number)]
        if port.get("protocol") not in _PROTOCOLS:
            found.append(not_supported(f"{path}.protocol", port.get("protocol") or "", _PROTOCOLS))
        found += _target_causes(port.get("targetPort"), f"{path}.targetPort")
        if port.get("appProtocol") is not None:
            value = port["appProtocol"]
            found += [invalid_value(f"{path}.appProtocol", value, text) for text in names.qualified_name(value)]
    return found


def _target_causes(target: Any, path: str) -> list[Cause]:
    check = names.port_name(target) if isinstance(target, str) else names.port_number(target or 0)
    return [invalid_value(path, target, text) for text in check]


def _repeated_causes(spec: Spec) -> list[Cause]:
    """Node ports where there are none, and (protocol, number) pairs that come twice."""
    found: list[Cause] = []
    ports = list(enumerate(spec.get("ports") or ()))
    if spec.get("type") == "ClusterIP":
        text = "may not be used when `type` is 'ClusterIP'"
        found += [forbidden_field(f"spec.ports[{i}].nodePort", text) for i, port in ports if port.get("nodePort")]
    seen: set[tuple[Any, Any]] = set()
    for index, port in ports:
        key = (port.get("protocol"), port.get("nodePort"))
        if port.get("nodePort") and key in seen:
            found.append(duplicate(f"spec.ports[{index}].nodePort", port["nodePort"]))
        seen.add(key)
    seen.clear()
    for index, port in ports:
        key = (port.get("protocol"), port.get("port"))
        if key in seen:
            found.append(duplicate(f"spec.ports[{index}]", {"port": key[1], "protocol": key[0]}))
        seen.add(key)
    return found


def _type_causes(spec: Spec, *, headless: bool) -> list[Cause]:
    kind = spec.get("type") or ""
    if kind in {"NodePort", "LoadBalancer"} and headless:
        text = f"may not be set to 'None' for {kind} services"
        return [invalid_value("spec.clusterIPs[0]", service_shape.HEADLESS, text)]
    if kind != "ExternalName":
        return []
    text = "may not be set for ExternalName services"
    found = [forbidden_field(f"spec.{n}", text) for n in ("clusterIPs", "ipFamilies", "ipFamilyPolicy") if spec.get(n)]
    name = (spec.get("externalName") or "").removesuffix(".")
    if not name:
        return [*found, required("spec.externalName")]
    return found + [invalid_value("spec.externalName", name, text) for text in names.dns1123_subdomain(name)]


def _affinity_causes(spec: Spec) -> list[Cause]:
    affinity, config, path = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig"), "spec.sessionAffinity"
    found: list[Cause] = []
    if not affinity:
        found.append(required(path))
    elif affinity not in _AFFINITIES:
        found.append(not_supported(path, affinity, _AFFINITIES))
    if affinity == "None" and config is not None:
        found.append(forbidden_field(f"{path}Config", "must not be set when session affinity is None"))
    if affinity != "ClientIP":
        return found
    seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
    if config is None:
        found.append(required(f"{path}Config", "when session affinity type is ClientIP"))
    elif config.get("clientIP") is None:
        found.append(required(f"{path}Config.clientIP", "when session affinity type is ClientIP"))
    elif seconds is None:
        text = "when session affinity type is ClientIP"
        found.append(required(f"{path}Config.clientIP.timeoutSeconds", text))
    elif not 0 < seconds <= _MAX_AFFINITY_SECONDS:
        text = f"must be greater than 0 and less than {_MAX_AFFINITY_SECONDS}"
        found.append(invalid_value(f"{path}Config.clientIP.timeoutSeconds", seconds, text))
    return found


def _balancer_causes(new: Object, before: Spec) -> list[Cause]:
    """Fields of load balancers alone."""
    spec, path = new.get("spec") or {}, "spec.LoadBalancerSourceRanges"
    is_balancer = spec.get("type") == "LoadBalancer"
    ranges, annotation = spec.get("loadBalancerSourceRanges"), objects.annotations(new).get(_RANGES_ANNOTATION)
    known = {value.strip() for value in before.get("loadBalancerSourceRanges") or ()}
    found: list[Cause] = []
    if ranges:
        if not is_balancer:
            found.append(forbidden_field(path, _BALANCER_ONLY))
        for index, value in enumerate(ranges):
            found += ip_rules.cidr(f"{path}[{index}]", value.strip(), known=known)
    elif annotation is not None:
        path = f"metadata.annotations[{_RANGES_ANNOTATION}]"
        if not is_balancer:
            found.append(forbidden_field(path, _BALANCER_ONLY))
        for value in annotation.split(",") if annotation.strip() else ():
            found += ip_rules.cidr(path, value.strip())
    allocates, name = spec.get("allocateLoadBalancerNodePorts"), spec.get("loadBalancerClass")
    if allocates is not None and not is_balancer:
        found.append(forbidden_field("spec.allocateLoadBalancerNodePorts", _BALANCER_ONLY))
    if allocates is None and is_balancer:
        found.append(required("allocateLoadBalancerNodePorts"))
    if name is not None and is_balancer:
        found += [invalid_value("spec.loadBalancerClass", name, text) for text in names.qualified_name(name)]
    elif name is not None:
        found.append(forbidden_field("spec.loadBalancerClass", _BALANCER_ONLY))
    return found


def _policy_causes(spec: Spec) -> list[Cause]:
    """Where traffic may go."""
    path, policy, check = "spec.externalTrafficPolicy", spec.get("externalTrafficPolicy"), "spec.healthCheckNodePort"
    found: list[Cause] = []
    if not service_shape.is_externally_accessible(spec):
        if policy:
            found.append(invalid_value(path, policy, "may only be set for externally-accessible services"))
    elif not policy:
        found.append(required(path))
    elif policy not in _POLICIES:
        found.append(not_supported(path, policy, _POLICIES))
    port = spec.get("healthCheckNodePort") or 0
    if service_shape.needs_health_check(spec):
        found += [invalid_value(check, port, text) for text in names.port_number(port)] if port else [required(check)]
    elif port:
        text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        found.append(invalid_value(check, port, text))
    inside = spec.get("internalTrafficPolicy")
    if inside is None and spec.get("type") in {"ClusterIP", "LoadBalancer", "NodePort"}:
        found.append(required("spec.internalTrafficPolicy"))
    elif inside is not None and inside not in _POLICIES:
        found.append(not_supported("spec.internalTrafficPolicy", inside, _POLICIES))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        found.append(not_supported("spec.trafficDistribution", distribution, _DISTRIBUTIONS))
    return found


def _annotation_causes(annotations: Mapping[str, str]) -> list[Cause]:
    hints, mode = annotations.get(_HINTS_ANNOTATION), annotations.get(_MODE_ANNOTATION)
    if hints is None or mode is None or hints == mode:
        return []
    text = f"must match annotations[{_HINTS_ANNOTATION}] when both are specified"
    return [invalid_value(f"metadata.annotations[{_MODE_ANNOTATION}]", mode, text)]


def _update_causes(spec: Spec, before: Spec) -> list[Cause]:
    """What an update may not change."""
    found: list[Cause] = []
    if "ExternalName" not in (spec.get("type"), before.get("type")):
        was, now = service_shape.is_headless(before), service_shape.is_headless(spec)
        if not (was and now):
            found += _moved_addresses(spec, before)
        if not was and not now:
            found += _moved_families(spec, before)
    both = before.get("type") == spec.get("type") == "LoadBalancer"
    if both and before.get("loadBalancerClass") != spec.get("loadBalancerClass"):
        value = spec.get("loadBalancerClass")
        found.append(invalid_value("spec.loadBalancerClass", value, "may not change once set"))
    checked = service_shape.needs_health_check(before) and service_shape.needs_health_check(spec)
    if checked and before.get("healthCheckNodePort") != spec.get("healthCheckNodePort"):
        found.append(forbidden_field("spec.healthCheckNodePort", "field is immutable"))
    return found


def _moved_addresses(spec: Spec, before: Spec) -> list[Cause]:
    old, new = list(before.get("clusterIPs") or ()), list(spec.get("clusterIPs") or ())
    path, fixed = "spec.clusterIPs", "may not change once set"
    if len(old) == len(new):
        return [invalid_value(f"{path}[{i}]", new, fixed) for i, value in enumerate(old) if new[i] != value]
    if not new:
        return [invalid_value(f"{path}[0]", spec.get("clusterIPs"), "primary clusterIP can not be unset")]
    found = [invalid_value(f"{path}[0]", new, fixed)] if old and old[0] != new[0] else []
    if len(old) > len(new) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        text = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        found.append(invalid_value("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), text))
    return found


def _moved_families(spec: Spec, before: Spec) -> list[Cause]:
    old, new = list(before.get("ipFamilies") or ()), list(spec.get("ipFamilies") or ())
    path, fixed = "spec.ipFamilies[0]", "may not change once set"
    if len(old) == len(new):
        return [invalid_value(path, new, fixed) for i, value in enumerate(old) if new[i] != value]
    if not new:
        return [invalid_value(path, spec.get("ipFamilies"), "primary ipFamily can not be unset")]
    found = [invalid_value(path, new, fixed)] if old and old[0] != new[0] else []
    if len(old) > len(new) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        text = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        found.append(invalid_value("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), text))
    return found
