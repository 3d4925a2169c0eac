"""Service: one address, and name, for whichever pods match.

https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import STATUS, Column, Kind, Object, Subresource
from sampan.kinds.parts import cells, ip_rules, service_rules, service_shape
from sampan.meta import names, objects
from sampan.meta.status import Cause


def external_text(obj: Object, now: float) -> str:
    """Addresses from outside: <none>, <pending>, or a list."""
    spec = obj.get("spec") or {}
    listed = list(spec.get("externalIPs") or ())
    kind = spec.get("type")
    if kind == "ExternalName":
        return spec.get("externalName") or ""
    if kind == "LoadBalancer":
        ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        found = sorted({entry.get("ip") or entry.get("hostname") or "" for entry in ingress} - {""})
        return ",".join(found + listed) or "<pending>"
    return ",".join(listed) or cells.NONE


def ports_text(obj: Object, now: float) -> str:
    """80/TCP, or 80:30080/TCP with a node port."""
    listed = []
    for port in (obj.get("spec") or {}).get("ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        listed.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(listed) or cells.NONE


def cluster_ip_text(obj: Object, now: float) -> str:
    """The cluster IP, None for a headless service."""
    spec = obj.get("spec") or {}
    return next(iter(spec.get("clusterIPs") or ()), spec.get("clusterIP")) or cells.NONE


SERVICE = Kind(
    group="",
    versions=("v1",),
    name="Service",
    plural="services",
    schema="io.k8s.api.core.v1.Service",
    short_names=("svc",),
    put_creates=True,
    categories=("all",),
    subresources=(
        STATUS,
        Subresource(
            "proxy", verbs=("create", "delete", "get", "patch", "update"), version="v1", kind="ServiceProxyOptions"
        ),
    ),
    columns=(
        Column("Type", "spec.type"),
        Column("Cluster-IP", cluster_ip_text),
        Column("External-IP", external_text),
        Column("Port(s)", ports_text),
        cells.AGE,
        Column("Selector", lambda o, now: cells.format_labels((o.get("spec") or {}).get("selector")), wide=True),
    ),
    selectable={"spec.clusterIP": "spec.clusterIP", "spec.type": "spec.type"},
    name_check=names.dns1035_label,
    answers_deleted=True,
)

HEADLESS = service_shape.HEADLESS
AFFINITY_SECONDS = 10800
_HINTS_ANNOTATION = "service.kubernetes.io/topology-aware-hints"
_MODE_ANNOTATION = "service.kubernetes.io/topology-mode"


def is_headless(service: Object) -> bool:
    """Whether it has no address of its own."""
    return bool((service.get("spec") or {}).get("clusterIP") == HEADLESS)


def default(obj: Object) -> None:
    """Type, affinity and policies; each port's protocol and target. Addresses come later."""
    spec = obj.setdefault("spec", {})
    if not spec.get("sessionAffinity"):
        spec["sessionAffinity"] = "None"
    if not spec.get("type"):
        spec["type"] = "ClusterIP"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif objects.get_path(spec, "sessionAffinityConfig.clientIP.timeoutSeconds") is None:
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}
    for port in spec.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port") or 0
    _default_policies(spec)
    default_status(obj)


def default_status(obj: Object) -> None:
    """There is a load balancer, if an empty one; its addresses are virtual, unless said otherwise."""
    balancer = obj.setdefault("status", {}).setdefault("loadBalancer", {})
    for entry in balancer.get("ingress") or () if obj["spec"]["type"] == "LoadBalancer" else ():
        if entry.get("ip") and entry.get("ipMode") is None:
            entry["ipMode"] = "VIP"


def _default_policies(spec: dict[str, Any]) -> None:
    if service_shape.is_externally_accessible(spec) and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec["type"] in {"ClusterIP", "NodePort", "LoadBalancer"} and spec.get("internalTrafficPolicy") is None:
        spec["internalTrafficPolicy"] = "Cluster"
    if spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is None:
        spec["allocateLoadBalancerNodePorts"] = True


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """Fresh status on create; a changed type drops what the old one had, unless the update changed that too."""
    if old is None:
        new["status"] = {"loadBalancer": {}}
        return
    if subresource:
        return
    spec, before = new.setdefault("spec", {}), old.get("spec") or {}
    if service_shape.needs_cluster_ip(before) and not service_shape.needs_cluster_ip(spec):
        if _is_same(spec, before, "clusterIP", "clusterIPs"):
            _drop(spec, "clusterIP", "clusterIPs")
        _drop_same(spec, before, "ipFamilies", "ipFamilyPolicy")
    if service_shape.needs_node_ports(before) and not service_shape.needs_node_ports(spec):
        _drop_node_ports(spec, before)
    if service_shape.needs_health_check(before) and not service_shape.needs_health_check(spec):
        _drop_same(spec, before, "healthCheckNodePort")
    if before.get("type") == "LoadBalancer" != spec.get("type"):
        _drop_same(spec, before, "allocateLoadBalancerNodePorts", "loadBalancerClass")
    if service_shape.is_externally_accessible(before) and not service_shape.is_externally_accessible(spec):
        _drop_same(spec, before, "externalTrafficPolicy")
    if spec.get("type") != "LoadBalancer":
        new.setdefault("status", {})["loadBalancer"] = {}


def _is_same(spec: dict[str, Any], before: dict[str, Any], *fields: str) -> bool:
    return all((spec.get(field) or None) == (before.get(field) or None) for field in fields)


def _drop_same(spec: dict[str, Any], before: dict[str, Any], *fields: str) -> None:
    _drop(spec, *(field for field in fields if spec.get(field) == before.get(field)))


def _drop(spec: dict[str, Any], *fields: str) -> None:
    for field in fields:
        spec.pop(field, None)


def _drop_node_ports(spec: dict[str, Any], before: dict[str, Any]) -> None:
    """Unless the update asks for one that was not there."""
    had = {port["nodePort"] for port in before.get("ports") or () if port.get("nodePort")}
    asked = {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
    for port in spec.get("ports") or () if asked <= had else ():
        port.pop("nodePort", None)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Ports, selector, names and addresses; a cluster IP stays what it was."""
    if subresource == "status":
        return service_rules.status_causes(new, old)
    return service_rules.causes(new, old)


def warn(new: Object, old: Object | None) -> Sequence[str]:
    """Fields that this type ignores, and old words."""
    spec, found = new.get("spec") or {}, []
    if _HINTS_ANNOTATION in objects.annotations(new):
        found.append(f"annotation {_HINTS_ANNOTATION} is deprecated, please use {_MODE_ANNOTATION} instead")
    for index, address in enumerate(service_shape.cluster_ips(spec)):
        found += ip_rules.address_warnings(f"spec.clusterIPs[{index}]", address)
    if spec.get("type") == "ClusterIP" and spec.get("clusterIP") == HEADLESS:
        ignored = [name for name in ("loadBalancerIP", "externalIPs") if spec.get(name)]
        ignored += ["SessionAffinity"] if spec.get("sessionAffinity") != "None" else []
        found += [f"spec.{name} is ignored for headless services" for name in ignored]
    for index, address in enumerate(spec.get("externalIPs") or ()):
        found += ip_rules.address_warnings(f"spec.externalIPs[{index}]", address)
    found += ip_rules.address_warnings("spec.loadBalancerIP", spec.get("loadBalancerIP") or "")
    for index, value in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        found += ip_rules.cidr_warnings(f"spec.loadBalancerSourceRanges[{index}]", value)
    if spec.get("type") == "ExternalName" and spec.get("externalIPs"):
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if spec.get("type") != "ExternalName" and spec.get("externalName"):
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found


def warn_status(new: Object, old: Object) -> Sequence[str]:
    """Addresses of a load balancer that are not written as others write them."""
    ingress = ((new.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [
        text
        for index, point in enumerate(ingress)
        for text in ip_rules.address_warnings(f"status.loadBalancer.ingress[{index}]", point.get("ip") or "")
    ]
