"""Every case document holds: the given objects lead to the written conditions and writes."""

from pathlib import Path
from typing import Any

import pytest

from sampan.control.plan import Create, Delete, Plan, Update
from sampan.gateway import gateway_class_status, gateway_status, ingress_status, kinds, route_status
from sampan.kinds.kind import Object
from sampan.meta import objects
from tests import documents
from tests.gateway import test_tls, world

FOLDER = Path(__file__).parent.parent / "cases" / "gateway"
NOW = 1767225600.0

RULES = {
    "GatewayClass": gateway_class_status.reconcile,
    "Gateway": gateway_status.reconcile,
    "Ingress": ingress_status.reconcile,
    **{kind.name: route_status.controller(kind).reconcile for kind in kinds.ROUTES},
}


@pytest.mark.parametrize(("path", "number"), documents.every(FOLDER))
def test_case(path: Path, number: int, update_cases: bool) -> None:
    """What is written is the written one."""
    documents.check(path, number, run, update=update_cases)


def run(case: dict[str, Any]) -> list[Any]:
    """The plan as a document. The class `sampan` is there; a Secret may say `certificate: NAME`."""
    usual = [world.gateway_class(), world.ingress_class()]
    given = [_secret(obj) if obj["kind"] == "Secret" else obj for obj in case["given"]]
    named = {(obj["kind"], obj["metadata"]["name"]) for obj in given}
    view = world.view([*(o for o in usual if (o["kind"], o["metadata"]["name"]) not in named), *given])
    kind, _, name = case["when"].partition("/")
    namespace = "default" if world.BY_NAME[kind].namespaced else ""
    return show(RULES[kind](view, (namespace, name), NOW))


def show(plan: Plan) -> list[Any]:
    """One entry for each write; conditions are lines."""
    shown: list[Any] = []
    for write in plan.writes:
        what = f"{write.kind.name}/{objects.name(write.obj) if isinstance(write, Create | Update) else ''}"
        match write:
            case Update(subresource="status"):
                shown.append({"status": what, **_lines(write.obj["status"])})
            case Create() | Update():
                verb = "create" if isinstance(write, Create) else "update"
                parts = {k: v for k, v in write.obj.items() if k in ("spec", "addressType", "endpoints", "ports")}
                shown.append({verb: what, **objects.copy(parts)})
            case Delete():
                shown.append({"delete": f"{write.kind.name}/{write.key[1]}"})
    return shown + [f"{event.type} {event.reason} {event.message}" for event in plan.events]


def _lines(tree: Any) -> Any:
    if isinstance(tree, dict):
        made = {name: _lines(value) for name, value in tree.items() if name != "supportedFeatures"}
        if "conditions" in made:
            made["conditions"] = [
                f"{c['type']}={c['status']} {c['reason']}: {c['message']}" for c in tree["conditions"]
            ]
        return made
    return [_lines(item) for item in tree] if isinstance(tree, list) else tree


def _secret(obj: Object) -> Object:
    if "certificate" not in obj:
        return obj
    made = test_tls.secret(obj["metadata"]["name"], obj["certificate"])
    return {**made, "metadata": {**obj["metadata"]}}
