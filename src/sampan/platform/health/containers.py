"""Containers: how each of a pod's containers is, by its state and what its node tells of it."""

from collections.abc import Mapping
from typing import Any

from sampan.platform.health import configs, crashes, images, probes, words
from sampan.platform.health.at import At
from sampan.platform.health.lookup import Lookup
from sampan.platform.health.verdict import HEALTHY, PROGRESSING, STUCK, Evidence, Verdict

CALM = ("ContainerCreating", "PodInitializing", "")


def init(pod: Mapping[str, Any], look: Lookup) -> Verdict | None:
    """The first init container that is not done, unless it is on its way."""
    for at in _each(pod, look, "initContainers"):
        is_sidecar = at.container.get("restartPolicy") == "Always"
        ended = at.status.get("state", {}).get("terminated")
        if is_sidecar and at.status.get("started") and at.status.get("state", {}).get("running"):
            continue
        if ended and ended.get("exitCode") == 0 and not is_sidecar:
            continue
        found = judge(at)
        if found.is_healthy:
            return at.verdict(PROGRESSING, "Initializing", "runs, and the pod waits until it has ended")
        return found
    return None


def main(pod: Mapping[str, Any], look: Lookup) -> list[Verdict]:
    """All others."""
    return [judge(at) for at in _each(pod, look, "containers")]


def judge(at: At) -> Verdict:
    """How one container is."""
    state = at.status.get("state") or {}
    if "waiting" in state:
        return _waiting(at, state["waiting"] or {})
    if "terminated" in state:
        return _ended(at, state["terminated"])
    if "running" in state:
        return _running(at)
    return at.verdict(PROGRESSING, "NotSeenYet", "has not been told of by its node yet")


def _waiting(at: At, waiting: Mapping[str, Any]) -> Verdict:
    reason, text = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    if reason in images.REASONS:
        return images.judge(at, reason, text)
    if reason == "CreateContainerConfigError":
        return configs.judge(at, text)
    if reason in ("CreateContainerError", "RunContainerError", "StartError", "PostStartHookError"):
        return crashes.wrong_command(at, text)
    ended = (at.status.get("lastState") or {}).get("terminated")
    if reason == "CrashLoopBackOff" or (ended and _is_bad(ended)):
        return crashes.judge(at, ended) if ended else _never_ran(at)
    if reason in CALM:
        return at.verdict(PROGRESSING, reason or "Waiting", "is being made")
    return at.verdict(STUCK, reason, words.clipped(text) or reason, evidence=(Evidence("status", f"{reason}: {text}"),))


def _never_ran(at: At) -> Verdict:
    """It is in back-off and never had a process: its start was refused."""
    told = at.told("Failed")
    return crashes.wrong_command(at, told[0].text if told else "")


def _ended(at: At, ended: Mapping[str, Any]) -> Verdict:
    policy = at.container.get("restartPolicy") or at.pod.get("spec", {}).get("restartPolicy", "Always")
    if ended.get("exitCode") == 0 and policy != "Always":
        return at.verdict(HEALTHY, "Completed", "has ended without an error")
    return crashes.judge(at, ended)


def _running(at: At) -> Verdict:
    if crashes.is_looping(at) or probes.fails_again(at):
        return crashes.judge(at, at.status["lastState"]["terminated"])
    if at.status.get("ready", True):
        return at.verdict(HEALTHY, "Running", "runs")
    return probes.unready(at) or at.verdict(PROGRESSING, "NotReady", "runs, and is not ready yet")


def _is_bad(ended: Mapping[str, Any]) -> bool:
    return ended.get("exitCode") != 0


def _each(pod: Mapping[str, Any], look: Lookup, field: str) -> list[At]:
    entries = pod.get("status", {}).get("initContainerStatuses" if field == "initContainers" else "containerStatuses")
    known = {entry.get("name"): entry for entry in entries or ()}
    specs = pod["spec"].get(field) or ()
    return [At(look, pod, spec, known.get(spec.get("name"), {}), field) for spec in specs]
