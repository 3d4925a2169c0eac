"""Deletions: what keeps an object that is to go: finalizers, what still uses it, and in a namespace what is left."""

import re
from collections.abc import Mapping
from shlex import quote
from typing import Any

from sampan.kinds.core.pod import POD, is_terminal
from sampan.meta import conditions, objects
from sampan.platform.health import configs, words
from sampan.platform.health.lookup import Lookup, since
from sampan.platform.health.verdict import (
    FAILED,
    HEALTHY,
    PROGRESSING,
    STUCK,
    Evidence,
    Verdict,
    about,
    because,
    subject,
)

Object = Mapping[str, Any]
PATIENCE_SECONDS = 15
FOREGROUND = ("foregroundDeletion", "orphan")
REMAINING = re.compile(r"([a-z0-9.-]+?)\.? has \d+ resource instances")
TROUBLES = (
    "NamespaceDeletionDiscoveryFailure",
    "NamespaceDeletionGroupVersionParsingFailure",
    "NamespaceDeletionContentFailure",
)


def judge(obj: Object, look: Lookup) -> Verdict | None:
    """An object that is being deleted, held by finalizers; None for one that nobody holds."""
    held = objects.finalizers(obj)
    if not objects.is_deleting(obj) or not held:
        return None
    waited = since(look, objects.metadata(obj).get("deletionTimestamp"))
    if waited < PATIENCE_SECONDS:
        return about(obj, PROGRESSING, "Terminating", "is being deleted")
    used = _users(obj, look)
    if used:
        message = f"is deleted once nothing uses it: {words.listed(used)}"
        steps = tuple(f"{words.in_namespace(objects.namespace(obj))} delete {name}" for name in used[:3])
        return about(obj, STUCK, "InUse", message, next=steps)
    shown = words.listed(held)
    evidence = (Evidence("spec", f"metadata.finalizers: {shown}"),)
    message = f"is to be deleted since {words.duration(waited)}, and held by {shown}"
    steps = (
        f"see that whoever owns {held[0]} runs: it has to clean up and let go",
        f"if it is gone for good: {force(obj)}",
    )
    return about(obj, STUCK, "FinalizersRemain", message, evidence=evidence, next=steps)


def namespace(obj: Object, look: Lookup) -> Verdict:
    """A Namespace."""
    if not objects.is_deleting(obj):
        return about(obj, HEALTHY, "Active", "is there")
    waited = since(look, objects.metadata(obj).get("deletionTimestamp"))
    verdict = about(obj, PROGRESSING, "Terminating", f"is being deleted since {words.duration(waited)}")
    for type in TROUBLES:
        found = conditions.get(obj, type)
        if found is not None and found.get("status") == "True":
            text = words.clipped(str(found.get("message", "")))
            shown = (Evidence("condition", f"{type}: {text}"),)
            steps = ("look for API services that do not answer: kubectl get apiservices",)
            state = FAILED if waited > PATIENCE_SECONDS else PROGRESSING
            return about(obj, state, str(found.get("reason")), f"can't be deleted: {text}", evidence=shown, next=steps)
    causes = _left(obj, look)
    if any(not cause.is_healthy for cause in causes):
        held = conditions.get(obj, "NamespaceFinalizersRemaining") or {}
        said = (Evidence("condition", f"{held.get('type')}: {words.clipped(str(held.get('message', '')))}"),)
        message = f"is to be deleted since {words.duration(waited)}, and is not empty"
        return because(about(obj, PROGRESSING, "NamespaceNotEmpty", message, evidence=said if held else ()), causes)
    return verdict


def force(obj: Object) -> str:
    """The command that takes all finalizers off."""
    where = words.in_namespace(objects.namespace(obj))
    kind, _, name = subject(obj).partition("/")
    name = quote(name)
    return f'{where} patch {kind} {name} --type=merge -p \'{{"metadata":{{"finalizers":null}}}}\''


def _left(obj: Object, look: Lookup) -> list[Verdict]:
    """What is still in a namespace, by what its conditions name."""
    message = str((conditions.get(obj, "NamespaceContentRemaining") or {}).get("message", ""))
    found: list[Verdict] = []
    for resource in REMAINING.findall(message):
        plural, _, group = resource.rstrip(".").partition(".")
        kind = look.kind(plural, group)
        if kind is None:
            continue
        for each in look.list(kind, objects.name(obj)):
            tree = {"apiVersion": kind.api_version, "kind": kind.name, **each}
            held = judge(tree, look)
            found.append(held or about(tree, PROGRESSING, "Terminating", "is not deleted yet"))
    return found


def _users(obj: Object, look: Lookup) -> list[str]:
    """Pods that use a claim."""
    if obj.get("kind") != "PersistentVolumeClaim" or objects.finalizers(obj) != ["kubernetes.io/pvc-protection"]:
        return []
    pods = [pod for pod in look.list(POD, objects.namespace(obj)) if not is_terminal(pod)]
    return sorted(f"pod/{objects.name(pod)}" for pod in pods if objects.name(obj) in configs.claims(pod))
