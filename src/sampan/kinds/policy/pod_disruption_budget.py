"""PodDisruptionBudget: how many of some pods may be away at once when somebody wants to move them.

https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/pod-disruption-budget-v1/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.kind import STATUS, Column, Kind, Object
from sampan.kinds.parts import numbers
from sampan.kinds.parts.cells import AGE
from sampan.meta import names, validation
from sampan.meta.status import Cause, invalid_value, not_supported


def _wish(field: str) -> Any:
    return lambda obj, now: str((obj.get("spec") or {}).get(field, "N/A"))


PODDISRUPTIONBUDGET = Kind(
    group="policy",
    versions=("v1",),
    name="PodDisruptionBudget",
    plural="poddisruptionbudgets",
    schema="io.k8s.api.policy.v1.PodDisruptionBudget",
    short_names=("pdb",),
    subresources=(STATUS,),
    columns=(
        Column(
            "Min Available", _wish("minAvailable"), description="The minimum number of pods that must be available."
        ),
        Column(
            "Max Unavailable",
            _wish("maxUnavailable"),
            description="The maximum number of pods that may be unavailable.",
        ),
        Column(
            "Allowed Disruptions",
            lambda o, now: (o.get("status") or {}).get("disruptionsAllowed") or 0,
            kind="integer",
            description="Calculated number of pods that may be disrupted at this time.",
        ),
        AGE,
    ),
    has_generation=True,
    name_check=names.path_segment,
    bare_finalizers=True,
    unconditional=False,
)

COUNTS = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
ALWAYS_ALLOW = "AlwaysAllow"
_POLICIES = (ALWAYS_ALLOW, "IfHealthyBudget")


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """A new one has counted nothing yet."""
    if old is None:
        new["status"] = dict.fromkeys(COUNTS, 0)


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """One of the two wishes, a selector, a policy; status counts are not negative."""
    if subresource == "status":
        return numbers.negative_causes(new.get("status") or {}, "status", *COUNTS)
    spec = new.get("spec") or {}
    found: list[Cause] = []
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        found.append(invalid_value("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for field in ("minAvailable", "maxUnavailable"):
        if spec.get(field) is not None:
            found += numbers.int_or_percent_causes(spec[field], f"spec.{field}", at_most_all=True)
    found += validation.label_selector(spec.get("selector"), "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in _POLICIES:
        found.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, _POLICIES))
    return found
