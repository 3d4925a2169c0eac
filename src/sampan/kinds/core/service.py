"""Service: one address, and name, for whichever pods match.

https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import STATUS, Column, Kind, Object
from sampan.kinds.parts import cells, service_rules
from sampan.meta import names
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
        found = [entry.get("ip") or entry.get("hostname") or "" for entry in ingress] + listed
        return ",".join(found) or "<pending>"
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
    categories=("all",),
    subresources=(STATUS,),
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
)

HEADLESS = "None"


def is_headless(service: Object) -> bool:
    """Whether it has no address of its own."""
    return bool((service.get("spec") or {}).get("clusterIP") == HEADLESS)


def default(obj: Object) -> None:
    """Type, affinity and policies; each port's protocol and target."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("sessionAffinity", "None")
    if not spec.get("type"):
        spec["type"] = "ClusterIP"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {})
        config.setdefault("clientIP", {}).setdefault("timeoutSeconds", 10800)
    for port in spec.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port")
    _default_policies(spec)
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def _default_policies(spec: dict[str, Any]) -> None:
    kind = spec["type"]
    if kind in {"NodePort", "LoadBalancer"} and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if kind in {"ClusterIP", "NodePort", "LoadBalancer"} and not spec.get("internalTrafficPolicy"):
        spec["internalTrafficPolicy"] = "Cluster"
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    if kind == "ExternalName":
        return
    if not spec.get("ipFamilies"):
        spec["ipFamilies"] = ["IPv4"]
    if not spec.get("ipFamilyPolicy"):
        spec["ipFamilyPolicy"] = "SingleStack"


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """Fresh status on create; an update that omits the addresses keeps them; a changed type drops what it had."""
    spec = new.setdefault("spec", {})
    if old is None:
        new["status"] = {"loadBalancer": {}}
        return
    if subresource == "status":
        return
    before = old.get("spec") or {}
    if spec.get("type") == "ExternalName":
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            if before.get("type") != "ExternalName" and spec.get(field) == before.get(field):
                spec.pop(field, None)
    elif before.get("type") != "ExternalName":
        _keep_addresses(spec, before)
    if spec.get("type") == "ClusterIP" and before.get("type") in {"NodePort", "LoadBalancer"}:
        _drop_node_ports(spec, before)


def _keep_addresses(spec: dict[str, Any], before: dict[str, Any]) -> None:
    if not spec.get("clusterIP") and before.get("clusterIP"):
        spec["clusterIP"] = before["clusterIP"]
    if not spec.get("clusterIPs") and spec.get("clusterIP") == before.get("clusterIP") and before.get("clusterIPs"):
        spec["clusterIPs"] = list(before["clusterIPs"])


def _drop_node_ports(spec: dict[str, Any], before: dict[str, Any]) -> None:
    spec.pop("externalTrafficPolicy", None)
    spec.pop("healthCheckNodePort", None)
    spec.pop("allocateLoadBalancerNodePorts", None)
    taken = {port.get("nodePort") for port in before.get("ports") or ()}
    for port in spec.get("ports") or ():
        if port.get("nodePort") in taken:
            port.pop("nodePort", None)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Ports, selector, names and addresses; a cluster IP stays what it was."""
    return service_rules.causes(new, old)
