"""A CustomResourceDefinition's spec as rules look at it: what all versions share stands at the top.

Upstream keeps definitions in an older form, where a schema, subresources or columns that are the same in
every version belong to the definition itself, and names fields of complaints accordingly
(spec.validation.openAPIV3Schema). `View` is that form.

https://kubernetes.io/docs/reference/kubernetes-api/extend-resources/custom-resource-definition-v1/
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sampan.meta import conditions

Node = dict[str, Any]

ESTABLISHED = "Established"
NAMES_ACCEPTED = "NamesAccepted"
TERMINATING = "Terminating"
CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_NAMED = ("properties", "patternProperties", "definitions", "dependencies")
_BELOW = ("items", "not", "additionalProperties", "additionalItems", "allOf", "anyOf", "oneOf", *_NAMED)
_SHARED = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")


def versions(spec: Node) -> list[Node]:
    return [version for version in spec.get("versions") or () if isinstance(version, dict)]


def storage_version(spec: Node) -> str:
    """The version in which objects are stored; "" when none is marked."""
    return next((str(v.get("name")) for v in versions(spec) if v.get("storage")), "")


def schema_of(version: Node) -> Node | None:
    """A version's openAPIV3Schema."""
    found: Node | None = (version.get("schema") or {}).get("openAPIV3Schema")
    return found


def is_established(crd: Node) -> bool:
    return conditions.is_true(crd, ESTABLISHED)


def is_terminating(crd: Node) -> bool:
    return bool(crd["metadata"].get("deletionTimestamp")) or conditions.is_true(crd, TERMINATING)


def nodes(node: Any) -> Iterator[Node]:
    """A schema and every schema in it."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict):
            continue
        yield node
        if node.keys().isdisjoint(_BELOW):
            continue
        found: list[Any] = []
        for name in _BELOW:
            below = node.get(name)
            if name in _NAMED:
                found += (below or {}).values()
            elif below is not None:
                found += below if isinstance(below, list) else [below]
        waiting += reversed(found)


@dataclass(frozen=True, slots=True)
class Part:
    """One place of the older form: `path` is where a complaint about it is filed."""

    path: str
    value: Any
    status: bool
    version: str = ""


class View:
    """The older form of a spec."""

    def __init__(self, spec: Node) -> None:
        self.spec = spec
        self.versions = versions(spec)
        self._top = {name: self._shared(name) for name in _SHARED}

    def schemas(self) -> list[Part]:
        """Each place with a schema."""
        any_status = any(_has_status(v) for v in self.versions)
        if self._top["schema"]:
            value = self.versions[0]["schema"].get("openAPIV3Schema")
            return [Part("spec.validation.openAPIV3Schema", value, any_status, self.versions[0].get("name", ""))]
        return [
            Part(f"spec.versions[{i}].schema.openAPIV3Schema", schema_of(v), _has_status(v), v.get("name", ""))
            for i, v in enumerate(self.versions)
            if v.get("schema") is not None
        ]

    def places(self, name: str) -> list[tuple[str, Any]]:
        """Where subresources, additionalPrinterColumns or selectableFields stand, and what is there."""
        if self._top[name]:
            return [(f"spec.{name}", self.versions[0][name])]
        return [(f"spec.versions[{i}].{name}", v[name]) for i, v in enumerate(self.versions) if v.get(name)]

    def _shared(self, name: str) -> bool:
        """Whether all versions say the same, and say something."""
        if not self.versions:
            return False
        first = self.versions[0].get(name)
        return bool(first) and all(v.get(name) == first for v in self.versions)


def _has_status(version: Node) -> bool:
    return (version.get("subresources") or {}).get("status") is not None
