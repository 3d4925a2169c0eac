"""Node: a machine that runs pods.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/node-v1/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import CLUSTER, STATUS, Column, Kind, Object, Subresource
from sampan.kinds.parts import cells, ip_rules, resource_names
from sampan.meta import conditions, names, objects
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required, show

ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE_LABEL = "kubernetes.io/role"
_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")


def status_text(obj: Object, now: float) -> str:
    """Ready, NotReady or Unknown, and whether pods may still come."""
    ready = conditions.get(obj, "Ready")
    text = "Unknown" if ready is None else ("Ready" if ready.get("status") == "True" else "NotReady")
    return f"{text},SchedulingDisabled" if (obj.get("spec") or {}).get("unschedulable") else text


def roles_text(obj: Object, now: float) -> str:
    """Roles by label: control-plane,worker."""
    labels = objects.labels(obj)
    roles = {key[len(ROLE_PREFIX) :] for key in labels if key.startswith(ROLE_PREFIX)} - {""}
    if labels.get(_ROLE_LABEL):
        roles.add(labels[_ROLE_LABEL])
    return ",".join(sorted(roles)) or cells.NONE


def address(node: Object, kind: str) -> str:
    """The first address of that kind (InternalIP, ExternalIP, Hostname), "" when there is none."""
    listed = (node.get("status") or {}).get("addresses") or ()
    return next((str(a["address"]) for a in listed if a.get("type") == kind), "")


def _info(field: str) -> Any:
    def cell(obj: Object, now: float) -> str:
        info = (obj.get("status") or {}).get("nodeInfo") or {}
        return info.get(field) or cells.UNKNOWN

    return cell


def _version(obj: Object, now: float) -> str:
    return ((obj.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion") or ""


NODE = Kind(
    group="",
    versions=("v1",),
    name="Node",
    plural="nodes",
    scope=CLUSTER,
    schema="io.k8s.api.core.v1.Node",
    short_names=("no",),
    subresources=(
        STATUS,
        Subresource(
            "proxy", verbs=("create", "delete", "get", "patch", "update"), version="v1", kind="NodeProxyOptions"
        ),
    ),
    columns=(
        Column("Status", status_text, description="The status of the node"),
        Column("Roles", roles_text, description="The roles of the node"),
        cells.AGE,
        Column("Version", _version, description="Kubelet Version reported by the node."),
        Column("Internal-IP", lambda o, now: address(o, "InternalIP") or cells.NONE, wide=True),
        Column("External-IP", lambda o, now: address(o, "ExternalIP") or cells.NONE, wide=True),
        Column("OS-Image", _info("osImage"), wide=True),
        Column("Kernel-Version", _info("kernelVersion"), wide=True),
        Column("Container-Runtime", _info("containerRuntimeVersion"), wide=True),
    ),
    selectable={"spec.unschedulable": "spec.unschedulable"},
)


def is_ready(node: Object) -> bool:
    """Whether its Ready condition is True."""
    return conditions.is_true(node, "Ready")


_INFO = (
    "architecture", "bootID", "containerRuntimeVersion", "kernelVersion", "kubeProxyVersion", "kubeletVersion",
    "machineID", "operatingSystem", "osImage", "systemUUID",
)  # fmt: skip


def default(obj: Object) -> None:
    """There is a spec, if an empty one. podCIDR is the first of podCIDRs; where they differ, it is the one that counts."""
    spec = obj["spec"] = obj.get("spec") or {}
    first, listed = spec.get("podCIDR"), spec.get("podCIDRs") or ()
    if first and (not listed or listed[0] != first):
        spec["podCIDRs"] = [first]
    elif listed and not first:
        spec["podCIDR"] = listed[0]
    default_status(obj)


def default_status(obj: Object) -> None:
    """What can be allocated is the capacity, unless said otherwise. What is not known yet of a node is shown as empty."""
    status = obj["status"] = obj.get("status") or {}
    if status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])
    agent = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
    status["daemonEndpoints"] = {"kubeletEndpoint": {"Port": 0} | agent}
    status["nodeInfo"] = dict.fromkeys(_INFO, "") | (status.get("nodeInfo") or {})


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Taints are well formed and unique; pod CIDR and provider, once given, stay; quantities are quantities."""
    spec = new.get("spec") or {}
    status = new.get("status") or {}
    causes = _taint_causes(spec.get("taints") or ())
    for part in ("capacity", "allocatable"):
        for name, value in (status.get(part) or {}).items():
            causes += resource_names.amount_causes(name, value, f"status.{part}.{name}")
    if subresource == "":
        causes += _cidr_causes(spec.get("podCIDRs") or [])
    if old is not None:
        causes += _address_causes(status.get("addresses") or ())
    if old is not None and subresource == "":
        causes += _kept_causes(spec, old.get("spec") or {})
    return causes


def _cidr_causes(listed: list[str]) -> list[Cause]:
    """Each is one; and of each family there is one at most."""
    path = "spec.podCIDRs"
    found = [cause for index, value in enumerate(listed) for cause in ip_rules.cidr(f"{path}[{index}]", value)]
    families = [ip_rules.family_of(network) for value in listed if (network := ip_rules.network(value))]
    if len(set(families)) < len(families):
        found.append(invalid_value(path, listed, "may specify no more than one CIDR for each IP family"))
    return found + [duplicate(f"{path}[{i}]", value) for i, value in enumerate(listed) if value in listed[:i]]


def _address_causes(addresses: Sequence[dict[str, Any]]) -> list[Cause]:
    path = "status.addresses"
    return [duplicate(f"{path}[{i}]", one) for i, one in enumerate(addresses) if one in addresses[:i]]


def _kept_causes(new: dict[str, Any], old: dict[str, Any]) -> list[Cause]:
    found = []
    if old.get("podCIDRs") and new.get("podCIDRs") != old["podCIDRs"]:
        found.append(forbidden_field("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'))
    if old.get("providerID") and new.get("providerID") != old["providerID"]:
        text = 'node updates may not change providerID except from "" to valid'
        found.append(forbidden_field("spec.providerID", text))
    if (new.get("externalID") or "") != (old.get("externalID") or ""):
        found.append(forbidden_field("spec.externalID", "may not be updated"))
    return found


def _taint_causes(taints: Sequence[dict[str, Any]]) -> list[Cause]:
    found: list[Cause] = []
    seen = set()
    for index, taint in enumerate(taints):
        path = f"metadata.taints[{index}]"
        key, effect = taint.get("key") or "", taint.get("effect") or ""
        found += [invalid_value(f"{path}.key", key, text) for text in names.qualified_name(key)]
        if errors := names.label_value(taint.get("value") or ""):
            found.append(invalid_value(f"{path}.value", taint["value"], ";".join(errors)))
        if not effect:
            found.append(required(f"{path}.effect"))
        elif effect not in _EFFECTS:
            found.append(not_supported(f"{path}.effect", effect, _EFFECTS))
        if (key, effect) in seen:
            text = "taints must be unique by key and effect pair"
            found.append(Cause(path, "FieldValueDuplicate", f"Duplicate value: {show(taint)}: {text}"))
        seen.add((key, effect))
    return found
