"""AppArmor profiles by annotation, as they were before there was a field: a new pod's become what its containers' fields say.

https://kubernetes.io/docs/tutorials/security/apparmor/
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sampan.kinds.kind import Object

PREFIX = "container.apparmor.security.beta.kubernetes.io/"
_LISTS = ("initContainers", "containers", "ephemeralContainers")
_LOCALHOST = "localhost/"
_DEPRECATED = 'deprecated since v1.30; use the "appArmorProfile" field instead'


def settle(pod: Object) -> None:
    """The annotation of each container that has no profile of its own counts, unless it says what the pod does."""
    spec = pod.get("spec") or {}
    for container, text in _annotated(pod):
        profile = _profile(text)
        if profile and not _of(container) and profile != _of(spec):
            container["securityContext"] = {**(container.get("securityContext") or {}), "appArmorProfile": profile}


def pod_warnings(pod: Mapping[str, Any], lead: str) -> Iterator[str]:
    """Of a new pod, once it is settled: annotations that count, or that mean nothing."""
    for container, text in _annotated(pod):
        profile = _profile(text)
        if _of(container) == profile:  # both may be none
            yield f"{lead}[{PREFIX}{container['name']}]: {_DEPRECATED}"


def template_warnings(template: Mapping[str, Any], lead: str) -> Iterator[str]:
    """Of a pod template: annotations where no field says anything."""
    if _of(template.get("spec") or {}):
        return
    for container, _ in _annotated(template):
        if not _of(container):
            yield f"{lead}[{PREFIX}{container['name']}]: {_DEPRECATED}"


def _annotated(pod: Mapping[str, Any]) -> Iterator[tuple[Object, str]]:
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    spec = pod.get("spec") or {}
    if not any(key.startswith(PREFIX) for key in annotations) or (spec.get("os") or {}).get("name") == "windows":
        return
    for group in _LISTS:
        for container in spec.get(group) or ():
            key = f"{PREFIX}{container.get('name')}"
            if key in annotations:
                yield container, annotations[key]


def _of(holder: Mapping[str, Any]) -> Object | None:
    """The profile of a container, or of all in a pod's spec."""
    return (holder.get("securityContext") or {}).get("appArmorProfile") or None


def _profile(text: str) -> Object | None:
    if text == "unconfined":
        return {"type": "Unconfined"}
    if text == "runtime/default":
        return {"type": "RuntimeDefault"}
    name = text.removeprefix(_LOCALHOST)
    is_valid = name != text and name == name.strip() and 0 < len(name) <= 4095
    return {"type": "Localhost", "localhostProfile": name} if is_valid else None
