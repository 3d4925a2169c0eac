"""Legacy tokens that were made by themselves and that nobody has used for a year are marked invalid, then deleted.

The first year of disuse counts from when uses began to be noted; whoever still needs a marked token has another year
to say so, by taking the mark away.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#legacy-serviceaccount-token-cleaner
"""

from collections.abc import Iterable
from typing import Any

from sampan.control.controller import Controller, Watch
from sampan.control.plan import Ask, Delete, Key, Patch, Plan, plan
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.pod import POD
from sampan.kinds.core.secret import SECRET
from sampan.kinds.core.service_account import SERVICEACCOUNT
from sampan.kinds.kind import Object
from sampan.meta import objects, timestamps

TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
TRACKING: Key = ("kube-system", "kube-apiserver-legacy-service-account-token-tracking")
DAY_SECONDS = 24 * 3600.0
UNUSED_SECONDS = 365 * DAY_SECONDS
_REFERENCES = ("secret", "secretRef", "secretKeyRef", "nodePublishSecretRef")


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Marks or deletes one Secret, or looks again when that may be due."""
    secret = view.get(SECRET, key)
    if secret is None or secret.get("type") != TYPE or objects.is_deleting(secret):
        return Plan()
    young = timestamps.parse(secret["metadata"]["creationTimestamp"]) + UNUSED_SECONDS - now
    if young >= 0:
        return Plan(again=young + 1)
    if not _is_automatic(view, secret):
        return Plan()
    last_used = objects.labels(secret).get(LAST_USED)
    if last_used is not None and (not _is_day(last_used) or last_used >= _day(now - UNUSED_SECONDS)):
        return Plan(again=DAY_SECONDS)
    if any(key[1] in _secret_names(pod.get("spec")) for pod in view.list(POD, key[0])):
        return Plan(again=DAY_SECONDS)
    question = Ask(CONFIGMAP, TRACKING)
    tracking = view.answer(question)
    if tracking is UNANSWERED:
        return Plan(ask=(question,))
    if not _is_tracked(tracking, now):
        return Plan(again=DAY_SECONDS)
    return _next(secret, key, now)


def _next(secret: Object, key: Key, now: float) -> Plan:
    invalid_since = objects.labels(secret).get(INVALID_SINCE, "")
    if not _is_day(invalid_since):
        mark = {"metadata": {"labels": {INVALID_SINCE: _day(now)}}}
        return plan([Patch(SECRET, key, mark, uid=objects.uid(secret))], again=DAY_SECONDS)
    if invalid_since >= _day(now - UNUSED_SECONDS):
        return Plan(again=DAY_SECONDS)
    return plan([Delete(SECRET, key, resource_version=secret["metadata"]["resourceVersion"], uid=objects.uid(secret))])


def _is_automatic(view: View, secret: Object) -> bool:
    """Whether its account names it, which is only so for tokens that were once made for every account."""
    annotations = objects.annotations(secret)
    account = view.get(SERVICEACCOUNT, (objects.namespace(secret), annotations.get(ACCOUNT_NAME, "")))
    if account is None or annotations.get(ACCOUNT_UID, "") not in ("", objects.uid(account)):
        return False
    return objects.name(secret) in _named(account)


def _named(account: Object) -> list[str]:
    return [reference.get("name") or "" for reference in account.get("secrets") or ()]


def _is_tracked(tracking: Any, now: float) -> bool:
    """Whether uses have been noted for long enough, from the day after they began to be."""
    since = ((tracking or {}).get("data") or {}).get("since") or ""
    return _is_day(since) and now >= timestamps.parse(f"{since}T00:00:00Z") + DAY_SECONDS + UNUSED_SECONDS


def _secret_names(tree: Any) -> set[str]:
    """The names of all Secrets that a part of a pod's spec mentions."""
    if isinstance(tree, list | tuple):
        return set().union(*map(_secret_names, tree))
    if not hasattr(tree, "items"):
        return set()
    found: set[str] = set()
    for field, value in tree.items():
        if field == "secretName":
            found.add(value)
        elif field in _REFERENCES and value:
            found.add(value.get("name") or "")
        elif field == "imagePullSecrets":
            found.update(reference.get("name") or "" for reference in value or ())
        found |= _secret_names(value)
    return found


def _day(now: float) -> str:
    return timestamps.format(now)[:10]


def _is_day(text: str) -> bool:
    return len(text) == len("2026-01-31") and timestamps.is_valid(f"{text}T00:00:00Z")


def _secrets(view: View, account: Object) -> Iterable[Key]:
    return [(objects.namespace(account), name) for name in _named(account)]


CONTROLLER = Controller(
    "legacy-service-account-token-cleaner",
    SECRET,
    reconcile,
    watches=(Watch(SERVICEACCOUNT, _secrets),),
    reads=(POD,),
)
