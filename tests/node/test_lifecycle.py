"""The lifecycle rule, by given-when-then documents."""

from pathlib import Path

import pytest
import yaml

from sampan.kit.frozen import freeze
from sampan.meta import timestamps
from sampan.node import lifecycle
from sampan.node.observed import Backoff, Failure, Observed, Probes
from sampan.node.runtime.protocol import ContainerState
from sampan.node.snapshot import IMAGE_LABEL

NOW = timestamps.parse("2026-01-01T00:00:00Z")
CASES = yaml.safe_load((Path(__file__).parents[1] / "cases/node/lifecycle.yaml").read_text())


def container(text):
    name, attempt, state, *code = text.split()
    return ContainerState(
        id=f"{name}-{attempt}",
        pod_uid="u-1",
        pod_namespace="default",
        pod_name="web",
        name=name,
        attempt=int(attempt),
        image_ref="app:1",
        image_id="sha256:1",
        state=state,
        started_at=NOW - 1,
        finished_at=NOW if state == "exited" else 0,
        exit_code=int(code[0]) if code else 0,
        labels=((IMAGE_LABEL, "app:1"),),
    )


def observed(given):
    given = dict(given)
    states = tuple(container(text) for text in given.pop("containers", ()))
    probes = {f"{name}-0": Probes(**verdicts) for name, verdicts in given.pop("probes", {}).items()}
    backoffs = {name: Backoff(seconds, NOW + at) for name, (seconds, at) in given.pop("backoffs", {}).items()}
    # A back-off case ends its container as long ago as the back-off was decided.
    if backoffs and next(iter(backoffs.values())).updated_at > NOW - 60:
        states = tuple(s if s.state != "exited" else _ended(s, NOW - 5) for s in states)
    failures = {name: Failure(r, m, NOW + at) for name, (r, m, at) in given.pop("failures", {}).items()}
    if given.pop("ready", False):
        given |= {"volumes_ready": True, "pod_ip": "10.244.0.2"}
    for field in ("starting", "resizing"):
        given[field] = frozenset(given.get(field, ()))
    if "unfit" in given:
        given["unfit"] = tuple(given["unfit"])
    return Observed(
        containers=states, host_ip="10.244.0.1", probes=probes, backoffs=backoffs, failures=failures, **given
    )


def _ended(state, at):
    import dataclasses

    return dataclasses.replace(state, finished_at=at)


def pod(given):
    metadata = {"name": "web", "namespace": "default", "uid": "u-1", "generation": 3}
    if "deleted" in given:
        metadata |= {"deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": given["deleted"]}
    spec = {"containers": [{"name": "app", "image": "app:1", **given.get("container", {})}], **given.get("spec", {})}
    return freeze({"metadata": metadata, "spec": spec, "status": given.get("status", {"phase": "Pending"})})


def short(command):
    name = type(command).__name__
    match name:
        case "StartContainer":
            return f"{name} {command.name} {command.attempt}"
        case "KillContainer":
            after = f" after {' '.join(command.waits_for)}" if command.waits_for else ""
            return f"{name} {command.name} {command.grace_seconds:g} {command.message}{after}"
        case "Emit":
            return f"{name} {command.reason}"
        case "Again":
            return f"{name} {command.at - NOW:g}"
        case "ResizeContainer":
            return f"{name} {command.name} {command.resources}"
        case "RemoveContainer":
            return f"{name} {command.id}"
        case "Teardown":
            return f"{name} {command.containers}"
        case "DeletePod":
            return f"{name} {command.uid}"
    return name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["promise"])
def test_case(case):
    """Each document holds."""
    given, then = case["given"], case["then"]
    status, commands = lifecycle.advance(pod(given), observed(given.get("observed", {})), NOW)
    assert [short(c) for c in commands] == then["commands"]
    for name, value in then.get("status", {}).items():
        assert status[name] == value, name
    found = {c["type"]: c for c in status["conditions"]}
    for type, value in then.get("conditions", {}).items():
        assert found[type]["status"] == value, type
    for type, (reason, message) in then.get("reason", {}).items():
        assert (found[type].get("reason", ""), found[type].get("message", "")) == (reason, message)
    assert not found.keys() & set(then.get("absent", ()))
    both = {s["name"]: s for s in status.get("initContainerStatuses", []) + status["containerStatuses"]}
    for name, state in then.get("states", {}).items():
        for word, fields in state.items():
            assert both[name]["state"][word].items() >= fields.items()
    for name, fields in then.get("containers", {}).items():
        assert both[name].items() >= fields.items()


def test_back_off_doubles_to_five_minutes():
    """10 s, 20 s ... at most 300 s."""
    from sampan.node import backoff

    seen, current = [], None
    for _ in range(8):
        current = backoff.after(current, NOW)
        seen.append(current.seconds)
    assert seen == [10, 20, 40, 80, 160, 300, 300, 300]
    assert [backoff.text(s) for s in (10, 80, 300)] == ["10s", "1m20s", "5m0s"]


@pytest.mark.parametrize(("image", "attempts", "seconds"), [("app:1", 2, 20.0), ("app:2", 2, 10.0), ("app:2", 1, 10.0)])
def test_another_image_begins_its_back_off_anew(image: str, attempts: int, seconds: float) -> None:
    """As long as a crashing container's image is the same it waits twice as long each time; with another one it starts at once."""
    seen = {"ready": True, "containers": [f"app {attempts} exited 1"], "backoffs": {"app": [10, -100]}}
    _, (command,) = lifecycle.advance(pod({"container": {"image": image}}), observed(seen), NOW + 60)
    assert (short(command), command.backoff.seconds) == (f"StartContainer app {attempts + 1}", seconds)
