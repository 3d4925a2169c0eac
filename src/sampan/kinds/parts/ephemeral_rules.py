"""Which ephemeral containers are refused: what a guest in a running pod may not have, and what never changes again.

https://kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers/
"""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.kind import Object
from sampan.kinds.parts import container_rules, difference
from sampan.kinds.parts.container_rules import Around
from sampan.meta import names, objects
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, not_found_field, required

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"

_ALLOWED = frozenset((
    "name", "image", "command", "args", "workingDir", "envFrom", "env", "volumeMounts", "volumeDevices",
    "terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy", "securityContext", "stdin", "stdinOnce",
    "tty", "targetContainerName",
))  # fmt: skip
_TEXT = "cannot be set for an Ephemeral Container"


def causes(spec: Mapping[str, Any], path: str, around: Around) -> list[Cause]:
    """All that is wrong with the ephemeral containers of a pod spec."""
    found: list[Cause] = []
    others = {c.get("name") for group in ("containers", "initContainers") for c in spec.get(group) or ()}
    seen = set(others)
    for index, container in enumerate(spec["ephemeralContainers"]):
        where = f"{path}[{index}]"
        name, target = container.get("name") or "", container.get("targetContainerName")
        found += [invalid_value(f"{where}.name", name, t) for t in names.dns1123_label(name)] if name else []
        if not name:
            found.append(required(f"{where}.name"))
        found += container_rules.causes(container, where, around)
        if name in seen:
            found.append(duplicate(f"{where}.name", name))
        seen.add(name)
        if target and target not in others:
            found.append(not_found_field(f"{where}.targetContainerName", target))
        extra = sorted(field for field, value in container.items() if value and field not in _ALLOWED)
        found += [forbidden_field(f"{where}.{field}", _TEXT) for field in extra]
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            given = [field for field in ("subPath", "subPathExpr") if mount.get(field)]
            found += [forbidden_field(f"{where}.volumeMounts[{number}].{field}", _TEXT) for field in given]
    return found


def update_causes(new: Object, old: Object) -> list[Cause]:
    """What a write to pods/ephemeralcontainers takes away or changes."""
    if MIRROR_ANNOTATION in objects.annotations(old):
        return [forbidden_field("", "static pods do not support ephemeral containers")]
    found: list[Cause] = []
    path = "spec.ephemeralContainers"
    now = {container.get("name"): container for container in new["spec"].get("ephemeralContainers") or ()}
    for container in old["spec"].get("ephemeralContainers") or ():
        name = container.get("name")
        if name not in now:
            found.append(forbidden_field(path, f'existing ephemeral containers "{name}" may not be removed\n'))
        elif now[name] != container:
            text = difference.text(container, now[name])
            found.append(forbidden_field(path, f'existing ephemeral containers "{name}" may not be changed\n{text}'))
    return found
