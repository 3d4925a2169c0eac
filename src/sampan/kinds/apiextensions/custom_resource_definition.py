"""CustomResourceDefinition: a kind that users add while the server runs.

https://kubernetes.io/docs/reference/kubernetes-api/extend-resources/custom-resource-definition-v1/
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sampan.kinds.apiextensions import crd_rules, crd_spec, formats, schema_rules
from sampan.kinds.kind import CLUSTER, STATUS, Kind, Object
from sampan.kinds.parts import webhook_client
from sampan.kinds.parts.cells import CREATED_AT
from sampan.meta import conditions, fields, objects, schema
from sampan.meta.status import Cause, invalid_value

_SCHEMA = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"

CUSTOMRESOURCEDEFINITION = Kind(
    group="apiextensions.k8s.io",
    versions=("v1",),
    name="CustomResourceDefinition",
    plural="customresourcedefinitions",
    scope=CLUSTER,
    schema="io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    subresources=(STATUS,),
    columns=(CREATED_AT,),
    has_generation=True,
    unconditional=False,
    bare_finalizers=True,
)


def default(obj: Object) -> None:
    """Names follow from the kind; versions are converted by renaming; status is there."""
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind") or ""
    if not names.get("singular") and kind:
        names["singular"] = kind.lower()
    if not names.get("listKind") and kind:
        names["listKind"] = f"{kind}List"
    if not spec.get("preserveUnknownFields"):
        spec.pop("preserveUnknownFields", None)
    for version in crd_spec.versions(spec):
        _conform(version)
    if spec.get("conversion") is None:
        spec["conversion"] = {"strategy": "None"}
    webhook_client.default((spec["conversion"].get("webhook") or {}).get("clientConfig") or {})
    default_status(obj)


def default_status(obj: Object) -> None:
    """Lists and names that are there even when they are empty."""
    status = obj.get("status")
    if status is None:
        status = obj["status"] = {}
    status.setdefault("conditions", [])
    status.setdefault("acceptedNames", {"plural": "", "kind": ""})
    status.setdefault("storedVersions", [])


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """The storage version joins the versions in which objects may be stored; a new one has no conditions yet."""
    if old is None:
        new["status"] = {"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []}
    if subresource:
        return
    storage = crd_spec.storage_version(new["spec"])
    stored = new["status"].get("storedVersions") or []
    if storage and storage not in stored:
        new["status"]["storedVersions"] = [*stored, storage]


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Names, versions, schemas with their defaults and rules, conversion."""
    status = new.get("status") or {}
    found = crd_rules.names_causes(status.get("acceptedNames") or {}, "status.acceptedNames")
    if subresource == "status":
        return found
    spec = new.get("spec") or {}
    before = (old or {}).get("spec")
    if old is None:
        found = crd_rules.name_errors(new)
    established = old is not None and crd_spec.is_established(old)
    found += crd_rules.spec_causes(spec, before, established=established)
    for part in crd_spec.View(spec).schemas():
        found += schema_rules.causes(part, _schema_before(before, part.version))
    found += crd_rules.stored_versions_causes(status.get("storedVersions") or [], spec)
    found += crd_rules.approval_causes(new, old)
    if spec.get("preserveUnknownFields") and not (before or {}).get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        found.append(invalid_value("spec.preserveUnknownFields", True, text))
    return list(dict.fromkeys(found))


def warn(new: Object, old: Object | None) -> Sequence[str]:
    """Formats that nobody checks, when they are new."""
    known = set(_unknown_formats(old)) if old else set()
    return [f'unrecognized format "{form}"' for form in _unknown_formats(new) if form not in known]


def deleting(obj: Object) -> None:
    """Its objects go first: the finalizer keeps the definition until they are gone."""
    metadata = obj["metadata"]
    finalizers = metadata.get("finalizers") or []
    if crd_spec.CLEANUP_FINALIZER not in finalizers:
        metadata["finalizers"] = [*finalizers, crd_spec.CLEANUP_FINALIZER]
    text = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    condition = conditions.make(crd_spec.TERMINATING, "True", "InstanceDeletionPending", text, 0)
    condition["lastTransitionTime"] = metadata["deletionTimestamp"]
    status = obj.setdefault("status", {})
    others = conditions.remove(status.get("conditions"), crd_spec.TERMINATING)
    status["conditions"] = [*others, condition]


def _conform(version: Object) -> None:
    """Schemas below items and additionalProperties, where the API's own schema says anything, in their form.

    Raises ApiError 400, as for any field of a wrong type.
    """
    for node in crd_spec.nodes(crd_spec.schema_of(version)):
        for name in ("items", "additionalProperties"):
            if isinstance(node.get(name), dict):
                try:
                    node[name] = fields.conform(node[name], schema.definition(_SCHEMA))[0]
                except fields.Mismatch as error:
                    raise fields.mismatch_error(error, CUSTOMRESOURCEDEFINITION.name, "v1") from error


def _schema_before(spec: Any, version: str) -> Any:
    found = [v for v in crd_spec.versions(spec or {}) if v.get("name") == version]
    return crd_spec.schema_of(found[0]) if found else None


def _unknown_formats(crd: Object) -> Iterator[str]:
    for version in crd_spec.versions(objects.get_path(crd, "spec", {})):
        for node in crd_spec.nodes(crd_spec.schema_of(version)):
            form = node.get("format")
            if isinstance(form, str) and form and not formats.is_known(node.get("type") or "", form):
                yield form
