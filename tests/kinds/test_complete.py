"""Nothing is forgotten: each kind and version that a 1.36 server serves by default, with every field it has."""

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.kinds import builtin
from sampan.kinds.kind import Kind
from sampan.kinds.metrics.node_metrics import NODEMETRICS
from sampan.kinds.metrics.pod_metrics import PODMETRICS
from sampan.meta import fields, objects, schema

META = "io.k8s.apimachinery."

# Beta and alpha, off by default in the reference server as well.
NOT_SERVED = frozenset(
    {
        ("admissionregistration.k8s.io", "v1alpha1", "MutatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "v1alpha1", "MutatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "v1beta1", "MutatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "v1beta1", "MutatingAdmissionPolicyBinding"),
        ("certificates.k8s.io", "v1alpha1", "ClusterTrustBundle"),
        ("certificates.k8s.io", "v1beta1", "ClusterTrustBundle"),
        ("certificates.k8s.io", "v1beta1", "PodCertificateRequest"),
        ("coordination.k8s.io", "v1alpha2", "LeaseCandidate"),
        ("coordination.k8s.io", "v1beta1", "LeaseCandidate"),
        ("internal.apiserver.k8s.io", "v1alpha1", "StorageVersion"),
        ("networking.k8s.io", "v1beta1", "IPAddress"),
        ("networking.k8s.io", "v1beta1", "ServiceCIDR"),
        ("resource.k8s.io", "v1alpha3", "DeviceTaintRule"),
        ("resource.k8s.io", "v1alpha3", "ResourcePoolStatusRequest"),
        ("resource.k8s.io", "v1beta1", "DeviceClass"),
        ("resource.k8s.io", "v1beta1", "ResourceClaim"),
        ("resource.k8s.io", "v1beta1", "ResourceClaimTemplate"),
        ("resource.k8s.io", "v1beta1", "ResourceSlice"),
        ("resource.k8s.io", "v1beta2", "DeviceClass"),
        ("resource.k8s.io", "v1beta2", "DeviceTaintRule"),
        ("resource.k8s.io", "v1beta2", "ResourceClaim"),
        ("resource.k8s.io", "v1beta2", "ResourceClaimTemplate"),
        ("resource.k8s.io", "v1beta2", "ResourceSlice"),
        ("scheduling.k8s.io", "v1alpha2", "PodGroup"),
        ("scheduling.k8s.io", "v1alpha2", "Workload"),
        ("storage.k8s.io", "v1beta1", "VolumeAttributesClass"),
        ("storagemigration.k8s.io", "v1beta1", "StorageVersionMigration"),
    }
)

KINDS = (*builtin.KINDS, *builtin.BODIES, NODEMETRICS, PODMETRICS)


def _defined() -> dict[tuple[str, str, str], str]:
    """The definition's name of each group, version and kind, without the shapes that all kinds share."""
    found = {}
    for name, node in schema.definitions().items():
        if not name.startswith(META):
            for told in node.get("x-kubernetes-group-version-kind", ()):
                found[told["group"], told["version"], told["kind"]] = name
    return found


def test_every_kind_that_is_served_by_default_is_here() -> None:
    """Exactly the kinds of the definitions, but for those that are off by default."""
    defined = {told for told in _defined() if not told[2].endswith("List")}
    assert defined >= NOT_SERVED
    assert {(kind.group, version, kind.name) for kind in KINDS for version in kind.versions} == defined - NOT_SERVED


def test_every_kind_has_the_definition_of_its_own_version() -> None:
    """A kind's schema is that of its group, version and name; its list is defined too."""
    defined = _defined()
    for kind in KINDS:
        told = (kind.group, kind.version, kind.name)
        assert kind.schema == defined[told], told
    for kind in builtin.KINDS:
        if not kind.not_stored:
            assert (kind.group, kind.version, kind.list_kind) in defined, kind.resource


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.api_version} {kind.name}")
def test_no_field_is_lost(kind: Kind) -> None:
    """An object with every field of its schema is known in all of them, and keeps them through its defaults."""
    obj = {**_sample(kind.type), "apiVersion": kind.api_version, "kind": kind.name}
    given = set(_paths(obj))
    pruned = fields.prune(objects.copy(obj), kind.type)
    assert given <= set(_paths(pruned))
    kind.hooks.default(pruned)
    assert given - set(_paths(pruned)) <= GOES.get(kind.name, set())


# What is meant to go: fields that a client writes and nobody reads again, and what is no schema where one is due.
SCHEMA = "spec.versions.[].schema.openAPIV3Schema"
GOES = {
    "Secret": {"stringData", "stringData.key"},
    "CustomResourceDefinition": {f"{SCHEMA}.items.key", f"{SCHEMA}.additionalProperties.key"},
}


def _sample(kind: schema.Type, around: tuple[str, ...] = ()) -> Any:
    """A value with every field there is, each of them other than empty; schemas within themselves end at once."""
    if kind.kind == "object":
        inside = (*around, kind.name)
        known = {name: inner for name, inner in kind.fields.items() if not _names(inner) & set(filter(None, inside))}
        return {name: _sample(inner, inside) for name, inner in known.items()}
    if kind.kind == "array":
        return [_sample(kind.items, around)]
    if kind.kind == "map":
        return {"key": _sample(kind.items, around)}
    if kind.kind == "string" and kind.format == "byte":
        return "YQ=="
    return "2026-01-01T00:00:00.000000Z" if kind.struct == "MicroTime" else _SCALARS[kind.kind]


def _names(kind: schema.Type) -> set[str]:
    """The definitions that a field, an item of it, or a value of it, refers to."""
    return {kind.name} | (_names(kind.items) if kind.kind in ("array", "map") else set())


_SCALARS: dict[str, Any] = {
    "string": "text",
    "integer": 7,
    "number": 7.5,
    "boolean": True,
    "int-or-string": 7,
    "quantity": "7",
    "time": "2026-01-01T00:00:00Z",
    "any": {"key": "text"},
}


def _paths(value: Any, prefix: str = "") -> Iterator[str]:
    """The dotted path of every field; lists and maps count with their one item."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{prefix}{name}"
            yield from _paths(inner, f"{prefix}{name}.")
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner, f"{prefix}[].")
