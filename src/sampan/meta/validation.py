"""Validation of what all objects share: metadata, label selectors, field managers.

Every function returns all causes, worded as upstream words them; none raises.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/
"""

from collections.abc import Callable, Mapping
from typing import Any

from sampan.meta import names, objects, selectors
from sampan.meta.status import Cause, forbidden_field, invalid_value, required, too_long

NameCheck = Callable[[str], list[str]]

_ANNOTATIONS_LIMIT = 256 * 1024
_MANAGER_LIMIT = 128
_SUBRESOURCE_LIMIT = 256
_FIXED = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def new_meta(obj: Mapping[str, Any], namespaced: bool, name: NameCheck = names.path_segment) -> list[Cause]:
    """What is wrong with a new object's metadata. `name` is the rule for names, beyond fitting into a path."""
    meta = objects.metadata(obj)
    causes = _name_causes(meta, name)
    causes += _namespace_causes(meta.get("namespace") or "", namespaced=namespaced)
    if (meta.get("generation") or 0) < 0:
        generation = meta["generation"]
        causes.append(invalid_value("metadata.generation", generation, "must be greater than or equal to 0"))
    return causes + _common(meta, {}) + _finalizer_causes(meta.get("finalizers") or [])


def changed_meta(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[Cause]:
    """What is wrong with an update of an object's metadata, given the stored one."""
    fresh, stored = objects.metadata(new), objects.metadata(old)
    causes = _new_finalizers(fresh, stored) if stored.get("deletionTimestamp") else []
    if not fresh.get("resourceVersion"):
        causes.append(invalid_value("metadata.resourceVersion", "", "must be specified for an update"))
    if (fresh.get("generation") or 0) < (stored.get("generation") or 0):
        causes.append(invalid_value("metadata.generation", fresh.get("generation") or 0, "must not be decremented"))
    for field in _FIXED:
        value, before = fresh.get(field), stored.get(field)
        if value is not before and (value or None) != (before or None):
            causes.append(invalid_value(f"metadata.{field}", _absent(field, value), "field is immutable"))
    return causes + _common(fresh, stored)


def immutable(new: Mapping[str, Any], old: Mapping[str, Any], path: str) -> list[Cause]:
    """A cause when the value at the dotted path differs from the stored one."""
    value = objects.get_path(new, path)
    return [] if value == objects.get_path(old, path) else [invalid_value(path, value, "field is immutable")]


def labels(values: Mapping[str, Any] | None, field: str) -> list[Cause]:
    """What is wrong with a map of labels."""
    causes = []
    for key, value in (values or {}).items():
        causes += [invalid_value(field, key, error) for error in names.qualified_name(key)]
        causes += [invalid_value(field, value, error) for error in names.label_value(value)]
    return causes


def annotations(values: Mapping[str, str] | None, field: str) -> list[Cause]:
    """What is wrong with annotations: their keys, their size in all."""
    if not values:
        return []
    causes = [invalid_value(field, key, e) for key in values for e in names.qualified_name(key.lower())]
    return causes if annotations_fit(values) else [*causes, too_long(field, _ANNOTATIONS_LIMIT)]


def annotations_fit(values: Mapping[str, str]) -> bool:
    """Whether annotations are not too large, all together."""
    return sum(len(key.encode()) + len((value or "").encode()) for key, value in values.items()) <= _ANNOTATIONS_LIMIT


def label_selector(selector: Mapping[str, Any] | None, field: str) -> list[Cause]:
    """What is wrong with a LabelSelector structure."""
    if selector is None:
        return []
    causes = labels(selector.get("matchLabels"), f"{field}.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        causes += _expression(expression, f"{field}.matchExpressions[{index}]")
    return causes


def selector_matches_template(obj: Mapping[str, Any]) -> list[Cause]:
    """The rule of every workload: spec.selector is not empty and picks spec.template's labels."""
    selector = objects.get_path(obj, "spec.selector")
    if selector is None:
        return [required("spec.selector")]
    causes = label_selector(selector, "spec.selector")
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        why = f"empty selector is invalid for {str(obj.get('kind', '')).lower()}"
        return [*causes, invalid_value("spec.selector", selector, why)]
    found = objects.get_path(obj, "spec.template.metadata.labels", {})
    if not causes and not selectors.from_label_selector(selector).matches(found):
        why = "`selector` does not match template `labels`"
        causes.append(invalid_value("spec.template.metadata.labels", found, why))
    return causes


def field_manager(manager: str, field: str = "fieldManager") -> list[Cause]:
    """What is wrong with a field manager's name."""
    causes = [too_long(field, _MANAGER_LIMIT)] if len(manager.encode()) > _MANAGER_LIMIT else []
    for position, character in enumerate("" if manager.isprintable() else manager):
        if not character.isprintable():
            why = f"invalid character U+{ord(character):04X} (at position {position})"
            causes.append(invalid_value(field, manager, why))
    return causes


def managed_fields(entries: list[Any] | None, field: str = "metadata.managedFields") -> list[Cause]:
    """What is wrong with the entries a client sent (their form, not their field sets)."""
    causes = []
    for index, entry in enumerate(entries or ()):
        manager, door = entry.get("manager") or "", entry.get("subresource") or ""
        is_named = manager.isascii() and manager.isprintable() and len(manager) <= _MANAGER_LIMIT
        is_formed = entry.get("fieldsType") == "FieldsV1" and entry.get("operation") in {"Apply", "Update"}
        if is_named and is_formed and len(door) <= _SUBRESOURCE_LIMIT:
            continue
        where = f"{field}[{index}]"
        if entry.get("operation") not in {"Apply", "Update"}:
            value = entry.get("operation") or ""
            causes.append(invalid_value(f"{where}.operation", value, "must be `Apply` or `Update`"))
        if entry.get("fieldsType") not in {None, "", "FieldsV1"}:
            causes.append(invalid_value(f"{where}.fieldsType", entry["fieldsType"], "must be `FieldsV1`"))
        causes += field_manager(manager, f"{where}.manager")
        if len(door) > _SUBRESOURCE_LIMIT:
            causes.append(too_long(f"{where}.subresource", _SUBRESOURCE_LIMIT))
    return causes


def each(field: str, value: Any, errors: list[str]) -> list[Cause]:
    """One Invalid cause for each complaint about a value."""
    return [invalid_value(field, value, error) for error in errors]


def _common(meta: Mapping[str, Any], stored: Mapping[str, Any]) -> list[Cause]:
    """What is shared with the stored metadata was found right when it was stored."""
    causes: list[Cause] = []
    for name, rule in _COMMON:
        value = meta.get(name)
        if value and value is not (known := stored.get(name)) and value != known:
            causes += rule(value, f"metadata.{name}")
    return causes


def _name_causes(meta: Mapping[str, Any], check: NameCheck) -> list[Cause]:
    causes = []
    if prefix := meta.get("generateName"):
        causes += each("metadata.generateName", prefix, names.as_prefix(check, prefix))
    name = meta.get("name")
    if not name:
        return [*causes, required("metadata.name", "name or generateName is required")]
    return causes + each("metadata.name", name, check(name))


def _namespace_causes(namespace: str, *, namespaced: bool) -> list[Cause]:
    if not namespaced:
        return [forbidden_field("metadata.namespace", "not allowed on this type")] if namespace else []
    if not namespace:
        return [required("metadata.namespace")]
    return each("metadata.namespace", namespace, names.dns1123_label(namespace))


def _owner_causes(owners: list[dict[str, Any]], field: str) -> list[Cause]:
    causes: list[Cause] = []
    controller = ""
    for owner in owners:
        version = str(owner.get("apiVersion") or "").rpartition("/")[2]
        if not version:
            value = owner.get("apiVersion") or ""
            causes.append(invalid_value(f"{field}.apiVersion", value, "version must not be empty"))
        empty = [key for key in ("kind", "name", "uid") if not owner.get(key)]
        causes += [invalid_value(f"{field}.{key}", "", "must not be empty") for key in empty]
        if owner.get("apiVersion") == "v1" and owner.get("kind") == "Event":
            causes.append(invalid_value(field, owner, "/v1, Kind=Event is disallowed from being an owner"))
        if owner.get("controller"):
            this = f"{owner.get('kind', '')}/{owner.get('name', '')}"
            if controller:
                why = (
                    "Only one reference can have Controller set to true. "
                    f'Found "true" in references for {controller} and {this}'
                )
                causes.append(invalid_value(field, owners, why))
            controller = controller or this
    return causes


_COMMON: tuple[tuple[str, Callable[[Any, str], list[Cause]]], ...] = (
    ("labels", labels),
    ("annotations", annotations),
    ("ownerReferences", _owner_causes),
    ("managedFields", managed_fields),
)


def _finalizer_causes(finalizers: list[str]) -> list[Cause]:
    field = "metadata.finalizers"
    causes = [cause for f in finalizers for cause in each(field, f, names.qualified_name(f))]
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        causes.append(invalid_value(field, finalizers, why))
    return causes


def _new_finalizers(fresh: Mapping[str, Any], stored: Mapping[str, Any]) -> list[Cause]:
    extra = sorted(set(fresh.get("finalizers") or ()) - set(stored.get("finalizers") or ()))
    if not extra:
        return []
    shown = ", ".join(f'"{e}"' for e in extra)
    why = "no new finalizers can be added if the object is being deleted, found new finalizers "
    return [forbidden_field("metadata.finalizers", f"{why}[]string{{{shown}}}")]


def _expression(expression: Mapping[str, Any], field: str) -> list[Cause]:
    operator, values, causes = expression.get("operator") or "", expression.get("values"), []
    if operator in {"In", "NotIn"}:
        if not values:
            causes.append(required(f"{field}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in {"Exists", "DoesNotExist"}:
        if values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            causes.append(forbidden_field(f"{field}.values", why))
    else:
        causes.append(invalid_value(f"{field}.operator", operator, "not a valid selector operator"))
    key = expression.get("key") or ""
    causes += each(f"{field}.key", key, names.qualified_name(key))
    for index, value in enumerate(values or ()):
        causes += each(f"{field}.values[{index}]", value, names.label_value(value))
    return causes


def _absent(field: str, value: Any) -> Any:
    return "" if value is None and field in {"name", "namespace", "uid"} else value
