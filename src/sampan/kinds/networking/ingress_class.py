"""IngressClass: which controller serves the Ingresses of this class.

https://kubernetes.io/docs/reference/kubernetes-api/service-resources/ingress-class-v1/
"""

import re
from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import CLUSTER, Column, Kind, Object
from sampan.kinds.parts import cells
from sampan.meta import names
from sampan.meta.status import Cause, forbidden_field, invalid_value, not_supported, required, too_long

DEFAULT_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
_SCOPES = ("Cluster", "Namespace")
_MAX_CONTROLLER = 250
_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"


def parameters_text(obj: Object, now: float) -> str:
    """Kind.group/name."""
    parameters = (obj.get("spec") or {}).get("parameters")
    if parameters is None:
        return cells.NONE
    group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") is not None else ""
    return f"{parameters.get('kind', '')}{group}/{parameters.get('name', '')}"


INGRESSCLASS = Kind(
    group="networking.k8s.io",
    versions=("v1",),
    name="IngressClass",
    plural="ingressclasses",
    scope=CLUSTER,
    schema="io.k8s.api.networking.v1.IngressClass",
    columns=(
        Column("Controller", "spec.controller", description="Controller that is responsible for handling this class"),
        Column("Parameters", parameters_text, description="A reference to a resource with additional parameters"),
        cells.AGE,
    ),
    immutable=("spec.controller",),
    has_generation=True,
)


def default(obj: Object) -> None:
    """Parameters are of the cluster's scope."""
    parameters = obj.setdefault("spec", {}).get("parameters")
    if parameters is not None and parameters.get("scope") is None:
        parameters["scope"] = "Cluster"


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """A controller as a domain-prefixed path; parameters that are named wholly."""
    spec = new.get("spec") or {}
    controller = spec.get("controller") or ""
    found: list[Cause] = []
    if not controller:
        found.append(required("spec.controller"))
    else:
        if len(controller.encode()) > _MAX_CONTROLLER:
            found.append(too_long("spec.controller", _MAX_CONTROLLER))
        found += _prefixed_path(controller, "spec.controller")
    if spec.get("parameters") is not None:
        found += _parameters_causes(spec["parameters"], "spec.parameters")
    return found


def _prefixed_path(value: str, path: str) -> list[Cause]:
    host, _, rest = value.partition("/")
    if not host or not rest:
        return [invalid_value(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    found = [invalid_value(path, host, error) for error in names.dns1123_subdomain(host)]
    if re.fullmatch(_PATH, rest) is None:
        found.append(invalid_value(path, rest, names.regex_error("Invalid path", _PATH)))
    return found


def _parameters_causes(parameters: dict[str, Any], path: str) -> list[Cause]:
    found: list[Cause] = []
    group = parameters.get("apiGroup")
    if group is not None:
        found += [invalid_value(f"{path}.apiGroup", group, error) for error in names.dns1123_subdomain(group)]
    for field in ("kind", "name"):
        value = parameters.get(field) or ""
        if not value:
            found.append(required(f"{path}.{field}", f"{field} is required"))
        found += [invalid_value(f"{path}.{field}", value, error) for error in names.path_segment(value)]
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        return [*found, required(f"{path}.scope")]
    if scope not in _SCOPES:
        found.append(not_supported(f"{path}.scope", scope, _SCOPES))
    elif scope == "Cluster" and namespace is not None:
        found.append(forbidden_field(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))
    elif scope == "Namespace" and namespace is None:
        found.append(required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'"))
    elif namespace is not None:
        found += [invalid_value(f"{path}.namespace", namespace, e) for e in names.dns1123_label(namespace)]
    return found
