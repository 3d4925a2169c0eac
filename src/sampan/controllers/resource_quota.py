"""Resource quotas: what a namespace's objects take, counted anew whenever one comes, goes or changes.

The server charges objects as they are created; this rule gives back what deleted ones took, and mends what
anybody wrote into a status. A count is written only if the quota is still what it was before the objects
were listed, so that a charge made in between is never lost.

https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from collections.abc import Iterable, Mapping

from sampan.control.everywhere import Everywhere, Ref
from sampan.control.plan import Ask, AskList, Plan, Question, Update, plan, sooner
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.core.resource_quota import RESOURCEQUOTA
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Kind, Object
from sampan.kinds.parts import quota_scopes, quota_usage
from sampan.kinds.parts.quota_usage import Amounts
from sampan.kinds.resource.resource_claim import RESOURCECLAIM
from sampan.meta import objects, quantity

RESYNC_SECONDS = 300.0
BEHIND_SECONDS = 0.1

# Kinds of which more than their number counts; the others are known by their metadata alone.
MEASURED = (POD, SERVICE, PERSISTENTVOLUMECLAIM, RESOURCECLAIM)


def reconcile(view: View, ref: Ref, now: float) -> Plan:
    """Writes status.hard and status.used, when they are not what they should be."""
    quota = view.get(RESOURCEQUOTA, ref.key)
    if quota is None or objects.is_deleting(quota):
        return Plan()
    kinds = _counted_kinds(view, quota)
    again = sooner(RESYNC_SECONDS, *_releases(view, ref.namespace, kinds, now))
    if _is_true(quota, _status(quota, {k: view.list(k, ref.namespace) for k in kinds}, now)):
        return Plan(again=again)
    # The quota first: what is charged after it was read makes the write below fail.
    questions: list[Question] = [Ask(RESOURCEQUOTA, ref.key), *(AskList(kind, ref.namespace) for kind in kinds)]
    if any(view.answer(question) is UNANSWERED for question in questions):
        return Plan(ask=tuple(questions))
    live = view.answer(questions[0])
    if live is None or objects.uid(live) != objects.uid(quota):
        return Plan(again=again)
    found: dict[Kind, list[Object]] = {}
    for kind, question in zip(kinds, questions[1:], strict=True):
        known = _known(view, kind, view.answer(question))
        if known is None:
            return Plan(again=BEHIND_SECONDS)
        found[kind] = known
    wanted = _status(live, found, now)
    return Plan(again=again) if _is_true(live, wanted) else plan([_update(live, wanted)], again=again)


def _update(quota: Object, status: Object) -> Update:
    typed = {"apiVersion": RESOURCEQUOTA.api_version, "kind": RESOURCEQUOTA.name, **quota}
    return Update(RESOURCEQUOTA, {**typed, "status": status}, "status")


def _counted_kinds(view: View, quota: Object) -> list[Kind]:
    """The kinds that take from this quota, in a fixed order."""
    hard = (quota.get("spec") or {}).get("hard") or {}
    kinds = {kind.resource: kind for kind in MEASURED}
    kinds |= {r: k for r, k in view.kinds.items() if r not in kinds and k.namespaced and r not in quota_usage.IGNORED}
    return [kinds[resource] for resource in sorted(kinds) if quota_usage.limited(kinds[resource], hard)]


def _known(view: View, kind: Kind, listed: object) -> list[Object] | None:
    """The listed objects as the cache has them; None when the cache is behind, or the list failed."""
    if not isinstance(listed, tuple):
        return None
    found = []
    for obj in listed:
        if kind not in MEASURED:
            found.append(obj)
            continue
        cached = view.get(kind, objects.key(obj))
        if cached is None or objects.resource_version(cached) != objects.resource_version(obj):
            return None
        found.append(cached)
    return found


def _status(quota: Object, found: Mapping[Kind, list[Object]], now: float) -> Object:
    """What the quota's status should be."""
    spec = quota.get("spec") or {}
    hard = spec.get("hard") or {}
    used: Amounts = dict.fromkeys(hard, quantity.ZERO) | _unknown(quota, found)
    for kind, members in found.items():
        for obj in members:
            if quota_usage.selects(kind, spec, obj):
                used = quota_usage.add(used, quota_usage.usage(kind, obj, now))
    return {"hard": dict(hard), "used": {name: str(used[name]) for name in hard}}


def _unknown(quota: Object, found: Iterable[Kind]) -> Amounts:
    """What was charged for kinds that are not followed yet, such as those of a new definition: it stays."""
    charged = quota_usage.parse((quota.get("status") or {}).get("used"))
    names = [name for name in charged if name.startswith("count/")]
    return {name: charged[name] for name in names if not any(quota_usage.is_of(kind, name) for kind in found)}


def _is_true(quota: Object, wanted: Object) -> bool:
    status = quota.get("status") or {}
    return all(quota_usage.parse(status.get(name)) == quota_usage.parse(wanted[name]) for name in ("hard", "used"))


def _releases(view: View, namespace: str, kinds: Iterable[Kind], now: float) -> Iterable[float | None]:
    """In how many seconds pods that are going away take nothing any more."""
    if POD in kinds:
        for p in view.list(POD, namespace):
            yield quota_usage.release_seconds(p, now)


def _due(view: View, resource: str, old: Object | None, new: Object | None) -> Iterable[Ref]:
    """The quotas of the object's namespace; of a quota, also itself."""
    obj = new or old or {}
    namespace = objects.namespace(obj)
    if not namespace or resource in quota_usage.IGNORED or RESOURCEQUOTA.resource not in view.sources:
        return
    if resource == RESOURCEQUOTA.resource:
        yield Ref(resource, namespace, objects.name(obj))
    quotas = view.list(RESOURCEQUOTA, namespace)
    if not quotas or (old is not None and new is not None and not _may_take_more(resource, old, new)):
        return
    for quota in quotas:
        yield Ref(RESOURCEQUOTA.resource, namespace, objects.name(quota))


def _may_take_more(resource: str, old: Object, new: Object) -> bool:
    """Whether a change of an object may change what it takes: of most kinds, only the number counts."""
    kind = _MEASURED.get(resource)
    if kind is None:
        return False
    if objects.is_deleting(old) != objects.is_deleting(new) or old.get("spec") != new.get("spec"):
        return True
    if kind is PERSISTENTVOLUMECLAIM and quota_scopes.classes(old) != quota_scopes.classes(new):
        return True
    return quota_usage.usage(kind, old, 0.0) != quota_usage.usage(kind, new, 0.0)


_MEASURED = {kind.resource: kind for kind in MEASURED}

CONTROLLER = Everywhere(
    name="resourcequota-controller",
    reconcile=reconcile,
    due=_due,
    without=("events", "events.events.k8s.io", "leases.coordination.k8s.io"),
    reads=(RESOURCEQUOTA, *MEASURED),
    workers=5,
)
