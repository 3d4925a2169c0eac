"""What a CustomResourceDefinition may say: names, versions, columns, subresources, conversion, approval.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from sampan.kinds.apiextensions import crd_spec, field_path
from sampan.kinds.parts import webhook_client
from sampan.meta import names, objects
from sampan.meta.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required, too_many

Node = dict[str, Any]

APPROVAL = "api-approved.kubernetes.io"
REVIEW_VERSIONS = ("v1", "v1beta1")
COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
MAX_SELECTABLE = 8
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"


def spec_causes(spec: Node, old: Node | None, *, established: bool) -> list[Cause]:
    """Everything about spec but schemas."""
    view = crd_spec.View(spec)
    found = [*_group(spec), *_choice("spec.scope", spec.get("scope") or "", ("Cluster", "Namespaced"))]
    found += _missing_schemas(view, old)
    found += _versions(view)
    found += _required_names(spec.get("names") or {})
    found += names_causes(spec.get("names") or {}, "spec.names")
    for path, subresources in view.places("subresources"):
        found += _scale(subresources.get("scale"), f"{path}.scale")
    for path, columns in view.places("additionalPrinterColumns"):
        found += [c for i, column in enumerate(columns) for c in _column(column, f"{path}[{i}]")]
    found += _selectable(view)
    found += _conversion(spec.get("conversion"), spec_old=old, established=established)
    if old is not None:
        found += _unchanged(spec, old, established=established)
    return found


def names_causes(given: Node, path: str) -> list[Cause]:
    """Plural, singular, kind and the rest are DNS labels."""
    found = [
        invalid_value(f"{path}.{name}", given[name], ",".join(errors))
        for name in ("plural", "singular")
        if given.get(name) and (errors := names.dns1035_label(given[name]))
    ]
    for name in ("kind", "listKind"):
        if given.get(name) and (errors := names.dns1035_label(given[name].lower())):
            text = "may have mixed case, but should otherwise match: " + ",".join(errors)
            found.append(invalid_value(f"{path}.{name}", given[name], text))
    found += _labels(given.get("shortNames"), f"{path}.shortNames")
    if given.get("kind") and given["kind"] == given.get("listKind"):
        found.append(invalid_value(f"{path}.listKind", given["listKind"], "kind and listKind may not be the same"))
    return found + _labels(given.get("categories"), f"{path}.categories")


def _labels(given: list[str] | None, path: str) -> list[Cause]:
    checked = [(i, text, names.dns1035_label(text)) for i, text in enumerate(given or ())]
    return [invalid_value(f"{path}[{i}]", text, ",".join(errors)) for i, text, errors in checked if errors]


def name_errors(crd: Node) -> list[Cause]:
    """metadata.name is plural.group."""
    spec, name = crd.get("spec") or {}, objects.name(crd)
    wanted = f"{(spec.get('names') or {}).get('plural') or ''}.{spec.get('group') or ''}"
    if not name or name == wanted:
        return []
    return [invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group')]


def stored_versions_causes(stored: list[str], spec: Node) -> list[Cause]:
    """status.storedVersions names versions that the spec still has, the storage version among them."""
    path = "status.storedVersions"
    if not stored:
        return [invalid_value(path, stored, "must have at least one stored version")]
    known = [str(v.get("name")) for v in crd_spec.versions(spec)]
    storage = crd_spec.storage_version(spec)
    found = []
    if storage and storage not in stored:
        found.append(invalid_value(path, stored, f"must have the storage version {storage}"))
    for index, version in enumerate(stored):
        if version not in known:
            text = (
                f"missing from spec.versions; {version} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {version} and "
                f"removes {version} from status.storedVersions"
            )
            found.append(invalid_value(f"{path}[{index}]", version, text))
    return found


# Approval of *.k8s.io groups


def is_protected(group: str) -> bool:
    """Whether the group belongs to the Kubernetes project."""
    return group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))


def approval(annotations: Node) -> tuple[str, str]:
    """(state, why): Approved, Bypassed, Missing or Invalid."""
    value = annotations.get(APPROVAL) or ""
    if not value:
        return "Missing", f'protected groups must have approval annotation "{APPROVAL}", {_SEE}'
    if value.startswith("unapproved"):
        return "Bypassed", f"not approved: {json.dumps(value, ensure_ascii=False)}"
    parts = urlsplit(value) if not re.search(r"\s", value) else None
    if parts is not None and parts.scheme and parts.netloc:
        return "Approved", f"approved in {value}"
    how = 'with either a URL or a reason starting with "unapproved"'
    return "Invalid", f'protected groups must have approval annotation "{APPROVAL}" {how}, {_SEE}'


def approval_causes(new: Node, old: Node | None) -> list[Cause]:
    """A protected group's definition says who approved it; one that never said may go on so."""
    if not is_protected((new.get("spec") or {}).get("group") or ""):
        return []
    state, why = approval(objects.annotations(new))
    if old is not None and approval(objects.annotations(old))[0] == state:
        return []
    field = f"metadata.annotations[{APPROVAL}]"
    if state == "Missing":
        return [required(field, why)]
    return [invalid_value(field, objects.annotations(new)[APPROVAL], why)] if state == "Invalid" else []


# The pieces


def _group(spec: Node) -> list[Cause]:
    group = spec.get("group") or ""
    if not group:
        return [required("spec.group")]
    if errors := names.dns1123_subdomain(group):
        return [invalid_value("spec.group", group, ",".join(errors))]
    if "." not in group:
        return [invalid_value("spec.group", group, "should be a domain with at least one dot")]
    return []


def _choice(path: str, value: str, accepted: tuple[str, ...]) -> list[Cause]:
    if not value:
        return [required(path)]
    return [] if value in accepted else [not_supported(path, value, accepted)]


def _missing_schemas(view: crd_spec.View, old: Node | None) -> list[Cause]:
    if old is not None and any(crd_spec.schema_of(v) is None for v in crd_spec.versions(old)):
        text = "because otherwise all fields are pruned"
    else:
        text = "schemas are required"
    return [
        required(f"spec.versions[{i}].schema.openAPIV3Schema", text)
        for i, version in enumerate(view.versions)
        if crd_spec.schema_of(version) is None
    ]


def _versions(view: crd_spec.View) -> Iterator[Cause]:
    seen = [str(v.get("name") or "") for v in view.versions]
    for index, version in enumerate(view.versions):
        if errors := names.dns1035_label(seen[index]):
            yield invalid_value(f"spec.versions[{index}].name", seen[index], ",".join(errors))
        for text in _deprecation(version):
            yield invalid_value(f"spec.versions[{index}].deprecationWarning", version["deprecationWarning"], text)
    if len(set(seen)) != len(seen):
        yield invalid_value("spec.versions", view.spec.get("versions"), "must contain unique version names")
    if sum(bool(v.get("storage")) for v in view.versions) != 1:
        text = "must have exactly one version marked as storage version"
        yield invalid_value("spec.versions", view.spec.get("versions"), text)


def _deprecation(version: Node) -> list[str]:
    text = version.get("deprecationWarning")
    if text is None:
        return []
    if not version.get("deprecated"):
        return ["can only be set for deprecated versions"]
    found = []
    if len(text.encode()) > 256:
        found.append("must be <= 256 characters long")
    if not text:
        found.append("must not be an empty string")
    for index, sign in enumerate(text):
        if not sign.isprintable():
            where = len(text[:index].encode())
            found.append(
                f"must only contain printable UTF-8 characters; non-printable character found at index {where}"
            )
            break
    return found


def _required_names(given: Node) -> list[Cause]:
    return [
        required(f"spec.names.{name}") for name in ("plural", "singular", "kind", "listKind") if not given.get(name)
    ]


def _scale(scale: Node | None, path: str) -> list[Cause]:
    if scale is None:
        return []
    found = []
    for name, below in (("specReplicasPath", "spec"), ("statusReplicasPath", "status")):
        value, where = scale.get(name) or "", f"{path}.{name}"
        if not value:
            found.append(required(where))
        elif not value.startswith("."):
            found.append(invalid_value(where, value, "must be a simple json path starting with ."))
        elif not value.startswith(f".{below}."):
            found.append(invalid_value(where, value, f"should be a json path under .{below}"))
    value, where = scale.get("labelSelectorPath") or "", f"{path}.labelSelectorPath"
    if value and not value.startswith("."):
        found.append(invalid_value(where, value, "must be a simple json path starting with ."))
    elif value and not value.startswith((".spec.", ".status.")):
        found.append(invalid_value(where, value, "should be a json path under either .spec or .status"))
    return found


def _column(column: Node, path: str) -> Iterator[Cause]:
    kind, form, json_path = column.get("type") or "", column.get("format") or "", column.get("jsonPath") or ""
    types = "must be one of " + ",".join(COLUMN_TYPES)
    if not column.get("name"):
        yield required(f"{path}.name")
    if not kind:
        yield required(f"{path}.type", types)
    elif kind not in COLUMN_TYPES:
        yield invalid_value(f"{path}.type", kind, types)
    if form and form not in COLUMN_FORMATS:
        yield invalid_value(f"{path}.format", form, "must be one of " + ",".join(COLUMN_FORMATS))
    if not json_path:
        yield required(f"{path}.JSONPath")
    elif not json_path.startswith("."):
        yield invalid_value(f"{path}.JSONPath", json_path, "must be a simple json path starting with .")


def _selectable(view: crd_spec.View) -> list[Cause]:
    found: list[Cause] = []
    schemas = [crd_spec.schema_of(v) for v in view.versions if v.get("selectableFields")]
    for (path, fields), node in zip(view.places("selectableFields"), schemas, strict=False):
        if node is not None:
            found += _selectable_fields(fields, node, path)
    return found


def _selectable_fields(fields: list[Node], node: Node, path: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, field in enumerate(fields):
        where, given = f"{path}[{index}].jsonPath", field.get("jsonPath") or ""
        if not given:
            yield required(where)
            continue
        try:
            target = field_path.find(given, node, brackets=False)
        except field_path.PathError as error:
            yield invalid_value(where, given, f"is an invalid path: {error}")
            continue
        if target.path.split(".")[0] == "metadata":
            yield invalid_value(where, given, "must not point to fields in metadata")
        if target.node.get("type") not in ("string", "boolean", "integer"):
            text = (
                "must point to a field of type string, boolean or integer. "
                "Enum string fields and strings with formats are allowed."
            )
            yield invalid_value(where, given, text)
        if target.path in seen:
            yield duplicate(where, given)
        seen.add(target.path)
    if len(seen) > MAX_SELECTABLE:
        yield too_many(path, len(seen), MAX_SELECTABLE)


def _conversion(conversion: Node | None, *, spec_old: Node | None, established: bool) -> Iterator[Cause]:
    if conversion is None:
        return
    path, strategy, webhook = "spec.conversion", conversion.get("strategy") or "", conversion.get("webhook")
    yield from _choice(f"{path}.strategy", strategy, ("None", "Webhook"))
    config = (webhook or {}).get("clientConfig")
    reviews = (webhook or {}).get("conversionReviewVersions") or []
    where = f"{path}.webhookClientConfig"
    if strategy != "Webhook":
        text = "should not be set when strategy is not set to Webhook"
        if config is not None:
            yield forbidden_field(where, text)
        if reviews:
            yield forbidden_field(f"{path}.conversionReviewVersions", text)
        return
    if config is None:
        yield required(where, "required when strategy is set to Webhook")
    else:
        yield from webhook_client.causes(config, where)
        bundle = config.get("caBundle")
        if bundle and established and not _is_bundle(bundle) and _is_bundle(_old_bundle(spec_old) or _GOOD):
            text = "unable to load root certificates: unable to parse bytes as PEM block"
            yield invalid_value(f"{where}.caBundle", "<snip>", text)
    yield from _reviews(reviews, f"{path}.conversionReviewVersions")


def _reviews(reviews: list[str], path: str) -> Iterator[Cause]:
    if not reviews:
        yield required(path)
        return
    for index, version in enumerate(reviews):
        if version in reviews[:index]:
            yield invalid_value(f"{path}[{index}]", version, "duplicate version")
            continue
        for error in names.dns1035_label(version):
            yield invalid_value(f"{path}[{index}]", version, error)
    if not set(reviews) & set(REVIEW_VERSIONS):
        yield invalid_value(path, reviews, f"must include at least one of {', '.join(REVIEW_VERSIONS)}")


_GOOD = base64.b64encode(b"-----BEGIN CERTIFICATE-----").decode()


def _old_bundle(spec: Node | None) -> str:
    found = objects.get_path(spec or {}, "conversion.webhook.clientConfig.caBundle", "")
    return str(found)


def _is_bundle(bundle: str) -> bool:
    try:
        return b"-----BEGIN CERTIFICATE-----" in base64.b64decode(bundle)
    except (binascii.Error, ValueError):
        return False


def _unchanged(spec: Node, old: Node, *, established: bool) -> list[Cause]:
    paths = ["group", "names.plural"]
    if established:
        paths = ["scope", "names.kind", *paths]
    text = "field is immutable"
    return [
        invalid_value(f"spec.{path}", objects.get_path(spec, path), text)
        for path in paths
        if objects.get_path(spec, path) != objects.get_path(old, path)
    ]
