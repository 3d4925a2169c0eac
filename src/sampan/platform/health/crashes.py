"""Crashes: why a container ended: its command, its memory, a probe, a signal, or what it wrote last."""

import re
from collections.abc import Mapping
from shlex import quote
from typing import Any

from sampan.meta import quantity, timestamps
from sampan.platform.health import clues, homes, probes, words
from sampan.platform.health.at import At, logged
from sampan.platform.health.verdict import FAILED, PROGRESSING, Evidence, Verdict

EXEC = re.compile(r"exec:? \"([^\"]+)\"|exec: ([^:\"]+):|executable file [`'\"]?([^`'\"]+)[`'\"]? not found")
SHELL = re.compile(r"sh: (?:line )?(?:\d+: )?([^:\s]+): (?:command )?not found")
NO_COMMAND = re.compile(r"executable file.* not found|no such file or directory|not a directory|exec:", re.IGNORECASE)
NOT_ALLOWED = re.compile(r"permission denied", re.IGNORECASE)
WRONG_FORMAT = re.compile(r"exec format error", re.IGNORECASE)
SIGNALS = {
    4: "SIGILL",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    11: "SIGSEGV",
    13: "SIGPIPE",
    15: "SIGTERM",
}
CALM_RESTARTS = 1
"""So many restarts happen to the best."""


def judge(at: At, ended: Mapping[str, Any]) -> Verdict:
    """Why a container ended that should not have; `ended` is the terminated state."""
    if ended.get("reason") in ("StartError", "ContainerCannotRun") or (
        ended.get("exitCode") == 128 and ended.get("message")
    ):
        return wrong_command(at, str(ended.get("message", "")))
    if ended.get("reason") == "OOMKilled":
        return _out_of_memory(at)
    probed = probes.restarts(at, ended)
    if probed is not None:
        return probed
    again = bool(at.status.get("state", {}).get("waiting") or at.status.get("state", {}).get("running"))
    lines = at.look.logs(dict(at.pod), at.name, previous=again and bool(at.status.get("restartCount")))
    return _by_its_words(at, ended, lines)


def wrong_command(at: At, text: str) -> Verdict:
    """A container whose program could not be run at all."""
    match = EXEC.search(text)
    program = next((part for part in (match.groups() if match else ()) if part), "") or _program(at)
    field = f"{at.path}.{'command' if at.container.get('command') else 'args'}"
    evidence = at.told("Failed") or (Evidence("status", words.clipped(text)),)
    if WRONG_FORMAT.search(text):
        message = f"{program} is a program for another kind of machine than the node"
        return at.verdict(FAILED, "WrongArchitecture", message, evidence=evidence, next=(at.home.set_image(at.name),))
    if NOT_ALLOWED.search(text):
        message = f"{program} may not be run: {words.clipped(text, 160)}"
        return at.verdict(
            FAILED,
            "CommandNotAllowed",
            message,
            evidence=evidence,
            next=at.home.change(field, "run another program, or make it executable in the image"),
        )
    if not NO_COMMAND.search(text):
        message = f"the node can't start it: {words.clipped(text)}"
        return at.verdict(
            FAILED,
            "CannotStart",
            message,
            evidence=evidence,
            next=at.home.change(at.path, "correct what the node complains about"),
        )
    message = f"its image has no program {program!r}"
    steps = at.home.change(field, "name a program that the image has")
    return at.verdict(FAILED, "CommandNotFound", message, evidence=evidence, next=steps)


def is_looping(at: At) -> bool:
    """Whether a container that runs right now has just been started again after a bad end."""
    ended = (at.status.get("lastState") or {}).get("terminated")
    running = (at.status.get("state") or {}).get("running")
    if not ended or not running or at.status.get("restartCount", 0) <= CALM_RESTARTS:
        return False
    span = (
        timestamps.parse(ended["finishedAt"]) - timestamps.parse(ended["startedAt"]) if ended.get("startedAt") else 0.0
    )
    return at.look.now - timestamps.parse(running["startedAt"]) <= max(2 * span, 30.0)


def _by_its_words(at: At, ended: Mapping[str, Any], lines: tuple[str, ...]) -> Verdict:
    said = tuple(str(ended.get("message", "")).splitlines()) or lines
    clue = clues.find(lines or said, at.pod, at.container, at.look)
    shown = (Evidence("status", _end(ended)), *logged(lines or said))
    count = at.status.get("restartCount", 0)
    state = FAILED if count > CALM_RESTARTS or not _comes_again(at) else PROGRESSING
    if clue is not None:
        steps = tuple(step.replace(f"containers[{at.name}]", f"{at.home.path}.{at.path}") for step in clue.next)
        steps = (*_set_env(at, clue), *steps)
        return at.verdict(
            state, clue.reason, f"{clue.message} ({_end(ended)})", evidence=shown, next=steps or _read_on(at)
        )
    if ended.get("exitCode") == 0:
        message = "ends without an error, and is started again and again: a program that ends is a Job's"
        steps = (*at.home.change(f"{at.path}.command", "run a program that goes on"), "or make it a Job or a CronJob")
        return at.verdict(state, "EndsWithoutError", message, evidence=shown, next=steps)
    unknown = next((match[1] for match in (SHELL.search(line) for line in lines or said) if match), "")
    if ended.get("exitCode") in (126, 127) and (unknown or not lines):
        message = f"its shell finds no program {unknown}".rstrip() + f" ({_end(ended)})"
        steps = at.home.change(f"{at.path}.command", "name a program that the image has")
        return at.verdict(state, "CommandNotFound", message, evidence=shown, next=steps)
    last = words.last_line(lines or said)
    tail = f"; its last words: {words.clipped(last, 160)}" if last else ""
    return at.verdict(state, "Crash", f"{_end(ended)}{_times(count)}{tail}", evidence=shown, next=_read_on(at))


def _set_env(at: At, clue: clues.Clue) -> tuple[str, ...]:
    """The command that corrects a host name in a container's variable."""
    entry = next(
        (e for e in at.container.get("env") or () if clue.wrong and clue.wrong in str(e.get("value") or "")), None
    )
    if entry is None or not clue.better or at.home.kind in homes.FIXED:
        return ()
    value = str(entry["value"]).replace(clue.wrong, clue.better)
    where = words.in_namespace(at.namespace)
    if words.masked(value) != value:
        return (f"{where} edit {quote(at.home.ref)}",)
    setting = quote(f"{entry['name']}={value}")
    return (f"{where} set env {quote(at.home.ref)} -c {quote(at.name)} {setting}",)


def _out_of_memory(at: At) -> Verdict:
    limits = (at.container.get("resources") or {}).get("limits") or {}
    limit = str(limits.get("memory", ""))
    message = (
        f"uses more memory than its limit of {limit}, and is killed"
        if limit
        else "is killed, for its node has no memory left"
    )
    lines = at.look.logs(dict(at.pod), at.name, previous=bool(at.status.get("restartCount")))
    shown = (Evidence("status", f"OOMKilled{_times(at.status.get('restartCount', 0))}"), *logged(lines))
    more = quantity.add(limit, limit) if limit else "AMOUNT"
    steps = (*at.home.set_resources(at.name, f"limits=memory={more}"), "or see why it needs so much")
    return at.verdict(FAILED, "OutOfMemory", message, evidence=shown, next=steps)


def _end(ended: Mapping[str, Any]) -> str:
    code = int(ended.get("exitCode", 0))
    signal = SIGNALS.get(code - 128)
    return f"exits with code {code}" + (f", which is {signal}" if signal else "")


def _times(count: int) -> str:
    return f", {words.plural(count, 'restart')} so far" if count else ""


def _read_on(at: At) -> tuple[str, ...]:
    flag = " --previous" if at.status.get("restartCount") and not at.status.get("state", {}).get("terminated") else ""
    return (f"{words.in_namespace(at.namespace)} logs pod/{at.pod['metadata']['name']} -c {at.name}{flag}",)


def _comes_again(at: At) -> bool:
    return bool(at.pod.get("spec", {}).get("restartPolicy", "Always") == "Always")


def _program(at: At) -> str:
    return next(
        (str(word) for word in (*(at.container.get("command") or ()), *(at.container.get("args") or ()))),
        "the image's own",
    )
