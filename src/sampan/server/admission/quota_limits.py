"""Resources that nobody may take unless a quota of the namespace says how much: `limitedResources`.

https://kubernetes.io/docs/concepts/policy/resource-quotas/#limit-priority-class-consumption-by-default
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.kinds.kind import Kind
from sampan.kinds.parts import quota_scopes, quota_usage
from sampan.kinds.parts.quota_usage import Amounts

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limit:
    """Of one resource: names that contain one of the texts, and objects that one of the scopes is about."""

    group: str
    resource: str
    texts: tuple[str, ...]
    scopes: tuple[Tree, ...]


def limits(configuration: Mapping[str, Any]) -> tuple[Limit, ...]:
    """Those of a ResourceQuotaConfiguration."""
    return tuple(
        Limit(
            each.get("apiGroup") or "",
            each["resource"],
            tuple(each.get("matchContains") or ()),
            tuple(each.get("matchScopes") or ()),
        )
        for each in configuration.get("limitedResources") or ()
    )


def of_kind(limits: Iterable[Limit], kind: Kind) -> list[Limit]:
    """Those about objects of the kind."""
    return [limit for limit in limits if (limit.group, limit.resource) == (kind.group, kind.plural)]


def uncovered(limits: Sequence[Limit], kind: Kind, obj: Tree, amounts: Amounts, quotas: Sequence[Tree]) -> str:
    """Why the object may not be: what it takes, or a scope of it, of which no quota says anything; "" when all is said.

    `amounts` is what it takes.
    """
    said = [quota for quota in quotas if quota_usage.selects(kind, quota.get("spec") or {}, obj)]
    known = {
        name for quota in said for name in quota_usage.limited(kind, (quota.get("status") or {}).get("hard") or {})
    }
    taken = {name for name, amount in amounts.items() if amount.nanos > 0}
    lacking = {name for name in taken - known if any(text in name for limit in limits for text in limit.texts)}
    if lacking:
        return f"insufficient quota to consume: {','.join(sorted(lacking))}"
    is_pod = kind.resource == quota_usage.PODS
    if not is_pod and kind.resource != quota_usage.CLAIMS:
        return ""
    wanted = [term for limit in limits for term in quota_scopes.matching(limit.scopes, obj, is_pod=is_pod)]
    given = [quota_scopes.terms(quota.get("spec") or {}) for quota in quotas]
    covered = {t.get("scopeName") for terms in given for t in quota_scopes.matching(terms, obj, is_pod=is_pod)}
    open_terms = [_shown(term) for term in wanted if term.get("scopeName") not in covered]
    return f"insufficient quota to match these scopes: [{' '.join(open_terms)}]" if open_terms else ""


def _shown(term: Mapping[str, Any]) -> str:
    """As the reference server prints it: {PriorityClass In [high]}"""
    return f"{{{term.get('scopeName')} {term.get('operator')} [{' '.join(term.get('values') or ())}]}}"
