"""Refusals: why the API would not make a pod: quota, PodSecurity, policies, webhooks, limits, missing accounts.

They reach people as a condition ReplicaFailure or as events FailedCreate of whatever would make the pod.
"""

import re
from collections.abc import Callable, Mapping
from shlex import quote
from typing import Any

from sampan.kinds.admissionregistration.mutating_webhook_configuration import MUTATING_WEBHOOK_CONFIGURATION
from sampan.kinds.admissionregistration.validating_webhook_configuration import VALIDATING_WEBHOOK_CONFIGURATION
from sampan.kinds.core.service import SERVICE
from sampan.kinds.core.service_account import SERVICEACCOUNT
from sampan.meta import conditions, objects
from sampan.platform.health import homes, words
from sampan.platform.health.at import told
from sampan.platform.health.homes import Home
from sampan.platform.health.lookup import Lookup, warnings
from sampan.platform.health.verdict import STUCK, Evidence, Verdict

Object = Mapping[str, Any]
Match = re.Match[str]

QUOTA = re.compile(r"exceeded quota: ([^,\s]+), requested: (.*?), used: (.*?), limited: (.*)$", re.DOTALL)
QUOTA_WANTS = re.compile(r"failed quota: ([^:\s]+): must specify (.*)$", re.DOTALL)
SECURITY = re.compile(r"violates PodSecurity \"([^\"]+)\": (.*)$", re.DOTALL)
POLICY = re.compile(r"ValidatingAdmissionPolicy '([^']+)' with binding '([^']+)' denied request: (.*)$", re.DOTALL)
HOOK_SAYS_NO = re.compile(r"admission webhook \"([^\"]+)\" denied the request(?:: (.*))?$", re.DOTALL)
HOOK_IS_DOWN = re.compile(r"failed calling webhook \"([^\"]+)\": (.*)$", re.DOTALL)
ACCOUNT = re.compile(r"error looking up service account ([^/\s]+)/([^:\s]+)")
LIMITS = re.compile(r"((?:minimum|maximum) \S+ usage per \w+ is [^,]+, but [^.]*)|(\S+ max limit to request ratio .*)")
PRIORITY = re.compile(r"no PriorityClass with name (\S+) was found")
HOOK_SERVICE = re.compile(r"https://([^./]+)\.([^./]+)\.svc")
REASONS = ("FailedCreate",)


def judge(owner: Object, look: Lookup) -> Verdict | None:
    """Why pods of an owner (ReplicaSet, StatefulSet, Job ...) are not made, if they are refused."""
    failure = conditions.get(owner, "ReplicaFailure") or {}
    found = warnings(look, owner, *REASONS)
    text = str(failure.get("message", "")) if failure.get("status") == "True" else ""
    text = text or (str(found[0].get("message", "")) if found else "")
    if not text:
        return None
    shown = told(found[0], look) if found else Evidence("condition", f"ReplicaFailure: {words.clipped(text)}")
    home = homes.of(owner, look)
    for pattern, rule in RULES:
        match = pattern.search(text)
        if match is not None:
            reason, message, steps = rule(match, owner, home, look)
            return _refused(owner, reason, message, shown, steps)
    steps = home.change("", "correct what is complained about")
    return _refused(owner, "Refused", f"the API refuses its pods: {words.clipped(_plain(text))}", shown, steps)


def _quota(match: Match, owner: Object, home: Home, look: Lookup) -> tuple[str, str, tuple[str, ...]]:
    name, asked, used, hard = match.groups()
    message = f"quota {name} is used up: a pod more would need {asked}, {used} is used of {hard}"
    where = words.in_namespace(objects.namespace(owner))
    return (
        "QuotaExceeded",
        message,
        (f"{where} edit resourcequota {quote(name)}", "or free some: scale something else down"),
    )


def _quota_wants(match: Match, owner: Object, home: Home, look: Lookup) -> tuple[str, str, tuple[str, ...]]:
    what = words.clipped(match[2])
    message = f"quota {match[1]} wants each pod to say {what}"
    steps = home.change("containers[].resources", f"say {what}")
    return "QuotaWantsRequests", message, steps


def _security(match: Match, owner: Object, home: Home, look: Lookup) -> tuple[str, str, tuple[str, ...]]:
    namespace, level = objects.namespace(owner), match[1].partition(":")[0]
    parts = re.findall(r"(?:^|, )([^(]+?) \(", match[2])
    message = f"namespace {namespace} lets only {level} pods in: {words.listed(parts) or words.clipped(match[2])}"
    steps = (*home.change("securityContext", f"set what {level} asks for ({words.clipped(match[2], 200)})"),
             f"or let more in: kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=baseline --overwrite")  # fmt: skip
    return "PodSecurity", message, steps


def _policy(match: Match, owner: Object, home: Home, look: Lookup) -> tuple[str, str, tuple[str, ...]]:
    name, binding, text = match.groups()
    message = f"policy {name} forbids it: {words.clipped(text)}"
    steps = (
        *home.change("", "do as the policy asks"),
        f"see the policy: kubectl get validatingadmissionpolicy {quote(name)} -o yaml",
    )
    return (
        "PolicyDenied",
        message,
        (*steps, f"and where it counts: kubectl get validatingadmissionpolicybinding {quote(binding)} -o yaml"),
    )


def _hook_denied(match: Match, owner: Object, home: Home, look: Lookup) -> tuple[str, str, tuple[str, ...]]:
    message = f"webhook {match[1]} forbids it: {words.clipped(match[2] or 'without a word')}"
    return "WebhookDenied", message, home.change("", "do as the webhook asks")


def _hook_down(match: Match, owner: Object, home: Home, look: Lookup) -> tuple[str, str, tuple[str, ...]]:
    hook, text = match.groups()
    resource, name = _configuration(hook, look)
    message = f"webhook {hook} has to be asked, and does not answer: {words.clipped(text, 160)}"
    service = HOOK_SERVICE.search(text)
    steps: tuple[str, ...] = ()
    if service is not None:
        there = look.get(SERVICE, service[1], service[2])
        is_there = there is not None or look.is_hidden(SERVICE, service[2], service[1])
        steps = ((f"sampan why service/{quote(service[1])} -n {quote(service[2])}",) if is_there
                 else (f"its Service {service[1]} in {service[2]} does not exist: install it again",))  # fmt: skip
    if name:
        steps = (*steps, f"or if it is not needed any more: kubectl delete {resource} {name}")
    return "WebhookDown", message, steps


def _account(match: Match, owner: Object, home: Home, look: Lookup) -> tuple[str, str, tuple[str, ...]]:
    namespace, name = match.groups()
    better = words.nearest_object(name, look.list(SERVICEACCOUNT, namespace))
    message = f"ServiceAccount {name} does not exist in {namespace}{words.meant(better)}"
    steps = (f"{words.in_namespace(quote(namespace))} create serviceaccount {quote(name)}",)
    return "ServiceAccountMissing", message, (*steps, *home.change("serviceAccountName", "or name another"))


def _limits(match: Match, owner: Object, home: Home, look: Lookup) -> tuple[str, str, tuple[str, ...]]:
    text = words.clipped(match[0])
    steps = (*home.change("containers[].resources", "ask for an amount within the limits"),
             f"see them: {words.in_namespace(objects.namespace(owner))} describe limitrange")  # fmt: skip
    return "LimitRange", f"a LimitRange forbids it: {text}", steps


def _priority(match: Match, owner: Object, home: Home, look: Lookup) -> tuple[str, str, tuple[str, ...]]:
    message = f"PriorityClass {match[1]} does not exist"
    return "PriorityClassMissing", message, home.change("priorityClassName", "name one of: kubectl get priorityclasses")


Rule = Callable[[Match, Object, Home, Lookup], tuple[str, str, tuple[str, ...]]]
RULES: tuple[tuple[re.Pattern[str], Rule], ...] = (
    (QUOTA, _quota),
    (QUOTA_WANTS, _quota_wants),
    (SECURITY, _security),
    (POLICY, _policy),
    (HOOK_SAYS_NO, _hook_denied),
    (HOOK_IS_DOWN, _hook_down),
    (ACCOUNT, _account),
    (LIMITS, _limits),
    (PRIORITY, _priority),
)


def _refused(owner: Object, reason: str, message: str, shown: Evidence, steps: tuple[str, ...]) -> Verdict:
    return Verdict("new pods", STUCK, reason, message, objects.namespace(owner), (shown,), steps)


def _configuration(hook: str, look: Lookup) -> tuple[str, str]:
    """The configuration that a webhook is in."""
    for kind in (VALIDATING_WEBHOOK_CONFIGURATION, MUTATING_WEBHOOK_CONFIGURATION):
        for each in sorted(look.list(kind), key=objects.name):
            if any(entry.get("name") == hook for entry in each.get("webhooks") or ()):
                return kind.name.lower(), objects.name(each)
    return "", ""


def _plain(text: str) -> str:
    return re.sub(r"^(?:\(combined from similar events\): )?Error creating: ", "", text)
