"""Every case document of rollouts holds: the given objects, answers and time lead to the written plan."""

from pathlib import Path
from typing import Any

import pytest

from sampan.control.plan import Ask, AskHttp, HttpAnswer
from sampan.control.view import Snapshot, View
from sampan.kinds import builtin
from sampan.kinds.apps.replica_set import REPLICASET
from sampan.kit.frozen import freeze
from sampan.meta import objects, timestamps
from sampan.platform.rollouts import analysis_run, kinds, rollout
from tests import documents
from tests.controllers.test_cases import show

FOLDER = Path(__file__).parent.parent / "cases" / "platform" / "rollouts"
OWN = (kinds.ROLLOUT, kinds.ANALYSISRUN, kinds.ANALYSISTEMPLATE, kinds.CLUSTERANALYSISTEMPLATE, kinds.HTTPROUTE)
KINDS = {kind.name: kind for kind in (*builtin.KINDS, *OWN) if kind.stored_as is None}
CONTROLLERS = {"Rollout": rollout.CONTROLLER, "AnalysisRun": analysis_run.CONTROLLER}


@pytest.mark.parametrize(("path", "number"), documents.every(FOLDER))
def test_case(path: Path, number: int, update_cases: bool) -> None:
    """The plan is the written one."""
    documents.check(path, number, run, update=update_cases)


def run(case: dict[str, Any]) -> dict[str, Any]:
    """Asks the rule, answers its questions from the case, shows the plan and what was asked over HTTP."""
    given = [_complete(obj) for obj in case["given"]]
    kind, _, name = case["when"].partition("/")
    asked: list[str] = []
    answers: dict[Any, Any] = {}
    controller = CONTROLLERS[kind]
    for _ in range(5):
        sources = {
            each.resource: Snapshot([freeze(obj) for obj in given if obj["kind"] == each.name])
            for each in controller.kinds
        }
        plan = controller.reconcile(
            View(sources, answers=answers), ("default", name), timestamps.parse(str(case["now"]))
        )
        if not plan.ask:
            return {**show(plan, given), **({"asked": asked} if asked else {})}
        for question in plan.ask:
            answers[question] = _answer(question, given, case.get("answers", {}), asked)
    raise AssertionError("endless questions")


def _answer(question: Any, given: list[Any], answers: dict[str, Any], asked: list[str]) -> Any:
    match question:
        case AskHttp():
            asked.append(f"{question.method} {question.url}")
            found = answers[question.url]
            return found if isinstance(found, str) else HttpAnswer(found["code"], found["text"])
        case Ask(kind, key):
            return next((obj for obj in given if obj["kind"] == kind.name and objects.key(obj) == key), None)
    raise AssertionError(question)


def _complete(obj: dict[str, Any]) -> dict[str, Any]:
    """Fills in what every stored object has. `owner: Kind/name` becomes a controller reference, `of: IMAGE` a template."""
    kind = KINDS[obj["kind"]]
    metadata = {"resourceVersion": "1", "uid": f"{kind.name}-{obj['metadata']['name']}", **obj["metadata"]}
    metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
    metadata.setdefault("namespace", "default")
    if "owner" in metadata:
        owner_kind, name = metadata.pop("owner").split("/")
        owner = {
            "apiVersion": KINDS[owner_kind].api_version,
            "kind": owner_kind,
            "metadata": {"name": name, "uid": f"{owner_kind}-{name}"},
        }
        metadata["ownerReferences"] = [objects.owner_reference(owner)]
    made = {"apiVersion": kind.api_version, **obj, "metadata": metadata}
    if "of" in made:
        made["spec"] = {**made["spec"], **_templated(kind.name, made.pop("of"), metadata)}
    return made


def _templated(kind: str, image: str, metadata: dict[str, Any]) -> dict[str, Any]:
    labels = {"app": "web", **metadata.get("labels", {})}
    selector = labels if kind == REPLICASET.name else {"app": "web"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}}
    return {"selector": {"matchLabels": selector}, "template": pod}
