"""From a CustomResourceDefinition to kinds: one Kind for each served version, equal in shape to a built-in one.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

import re
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any

import orjson

from sampan.kinds.apiextensions import (
    crd_spec,
    json_path,
    list_types,
    schema_check,
    schema_validation,
    values,
)
from sampan.kinds.apiextensions.rules import Rules
from sampan.kinds.kind import CLUSTER, METADATA, NAMESPACED, STATUS, Column, Hooks, Kind, Subresource
from sampan.kinds.parts import cells, scale
from sampan.meta import go_text, names, objects, validation
from sampan.meta.schema import Type
from sampan.meta.status import Cause, invalid_value, required, type_invalid
from sampan.meta.wire import table

Node = dict[str, Any]

_DEFAULT_BYTES = 32  # about what a default adds to an object
_MAX_REPLICAS = 2**31 - 1
_BEYOND_INTEGERS = 2**63  # a number column has whole numbers up to here


def kinds_of(crd: Node, *, is_complete: bool = False) -> list[Kind]:
    """The kinds that a definition serves, the stored version first. Their names are those that were accepted.

    `is_complete` makes at once what else is made when it is first needed.
    """
    spec = crd["spec"]
    storage = crd_spec.storage_version(spec)
    forms = {str(v["name"]): crd_spec.schema_of(v) or {"type": "object"} for v in crd_spec.versions(spec)}
    served = [v for v in crd_spec.versions(spec) if v.get("served")]
    ordered = sorted(served, key=lambda version: version["name"] != storage)
    behaviours = [Behaviour(spec, version, forms) for version in ordered]
    kinds = [_kind(crd, version, one, storage) for version, one in zip(ordered, behaviours, strict=True)]
    if is_complete:
        for kind, behaviour in zip(kinds, behaviours, strict=True):
            behaviour.complete()
            kind.type.unfold()
    return kinds


def _kind(crd: Node, version: Node, behaviour: "Behaviour", storage: str) -> Kind:
    spec = crd["spec"]
    accepted = (crd.get("status") or {}).get("acceptedNames") or spec["names"]
    return Kind(
        group=spec["group"],
        versions=(version["name"],),
        name=accepted.get("kind") or spec["names"]["kind"],
        plural=spec["names"]["plural"],
        schema=definition_name(spec["group"], version["name"], spec["names"]["kind"]),
        scope=CLUSTER if spec.get("scope") == "Cluster" else NAMESPACED,
        singular=accepted.get("singular") or "",
        list_name=accepted.get("listKind") or "",
        short_names=tuple(accepted.get("shortNames") or ()),
        categories=tuple(accepted.get("categories") or ()),
        subresources=tuple(_subresources(version)),
        columns=_columns(version),
        selectable={_dotted(f["jsonPath"]): _dotted(f["jsonPath"]) for f in version.get("selectableFields") or ()},
        has_generation=True,
        status_keeps=METADATA,
        name_check=names.dns1123_subdomain,
        storage_version=storage,
        custom=True,
        own_type=Type.from_crd(behaviour.node),
        deprecation=_deprecation(spec, version),
        unconditional=False,
        weight=behaviour.weight,
        hooks=behaviour.hooks(),
    )


def _deprecation(spec: Node, version: Node) -> str:
    """The warning of a deprecated version: its own text, else one that names what to use."""
    if not version.get("deprecated"):
        return ""
    if version.get("deprecationWarning"):
        return str(version["deprecationWarning"])
    group, kind = spec["group"], spec["names"]["kind"]
    text = f"{group}/{version['name']} {kind} is deprecated"
    better = [v["name"] for v in crd_spec.versions(spec) if v.get("served") and not v.get("deprecated")]
    newest = max(better, key=priority, default="")
    if newest and priority(newest) > priority(version["name"]):
        text += f"; use {group}/{newest} {kind}"
    return text


def priority(version: str) -> tuple[int, int, int]:
    """How stable and new a version is: v2 over v1 over v1beta2 over v1alpha1 over anything else."""
    found = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if found is None:
        return 0, 0, 0
    return {None: 3, "beta": 2, "alpha": 1}[found.group(2)], int(found.group(1)), int(found.group(3) or 0)


def definition_name(group: str, version: str, kind: str) -> str:
    """The name of its definition in OpenAPI documents: com.example.stable.v1.CronTab."""
    return ".".join([*reversed(group.split(".")), version, kind])


def _dotted(path: str) -> str:
    return path.removeprefix(".")


def _subresources(version: Node) -> list[Subresource]:
    given = version.get("subresources") or {}
    found = [STATUS] if given.get("status") is not None else []
    if given.get("scale") is not None:
        paths = [given["scale"].get(n) or "" for n in ("specReplicasPath", "statusReplicasPath", "labelSelectorPath")]
        found.append(scale.at(*map(_dotted, paths)))
    return found


# Columns


def _columns(version: Node) -> tuple[Column, ...]:
    given = version.get("additionalPrinterColumns") or ()
    if not given:
        return (Column("Age", cells.age, "date", description=cells.AGE.description),)
    return tuple(_column(column) for column in given)


def _column(column: Node) -> Column:
    path, kind = column["jsonPath"], column["type"]
    return Column(
        column["name"],
        _cell(path, kind),
        kind,
        column.get("format") or "",
        column.get("description") or f"Custom resource definition column (in JSONPath format): {path}",
        wide=column.get("priority") or 0,
    )


def _cell(path: str, kind: str) -> Callable[[Node, float], Any]:
    steps = cache(lambda: json_path.parse(path))

    def cell(obj: Node, now: float) -> Any:
        try:
            found = json_path.reach(steps(), obj)
        except json_path.PathError:
            return None
        if not found:
            return None
        value = found[0]
        if kind == "string":
            return json_path.text(value)
        return None if value is None else _typed(value, kind, now)

    return cell


def _typed(value: Any, kind: str, now: float) -> Any:
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if kind == "date":
        try:
            return table.age(value, now) if isinstance(value, str) else None
        except ValueError:
            return "<invalid>"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    whole = int(value)
    if kind == "integer":
        return whole if -_BEYOND_INTEGERS <= whole < _BEYOND_INTEGERS else -_BEYOND_INTEGERS
    return whole if whole == value and abs(whole) < _BEYOND_INTEGERS else value


# Behaviour: the hooks


class Behaviour:
    """What a custom kind does in one version. `forms` holds the schemas of all versions by name."""

    def __init__(self, spec: Node, version: Node, forms: dict[str, Node]) -> None:
        self._version = version["name"]
        self._group = spec["group"]
        self._name = spec["names"]["kind"]
        self._forms = forms
        self.node = forms[version["name"]]
        self._has_status = (version.get("subresources") or {}).get("status") is not None
        self._scale = (version.get("subresources") or {}).get("scale")
        self._rules = Rules(self.node, root=True)
        nodes = list(crd_spec.nodes(self.node))
        said = {key for node in nodes for key, value in node.items() if value is not None}
        self.weight = _DEFAULT_BYTES * sum(1 for node in nodes if node.get("default") is not None)
        self._has_defaults = "default" in said
        self._has_list_types = "x-kubernetes-list-type" in said
        self._has_embedded = "x-kubernetes-embedded-resource" in said

    def complete(self) -> None:
        """Makes at once what is made when it is first needed."""
        _ = self._fits
        self._rules.complete()

    def hooks(self) -> Hooks:
        return Hooks(
            default=self.default,
            prepare=self.prepare,
            validate=self.validate,
            warn=self.warn,
            convert=self.convert,
            read=self.read,
        )

    def default(self, obj: Node) -> None:
        """What comes in gets the schema's form, also after webhooks have changed it."""
        values.prune(obj, self.node)
        if self._has_defaults or b"null" in orjson.dumps(obj):
            values.complete(obj, self.node)

    def read(self, obj: Node) -> None:
        """So does what is read."""
        if self._has_embedded:
            values.coerce(obj, self.node, forgive=True)
        self.default(obj)

    @cached_property
    def _fits(self) -> schema_check.Check:
        return schema_check.checker(self.node)

    def prepare(self, new: Node, old: Node | None, subresource: str) -> None:
        """A new object's status is dropped where status has its own door; any other change counts as one."""
        self.default(new)
        if old is None:
            if self._has_status:
                new.pop("status", None)
            return
        if not self._has_status and not objects.same(new.get("status"), old.get("status")):
            new["metadata"]["generation"] = (old["metadata"].get("generation") or 0) + 1

    def validate(self, new: Node, old: Node | None, subresource: str) -> Sequence[Cause]:
        """Schema, embedded metadata, list types, scale, and the rules."""
        if wrong := self._type_causes(new):
            return wrong
        before = schema_validation.NOTHING if old is None else old
        found = [] if self._fits(new) else schema_validation.validate(new, self.node, before)
        found += self._scale_causes(new, subresource)
        if self._has_embedded:
            found += _embedded_causes(new, self.node)
        if self._has_list_types and (old is None or not list_types.causes(old, self.node)):
            found += list_types.causes(new, self.node)
        return found + self._rules.causes(new, old, found=found)

    def warn(self, new: Node, old: Node | None) -> Sequence[str]:
        """New finalizers without a domain and path."""
        known = set(objects.finalizers(old)) if old else set()
        text = (
            "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other "
            "finalizer writers"
        )
        added = sorted(set(objects.finalizers(new)) - known)
        return [f'metadata.finalizers: "{name}": {text}' for name in added if "/" not in name and name not in _STANDARD]

    def convert(self, obj: Node, api_version: str) -> Node:
        """Without a webhook only the version changes."""
        made: Node = objects.copy(obj)
        before, after = (self._forms.get(version.rpartition("/")[2]) for version in (obj["apiVersion"], api_version))
        if before is not None:
            values.keep_form(made, before)
        made["apiVersion"] = api_version
        if after is not None:
            values.take_form(made, after)
        return made

    def _type_causes(self, obj: Node) -> list[Cause]:
        expected = f"{self._group}/{self._version}"
        found = []
        if obj.get("kind") != self._name:
            found.append(invalid_value("kind", obj.get("kind"), f"must be {self._name}"))
        if obj.get("apiVersion") != expected:
            found.append(invalid_value("apiVersion", obj.get("apiVersion"), f"must be {expected}"))
        return found

    def _scale_causes(self, obj: Node, subresource: str) -> list[Cause]:
        if self._scale is None:
            return []
        paths = [self._scale.get("statusReplicasPath") or ""]
        if subresource != "status":
            paths.insert(0, self._scale.get("specReplicasPath") or "")
        found = [cause for path in paths for cause in _count_causes(obj, path)]
        selector = self._scale.get("labelSelectorPath")
        value = objects.get_path(obj, _dotted(selector)) if selector else None
        if value is not None and not isinstance(value, str):
            found.append(invalid_value(str(selector), "", f"{selector} accessor error: {go_text.text(value)} is of the type "
                                       f"{_go_type(value)}, expected string"))  # fmt: skip
        return found


_STANDARD = frozenset({"orphan", "foregroundDeletion"})


def _count_causes(obj: Node, path: str) -> list[Cause]:
    value = objects.get_path(obj, _dotted(path))
    if value is None:
        return []
    if isinstance(value, bool) or not isinstance(value, int):
        text = f"{path} accessor error: {go_text.text(value)} is of the type {_go_type(value)}, expected int64"
        return [invalid_value(path, 0, text)]
    if value < 0:
        return [invalid_value(path, value, "should be a non-negative integer")]
    if value > _MAX_REPLICAS:
        return [invalid_value(path, value, f"should be less than or equal to {_MAX_REPLICAS}")]
    return []


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    return "[]interface {}" if isinstance(value, list) else "map[string]interface {}"


def _embedded_causes(obj: Node, node: Node) -> list[Cause]:
    """Embedded resources have a kind, an apiVersion and sound metadata."""
    found: list[Cause] = []
    for path, inner in values.embedded(obj, node):
        missing = [name for name in ("apiVersion", "kind") if not inner.get(name)]
        found += [required(f"{path}.{name}", "must not be empty") for name in missing]
        metadata = inner.get("metadata")
        if metadata is not None and not isinstance(metadata, dict):
            found.append(type_invalid(f"{path}.metadata", metadata, "must be an object"))
        elif metadata:
            found += _meta_causes(metadata, f"{path}.metadata")
    return found


def _meta_causes(metadata: Node, path: str) -> list[Cause]:
    found = []
    for name in ("name", "generateName", "namespace"):
        value = metadata.get(name) or ""
        check = names.dns1123_label if name == "namespace" else names.path_segment
        found += [invalid_value(f"{path}.{name}", value, error) for error in (check(value) if value else ())]
    found += validation.labels(metadata.get("labels"), f"{path}.labels")
    return found + validation.annotations(metadata.get("annotations"), f"{path}.annotations")
