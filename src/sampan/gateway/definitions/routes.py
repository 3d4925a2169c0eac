"""Routes: what HTTPRoute and GRPCRoute have in common: parents, backends, header filters, status.

https://gateway-api.sigs.k8s.io/api-types/httproute/
"""

from typing import Any

from sampan.gateway.definitions import shapes
from sampan.gateway.definitions.shapes import Schema, items, text, tree, whole

_SAME_PARENT = (
    "p1.group == p2.group && p1.kind == p2.kind && p1.name == p2.name"
    " && (has(p1.__namespace__) ? p1.__namespace__ : '') == (has(p2.__namespace__) ? p2.__namespace__ : '')"
)
_SECTION = "(has({0}.sectionName) ? {0}.sectionName : '')"
_PORT = "(has({0}.port) ? {0}.port : 0)"

PARENT_REFERENCE = tree(
    "name",
    group={**shapes.GROUP_NAME, "default": shapes.GROUP},
    kind={**shapes.KIND_NAME, "default": "Gateway"},
    namespace=shapes.NAMESPACE_NAME,
    name=shapes.OBJECT_NAME,
    sectionName=shapes.SECTION_NAME,
    port=shapes.PORT,
)

PARENT_REFERENCES = shapes.with_rules(
    items(PARENT_REFERENCE, 32),
    (
        (
            f"self.all(p1, self.all(p2, {_SAME_PARENT} ? (({_SECTION.format('p1')} == '') == ({_SECTION.format('p2')} == '')"
            f" && ({_PORT.format('p1')} == 0) == ({_PORT.format('p2')} == 0)) : true))"
        ),
        "sectionName or port must be specified when parentRefs includes 2 or more references to the same parent",
    ),
    (
        (
            f"self.all(p1, self.exists_one(p2, {_SAME_PARENT} && {_SECTION.format('p1')} == {_SECTION.format('p2')}"
            f" && {_PORT.format('p1')} == {_PORT.format('p2')}))"
        ),
        "sectionName or port must be unique when parentRefs includes 2 or more references to the same parent",
    ),
)

_NEEDS_PORT = (
    "(size(self.group) == 0 && self.kind == 'Service') ? has(self.port) : true",
    "Must have port for Service reference",
)

BACKEND: dict[str, Schema] = {
    "group": {**shapes.GROUP_NAME, "default": ""},
    "kind": {**shapes.KIND_NAME, "default": "Service"},
    "name": shapes.OBJECT_NAME,
    "namespace": shapes.NAMESPACE_NAME,
    "port": shapes.PORT,
}
BACKEND_REFERENCE = tree("name", (_NEEDS_PORT,), **BACKEND)


def weighted(filters: Schema) -> Schema:
    """A backend with its weight and filters of its own."""
    return tree("name", (_NEEDS_PORT,), **BACKEND, weight=whole(0, 1_000_000, default=1), filters=filters)


_HEADERS = items(tree("name value", name=shapes.HEADER_NAME, value=text(4096, 1)), 16, keys="name")
HEADER_FILTER = tree(set=_HEADERS, add=_HEADERS, remove=items(text(), 16))

MIRROR = tree(
    "backendRef",
    (
        (
            "!(has(self.percent) && has(self.fraction))",
            "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter",
        ),
        (
            "!has(self.fraction) || self.fraction.numerator <= self.fraction.denominator",
            "numerator must be less than or equal to denominator",
        ),
    ),
    backendRef=BACKEND_REFERENCE,
    percent=whole(0, 100),
    fraction=tree("numerator", numerator=whole(0), denominator=whole(1, default=100)),
)

EXTENSION = tree("group kind name", group=shapes.GROUP_NAME, kind=shapes.KIND_NAME, name=shapes.OBJECT_NAME)


def filters(kinds: dict[str, tuple[str, Schema]]) -> Schema:
    """A list of filters: by type, (field, schema). Each type has its field, and no other."""
    rules: list[tuple[str, str]] = []
    for type_, (field, _) in kinds.items():
        rules.append(
            (
                f"!(has(self.{field}) && self.type != '{type_}')",
                f"filter.{field} must be nil if the filter.type is not {type_}",
            )
        )
        rules.append(
            (
                f"!(!has(self.{field}) && self.type == '{type_}')",
                f"filter.{field} must be specified for {type_} filter.type",
            )
        )
    fields: dict[str, Any] = dict(kinds.values())
    return items(tree("type", tuple(rules), type=shapes.choice(*kinds), **fields), 16)


def once(listed: Schema, *types: str) -> Schema:
    """The same where some types of filters stand at most once."""
    rules = [
        (f"self.filter(f, f.type == '{type_}').size() <= 1", f"{type_} filter cannot be repeated") for type_ in types
    ]
    return shapes.with_rules(listed, *rules)


STATUS = tree(
    "parents",
    parents=items(
        tree(
            "parentRef controllerName conditions",
            parentRef=PARENT_REFERENCE,
            controllerName=shapes.CONTROLLER_NAME,
            conditions={**shapes.CONDITIONS, "minItems": 1},
        ),
        32,
    ),
)

COLUMNS = [shapes.column("Hostnames", ".spec.hostnames"), shapes.AGE]
