"""Routing: the writes that have Services select pods by their hash, and an HTTPRoute share traffic between two Services.

https://argo-rollouts.readthedocs.io/en/stable/features/traffic-management/
"""

from collections.abc import Iterator

from sampan.control.plan import Ask, Patch, Update, Write, normal, warning
from sampan.control.view import UNANSWERED
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Object
from sampan.meta import objects
from sampan.platform.rollouts.course import Course
from sampan.platform.rollouts.kinds import HASH, HTTPROUTE, MANAGED_BY
from sampan.platform.rollouts.validation import GATEWAY_API

RETRY_SECONDS = 10.0


def services(course: Course) -> Iterator[Write]:
    """Those whose selectors are not as they should be."""
    namespace = objects.namespace(course.rollout)
    for name, wanted in course.selectors.items():
        service = course.view.get(SERVICE, (namespace, name))
        if service is None:
            continue
        present = ((service.get("spec") or {}).get("selector") or {}).get(HASH, "")
        if present == wanted:
            continue
        patch = {"metadata": {"annotations": {MANAGED_BY: course.name}}, "spec": {"selector": {HASH: wanted}}}
        told = f"Switched selector for service '{name}' from '{present}' to '{wanted}'"
        yield Patch(SERVICE, (namespace, name), patch, uid=objects.uid(service), done=normal("SwitchService", told))


def route(course: Course) -> list[Write]:
    """The route with the shares; nothing when they are so already. Asks for it first.

    Where there is no such route, or it does not lead to both Services, the shares count as they were.
    """
    canary = course.spec["strategy"].get("canary") or {}
    if course.weight is None:
        return []
    given = canary["trafficRouting"]["plugins"][GATEWAY_API]
    key = objects.namespace(course.rollout), str(given["httpRoute"])
    question = Ask(HTTPROUTE, key)
    found = course.view.answer(question)
    if found is UNANSWERED:
        course.ask.append(question)
        return []
    if found is None:
        return _failed(course, f'httproutes.gateway.networking.k8s.io "{key[1]}" not found')
    shares = {canary["canaryService"]: course.weight, canary["stableService"]: 100 - course.weight}
    rules = found["spec"].get("rules") or []
    if not any(_leads_to(rule, shares) for rule in rules):
        return _failed(course, f"backendRef was not found in httpRoute {key[1]}: {', '.join(shares)}")
    weighed = [_weighed(rule, shares) if _leads_to(rule, shares) else rule for rule in rules]
    if weighed == rules:
        return []
    told = normal("TrafficWeightUpdated", f"Traffic weight updated to {course.weight}")
    return [Update(HTTPROUTE, {**found, "spec": {**found["spec"], "rules": weighed}}, done=told)]


def _failed(course: Course, why: str) -> list[Write]:
    before = (course.before.get("canary") or {}).get("weights")
    if before is None:
        course.status["canary"].pop("weights", None)
    else:
        course.status["canary"]["weights"] = before
    course.events.append(warning("TrafficRoutingError", why))
    course.again.append(RETRY_SECONDS)
    return []


def _leads_to(rule: Object, shares: dict[str, int]) -> bool:
    return set(shares) <= {ref.get("name") for ref in rule.get("backendRefs") or ()}


def _weighed(rule: Object, shares: dict[str, int]) -> Object:
    refs = [{**ref, "weight": shares.get(ref.get("name"), ref.get("weight", 1))} for ref in rule["backendRefs"]]
    return {**rule, "backendRefs": refs}
