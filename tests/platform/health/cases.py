"""Cases: what a rule reads as a document: given objects and log lines, when somebody asks why, then this is said."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sampan.cluster import naming
from sampan.kinds import builtin
from sampan.kinds.kind import NAMESPACED, Kind
from sampan.kit import frozen
from sampan.meta import objects, timestamps
from sampan.platform.health import judge, text
from sampan.platform.health.lookup import MAX_STEPS, UNREADABLE, Get, Known, ListOf, Logs, Question
from sampan.platform.health.verdict import Verdict

Tree = dict[str, Any]
NOISE = ("managedFields", "resourceVersion")
ASIDE = ("kube-system", "kube-public", "kube-node-lease")
EVENT_FIELDS = ("apiVersion", "kind", "metadata", "type", "reason", "message", "count", "involvedObject", "series",
                "eventTime", "lastTimestamp")  # fmt: skip


def given(known: Known) -> Tree:
    """All that a rule has read, as the given part of a case; what nobody needs for it is left out."""
    found: dict[tuple[str, str, str], Tree] = {}
    logs = []
    for question, answer in known.answers.items():
        if isinstance(question, Logs):
            said = {"pod": question.pod, "container": question.container, "previous": question.previous}
            logs += [{**said, "namespace": question.namespace, "lines": list(answer)}] if answer else []
            continue
        for obj in answer if isinstance(question, ListOf) else [answer] if answer else []:
            tree = _trimmed({"apiVersion": question.kind.api_version, "kind": question.kind.name, **obj})
            found[question.kind.name, objects.namespace(obj), objects.name(obj)] = tree
    kept = [found[key] for key in sorted(found) if _matters(found[key])]
    return {"now": _time(known.now), "objects": kept, **({"logs": logs} if logs else {})}


def said(verdict: Verdict) -> Tree:
    """What a case expects."""
    return {
        "state": verdict.state,
        "reasons": [each.reason for each in verdict.chain],
        "headline": text.headline(verdict),
        "shown": [f"{each.source}: {each.text}" for each in verdict.root.evidence],
        "next": list(verdict.steps),
    }


def asked(case: Tree) -> Verdict | None:
    """What is said of what the case asks, over what it gives."""
    trees = [frozen.freeze(tree) for tree in case["given"]["objects"]]
    served = (*builtin.KINDS, *_own(trees))
    named = naming.named(case["when"].removeprefix("why "), served, case.get("namespace", "default"))
    answers: dict[Question, Any] = {}
    for _ in range(MAX_STEPS):
        look = Known(_seconds(case["given"].get("now")), served, answers)
        found = judge.one(named.kind, named.name, named.namespace, look)
        if not look.open:
            return found
        answers = answers | {question: _answer(question, trees, case["given"]) for question in look.open}
    raise AssertionError(f"asks on and on: {look.open}")


def _answer(question: Question, trees: Sequence[Tree], given: Tree) -> Any:
    logs = given.get("logs", ())
    if not isinstance(question, Logs) and question.kind.name in given.get("unreadable", ()):
        return UNREADABLE
    if isinstance(question, Logs):
        wanted = (question.namespace, question.pod, question.container, question.previous)
        return next((tuple(e["lines"]) for e in logs if _place(e) == wanted), ())
    mine = [tree for tree in trees if tree["kind"] == question.kind.name and _group(tree) == question.kind.group]
    here = [tree for tree in mine if question.namespace in ("", objects.namespace(tree))]
    if isinstance(question, Get):
        return next((tree for tree in here if objects.name(tree) == question.name), None)
    return tuple(here)


def _own(trees: Sequence[Tree]) -> list[Kind]:
    """Kinds that only the case knows."""
    known = {(kind.group, kind.name) for kind in builtin.KINDS}
    new = {(_group(tree), tree["kind"], tree["apiVersion"].rpartition("/")[2]) for tree in trees}
    found = sorted(each for each in new if each[:2] not in known)
    return [Kind(group, (version,), name, f"{name.lower()}s", NAMESPACED) for group, name, version in found]


def _place(entry: Tree) -> tuple[str, str, str, bool]:
    return entry.get("namespace", "default"), entry["pod"], entry["container"], entry.get("previous", False)


def _group(tree: Tree) -> str:
    return str(tree["apiVersion"].rpartition("/")[0])


def _seconds(now: Any) -> float:
    return timestamps.parse(str(now or "2026-01-01T00:10:00Z"))


def _time(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _matters(tree: Tree) -> bool:
    """Whether somebody made it for the case, or it tells of something that is."""
    if tree["kind"] == "Event":
        return tree.get("type") == "Warning" or tree.get("reason") == "FailedBinding"
    own = ("kubernetes", "kube-root-ca.crt", "default")
    return tree["kind"] == "Node" or (objects.namespace(tree) not in ASIDE and objects.name(tree) not in own)


def _trimmed(tree: Tree) -> Tree:
    """Without what no rule looks at."""
    if tree["kind"] == "Event":
        return _event(tree)
    if tree["kind"] == "Node":
        status = {name: tree["status"].get(name) for name in ("allocatable", "conditions")}
        tree = {**tree, "status": status}
    metadata = {name: value for name, value in tree["metadata"].items() if name not in NOISE}
    tree = {**tree, "metadata": metadata}
    if tree["kind"] == "Secret" and "data" in tree:
        tree["data"] = dict.fromkeys(tree["data"], "")
    if tree["kind"] == "Pod":
        tree["spec"] = _unmounted(tree["spec"])
    return tree


def _unmounted(spec: Tree) -> Tree:
    """A pod's spec without the account's token, which every pod has."""
    kept = {name: value for name, value in spec.items() if name not in ("volumes", "containers", "initContainers")}
    for name in ("initContainers", "containers"):
        if name in spec:
            kept[name] = [{k: v for k, v in each.items() if k != "volumeMounts"} for each in spec[name]]
    volumes = [each for each in spec.get("volumes") or () if "projected" not in each]
    return {**kept, **({"volumes": volumes} if volumes else {})}


def _event(tree: Tree) -> Tree:
    found = {name: tree[name] for name in EVENT_FIELDS if tree.get(name)}
    return {**found, "metadata": {name: tree["metadata"].get(name) for name in ("name", "namespace")}}
