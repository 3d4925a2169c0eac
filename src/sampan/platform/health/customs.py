"""Customs: objects of any kind, by the conditions, the phase and the generation that their status tells.

As kstatus reads them: what the status has not observed yet is in progress; Stalled and Reconciling say so outright;
Ready, Available and the like must be True, Degraded, Failed and the like must not.

https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sampan.kinds.apps.daemon_set import DAEMONSET
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kinds.apps.stateful_set import STATEFULSET
from sampan.kinds.batch.job import JOB
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Kind
from sampan.meta import objects, timestamps
from sampan.platform.health import words
from sampan.platform.health.at import told
from sampan.platform.health.lookup import Lookup, owned, since, warnings
from sampan.platform.health.verdict import FAILED, HEALTHY, PROGRESSING, STUCK, Evidence, Verdict, about

Object = Mapping[str, Any]

GOOD = (
    "Succeeded",
    "Ready",
    "Available",
    "Healthy",
    "Established",
    "NamesAccepted",
    "Accepted",
    "Programmed",
    "ResolvedRefs",
    "Synced",
)
BAD = ("Degraded", "Failed", "Error", "InvalidSpec", "Errored")
FINE_PHASES = (
    "ready",
    "running",
    "active",
    "healthy",
    "available",
    "bound",
    "succeeded",
    "successful",
    "complete",
    "completed",
    "online",
)
BAD_PHASES = ("failed", "error", "degraded", "lost", "inconclusive", "errored", "crashed")
BUSY_PHASES = ("pending", "creating", "progressing", "provisioning", "installing", "initializing", "updating", "deploying",
               "upgrading", "reconciling", "starting", "paused", "terminating", "deleting")  # fmt: skip
PATIENCE_SECONDS = 120
"""So long something may be not ready yet before it counts as stuck."""
CHILDREN: tuple[Kind, ...] = (DEPLOYMENT, STATEFULSET, DAEMONSET, JOB, REPLICASET, POD, PERSISTENTVOLUMECLAIM)


def judge(obj: Object, look: Lookup) -> Verdict:
    """An object by its own status."""
    status = obj.get("status") or {}
    if not isinstance(status, Mapping):
        return about(obj, HEALTHY, "Exists", "is there")
    found = list(_conditions(status))
    if _is_unseen(obj, status, found):
        return about(obj, PROGRESSING, "NotYetObserved", "has changed, and its controller has not looked at it yet",
                     next=_is_anybody_there(obj, look))  # fmt: skip
    return _by_conditions(obj, found, look) or _by_phase(obj, status, look)


def children(obj: Object, look: Lookup) -> list[Object]:
    """The workloads that an object owns, of the kinds that every cluster has."""
    if not objects.namespace(obj):
        return []
    mine = [(kind, each) for kind in CHILDREN for each in owned(look, kind, obj)]
    return [{"apiVersion": kind.api_version, "kind": kind.name, **each} for kind, each in mine]


def _by_conditions(obj: Object, found: list[Object], look: Lookup) -> Verdict | None:
    stalled = next((c for c in found if c.get("type") == "Stalled" and c.get("status") == "True"), None)
    if stalled is not None:
        return _said(obj, STUCK, stalled, look)
    bad = next((c for c in found if _is_bad(c) and c.get("status") == "True"), None)
    if bad is not None:
        return _said(obj, FAILED, bad, look)
    ended = next((c for c in found if c.get("type") == "Succeeded" and c.get("status") != "True"), None)
    if ended is not None:
        return _said(obj, FAILED if ended.get("status") == "False" else PROGRESSING, ended, look)
    reconciling = next((c for c in found if c.get("type") == "Reconciling" and c.get("status") == "True"), None)
    if reconciling is not None:
        return _said(obj, PROGRESSING, reconciling, look)
    missing = next((c for c in found if c.get("type") in GOOD and c.get("status") != "True"), None)
    if missing is not None:
        moving = any(c.get("type") == "Progressing" and c.get("status") == "True" for c in found)
        waited = _waited(missing, look)
        is_new = moving or (missing.get("status") == "Unknown" and waited < PATIENCE_SECONDS) or waited < 10
        return _said(obj, PROGRESSING if is_new else STUCK, missing, look)
    stopped = next((c for c in found if c.get("type") == "Progressing" and c.get("status") == "False"), None)
    if stopped is not None and not any(c.get("type") in GOOD for c in found):
        return _said(obj, STUCK, stopped, look)
    good = next((c for c in found if c.get("type") in GOOD), None)
    if good is None:
        return None
    return about(obj, HEALTHY, str(good.get("type")), f"is {_spelled(str(good.get('type')))}")


def _by_phase(obj: Object, status: Mapping[str, Any], look: Lookup) -> Verdict:
    word = next((each for each in (status.get("phase"), status.get("state")) if isinstance(each, str) and each), "")
    text = words.clipped(str(status.get("message") or status.get("reason") or ""))
    said = f"says of itself: {word}" + (f", {text}" if text else "")
    shown = (Evidence("status", said), *(told(event, look) for event in warnings(look, obj)[:1]))
    if word.lower() in BAD_PHASES:
        return about(obj, FAILED, word, said, evidence=shown, next=_describe(obj))
    if word.lower() in BUSY_PHASES:
        return about(obj, PROGRESSING, word, said, evidence=shown)
    if not status:
        return about(obj, HEALTHY, "Exists", "is there")
    return about(obj, HEALTHY, word or "Exists", said if word else "is there")


def _said(obj: Object, state: str, condition: Object, look: Lookup) -> Verdict:
    """What a condition says, in its own words."""
    reason, text = (
        str(condition.get("reason") or condition.get("type")),
        words.clipped(str(condition.get("message") or "")),
    )
    sign = f"{condition.get('type')}={condition.get('status')}"
    message = f"says: {text or reason} ({sign})"
    shown = (
        Evidence("condition", f"{sign} {reason}: {text}"),
        *(told(event, look) for event in warnings(look, obj)[:1]),
    )
    return about(obj, state, reason, message, evidence=shown, next=_describe(obj) if state != PROGRESSING else ())


def _conditions(status: Mapping[str, Any]) -> Iterator[Object]:
    """All conditions of a status, also those for each parent, as routes have them."""
    for holder in (status, *_list(status.get("parents"))):
        found = _list(holder.get("conditions")) if isinstance(holder, Mapping) else ()
        yield from (each for each in found if isinstance(each, Mapping) and isinstance(each.get("type"), str))


def _list(value: Any) -> Sequence[Any]:
    """What somebody else's schema may have made anything of."""
    return value if isinstance(value, list | tuple) else ()


def _waited(condition: Object, look: Lookup) -> float:
    """Seconds since it changed; long ago where it doesn't say so."""
    text = condition.get("lastTransitionTime")
    if text is None:
        return 0.0
    return since(look, text) if isinstance(text, str) and timestamps.is_valid(text) else float(PATIENCE_SECONDS)


def _is_unseen(obj: Object, status: Mapping[str, Any], found: list[Object]) -> bool:
    generation, seen = objects.generation(obj), status.get("observedGeneration")
    if seen is not None and str(seen).isdecimal():
        return int(seen) < generation
    told_of = [int(each["observedGeneration"]) for each in found if str(each.get("observedGeneration", "")).isdecimal()]
    return bool(told_of) and max(told_of) < generation


def _is_bad(condition: Object) -> bool:
    name = str(condition.get("type", ""))
    return name in BAD or name.endswith(("Failure", "Failed", "Error"))


def _is_anybody_there(obj: Object, look: Lookup) -> tuple[str, ...]:
    if words.since(obj, look.now) < PATIENCE_SECONDS:
        return ()
    return ("look whether the controller of such objects runs",)


def _describe(obj: Object) -> tuple[str, ...]:
    kind = str(obj.get("kind", "")).lower()
    group = str(obj.get("apiVersion", "")).rpartition("/")[0]
    resource = f"{kind}.{group}" if group else kind
    return (f"{words.in_namespace(objects.namespace(obj))} describe {resource} {objects.name(obj)}",)


def _spelled(type: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type).strip()
