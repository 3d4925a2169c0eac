"""Every case document holds: the given objects and time lead to the written plan."""

from pathlib import Path
from typing import Any

import pytest

from sampan.client.discovery import Discovered
from sampan.control.everywhere import Everywhere, Ref
from sampan.control.load_balancing import Terms
from sampan.control.plan import (
    Ask,
    AskKinds,
    AskList,
    AskMetrics,
    AskScale,
    AskTarget,
    Create,
    Delete,
    DeleteCollection,
    Outcome,
    Patch,
    Plan,
    Target,
    Update,
)
from sampan.control.view import Snapshot, View
from sampan.controllers.registry import Options, controllers
from sampan.kinds import builtin
from sampan.kit.frozen import freeze
from sampan.meta import objects, timestamps
from tests import documents

FOLDER = Path(__file__).parent.parent / "cases" / "controllers"
KINDS = {kind.name: kind for kind in builtin.KINDS if not kind.storage_version and kind.stored_as is None}
SCALED = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet")


@pytest.mark.parametrize(("path", "number"), documents.every(FOLDER))
def test_case(path: Path, number: int, update_cases: bool) -> None:
    """The plan is the written one."""
    documents.check(path, number, run, update=update_cases)


def run(case: dict[str, Any]) -> dict[str, Any]:
    """Asks the rule, answers its questions from `live` (default: the given objects), shows the plan."""
    options = Options(_balancing(case), node_grace_seconds=case.get("grace_seconds", Options().node_grace_seconds))
    usual = controllers("THE CA", gates=frozenset(case.get("gates", ())), options=options)
    controller = next(found for found in usual if found.name == case["controller"])
    given = [complete(o) for o in case["given"]]
    live = [complete(o) for o in case.get("live", case["given"])]
    kind_name, _, name = case["when"].partition("/")
    namespace, _, name = name.rpartition("/")
    kind = KINDS[kind_name]
    if kind.namespaced:
        namespace = namespace or "default"
    key: Any = (namespace, name)
    if isinstance(controller, Everywhere):
        key = Ref(kind.resource, namespace, name)
    answers: dict[Any, Any] = {}
    for _ in range(5):
        view = _view(case, controller, given, answers)
        plan = controller.reconcile(view, key, timestamps.parse(str(case["now"])))
        if not plan.ask:
            return show(plan, given)
        answers |= {question: _answer(question, live, case.get("metrics", {})) for question in plan.ask}
    raise AssertionError("endless questions")


def _balancing(case: dict[str, Any]) -> Terms:
    told = case.get("balancing")
    if told is None:
        return Terms()
    return Terms(tuple(told["pools"]), nodes=told.get("nodes", False), ports=frozenset(told.get("ports", ())))


def _view(case: dict[str, Any], controller: Any, given: list[Any], answers: dict[Any, Any]) -> View:
    ages = {tuple(k.split("/")): v for k, v in case.get("ages", {}).items()}
    sources = {
        kind.resource: Snapshot([freeze(o) for o in given if o["kind"] == kind.name], ages, case.get("gone", ()))
        for kind in builtin.KINDS
        if isinstance(controller, Everywhere) or kind.resource in {k.resource for k in controller.kinds}
    }
    refused = [Outcome(Create(KINDS["Pod"], {}), "", {"message": text}) for text in case.get("refused", ())]
    kinds = {k.resource: k for k in builtin.KINDS if not k.not_stored}
    return View(sources, tuple(refused), answers, kinds, case.get("memory", {}))


def _answer(question: Any, live: list[Any], metrics: dict[str, Any]) -> Any:
    """From the objects; metrics are written in the case, by what is asked for."""
    match question:
        case AskTarget(_, kind, key):
            found = next((o for o in live if o["kind"] == kind and objects.key(o) == key), None)
            return (
                f'{KINDS[kind].resource} "{key[1]}" not found' if found is None else Target(KINDS[kind], scale(found))
            )
        case AskMetrics(_, _, selector, metric):
            answer = metrics[metric or selector]
            return answer if isinstance(answer, str) else tuple(answer)
        case Ask(kind, key):
            return next((o for o in live if o["kind"] == kind.name and objects.key(o) == key), None)
        case AskList(kind, namespace):
            return tuple(o for o in live if o["kind"] == kind.name and objects.namespace(o) == namespace)
        case AskScale(_, kind, key):
            if kind not in SCALED:
                return f"{KINDS[kind].resource} does not implement the scale subresource"
            return next((o for o in live if o["kind"] == kind and objects.key(o) == key), None)
        case AskKinds():
            return Discovered(tuple(k for k in builtin.KINDS if not k.not_stored))
    raise AssertionError(question)


def scale(obj: dict[str, Any]) -> dict[str, Any]:
    """The Scale of a workload."""
    metadata = {field: obj["metadata"][field] for field in ("name", "namespace", "uid", "resourceVersion")}
    labels = obj["spec"].get("selector", {}).get("matchLabels", {})
    status = {
        "replicas": obj.get("status", {}).get("replicas", 0),
        "selector": ",".join(f"{k}={v}" for k, v in labels.items()),
    }
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": obj["spec"].get("replicas", 0)},
        "status": status,
    }


def complete(obj: dict[str, Any]) -> dict[str, Any]:
    """Fills in what every stored object has. `owner: Kind/name` becomes a controller reference."""
    kind = KINDS[obj["kind"]]
    metadata = {"resourceVersion": "1", "uid": f"{kind.name}-{obj['metadata']['name']}", **obj["metadata"]}
    metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
    if kind.namespaced:
        metadata.setdefault("namespace", "default")
    if "owner" in metadata:
        owner_kind, name = metadata.pop("owner").split("/")
        owner = {
            "apiVersion": KINDS[owner_kind].api_version,
            "kind": owner_kind,
            "metadata": {"name": name, "uid": f"{owner_kind}-{name}"},
        }
        metadata["ownerReferences"] = [objects.owner_reference(owner)]
    return {"apiVersion": kind.api_version, "spec": {}, **obj, "metadata": metadata}


def show(plan: Plan, given: list[Any]) -> dict[str, Any]:
    """The plan as a document."""
    shown: dict[str, Any] = {"stages": [[_write(w, given) for w in stage.writes] for stage in plan.stages]}
    if plan.events:
        shown["events"] = [f"{e.type} {e.reason} {e.message}" for e in plan.events]
    if plan.again is not None:
        shown["again"] = round(plan.again, 3)
    if plan.memory:
        shown["memory"] = dict(plan.memory)
    return objects.copy(shown)


def _write(write: Any, given: list[Any]) -> dict[str, Any]:
    name = write.kind.name
    shown: dict[str, Any]
    match write:
        case Create():
            shown = {"create": name, "object": {k: v for k, v in write.obj.items() if k not in ("apiVersion", "kind")}}
            shown |= {"may exist": True} if write.may_exist else {}
        case Update():
            old = next(o for o in given if o["kind"] == name and objects.key(o) == objects.key(write.obj))
            old = scale(old) if write.subresource == "scale" else old
            part = f" {write.subresource}" if write.subresource else ""
            shown = {f"update{part}": f"{name}/{objects.name(write.obj)}", "changes": _changes(old, write.obj)}
        case Patch():
            shown = {f"patch {write.subresource}".strip(): f"{name}/{write.key[1]}", "with": write.patch}
        case Delete():
            shown = {"delete": f"{name}/{write.key[1]}"}
            shown |= {"propagation": write.propagation} if write.propagation else {}
            shown |= {"grace": write.grace_seconds} if write.grace_seconds is not None else {}
        case DeleteCollection():
            shown = {"delete all": name, "namespace": write.namespace}
    if write.done is not None:
        shown["event"] = f"{write.done.type} {write.done.reason} {write.done.message}"
    return shown


def _changes(old: Any, new: Any) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for field in {**old, **new}:
        before, after = old.get(field), new.get(field)
        if before == after:
            continue
        is_deep = isinstance(before, dict) and isinstance(after, dict)
        changed[field] = _changes(before, after) if is_deep else after
    return changed
