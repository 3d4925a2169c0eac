"""Which containers are refused: image, ports, environment, mounts, resources, probes."""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.parts import not_yet, probe_rules
from sampan.meta import names, quantity
from sampan.meta.status import Cause, duplicate, invalid_value, not_found_field, not_supported, required

Container = Mapping[str, Any]

_PULL = ("Always", "IfNotPresent", "Never")
_MESSAGES = ("FallbackToLogsOnError", "File")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_FIELDS = frozenset(
    (
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    )
)
_STANDARD = ("cpu", "memory", "ephemeral-storage")


def causes(container: Container, path: str, volumes: Mapping[str, Any], *, host_network: bool) -> list[Cause]:
    """All that is wrong with one container but its name. `volumes` are the pod's, by name."""
    found: list[Cause] = []
    image = container.get("image")
    if not image:
        found.append(required(f"{path}.image"))
    elif image != image.strip():
        found.append(invalid_value(f"{path}.image", image, "must not have leading or trailing whitespace"))
    if container.get("imagePullPolicy") not in _PULL:
        found.append(not_supported(f"{path}.imagePullPolicy", container.get("imagePullPolicy") or "", _PULL))
    if container.get("terminationMessagePolicy") not in _MESSAGES:
        policy = container.get("terminationMessagePolicy") or ""
        found.append(not_supported(f"{path}.terminationMessagePolicy", policy, _MESSAGES))
    if container.get("ports"):
        found += _port_causes(container["ports"], f"{path}.ports", host_network=host_network)
    if container.get("env"):
        found += _env_causes(container["env"], f"{path}.env")
    if container.get("envFrom"):
        found += _env_from_causes(container["envFrom"], f"{path}.envFrom")
    if container.get("volumeMounts"):
        found += _mount_causes(container["volumeMounts"], f"{path}.volumeMounts", volumes)
    if container.get("resources"):
        found += resource_causes(container["resources"], f"{path}.resources")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe is not None:
            found += probe_rules.causes(probe, f"{path}.{name}", once=name != "readinessProbe")
    if container.get("lifecycle"):
        found += probe_rules.lifecycle_causes(container["lifecycle"], f"{path}.lifecycle")
    return found + not_yet.container_causes(container, path)


def warnings(container: Container, path: str) -> list[str]:
    """Environment variables that hide earlier ones, ports listed twice."""
    found = []
    seen: dict[str, str] = {}
    for index, variable in enumerate(container.get("env") or ()):
        name = variable.get("name") or ""
        here = f"{path}.env[{index}]"
        if name in seen and f"$({name})" not in (variable.get("value") or ""):
            found.append(f'{here}: hides previous definition of "{name}", which may be dropped when using apply')
        seen[name] = here
    ports: dict[tuple[Any, Any], str] = {}
    for index, port in enumerate(container.get("ports") or ()):
        key = (port.get("containerPort"), port.get("protocol", "TCP"))
        here = f"{path}.ports[{index}]"
        if key in ports:
            found.append(f"{here}: duplicate port definition with {ports[key]}")
        ports.setdefault(key, here)
    return found


def host_port_causes(ports: Sequence[Mapping[str, Any]], path: str, seen: set[tuple[Any, ...]]) -> list[Cause]:
    """A host port is taken once a pod."""
    found = []
    for index, port in enumerate(ports):
        if port.get("hostPort"):
            key = (port.get("protocol"), port.get("hostIP") or "", port["hostPort"])
            if key in seen:
                found.append(duplicate(f"{path}[{index}].hostPort", f"{key[0]}/{key[1]}/{key[2]}"))
            seen.add(key)
    return found


def resource_causes(resources: Mapping[str, Any], path: str) -> list[Cause]:
    """Amounts are quantities, and no request is above its limit."""
    limits, asked = resources.get("limits") or {}, resources.get("requests") or {}
    found: list[Cause] = []
    for part, amounts in (("limits", limits), ("requests", asked)):
        for name, value in amounts.items():
            found += _amount_causes(name, value, f"{path}.{part}", f"{path}.{part}[{name}]")
    if found:
        return found
    for name, value in asked.items():
        limit = limits.get(name)
        if limit is None or limit == value:
            continue
        over = quantity.compare(value, limit)
        if over > 0:
            text = f"must be less than or equal to {name} limit of {quantity.canonical(limit)}"
            found.append(invalid_value(f"{path}.requests", quantity.canonical(value), text))
    return found


def _amount_causes(name: str, value: Any, parent: str, path: str) -> list[Cause]:
    complaint = quantity.validate(value)
    if complaint:
        return [invalid_value(path, str(value), complaint)]
    found = [invalid_value(parent, name, text) for text in names.qualified_name(name)]
    if not found and "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
        found.append(invalid_value(parent, name, "must be a standard resource type or fully qualified"))
    if quantity.parse(value).nanos < 0:
        found.append(invalid_value(path, str(value), "must be greater than or equal to 0"))
    return found


def _port_causes(ports: Sequence[Mapping[str, Any]], path: str, *, host_network: bool) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        name = port.get("name")
        if name:
            errors = names.port_name(name)
            found += [invalid_value(f"{where}.name", name, text) for text in errors]
            if not errors and name in seen:
                found.append(duplicate(f"{where}.name", name))
            seen.add(name)
        number = port.get("containerPort")
        if not number:
            found.append(required(f"{where}.containerPort"))
        else:
            found += [invalid_value(f"{where}.containerPort", number, text) for text in names.port_number(number)]
        host = port.get("hostPort")
        if host:
            found += [invalid_value(f"{where}.hostPort", host, text) for text in names.port_number(host)]
            if host_network and host != number:
                text = "must match `hostPort` when `hostNetwork` is true"
                found.append(invalid_value(f"{where}.containerPort", number, text))
        if port.get("protocol") not in _PROTOCOLS:
            found.append(not_supported(f"{where}.protocol", port.get("protocol") or "", _PROTOCOLS))
    return found


def _env_causes(env: Sequence[Mapping[str, Any]], path: str) -> list[Cause]:
    found: list[Cause] = []
    for index, variable in enumerate(env):
        where = f"{path}[{index}]"
        name = variable.get("name")
        if not name:
            found.append(required(f"{where}.name"))
        else:
            found += [invalid_value(f"{where}.name", name, text) for text in names.env_var_name(name)]
        source = variable.get("valueFrom")
        if source is not None:
            found += _source_causes(source, f"{where}.valueFrom", has_value=bool(variable.get("value")))
    return found


def _source_causes(source: Mapping[str, Any], path: str, *, has_value: bool) -> list[Cause]:
    given = [name for name in _SOURCES if source.get(name) is not None]
    if not given:
        options = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        return [invalid_value(path, "", f"must specify one of: {options}")]
    if has_value:
        return [invalid_value(path, "", "may not be specified when `value` is not empty")]
    if len(given) > 1:
        return [invalid_value(path, "", "may not have more than one field specified at a time")]
    found: list[Cause] = []
    reference = source[given[0]]
    where = f"{path}.{given[0]}"
    if given[0] in {"configMapKeyRef", "secretKeyRef"}:
        if not reference.get("name"):
            found.append(required(f"{where}.name"))
        if not reference.get("key"):
            found.append(required(f"{where}.key"))
        else:
            found += [
                invalid_value(f"{where}.key", reference["key"], t) for t in names.config_map_key(reference["key"])
            ]
    elif given[0] == "fieldRef":
        found += _field_causes(reference.get("fieldPath") or "", f"{where}.fieldPath")
    elif given[0] == "resourceFieldRef" and not reference.get("resource"):
        found.append(required(f"{where}.resource"))
    return found


def _field_causes(field: str, path: str) -> list[Cause]:
    if not field:
        return [required(path)]
    subscript = field.startswith(("metadata.labels['", "metadata.annotations['")) and field.endswith("']")
    if field in _FIELDS or subscript:
        return []
    return [not_supported(path, field, [*_FIELDS])]


def _env_from_causes(sources: Sequence[Mapping[str, Any]], path: str) -> list[Cause]:
    found: list[Cause] = []
    for index, source in enumerate(sources):
        given = [name for name in ("configMapRef", "secretRef") if source.get(name) is not None]
        where = f"{path}[{index}]"
        if not given:
            found.append(invalid_value(where, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            found.append(invalid_value(where, "", "may not have more than one field specified at a time"))
        elif not source[given[0]].get("name"):
            found.append(required(f"{where}.{given[0]}.name"))
    return found


def _mount_causes(mounts: Sequence[Mapping[str, Any]], path: str, volumes: Mapping[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        where = f"{path}[{index}]"
        name, target = mount.get("name"), mount.get("mountPath")
        if not name:
            found.append(required(f"{where}.name"))
        elif name not in volumes:
            found.append(not_found_field(f"{where}.name", name))
        if not target:
            found.append(required(f"{where}.mountPath"))
        elif target in seen:
            found.append(invalid_value(f"{where}.mountPath", target, "must be unique"))
        seen.add(target or "")
        if mount.get("subPath") and mount.get("subPathExpr"):
            text = "subPathExpr and subPath are mutually exclusive"
            found.append(invalid_value(f"{where}.subPathExpr", mount["subPathExpr"], text))
        for field in ("subPath", "subPathExpr"):
            found += relative_causes(mount.get(field) or "", f"{where}.{field}")
    return found


def relative_causes(value: str, path: str) -> list[Cause]:
    """A path that must stay inside: not absolute, no step up."""
    if value.startswith("/"):
        return [invalid_value(path, value, "must be a relative path")]
    return [invalid_value(path, value, "must not contain '..'")] if ".." in value.split("/") else []
