"""The fuse: a client that deletes many different things in a short time is cut off from deleting for a while.

What it tries to delete is counted by user, each object once by its name, and in three tallies: what an application or
the cluster stands on (`limit`), pods (`podLimit`), all else (`otherLimit`). More than that in `windowSeconds` blow the
fuse: nothing more is deleted by that user for `pauseSeconds`, and for as long after as it goes on at that pace. Whoever
is `exempt` is not counted; components of the cluster never are. All of it can be said in the ConfigMap
kube-system/sampan-fuse, from one deletion to the next.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.control.plan import Ask
from sampan.control.view import UNANSWERED, View
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.kind import Object
from sampan.meta import intstr, objects, timestamps
from sampan.platform.protection import components
from sampan.platform.review import ALLOWED, Attempt, Refusal, Review, Reviewer

CONFIG = "kube-system", "sampan-fuse"
MAIN, PODS, OTHERS = "limit", "podLimit", "otherLimit"
"""The tallies, by the fields that say how much is too much."""
_WORDS = {MAIN: "different objects", PODS: "different pods", OTHERS: "different objects of lesser kinds"}

WEIGHTY = {
    "": ("namespaces", "nodes", "persistentvolumes", "persistentvolumeclaims", "services", "secrets"),
    "apps": ("deployments", "statefulsets", "daemonsets", "replicasets"),
    "batch": ("cronjobs",),
    "networking.k8s.io": ("ingresses", "networkpolicies"),
    "apiextensions.k8s.io": ("customresourcedefinitions",),
    "apps.kruise.io": ("*",),
    "argoproj.io": ("rollouts",),
    "gateway.networking.k8s.io": ("*",),
}
UNCOUNTED = {
    "": ("events", "endpoints"),
    "apps": ("controllerrevisions",),
    "events.k8s.io": ("*",),
    "coordination.k8s.io": ("*",),
    "discovery.k8s.io": ("*",),
    "certificates.k8s.io": ("certificatesigningrequests",),
    "networking.k8s.io": ("ipaddresses",),
    "resource.k8s.io": ("resourceslices",),
    "storage.k8s.io": ("csinodes", "csistoragecapacities", "volumeattachments"),
}
"""What comes and goes by itself."""
HELM_RELEASE = "helm.sh/release.v1"
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Terms:
    """When it blows, for how long, and for whom it never does (patterns of user names)."""

    limit: int = 30
    window_seconds: int = 60
    pause_seconds: int = 300
    exempt: tuple[str, ...] = ()
    pod_limit: int = 100
    other_limit: int = 200

    def most(self, tally: str) -> int:
        """So many objects of a tally may be deleted in the window; one more is remembered."""
        return {MAIN: self.limit, PODS: self.pod_limit}.get(tally, self.other_limit)


def review(attempt: Attempt, view: View) -> Review:
    """Counts the attempt; refuses it while the fuse is blown."""
    if attempt.subresource or attempt.is_dry_run or components.is_component(attempt.user):
        return ALLOWED
    tally = _tally(attempt)
    if not tally:
        return ALLOWED
    asked = Ask(CONFIGMAP, CONFIG)
    config = view.answer(asked)
    if config is UNANSWERED:
        return Review(ask=(asked,))
    terms = terms_of(config)
    if components.matches(attempt.user, terms.exempt):
        return Review(memory={})
    tried = _tried(attempt, tally, view.memory, terms)
    until, over = _blown(view.memory, tried, attempt.now, terms)
    memory = {"tried": tried, "until": until, "over": over}
    if attempt.now >= until:
        return Review(memory=memory)
    return Review(_refusal(attempt, terms, over, tried, until), memory=memory)


def _tally(attempt: Attempt) -> str:
    """Where the attempt counts; "" for what is not counted, such as what a controller has made and takes away."""
    group, plural = attempt.resource
    if _names(UNCOUNTED, group, plural):
        return ""
    old = attempt.old or {}
    if _names(WEIGHTY, group, plural) and old.get("type") != HELM_RELEASE:
        return MAIN
    if attempt.user.startswith("system:serviceaccount:") and objects.controller_of(old) is not None:
        return ""
    return PODS if attempt.resource == ("", "pods") else OTHERS


def _names(resources: Mapping[str, tuple[str, ...]], group: str, plural: str) -> bool:
    named = resources.get(group, ())
    return plural in named or "*" in named


def terms_of(config: Object | None) -> Terms:
    """What the ConfigMap says; what it doesn't say, or not as a number above zero, is as usual."""
    data = (config or {}).get("data") or {}
    usual = Terms()

    def number(field: str, otherwise: int) -> int:
        found = intstr.whole(str(data.get(field) or "").strip())
        return found if found is not None and found > 0 else otherwise

    return Terms(
        number(MAIN, usual.limit),
        number("windowSeconds", usual.window_seconds),
        number("pauseSeconds", usual.pause_seconds),
        tuple(str(data.get("exempt") or "").replace(",", " ").split()),
        number(PODS, usual.pod_limit),
        number(OTHERS, usual.other_limit),
    )


Tried = Mapping[str, Mapping[str, float]]


def _tried(attempt: Attempt, tally: str, memory: Mapping[str, Any], terms: Terms) -> dict[str, dict[str, float]]:
    """What the user has tried to delete lately, this included: tally -> text -> when last; the latest come last."""
    group, plural = attempt.resource
    where = f"{attempt.namespace}/" if attempt.namespace and plural != "namespaces" else ""
    this = f"{plural}{'.' if group else ''}{group} {where}{attempt.name}"
    since = attempt.now - terms.window_seconds
    found: dict[str, dict[str, float]] = {}
    for each, times in memory.get("tried", {}).items():
        found[each] = {text: at for text, at in times.items() if at > since}
    mine = found.setdefault(tally, {})
    mine.pop(this, None)
    mine[this] = attempt.now
    found[tally] = dict(list(mine.items())[-terms.most(tally) - 1 :])
    return found


def _blown(memory: Mapping[str, Any], tried: Tried, now: float, terms: Terms) -> tuple[float, str]:
    """Until when nothing is deleted, and for which tally; 0 while the fuse is whole."""
    until = float(memory.get("until", 0.0))
    if now < until:
        return until, str(memory["over"])
    over = next((tally for tally, times in tried.items() if len(times) > terms.most(tally)), "")
    return (now + terms.pause_seconds, over) if over else (0.0, "")


def _refusal(attempt: Attempt, terms: Terms, over: str, tried: Tried, until: float) -> Refusal:
    times = [(at, each) for of in tried.values() for each, at in of.items()]
    latest = ", ".join(each for _, each in sorted(times, key=lambda pair: pair[0])[-SHOWN:])
    text = (
        f'the fuse of user "{attempt.user}" has blown: it tried to delete more than {terms.most(over)} {_WORDS[over]} in'
        f" {terms.window_seconds} seconds (the last of them: {latest}), so it deletes nothing until"
        f" {timestamps.format(until)}. If this is meant, name the user under data.exempt of the ConfigMap"
        f" {CONFIG[0]}/{CONFIG[1]}, or raise data.{over} there"
    )
    return Refusal(text)


def _term(attempt: Attempt) -> Hashable:
    return attempt.user


REVIEWER = Reviewer(
    name="deletion-fuse",
    rules=({"operations": ["DELETE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "scope": "*"},),
    review=review,
    term=_term,
)
