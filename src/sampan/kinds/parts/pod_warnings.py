"""What a pod's writer is warned of: likely mistakes that are no errors, in the reference server's words.

https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from sampan.kinds.kind import Object
from sampan.kinds.parts import apparmor, volume_overlaps
from sampan.meta import names, quantity

Spec = Mapping[str, Any]
_Listed = dict[int, dict[str, tuple[int, str]]]
"""The first definition of a port for each hostPort and hostIP: its number, and where it is."""

MAX_TEXTS = 256  # more than an answer's headers hold, see `codec.MAX_WARNINGS_LENGTH`

_CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")
_DEPRECATED_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}
_DEPRECATED_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
_DEPRECATED_VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_SHOWN = {"storageos": "storageOS"}
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_SECCOMP_TEXT = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_IN_BYTES = ("memory", "ephemeral-storage")
_PLACING = frozenset({"nodeSelector", "affinity", "topologySpreadConstraints"})
_LISTS = frozenset({"volumes", "hostAliases", "imagePullSecrets"})
_TOLD = frozenset({"resources", "env", "ports"})
_NO_SELECTOR = "a null labelSelector results in matching no pod"


def warnings(pod: Spec, path: str) -> list[str]:
    """Of a pod, whose path is "", or of a template: no more than are ever shown."""
    return list(islice(_found(pod, f"{path}." if path else ""), MAX_TEXTS))


def _found(pod: Spec, lead: str) -> Iterator[str]:
    spec, where = pod.get("spec") or {}, f"{lead}spec"
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    if not _PLACING.isdisjoint(spec):
        yield from _placing(spec, where)
    if annotations:
        yield from _annotations(annotations, f"{lead}metadata.annotations")
    if not _LISTS.isdisjoint(spec):
        yield from _lists(spec, where)
    if spec.get("overhead"):
        yield from _fractions(spec["overhead"], f"{where}.overhead", _IN_BYTES)
    if annotations:
        yield from _seccomp(spec, annotations, f"{lead}metadata.annotations")
        by_kind = apparmor.template_warnings if lead else apparmor.pod_warnings
        yield from by_kind(pod, f"{lead}metadata.annotations")
    containers = [pair for pair in _containers(spec, where) if not _TOLD.isdisjoint(pair[1])]
    for here, container in containers:
        yield from _in_container(container, here)
    yield from _ports(containers)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        text = "must be >= 0; negative values are invalid and will be treated as 1"
        yield f"{where}.terminationGracePeriodSeconds: {text}"
    if spec.get("affinity"):
        yield from _null_selectors(spec["affinity"], f"{where}.affinity")


def template_warnings(new: Object, old: Object | None) -> list[str]:
    """The warnings of spec.template, when it is new."""
    template = (new.get("spec") or {}).get("template") or {}
    if old is not None and template == (old.get("spec") or {}).get("template"):
        return []
    return warnings(template, "spec.template")


def claim_warnings(spec: Spec, path: str) -> Iterator[str]:
    """Of a claim's spec: storage with a fraction of a byte."""
    resources = spec.get("resources") or {}
    for kind in ("requests", "limits"):
        yield from _fractions(resources.get(kind) or {}, f"{path}.resources.{kind}", ("storage",))


def _containers(spec: Spec, path: str) -> Iterator[tuple[str, Spec]]:
    for group in _CONTAINER_LISTS:
        for index, container in enumerate(spec.get(group) or ()):
            yield f"{path}.{group}[{index}]", container


def _placing(spec: Spec, path: str) -> Iterator[str]:
    """Old labels of nodes, and spreading over no pod."""
    for label in spec.get("nodeSelector") or ():
        if label in _DEPRECATED_LABELS:
            yield f"{path}.nodeSelector[{label}]: {_DEPRECATED_LABELS[label]}"
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    where = f"{path}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for index, term in enumerate(required.get("nodeSelectorTerms") or ()):
        yield from _term(term, f"{where}[{index}]", checks_values=False)
    where = f"{path}.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"
    for index, wish in enumerate(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        yield from _term(wish.get("preference") or {}, f"{where}[{index}].preference", checks_values=True)
    for index, spread in enumerate(spec.get("topologySpreadConstraints") or ()):
        where, key = f"{path}.topologySpreadConstraints[{index}]", spread.get("topologyKey")
        if key in _DEPRECATED_LABELS:
            yield f"{where}.topologyKey: {key} is {_DEPRECATED_LABELS[key]}"
        if spread.get("labelSelector") is None:
            yield f"{where}.labelSelector: {_NO_SELECTOR}"


def _term(term: Spec, path: str, *, checks_values: bool) -> Iterator[str]:
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        where, key = f"{path}.matchExpressions[{index}]", expression.get("key")
        if key in _DEPRECATED_LABELS:
            yield f"{where}.key: {key} is {_DEPRECATED_LABELS[key]}"
        for number, value in enumerate((expression.get("values") or ()) if checks_values else ()):
            for text in names.label_value(value):
                yield f"{where}.values[{number}]: {value} is invalid, {text}"


def _annotations(annotations: Mapping[str, str], path: str) -> Iterator[str]:
    for key, text in _DEPRECATED_ANNOTATIONS.items():
        if key in annotations:
            yield f"{path}[{key}]: {text}"


def _lists(spec: Spec, path: str) -> Iterator[str]:
    """Volumes that are no more, aliases and pull secrets that are there twice or have no name."""
    for index, volume in enumerate(spec.get("volumes") or ()):
        for kind in volume:
            if kind in _DEPRECATED_VOLUMES and volume[kind] is not None:
                yield f"{path}.volumes[{index}].{_SHOWN.get(kind, kind)}: {_DEPRECATED_VOLUMES[kind]}"
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate") or {}
        yield from claim_warnings(
            template.get("spec") or {}, f"{path}.volumes[{index}].ephemeral.volumeClaimTemplate.spec"
        )
    for volume in spec.get("volumes") or ():
        yield from volume_overlaps.warnings(volume)
    yield from _twice(spec.get("hostAliases") or (), "ip", f"{path}.hostAliases")
    secrets = spec.get("imagePullSecrets") or ()
    yield from _twice(secrets, "name", f"{path}.imagePullSecrets")
    for index, secret in enumerate(secrets):
        if not secret.get("name"):
            yield f'{path}.imagePullSecrets[{index}].name: invalid empty name ""'


def _twice(items: Sequence[Spec], key: str, path: str) -> Iterator[str]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        value = item.get(key) or ""
        if value in seen:
            yield f'{path}[{index}].{key}: duplicate {key} "{value}"'
        seen.add(value)


def _in_container(container: Spec, path: str) -> Iterator[str]:
    resources = container.get("resources") or {}
    for kind in ("limits", "requests"):
        if resources.get(kind):
            yield from _fractions(resources[kind], f"{path}.resources.{kind}", _IN_BYTES)
    env = container.get("env") or ()
    if len(env) > 1:
        yield from _variables(env, f"{path}.env")


def _fractions(amounts: Spec, path: str, names: Sequence[str]) -> Iterator[str]:
    """Amounts of bytes that are not whole."""
    for name in names:
        if name in amounts and quantity.to_milli(amounts[name]) % 1000:
            yield f'{path}[{name}]: fractional byte value "{amounts[name]}" is invalid, must be an integer'


def _seccomp(spec: Spec, annotations: Mapping[str, str], path: str) -> Iterator[str]:
    """Annotations that have become fields, where the field says nothing."""
    if _SECCOMP_POD in annotations and not (spec.get("securityContext") or {}).get("seccompProfile"):
        yield f"{path}[{_SECCOMP_POD}]: {_SECCOMP_TEXT}"
    for _, container in _containers(spec, ""):
        key = _SECCOMP_CONTAINER + (container.get("name") or "")
        if key in annotations and not (container.get("securityContext") or {}).get("seccompProfile"):
            yield f"{path}[{key}]: {_SECCOMP_TEXT}"


def _variables(env: Sequence[Spec], path: str) -> Iterator[str]:
    """Those that hide an earlier one, unless they are made of it."""
    seen: set[str] = set()
    for index, variable in enumerate(env):
        name, value = variable.get("name") or "", variable.get("value") or ""
        if name in seen and (variable.get("valueFrom") or value == f"$({name})" or f"$({name})" not in value):
            yield f'{path}[{index}]: hides previous definition of "{name}", which may be dropped when using apply'
        seen.add(name)


def _ports(containers: Sequence[tuple[str, Spec]]) -> Iterator[str]:
    """Ports that are listed more than once, in one container or in several."""
    known: dict[tuple[Any, Any], _Listed] = {}
    count = 0
    for here, container in containers:
        for index, port in enumerate(container.get("ports") or ()):
            where = f"{here}.ports[{index}]"
            if port.get("hostIP") and not port.get("hostPort"):
                yield f"{where}: hostIP set without hostPort: {_port_text(port)}"
            listed = known.setdefault((port.get("containerPort"), port.get("protocol", "TCP")), {})
            number, ip = port.get("hostPort") or 0, port.get("hostIP") or ""
            for _, at, fault in sorted(_port_faults(listed, number, ip)):
                yield f"{where}: {fault} port definition with {at}"
            count += 1
            listed.setdefault(number, {}).setdefault(ip, (count, where))


def _port_faults(listed: _Listed, number: int, ip: str) -> Iterator[tuple[int, str, str]]:
    """Which other definitions of the port this one meets, and how: each look-up finds what is told."""
    alike = listed.get(number, {})
    if ip in alike:
        yield *alike[ip], "duplicate"
    for other in listed if not number else (0,):
        for other_ip, at in listed.get(other, {}).items():
            if (other, other_ip) != (number, ip):
                yield *at, "overlapping"
    if number and not ip:
        yield from ((*at, "dangerously ambiguous") for other_ip, at in alike.items() if other_ip)
    elif number and "" in alike:
        yield *alike[""], "dangerously ambiguous"


def _port_text(port: Spec) -> str:
    name, protocol = port.get("name") or "", port.get("protocol", "TCP")
    return f"{{Name:{name} HostPort:0 ContainerPort:{port.get('containerPort')} Protocol:{protocol} HostIP:{port['hostIP']}}}"


def _null_selectors(affinity: Spec, path: str) -> Iterator[str]:
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(kind) or {}
        for name, inside in (("required", ""), ("preferred", ".podAffinityTerm")):
            field = f"{name}DuringSchedulingIgnoredDuringExecution"
            for index, term in enumerate(terms.get(field) or ()):
                chosen = (term.get("podAffinityTerm") or {}) if inside else term
                if chosen.get("labelSelector") is None:
                    yield f"{path}.{kind}.{field}[{index}]{inside}.labelSelector: {_NO_SELECTOR}"
