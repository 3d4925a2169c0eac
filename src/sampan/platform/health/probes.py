"""Probes: what a container is asked about its health, and what it answers."""

import re
from collections.abc import Mapping
from typing import Any

from sampan.meta import timestamps
from sampan.platform.health import words
from sampan.platform.health.at import At, logged
from sampan.platform.health.lookup import events, last_seen
from sampan.platform.health.verdict import FAILED, PROGRESSING, STUCK, Evidence, Verdict

FIELDS = {"Liveness": "livenessProbe", "Readiness": "readinessProbe", "Startup": "startupProbe"}
ANSWER = re.compile(r"^(Liveness|Readiness|Startup) probe (failed|errored[^:]*|warning): (.*)$", re.DOTALL)
STATUS_CODE = re.compile(r"statuscode: (\d+)")
REFUSED = re.compile(r"connection refused")
LATE = re.compile(r"deadline exceeded|timed? ?out|Timeout", re.IGNORECASE)
PATIENCE_SECONDS = 20


def restarts(at: At, ended: Mapping[str, Any]) -> Verdict | None:
    """A container that its node ended because of a probe, if that is why it ended."""
    for kind in ("Startup", "Liveness"):
        event = _latest(at, kind)
        if event is None or not _fits(event, ended):
            continue
        many = at.status.get("restartCount", 0)
        shown = f"is restarted because its {kind.lower()} probe fails ({_shown(at, kind)}: {_answer(event)})"
        message = f"{shown}; {words.plural(many, 'restart')} so far"
        return at.verdict(
            FAILED, f"{kind}ProbeFailing", message, evidence=_evidence(at, kind, event), next=_steps(at, kind, event)
        )
    return None


def fails_again(at: At) -> bool:
    """Whether a container that was ended because of its liveness probe fails it again already."""
    ended = (at.status.get("lastState") or {}).get("terminated")
    running = (at.status.get("state") or {}).get("running") or {}
    event = _latest(at, "Liveness") if ended and "livenessProbe" in at.container else None
    return event is not None and last_seen(event) >= timestamps.parse(running["startedAt"])


def unready(at: At) -> Verdict | None:
    """Why a running container is not ready: its startup or readiness probe."""
    kind = "Startup" if not at.status.get("started", True) and "startupProbe" in at.container else "Readiness"
    if FIELDS[kind] not in at.container:
        return None
    event = _latest(at, kind)
    started = (at.status.get("state", {}).get("running") or {}).get("startedAt")
    if event is None or (started and last_seen(event) < timestamps.parse(started) - 1):
        message = f"is asked by its {kind.lower()} probe ({_shown(at, kind)}), which has not found it {_good(kind)} yet"
        return at.verdict(PROGRESSING, f"{kind}ProbePending", message)
    waited = at.look.now - timestamps.parse(started) if started else 0.0
    state = STUCK if waited > PATIENCE_SECONDS else PROGRESSING
    message = f"runs, but its {kind.lower()} probe fails ({_shown(at, kind)}: {_answer(event)})"
    evidence = (*_evidence(at, kind, event), *logged(at.look.logs(dict(at.pod), at.name)))
    return at.verdict(state, f"{kind}ProbeFailing", message, evidence=evidence, next=_steps(at, kind, event))


def shown(probe: Mapping[str, Any]) -> str:
    """A probe in a few words: GET :8080/healthz."""
    if "httpGet" in probe:
        get = probe["httpGet"]
        scheme = "https " if str(get.get("scheme", "HTTP")).upper() == "HTTPS" else ""
        return f"{scheme}GET {get.get('host', '')}:{get.get('port')}{get.get('path') or '/'}"
    if "tcpSocket" in probe:
        return f"connect to :{probe['tcpSocket'].get('port')}"
    if "grpc" in probe:
        return f"gRPC health at :{probe['grpc'].get('port')}"
    return "exec " + words.clipped(" ".join((probe.get("exec") or {}).get("command") or ()), 60)


def _shown(at: At, kind: str) -> str:
    return shown(at.container.get(FIELDS[kind]) or {})


def _good(kind: str) -> str:
    return "started" if kind == "Startup" else "ready"


def _latest(at: At, kind: str) -> Mapping[str, Any] | None:
    found = [e for e in events(at.look, at.pod, part=at.name) if e.get("reason") == "Unhealthy"]
    return next((e for e in found if str(e.get("message", "")).startswith(f"{kind} probe")), None)


def _fits(event: Mapping[str, Any], ended: Mapping[str, Any]) -> bool:
    """Whether the probe failed while that attempt ran, or just before it was asked to end."""
    begun, over = ended.get("startedAt"), ended.get("finishedAt")
    if not begun or not over:
        return True
    return timestamps.parse(begun) <= last_seen(event) and ended.get("reason") not in ("OOMKilled", "StartError")


def _answer(event: Mapping[str, Any]) -> str:
    match = ANSWER.match(str(event.get("message", "")))
    said = match[3] if match else str(event.get("message", ""))
    if (code := STATUS_CODE.search(said)) is not None:
        return f"HTTP {code[1]}"
    if REFUSED.search(said):
        return "connection refused"
    if LATE.search(said):
        return "no answer in time"
    return words.clipped(said, 120) or "it fails"


def _evidence(at: At, kind: str, event: Mapping[str, Any]) -> tuple[Evidence, ...]:
    probe = at.container.get(FIELDS[kind]) or {}
    times = f"every {probe.get('periodSeconds', 10)}s, and {words.plural(probe.get('failureThreshold', 3), 'failure')} in a row count"
    said = words.clipped(str(event.get("message", "")))
    return Evidence("probe", f"{FIELDS[kind]}: {shown(probe)}, {times}"), Evidence(
        "event", f"Unhealthy (x{event.get('count') or 1}): {said}"
    )


def _steps(at: At, kind: str, event: Mapping[str, Any]) -> tuple[str, ...]:
    answer, probe = _answer(event), at.container.get(FIELDS[kind]) or {}
    field = f"{at.path}.{FIELDS[kind]}"
    if answer == "connection refused":
        ports = [str(p.get("containerPort")) for p in at.container.get("ports") or ()]
        opened = f"; it declares {words.listed(ports)}" if ports else ""
        how = f"ask the port that the program listens on{opened}"
        return at.home.change(f"{field}.{_port_field(probe)}", how)
    if answer.startswith("HTTP 404"):
        return at.home.change(f"{field}.httpGet.path", "ask a path that the program serves")
    if answer == "no answer in time":
        return at.home.change(f"{field}.timeoutSeconds", "give it more time to answer, or see what keeps it")
    if answer.startswith("HTTP "):
        return (f"see why the program says so: {words.in_namespace(at.namespace)} logs pod/{at.pod['metadata']['name']} -c {at.name}",
                *at.home.change(field, "or correct the probe"))  # fmt: skip
    if kind == "Startup":
        return at.home.change(f"{field}.failureThreshold", "correct the probe, or give it longer to start")
    return at.home.change(field, "correct the probe, or what it asks")


def _port_field(probe: Mapping[str, Any]) -> str:
    return next((f"{name}.port" for name in ("httpGet", "tcpSocket", "grpc") if name in probe), "exec.command")
