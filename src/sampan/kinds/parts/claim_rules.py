"""Which specs of a PersistentVolumeClaim are refused, as an object or as the template of a pod or StatefulSet.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#persistentvolumeclaims
"""

from collections.abc import Mapping
from typing import Any

from sampan.kinds.parts import storage_rules
from sampan.meta import names, quantity, validation
from sampan.meta.status import Cause, forbidden_field, invalid_value, not_supported, required

Spec = Mapping[str, Any]

_TEMPLATE_METADATA = ("annotations", "labels")


def default(spec: dict[str, Any]) -> None:
    """A file system, unless a block device is asked for."""
    spec.setdefault("volumeMode", "Filesystem")


def template_causes(template: Mapping[str, Any], path: str) -> list[Cause]:
    """A claim to be made: labels and annotations, and a spec."""
    return template_meta_causes(template.get("metadata") or {}, f"{path}.metadata") + causes(
        template.get("spec") or {}, f"{path}.spec"
    )


def template_meta_causes(metadata: Mapping[str, Any], path: str) -> list[Cause]:
    """What an object is made with may have labels and annotations, and nothing else."""
    found = list(validation.annotations(metadata.get("annotations"), f"{path}.annotations"))
    found += validation.labels(metadata.get("labels"), f"{path}.labels")
    others = sorted(name for name, value in metadata.items() if value and name not in _TEMPLATE_METADATA)
    return found + [forbidden_field(f"{path}.{name}", "cannot be set") for name in others]


def causes(spec: Spec, path: str, *, known_groups: bool = False) -> list[Cause]:
    """All that is wrong with the spec. With `known_groups`, a data source's API group is not judged again."""
    modes = spec.get("accessModes") or ()
    found = [] if modes else [required(f"{path}.accessModes", "at least 1 access mode is required")]
    found += validation.label_selector(spec.get("selector"), f"{path}.selector")
    found += storage_rules.access_mode_causes(modes, f"{path}.accessModes")
    found += _size_causes((spec.get("resources") or {}).get("requests") or {}, f"{path}.resources[storage]")
    if spec.get("storageClassName"):
        found += storage_rules.name_causes(spec["storageClassName"], f"{path}.storageClassName")
    mode = spec.get("volumeMode")
    if mode is not None and mode not in storage_rules.VOLUME_MODES:
        found.append(not_supported(f"{path}.volumeMode", mode, storage_rules.VOLUME_MODES))
    for field in ("dataSource", "dataSourceRef"):
        if spec.get(field) is not None:
            found += _source_causes(spec[field], f"{path}.{field}", known_group=known_groups)
    found += _pair_causes(spec, path)
    if spec.get("volumeAttributesClassName"):
        name = spec["volumeAttributesClassName"]
        found += storage_rules.name_causes(name, f"{path}.volumeAttributesClassName")
    return found


def size(spec: Spec) -> quantity.Quantity:
    """The storage that is asked for; zero for none."""
    return quantity.parse(((spec.get("resources") or {}).get("requests") or {}).get("storage") or "0")


def _size_causes(requests: Mapping[str, Any], path: str) -> list[Cause]:
    value = requests.get("storage")
    if value is None:
        return [required(path)]
    complaint = quantity.validate(value)
    if complaint:
        return [invalid_value(path, value, complaint)]
    if quantity.parse(value).nanos <= 0:
        return [invalid_value(path, value, "must be greater than zero")]
    return []


def _source_causes(source: Mapping[str, Any], path: str, *, known_group: bool) -> list[Cause]:
    found = [required(f"{path}.{field}") for field in ("name", "kind") if not source.get(field)]
    group, kind = source.get("apiGroup") or "", source.get("kind") or ""
    if not group and kind != "PersistentVolumeClaim":
        text = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        found.append(invalid_value(path, kind, text))
    if group and not known_group:
        found += [invalid_value(f"{path}.apiGroup", group, text) for text in names.dns1123_subdomain(group)]
    namespace = source.get("namespace") or ""
    if namespace:
        found += [invalid_value(f"{path}.namespace", namespace, text) for text in names.dns1123_label(namespace)]
    return found


def _pair_causes(spec: Spec, path: str) -> list[Cause]:
    """The two fields for a data source say the same."""
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is None or reference is None:
        return []
    if reference.get("namespace"):
        text = "may not be specified when dataSourceRef.namespace is specified"
        return [invalid_value(path, f"{path}.dataSource", text)]
    same = all((source.get(f) or "") == (reference.get(f) or "") for f in ("apiGroup", "kind", "name"))
    return [] if same else [invalid_value(path, f"{path}.dataSource", "must match dataSourceRef")]
