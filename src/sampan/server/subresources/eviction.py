"""The eviction subresource: a graceful deletion that a disruption budget may refuse.

The pod's deletion, its DisruptionTarget condition and the budget's new count are one transaction, so that
two evictions never take the same allowance.

https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
"""

import dataclasses
from typing import Any

from sampan.kinds.core import pod
from sampan.kinds.policy.eviction import EVICTION
from sampan.kinds.policy.pod_disruption_budget import ALWAYS_ALLOW, PODDISRUPTIONBUDGET
from sampan.meta import conditions, objects, selectors, status, timestamps
from sampan.server import cache, codec, deletes
from sampan.server.admission import chain
from sampan.server.cache import Item
from sampan.server.call import Call
from sampan.server.registry import UPDATE_TRIES, Registry, is_released
from sampan.store.protocol import Compare, Put
from sampan.web.message import Response

Tree = dict[str, Any]

MAX_DISRUPTED = 2000
TEXT = "Cannot evict pod as it would violate the pod's disruption budget."
SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
_ENDED = ("Succeeded", "Failed", "Pending")


class EvictionHandler:
    """POST of pods/NAME/eviction."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def handle(self, call: Call) -> Response:
        """Raises ApiError 400, 404, 409, 429, 500."""
        eviction = await codec.body(call, EVICTION)
        name = objects.name(eviction) if eviction.get("metadata") else ""
        if name != call.name:
            raise status.bad_request(f"name in URL does not match name in Eviction object: {call.name} != {name}")
        wish = deletes.options_of(call, eviction.get("deleteOptions") or {})
        await self._evict(call, eviction, wish)
        answer = status.success()
        answer["code"] = 201
        return codec.respond_tree(call, answer, 201)

    async def _evict(self, asked: Call, eviction: Tree, wish: deletes.Options) -> None:
        """Admission judges the eviction and not, beside it, the deletion that it is."""
        call = dataclasses.replace(asked, subresource=None)
        told: chain.Attributes | None = None
        for _ in range(UPDATE_TRIES):
            item = await self._registry.find(call)
            if told is None:
                told = await self._registry.admit_body(asked, EVICTION, eviction)
            else:
                await self._registry.admit_again(told)
            deletes.check(call, item, wish)
            attributes = chain.Attributes(
                call, chain.DELETE, None, item.tree, told.compares, told.writes, options=wish.tree
            )
            budget = self._budget(item.tree)
            if budget is not None:
                self._take(call, budget, attributes)
            if await self._delete(call, item, (wish, attributes)):
                return
        raise status.conflict(call.kind.group, call.kind.plural, call.name)

    async def _delete(self, call: Call, item: Item, how: tuple[deletes.Options, chain.Attributes]) -> bool:
        """False when somebody else was faster."""
        wish, attributes = how
        new = deletes.marked(call, item.tree, wish)
        if new is None:
            return True
        if is_released(call.kind, new):
            return await self._registry.remove(call, item, attributes) is not None
        state = new["status"] = new.get("status") or {}
        state["conditions"] = conditions.set(
            state.get("conditions"),
            "DisruptionTarget",
            "True",
            "EvictionByEvictionAPI",
            "Eviction API: evicting",
            call.now,
        )
        return await self._registry.put(call, item, new, attributes) is not None

    def _budget(self, p: Tree) -> Item | None:
        """The budget whose allowance this eviction uses; None when it needs none. Raises ApiError 500 for several."""
        if (p.get("status") or {}).get("phase") in _ENDED or objects.is_deleting(p):
            return None
        found = [b for b in self._registry.all(PODDISRUPTIONBUDGET, objects.namespace(p)) if _selects(b.tree, p)]
        if len(found) > 1:
            raise status.failure(500, "", SEVERAL)
        if not found:
            return None
        return None if not pod.is_ready(p) and _lets_unready_go(found[0].tree) else found[0]

    def _take(self, call: Call, item: Item, attributes: chain.Attributes) -> None:
        """Uses one allowance in the eviction's transaction. Raises ApiError 403 or 429."""
        budget = item.tree
        state = budget.get("status") or {}
        _check_allowance(budget)
        left = (state.get("disruptionsAllowed") or 0) - 1
        disrupted = {**(state.get("disruptedPods") or {}), call.name: timestamps.format(call.now)}
        taken = {**state, "disruptionsAllowed": left, "disruptedPods": disrupted}
        condition = ("True", "SufficientPods") if left > 0 else ("False", "InsufficientPods")
        taken["conditions"] = conditions.set(state.get("conditions"), "DisruptionAllowed", *condition, "", call.now)
        for made in taken["conditions"]:
            if made["type"] == "DisruptionAllowed":
                made["observedGeneration"] = state.get("observedGeneration") or 0
                made.setdefault("message", "")
        key = cache.prefix(PODDISRUPTIONBUDGET) + cache.item_key(PODDISRUPTIONBUDGET, *objects.key(budget))
        attributes.compares.append(Compare(key, item.revision))
        attributes.writes.append(Put(key, cache.encode({**budget, "status": taken})))


def _selects(budget: Tree, p: Tree) -> bool:
    """Whether the budget is about the pod; one without a selector is about none."""
    selector = (budget.get("spec") or {}).get("selector")
    return selector is not None and selectors.from_label_selector(selector).matches(objects.labels(p))


def _lets_unready_go(budget: Tree) -> bool:
    """Whether a pod that serves nobody may go without using the allowance."""
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == ALWAYS_ALLOW:
        return True
    state = budget.get("status") or {}
    wanted = state.get("desiredHealthy") or 0
    return wanted > 0 and (state.get("currentHealthy") or 0) >= wanted


def _check_allowance(budget: Tree) -> None:
    name, state = objects.name(budget), budget.get("status") or {}
    allowed = state.get("disruptionsAllowed") or 0
    if (state.get("observedGeneration") or 0) < objects.generation(budget):
        raise _refusal(f"The disruption budget {name} is still being processed by the server.", 10)
    if allowed < 0:
        raise status.forbidden("policy", "poddisruptionbudget", name, "pdb disruptions allowed is negative")
    if len(state.get("disruptedPods") or {}) > MAX_DISRUPTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise status.forbidden("policy", "poddisruptionbudget", name, why)
    if allowed == 0:
        needs, has = state.get("desiredHealthy") or 0, state.get("currentHealthy") or 0
        raise _refusal(f"The disruption budget {name} needs {needs} healthy pods and has {has} currently", 0)


def _refusal(message: str, retry_seconds: int) -> status.ApiError:
    error = status.too_many_requests(TEXT, retry_seconds)
    if not retry_seconds:
        error.headers.clear()
        error.status["details"] = {}
    error.status["details"]["causes"] = [{"reason": "DisruptionBudget", "message": message}]
    return error
