"""What a write to pods/resize may change: cpu and memory of containers that go on running.

https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sampan.kinds.kind import Object
from sampan.kinds.parts import ephemeral_rules, pod_resources, pod_rules
from sampan.meta import objects
from sampan.meta.status import Cause, forbidden_field, invalid_value

Spec = Mapping[str, Any]

_RESIZABLE = ("cpu", "memory")
_GROUPS = (("initContainers", " for sidecar containers"), ("containers", ""))


def keep(new: Object, old: Object) -> None:
    """Puts back, in place, all that is not resources or a resize policy. Containers of other names are left, to be refused."""
    wanted, spec = new.get("spec") or {}, objects.copy(old["spec"])
    for group, _ in _GROUPS:
        asked, had = wanted.get(group) or [], spec.get(group) or []
        if _names(asked) != _names(had):
            spec[group] = asked
            continue
        for container, wish in zip(had, asked, strict=True):
            for field in ("resources", "resizePolicy"):
                if field in wish:
                    container[field] = wish[field]
                else:
                    container.pop(field, None)
    whole = wanted.get("resources")
    if whole is not None:
        spec["resources"] = whole
    new["spec"] = spec


def causes(new: Object, old: Object) -> list[Cause]:
    """What is wrong with the resize."""
    if ephemeral_rules.MIRROR_ANNOTATION in objects.annotations(old):
        return [forbidden_field("", "static pods cannot be resized")]
    if (old["spec"].get("os") or {}).get("name") == "windows":
        return [forbidden_field("", "windows pods cannot be resized")]
    found = pod_rules.spec_causes(new["spec"], "spec", pod=new)
    if found:
        return found
    qos, had = pod_resources.qos_class(new["spec"]), pod_resources.qos_class(old["spec"])
    if qos != had:
        text = "Pod QOS Class may not change as a result of resizing"
        found.append(invalid_value("spec", had, text))
    if not _is_supported(old):
        found.append(forbidden_field("spec", "Pod running on node without support for resize"))
    if others := _order_causes(new["spec"], old["spec"]):
        return found + others
    for group, what in _GROUPS:
        for index, container in enumerate(new["spec"].get(group) or ()):
            before = old["spec"][group][index]
            path = f"spec.{group}[{index}].resources"
            if what and container.get("restartPolicy") != "Always":
                if container != before:
                    text = "resources for non-sidecar init containers are immutable"
                    found.append(forbidden_field(path, text))
                continue
            found += _removal_causes(container.get("resources") or {}, before.get("resources") or {}, path)
            if _other(container) != _other(before):
                text = f"only cpu and memory resources{what} are mutable"
                found.append(forbidden_field("spec", text))
    whole, had_whole = new["spec"].get("resources") or {}, old["spec"].get("resources") or {}
    if whole != had_whole:
        found += _removal_causes(whole, had_whole, "spec.resources")
        if _other({"resources": whole}) != _other({"resources": had_whole}):
            found.append(forbidden_field("spec", "only cpu and memory resources are mutable"))
    return found


def _order_causes(spec: Spec, before: Spec) -> list[Cause]:
    """The containers are the same ones, in the same order."""
    found: list[Cause] = []
    for group in ("containers", "initContainers"):
        names, had = _names(spec.get(group) or ()), _names(before.get(group) or ())
        if len(names) != len(had):
            found.append(forbidden_field(f"spec.{group}", f"{group} may not be added or removed on resize"))
            continue
        text = f"{group} may not be renamed or reordered on resize"
        found += [
            forbidden_field(f"spec.{group}[{index}].name", text)
            for index, name in enumerate(names)
            if name != had[index]
        ]
    return found


def _names(containers: Iterable[Spec]) -> list[object]:
    return [container.get("name") for container in containers]


def _is_supported(pod: Object) -> bool:
    """A node that resizes tells what its running containers have; of others we know nothing."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if (status.get("state") or {}).get("running") is not None:
            return status.get("resources") is not None
    return True


def _removal_causes(resources: Spec, before: Spec, path: str) -> list[Cause]:
    return [
        forbidden_field(f"{path}.{part}", f"resource {part} cannot be removed")
        for part in ("requests", "limits")
        if (before.get(part) or {}).keys() - (resources.get(part) or {}).keys()
    ]


def _other(container: Spec) -> dict[str, Any]:
    """The container without what a resize is about."""
    resources = container.get("resources") or {}
    kept = {k: v for k, v in container.items() if k not in ("resources", "resizePolicy")}
    for part in ("requests", "limits"):
        amounts = {k: v for k, v in (resources.get(part) or {}).items() if k not in _RESIZABLE}
        if amounts:
            kept[part] = amounts
    return kept | {"claims": resources.get("claims") or []}
