"""ResourceQuota: how much all objects of a namespace may ask for together.

https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/resource-quota-v1/
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.kind import STATUS, Column, Kind, Object
from sampan.kinds.parts import quota_scopes, resource_names
from sampan.kinds.parts.cells import AGE
from sampan.meta.status import Cause, invalid_value


def _cell(*, limits: bool) -> Any:
    """name: used/hard for each that is, or is not, about limits."""

    def text(obj: Object, now: float) -> str:
        status = obj.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        names = [name for name in sorted(hard) if name.startswith("limits.") == limits]
        return ", ".join(f"{name}: {used.get(name, 0)}/{hard[name]}" for name in names)

    return text


RESOURCEQUOTA = Kind(
    group="",
    versions=("v1",),
    name="ResourceQuota",
    plural="resourcequotas",
    schema="io.k8s.api.core.v1.ResourceQuota",
    short_names=("quota",),
    subresources=(STATUS,),
    columns=(
        Column(
            "Request",
            _cell(limits=False),
            description="Request represents a minimum amount of cpu/memory that a container may consume.",
        ),
        Column(
            "Limit",
            _cell(limits=True),
            description="Limits control the maximum amount of cpu/memory that a container may use independent "
            "of contention on the node.",
        ),
        AGE,
    ),
    answers_deleted=True,
)


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one has nothing counted yet."""
    if old is None:
        new["status"] = {}


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Names, amounts and scopes; scopes never change."""
    if subresource == "status":
        status = new.get("status") or {}
        return [*_list_causes(status.get("hard"), "status.hard"), *_list_causes(status.get("used"), "status.used")]
    spec = new.get("spec") or {}
    found = _list_causes(spec.get("hard"), "spec.hard") + quota_scopes.causes(spec)
    if old is not None:
        before = (old.get("spec") or {}).get("scopes") or []
        if set(before) != set(spec.get("scopes") or ()):
            found.append(invalid_value("spec.scopes", spec.get("scopes"), "field is immutable"))
    return found


def _list_causes(amounts: Mapping[str, Any] | None, path: str) -> list[Cause]:
    found: list[Cause] = []
    for name, value in (amounts or {}).items():
        where = f"{path}[{name}]"
        found += resource_names.quota_causes(name, where) + resource_names.amount_causes(name, value, where)
    return found
