"""Type checking of admission policies: which expressions are warned about, and for which kinds."""

from typing import Any

from sampan.control.plan import Update
from sampan.control.view import Snapshot, View
from sampan.controllers import validating_admission_policy_status as controller
from sampan.kinds.admissionregistration.validating_admission_policy import VALIDATING_ADMISSION_POLICY
from sampan.kinds.apiextensions.custom_resource_definition import CUSTOMRESOURCEDEFINITION
from sampan.kit.frozen import freeze

Tree = dict[str, Any]


def policy(*expressions: str, resources: tuple[str, ...] = ("deployments",), **spec: Any) -> Tree:
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": list(resources)}
    made = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": e} for e in expressions]}
    return {
        "kind": "ValidatingAdmissionPolicy", "apiVersion": "admissionregistration.k8s.io/v1",
        "metadata": {"name": "p", "generation": 3, "uid": "u", "resourceVersion": "1"}, "spec": {**made, **spec},
    }  # fmt: skip


def status(body: Tree) -> Tree | None:
    """What the rule writes into the status."""
    sources = {
        VALIDATING_ADMISSION_POLICY.resource: Snapshot([freeze(body)], {}),
        CUSTOMRESOURCEDEFINITION.resource: Snapshot([], {}),
    }
    plan = controller.reconcile(View(sources), ("", "p"), 0.0)
    writes = [write for stage in plan.stages for write in stage.writes]
    if not writes:
        return None
    (write,) = writes
    assert isinstance(write, Update)
    assert write.subresource == "status"
    found: Tree = write.obj["status"]
    return found


def test_a_fine_policy_is_observed() -> None:
    """Conformance 92: typeChecking is there, and empty, when all is well; a generation is checked once."""
    made = status(policy("object.spec.replicas > 1"))
    assert made == {"observedGeneration": 3, "typeChecking": {}}
    assert status({**policy("true"), "status": made}) is None


def test_a_wrong_field_is_warned_about() -> None:
    """The warning names the kind, the place and the compiler's complaint."""
    made = status(policy("object.spec.replicas > 1", "object.spec.replica > '1'"))
    assert made is not None
    (warning,) = made["typeChecking"]["expressionWarnings"]
    assert warning["fieldRef"] == "spec.validations[1].expression"
    assert warning["warning"].startswith("apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replica'")


def test_each_kind_that_is_named_is_tried() -> None:
    """What fits Deployments but not ReplicaSets is told of ReplicaSets; wildcards and subresources are not tried."""
    resources = ("deployments", "replicasets", "*", "deployments/scale")
    made = status(policy("object.spec.strategy.type == 'Recreate'", resources=resources))
    assert made is not None
    (warning,) = made["typeChecking"]["expressionWarnings"]
    assert warning["warning"].startswith("apps/v1, Kind=ReplicaSet: ERROR: <input>:1:12: undefined field 'strategy'")
    assert "Kind=Deployment" not in warning["warning"]
