"""Which ingresses are refused: hosts, paths, backends, TLS, and the addresses of load balancers.

https://kubernetes.io/docs/reference/kubernetes-api/service-resources/ingress-v1/
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.kind import Object
from sampan.kinds.parts import ip_rules
from sampan.meta import names, objects
from sampan.meta.status import Cause, invalid_value, not_supported, required

_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_ENDS = ("/..", "/.")
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_WILDCARD = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_WILDCARD_TEXT = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
)

Spec = Mapping[str, Any]


def causes(new: Object, old: Object | None) -> list[Cause]:
    """All that is wrong with an ingress, new or an update of `old`."""
    spec = new.get("spec") or {}
    found: list[Cause] = []
    rules, backend = spec.get("rules") or (), spec.get("defaultBackend")
    if not rules and backend is None:
        found.append(invalid_value("spec", spec.get("rules"), "either `defaultBackend` or `rules` must be specified"))
    if backend is not None:
        found += _backend_causes(backend, "spec.defaultBackend")
    for index, rule in enumerate(rules):
        found += _rule_causes(rule, f"spec.rules[{index}]")
    may_keep_names = old is not None and any(map(_bad_secret, ((old.get("spec") or {}).get("tls") or ())))
    for index, tls in enumerate(spec.get("tls") or ()):
        found += _tls_causes(tls, f"spec.tls[{index}]", may_keep_names=may_keep_names)
    name = spec.get("ingressClassName")
    if name is not None:
        found += [invalid_value("spec.ingressClassName", name, error) for error in names.dns1123_subdomain(name)]
    annotation = objects.annotations(new).get(_CLASS_ANNOTATION)
    if old is None and annotation is not None and name is not None and annotation != name:
        text = "must match `ingressClassName` when both are specified"
        found.append(invalid_value(f"annotations.{_CLASS_ANNOTATION}", annotation, text))
    return found


def balancer_causes(balancer: Spec, before: Spec, path: str) -> list[Cause]:
    """What is wrong with a load balancer's addresses; those it had already may stay."""
    known = {entry["ip"] for entry in before.get("ingress") or () if entry.get("ip")}
    found: list[Cause] = []
    for index, entry in enumerate(balancer.get("ingress") or ()):
        where = f"{path}.ingress[{index}]"
        if entry.get("ip"):
            found += ip_rules.address(f"{where}.ip", entry["ip"], known=known)
        if entry.get("hostname"):
            found += hostname_causes(entry["hostname"], f"{where}.hostname")
    return found


def hostname_causes(host: str, path: str) -> list[Cause]:
    """What is wrong with a load balancer's host name."""
    found = [invalid_value(path, host, error) for error in names.dns1123_subdomain(host)]
    if ip_rules.is_address(host):
        found.append(invalid_value(path, host, "must be a DNS name, not an IP address"))
    return found


def _rule_causes(rule: Spec, path: str) -> list[Cause]:
    found: list[Cause] = []
    host = rule.get("host") or ""
    if host:
        if ip_rules.is_address(host):
            found.append(invalid_value(f"{path}.host", host, "must be a DNS name, not an IP address"))
        found += [invalid_value(f"{path}.host", host, error) for error in _host_errors(host)]
    http = rule.get("http")
    if http is None:
        return found
    if not http.get("paths"):
        found.append(required(f"{path}.http.paths"))
    for index, entry in enumerate(http.get("paths") or ()):
        found += _path_causes(entry, f"{path}.http.paths[{index}]")
    return found


def _host_errors(host: str) -> list[str]:
    if "*" not in host:
        return names.dns1123_subdomain(host)
    found = [names.max_length(253)] if len(host.encode()) > 253 else []
    if re.fullmatch(_WILDCARD, host) is None:
        found.append(names.regex_error(_WILDCARD_TEXT, _WILDCARD, "*.example.com"))
    return found


def _path_causes(entry: Spec, path: str) -> list[Cause]:
    kind, value = entry.get("pathType"), entry.get("path") or ""
    if kind is None:
        return [required(f"{path}.pathType", "pathType must be specified")]
    found: list[Cause] = []
    if kind not in _PATH_TYPES:
        found.append(not_supported(f"{path}.pathType", kind, _PATH_TYPES))
    elif not value.startswith("/") and (value or kind != "ImplementationSpecific"):
        found.append(invalid_value(f"{path}.path", value, "must be an absolute path"))
    if kind in {"Exact", "Prefix"}:
        bad = [text for text in _BAD_SEQUENCES if text in value]
        found += [invalid_value(f"{path}.path", value, f"must not contain '{text}'") for text in bad]
        ends = [text for text in _BAD_ENDS if value.endswith(text)]
        found += [invalid_value(f"{path}.path", value, f"cannot end with '{text}'") for text in ends]
    return found + _backend_causes(entry.get("backend") or {}, f"{path}.backend")


def _backend_causes(backend: Spec, path: str) -> list[Cause]:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        return [invalid_value(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return _reference_causes(resource, f"{path}.resource")
    if service is None:
        return [invalid_value(path, "", "resource or service backend is required")]
    found: list[Cause] = []
    name, port = service.get("name") or "", service.get("port") or {}
    if not name:
        found.append(required(f"{path}.service.name"))
    else:
        found += [invalid_value(f"{path}.service.name", name, error) for error in names.dns1123_label(name)]
    if port.get("name") and port.get("number"):
        found.append(invalid_value(path, "", "cannot set both port name & port number"))
    elif port.get("name"):
        where = f"{path}.service.port.name"
        found += [invalid_value(where, port["name"], error) for error in names.port_name(port["name"])]
    elif port.get("number"):
        where = f"{path}.service.port.number"
        found += [invalid_value(where, port["number"], error) for error in names.port_number(port["number"])]
    else:
        found.append(required(path, "port name or number is required"))
    return found


def _reference_causes(reference: Spec, path: str) -> list[Cause]:
    found: list[Cause] = []
    group = reference.get("apiGroup")
    if group is not None:
        found += [invalid_value(f"{path}.apiGroup", group, error) for error in names.dns1123_subdomain(group)]
    for field in ("kind", "name"):
        value = reference.get(field) or ""
        if not value:
            found.append(required(f"{path}.{field}", f"{field} is required"))
        found += [invalid_value(f"{path}.{field}", value, error) for error in names.path_segment(value)]
    return found


def _tls_causes(tls: Spec, path: str, *, may_keep_names: bool) -> list[Cause]:
    hosts: Sequence[str] = tls.get("hosts") or ()
    found = [invalid_value(f"{path}.hosts[{i}]", h, error) for i, h in enumerate(hosts) for error in _host_errors(h)]
    if not may_keep_names:
        found += [invalid_value(f"{path}.secretName", tls["secretName"], error) for error in _bad_secret(tls)]
    return found


def _bad_secret(tls: Spec) -> list[str]:
    return names.dns1123_subdomain(tls["secretName"]) if tls.get("secretName") else []
