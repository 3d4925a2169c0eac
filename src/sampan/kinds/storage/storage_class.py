"""StorageClass: a kind of storage, and who makes volumes of it.

https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/storage-class-v1/
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sampan.kinds.kind import CLUSTER, Column, Kind, Object
from sampan.kinds.parts import cells, storage_rules
from sampan.meta import names, objects
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

DEFAULT_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
_POLICIES = ("Delete", "Retain")
_BINDING_MODES = ("Immediate", "WaitForFirstConsumer")


def is_default(obj: Mapping[str, Any]) -> bool:
    """Whether claims that name no class get this one."""
    annotations = obj["metadata"].get("annotations") or {}
    return any(annotations.get(name) == "true" for name in DEFAULT_ANNOTATIONS)


def newest_default(classes: Iterable[Mapping[str, Any]]) -> str | None:
    """Of several default classes the one that counts: its name; None when there is none."""
    marked = [found for found in classes if is_default(found)]
    return objects.name(min(marked, key=_newest_first)) if marked else None


def _newest_first(found: Mapping[str, Any]) -> tuple[tuple[int, ...], str]:
    created = str(found["metadata"].get("creationTimestamp") or "")
    return tuple(-ord(character) for character in created), objects.name(found)


def _name_text(obj: Object, now: float) -> str:
    name = str(obj["metadata"].get("name") or "")
    return f"{name} (default)" if is_default(obj) else name


STORAGECLASS = Kind(
    group="storage.k8s.io",
    versions=("v1",),
    name="StorageClass",
    plural="storageclasses",
    scope=CLUSTER,
    schema="io.k8s.api.storage.v1.StorageClass",
    short_names=("sc",),
    columns=(
        Column("Name", _name_text, format="name"),
        Column("Provisioner", "provisioner"),
        Column("ReclaimPolicy", "reclaimPolicy"),
        Column("VolumeBindingMode", "volumeBindingMode"),
        Column("AllowVolumeExpansion", lambda o, now: bool(o.get("allowVolumeExpansion")), kind="boolean"),
        cells.AGE,
    ),
    answers_deleted=True,
)


def default(obj: Object) -> None:
    """Volumes go with their claims, and are made at once."""
    if obj.get("reclaimPolicy") is None:
        obj["reclaimPolicy"] = "Delete"
    if obj.get("volumeBindingMode") is None:
        obj["volumeBindingMode"] = "Immediate"


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Who, with what, when, where; nothing of it changes but where and whether volumes may grow."""
    causes = _update_causes(new, old) if old is not None else []
    causes += storage_rules.provisioner_causes(new.get("provisioner") or "", "provisioner")
    causes += storage_rules.parameter_causes(new.get("parameters") or {}, "parameters")
    policy, mode = new.get("reclaimPolicy"), new.get("volumeBindingMode")
    if policy and policy not in _POLICIES:
        causes.append(not_supported("reclaimPolicy", policy, _POLICIES))
    if mode not in _BINDING_MODES:
        causes.append(not_supported("volumeBindingMode", mode, _BINDING_MODES))
    return causes + _topology_causes(new.get("allowedTopologies") or ())


def _update_causes(new: Object, old: Object) -> list[Cause]:
    found = [
        forbidden_field(field, f"updates to {field} are forbidden.")
        for field in ("parameters", "provisioner", "reclaimPolicy")
        if (new.get(field) or None) != (old.get(field) or None)
    ]
    if new.get("volumeBindingMode") != old.get("volumeBindingMode"):
        found.append(invalid_value("volumeBindingMode", new.get("volumeBindingMode"), "field is immutable"))
    return found


def _topology_causes(terms: Sequence[dict[str, Any]]) -> list[Cause]:
    found: list[Cause] = []
    seen: list[dict[str, set[str]]] = [{}]  # a term that says nothing is as good as none
    for index, term in enumerate(terms):
        path = f"allowedTopologies[{index}].matchLabelExpressions"
        values: dict[str, set[str]] = {}
        for number, expression in enumerate(term.get("matchLabelExpressions") or ()):
            found += _expression_causes(expression, f"{path}[{number}]", values)
        if values in seen:
            found.append(duplicate(path, ""))
        seen.append(values)
    return found


def _expression_causes(expression: dict[str, Any], path: str, values: dict[str, set[str]]) -> list[Cause]:
    """Also adds what it says to `values`."""
    key, given = expression.get("key") or "", expression.get("values") or ()
    found = [] if given else [required(f"{path}.values")]
    found += [duplicate(f"{path}.values[{n}]", v) for n, v in enumerate(given) if v in given[:n]]
    found += [invalid_value(f"{path}.key", key, text) for text in names.qualified_name(key)]
    if key in values:
        found.append(duplicate(f"{path}.key", key))
    values[key] = set(given)
    return found
