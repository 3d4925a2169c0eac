"""A container's environment: env, envFrom, valueFrom and the variables of services; $(VAR) expansion.

https://kubernetes.io/docs/tasks/inject-data-application/define-environment-variable-container/
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.meta import objects
from sampan.node import resources

Object = dict[str, Any]

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]")


class ConfigError(Exception):
    """The container can't be made from what is there: reason CreateContainerConfigError, this message."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What values may come from, all fetched: objects by name (absent: not there), the pod's addresses."""

    config_maps: Mapping[str, Object] = field(default_factory=dict)
    secrets: Mapping[str, Object] = field(default_factory=dict)
    services: tuple[Object, ...] = ()
    pod_ips: tuple[str, ...] = ("",)
    host_ips: tuple[str, ...] = ("",)
    allocatable: Mapping[str, str] = field(default_factory=dict)


def environment(pod: Object, container: Object, sources: Sources) -> tuple[tuple[str, str], ...]:
    """Names and values: services' first, then envFrom, then env; the later wins. Raises ConfigError."""
    known = _service_variables(pod, sources.services)
    found: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        found |= _from_source(pod, source, sources)
    for variable in container.get("env") or ():
        value = _value(pod, container, variable, sources)
        if value is not None:
            found[variable["name"]] = expand(value, known | found) if "valueFrom" not in variable else value
    return tuple((known | found).items())


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replaces $(NAME) by its value where there is one; $$ stands for $."""

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return values.get(match[1], match[0])

    return _REFERENCE.sub(one, text)


def expand_path(text: str, values: Mapping[str, str]) -> str:
    """As expand, for a path: each variable must have a value. Raises ConfigError."""
    named = {match[1] for match in _REFERENCE.finditer(text) if match[0] != "$$"}
    missing = sorted(name for name in named if not values.get(name))
    if missing:
        raise ConfigError(f"missing value for {', '.join(missing)}")
    return expand(text, values)


def expand_all(texts: Iterable[str] | None, variables: Iterable[tuple[str, str]]) -> tuple[str, ...] | None:
    """A command or its arguments, expanded; None when not given."""
    values = dict(variables)
    return tuple(expand(text, values) for text in texts) if texts else None


def references(pod: Object) -> tuple[set[str], set[str]]:
    """Names of the ConfigMaps and Secrets that the pod's containers take values from."""
    config_maps: set[str] = set()
    secrets: set[str] = set()
    spec = pod["spec"]
    for container in (spec.get("initContainers") or []) + (spec.get("containers") or []):
        for source in container.get("envFrom") or ():
            config_maps |= _names(source.get("configMapRef"))
            secrets |= _names(source.get("secretRef"))
        for variable in container.get("env") or ():
            origin = variable.get("valueFrom") or {}
            config_maps |= _names(origin.get("configMapKeyRef"))
            secrets |= _names(origin.get("secretKeyRef"))
    return config_maps, secrets


def _names(reference: Object | None) -> set[str]:
    return {reference["name"]} if reference and reference.get("name") else set()


def _from_source(pod: Object, source: Object, sources: Sources) -> dict[str, str]:
    if reference := source.get("configMapRef"):
        kind, found = "configmap", sources.config_maps.get(reference["name"])
    else:
        reference = source.get("secretRef") or {}
        kind, found = "secret", sources.secrets.get(reference.get("name", ""))
    if found is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{kind} "{reference.get("name", "")}" not found')
    data = found.get("data") or {}
    if kind == "secret":
        data = resources.decode_secret(found)
    prefix = source.get("prefix") or ""
    return {prefix + key: value for key, value in sorted(data.items()) if "=" not in key}


def _value(pod: Object, container: Object, variable: Object, sources: Sources) -> str | None:
    """The variable's value; None when it comes from an optional reference that isn't there."""
    origin = variable.get("valueFrom")
    if not origin:
        return str(variable.get("value") or "")
    if "fieldRef" in origin:
        return pod_field(pod, origin["fieldRef"]["fieldPath"], sources)
    if "resourceFieldRef" in origin:
        reference = origin["resourceFieldRef"]
        name = reference.get("containerName")
        target = container if not name or name == container["name"] else _container(pod, name)
        return resources.field(target, reference["resource"], reference.get("divisor"), sources.allocatable)
    if "configMapKeyRef" in origin:
        return _key(pod, "ConfigMap", origin["configMapKeyRef"], sources.config_maps)
    if "secretKeyRef" in origin:
        return _key(pod, "Secret", origin["secretKeyRef"], sources.secrets)
    raise ConfigError(f"environment variable {variable['name']}: this source of values is not supported")


def _key(pod: Object, kind: str, reference: Object, found: Mapping[str, Object]) -> str | None:
    name, key = reference.get("name", ""), reference["key"]
    obj = found.get(name)
    if obj is None:
        if reference.get("optional"):
            return None
        raise ConfigError(f'{kind.lower()} "{name}" not found')
    data = resources.decode_secret(obj) if kind == "Secret" else obj.get("data") or {}
    if key in data:
        return str(data[key])
    if reference.get("optional"):
        return None
    raise ConfigError(f"couldn't find key {key} in {kind} {objects.namespace(pod)}/{name}")


def _container(pod: Object, name: str) -> Object:
    spec = pod["spec"]
    for container in (spec.get("initContainers") or []) + (spec.get("containers") or []):
        if container["name"] == name:
            return dict(container)
    raise ConfigError(f"container {name} not found")


def pod_field(pod: Object, path: str, sources: Sources) -> str:
    """A field that the downward API offers. Raises ConfigError for any other."""
    if match := _SUBSCRIPT.fullmatch(path):
        return str((objects.metadata(pod).get(match[1]) or {}).get(match[2], ""))
    spec = pod["spec"]
    simple: dict[str, str] = {
        "metadata.name": objects.name(pod),
        "metadata.namespace": objects.namespace(pod),
        "metadata.uid": objects.uid(pod),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": sources.host_ips[0],
        "status.hostIPs": ",".join(sources.host_ips),
        "status.podIP": sources.pod_ips[0],
        "status.podIPs": ",".join(sources.pod_ips),
    }
    if path not in simple:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return simple[path]


def _service_variables(pod: Object, services: Iterable[Object]) -> dict[str, str]:
    """Variables of the API's own service, and of the namespace's services if the pod wants them."""
    wants_all = pod["spec"].get("enableServiceLinks") is not False
    namespace = objects.namespace(pod)
    chosen: dict[str, Object] = {}
    for service in sorted(services, key=objects.key):
        is_api = objects.key(service) == ("default", "kubernetes")
        if is_api or (wants_all and objects.namespace(service) == namespace):
            chosen.setdefault(objects.name(service), service)
    found: dict[str, str] = {}
    for name, service in chosen.items():
        found |= _variables_of(name.upper().replace("-", "_"), service["spec"])
    return found


def _variables_of(prefix: str, spec: Object) -> dict[str, str]:
    address, ports = spec.get("clusterIP"), spec.get("ports") or []
    if not address or address == "None" or not ports:
        return {}
    found = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            found[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    for index, port in enumerate(ports):
        protocol, number = port.get("protocol") or "TCP", port["port"]
        url = f"{protocol.lower()}://{address}:{number}"
        if index == 0:
            found[f"{prefix}_PORT"] = url
        stem = f"{prefix}_PORT_{number}_{protocol}"
        found |= {stem: url, f"{stem}_PROTO": protocol.lower(), f"{stem}_PORT": str(number), f"{stem}_ADDR": address}
    return found
