"""ResourceQuota: what a new object takes is charged to its namespace's quotas in the object's own transaction.

A charge holds only if the quota is still at the revision it was read at, so that no number of creates at
once gets past it. Those of one namespace wait for each other in line, rather than fail and try again.
What deleted objects took comes back when the controller counts anew.

https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

import asyncio
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sampan.kinds.core.resource_quota import RESOURCEQUOTA
from sampan.kinds.parts import quota_usage
from sampan.kinds.parts.quota_usage import Amounts
from sampan.meta import objects, status
from sampan.server import cache
from sampan.server.admission import quota_limits
from sampan.server.admission.chain import CREATE, UPDATE, Attributes, Concern, Lookup
from sampan.server.admission.quota_limits import Limit
from sampan.store.protocol import Compare, Put

Tree = dict[str, Any]

# Kinds whose updates may take more than before; of all others only creation counts.
_GROWING = (("services", ""), ("persistentvolumeclaims", ""), ("persistentvolumeclaims", "status"), ("pods", "resize"))


class ResourceQuotas:
    """`now` is unix seconds. What is in `limits` may be taken only where a quota says how much."""

    def __init__(self, now: Callable[[], float], limits: Sequence[Limit] = ()) -> None:
        self.CONCERNS = Concern(operations=(CREATE, UPDATE), needs=() if limits else (RESOURCEQUOTA,))
        self._limits = limits
        self._now = now
        self._lines: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def validate(self, attributes: Attributes, lookup: Lookup) -> None:
        """Raises ApiError 403 when a quota would be exceeded."""
        if not _is_charged(attributes):
            return
        self._check_limits(attributes, lookup)
        if not self._concerned(attributes, lookup):
            return
        if not attributes.dry_run:
            await self._stand_in_line(attributes)
        concerned = self._concerned(attributes, lookup)
        delta = self._delta(attributes)
        for item in concerned:
            self._charge(attributes, item, delta)

    def _check_limits(self, attributes: Attributes, lookup: Lookup) -> None:
        """Raises ApiError 403 for what may be taken only with a quota, where there is none."""
        kind, obj = attributes.kind, attributes.obj or {}
        limits = quota_limits.of_kind(self._limits, kind)
        if limits:
            quotas = [item.tree for item in lookup.all(RESOURCEQUOTA, attributes.namespace)]
            why = quota_limits.uncovered(limits, kind, obj, quota_usage.usage(kind, obj, self._now()), quotas)
            if why:
                raise _refusal(attributes, why)

    async def _stand_in_line(self, attributes: Attributes) -> None:
        line = self._lines.get(attributes.namespace)
        if line is None:
            line = self._lines[attributes.namespace] = asyncio.Lock()
        await line.acquire()
        attributes.held.append(line.release)

    def _concerned(self, attributes: Attributes, lookup: Lookup) -> Sequence[cache.Item]:
        """The quotas that limit what the object takes. Raises ApiError 403 when it lacks what they must know."""
        kind, obj = attributes.kind, attributes.obj or {}
        found = []
        for item in lookup.all(RESOURCEQUOTA, attributes.namespace):
            quota = item.tree
            hard = (quota.get("status") or {}).get("hard") or {}
            names = quota_usage.limited(kind, hard)
            if not names or not quota_usage.selects(kind, quota.get("spec") or {}, obj):
                continue
            name = objects.name(quota)
            if kind.resource == quota_usage.PODS:
                lacking = quota_usage.lacking(obj, names)
                if lacking:
                    raise _refusal(attributes, f"failed quota: {name}: must specify {lacking}")
            used = (quota.get("status") or {}).get("used") or {}
            if any(n not in used for n in names):
                raise _refusal(attributes, f"status unknown for quota: {name}, resources: {','.join(names)}")
            found.append(item)
        return found

    def _delta(self, attributes: Attributes) -> Amounts:
        now = self._now()
        delta = quota_usage.usage(attributes.kind, attributes.obj or {}, now)
        negative = sorted(name for name, value in delta.items() if value.nanos < 0)
        if negative:
            raise _refusal(attributes, f"quota usage is negative for resource(s): {','.join(negative)}")
        if attributes.operation == UPDATE and attributes.old is not None:
            before = quota_usage.usage(attributes.kind, attributes.old, now)
            delta = {n: v - before[n] if n in before else v for n, v in delta.items()}
        return {name: value for name, value in delta.items() if value.nanos > 0}

    def _charge(self, attributes: Attributes, item: cache.Item, delta: Amounts) -> None:
        quota = item.tree
        state = quota["status"]
        hard, used = quota_usage.parse(state["hard"]), quota_usage.parse(state.get("used"))
        asked = {name: value for name, value in delta.items() if name in hard}
        if not asked:
            return
        after = quota_usage.add(used, asked)
        exceeded = [name for name in asked if after[name].nanos > hard[name].nanos]
        if exceeded:
            raise _exceeded(attributes, objects.name(quota), [_mask(part, exceeded) for part in (asked, used, hard)])
        charged = {**state, "used": {**(state.get("used") or {}), **{name: str(after[name]) for name in asked}}}
        key = cache.prefix(RESOURCEQUOTA) + cache.item_key(RESOURCEQUOTA, *objects.key(quota))
        attributes.compares.append(Compare(key, item.revision))
        attributes.writes.append(Put(key, cache.encode({**quota, "status": charged})))


def _is_charged(attributes: Attributes) -> bool:
    kind, obj = attributes.kind, attributes.obj
    if obj is None or not kind.namespaced or kind.not_stored or kind.resource in quota_usage.IGNORED:
        return False
    if attributes.body_kind is not None:
        return False
    if attributes.operation == CREATE:
        return not attributes.subresource
    return attributes.operation == UPDATE and (kind.resource, attributes.subresource) in _GROWING


def _mask(amounts: Amounts, names: Sequence[str]) -> Amounts:
    return {name: amounts[name] for name in names if name in amounts}


def _exceeded(attributes: Attributes, quota: str, amounts: Sequence[Mapping[str, Any]]) -> status.ApiError:
    requested, used, limited = (quota_usage.show(part) for part in amounts)
    why = f"exceeded quota: {quota}, requested: {requested}, used: {used}, limited: {limited}"
    return _refusal(attributes, why)


def _refusal(attributes: Attributes, why: str) -> status.ApiError:
    return status.forbidden(attributes.kind.group, attributes.kind.plural, attributes.name, why)
