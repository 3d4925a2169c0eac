"""Authorization from expressions: authorizer.group("apps").resource("deployments").check("create").allowed().

A decision comes from the callback that the caller of the evaluation gave.

https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-authorizer-library
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sampan.cel import program, types
from sampan.cel.functions import CallCost, Overload, tenth
from sampan.cel.types import BOOL, STRING, Type
from sampan.cel.values import EvaluationError, Opaque
from sampan.meta import names

CHECK_COST = 350_000


@dataclass(frozen=True, slots=True)
class _Asking(Opaque):
    """A check being put together; `type` says which stage."""

    type: Type
    decide: Callable[[program.Check], program.Decision]
    check: program.Check
    resource: program.Check | None = None

    def field(self, name: str) -> Any:
        """authorizer.requestResource"""
        if self.type is types.AUTHORIZER and name == "requestResource" and self.resource is not None:
            return _Asking(types.RESOURCE_CHECK, self.decide, self.resource)
        raise EvaluationError(f"no such key: {name}")


@dataclass(frozen=True, slots=True)
class _Decided(Opaque):
    """A decision as a value."""

    decision: program.Decision
    type = types.DECISION


def entering(value: program.Authorizer) -> Opaque:
    """The value of the variable `authorizer` inside an evaluation."""
    return _Asking(types.AUTHORIZER, value.decide, program.Check(), value.resource)


def _set(asking: _Asking, stage: Type, **fields: str) -> _Asking:
    return _Asking(stage, asking.decide, replace(asking.check, **fields), asking.resource)


def _path(asking: _Asking, path: str) -> _Asking:
    if not path.strip():
        raise EvaluationError("path must not be empty")
    return _set(asking, types.PATH_CHECK, path=path)


def _resource(asking: _Asking, resource: str) -> _Asking:
    if not resource.strip():
        raise EvaluationError("resource must not be empty")
    return _set(asking, types.RESOURCE_CHECK, resource=resource)


def _service_account(asking: _Asking, namespace: str, name: str) -> _Asking:
    if names.dns1123_subdomain(name):
        raise EvaluationError("Invalid service account name")
    if names.dns1123_label(namespace):
        raise EvaluationError("Invalid service account namespace")
    return _set(asking, types.AUTHORIZER, user=f"system:serviceaccount:{namespace}:{name}")


def _check(asking: _Asking, verb: str) -> _Decided:
    return _Decided(asking.decide(replace(asking.check, verb=verb)))


def _check_cost(args: Sequence[Any]) -> int:
    return CHECK_COST


def _selector_cost(args: Sequence[Any]) -> int:
    size = len(args[1])
    return 10 + -(-size // 2) * 50 + tenth(size)


def _setter(field: str) -> Callable[[_Asking, str], _Asking]:
    return lambda asking, text: _set(asking, types.RESOURCE_CHECK, **{field: text})


def _member(name: str, run: Any, result: Type, receiver: Type, *more: Type) -> Overload:
    cost: CallCost | None = None
    if name.endswith("_check"):
        cost = _check_cost
    elif name.endswith("selector"):
        cost = _selector_cost
    return Overload(name, (receiver, *more), result, run, True, cost)


_ASK, _RESOURCE, _PATH, _DECISION = types.AUTHORIZER, types.RESOURCE_CHECK, types.PATH_CHECK, types.DECISION
FUNCTIONS: dict[str, list[Overload]] = {
    "path": [_member("authorizer_path", _path, _PATH, _ASK, STRING)],
    "group": [
        _member(
            "authorizer_group",
            lambda a, g: _set(a, types.GROUP_CHECK, group=g),
            types.GROUP_CHECK,
            _ASK,
            STRING,
        )
    ],
    "serviceAccount": [_member("authorizer_serviceaccount", _service_account, _ASK, _ASK, STRING, STRING)],
    "resource": [_member("groupcheck_resource", _resource, _RESOURCE, types.GROUP_CHECK, STRING)],
    **{
        name: [_member(f"resourcecheck_{name.lower()}", _setter(field), _RESOURCE, _RESOURCE, STRING)]
        for name, field in {
            "subresource": "subresource",
            "namespace": "namespace",
            "name": "name",
            "fieldSelector": "field_selector",
            "labelSelector": "label_selector",
        }.items()
    },
    "check": [
        _member("pathcheck_check", _check, _DECISION, _PATH, STRING),
        _member("resourcecheck_check", _check, _DECISION, _RESOURCE, STRING),
    ],
    "allowed": [_member("decision_allowed", lambda d: d.decision.allowed, BOOL, _DECISION)],
    "reason": [_member("decision_reason", lambda d: d.decision.reason, STRING, _DECISION)],
    "errored": [_member("decision_errored", lambda d: bool(d.decision.error), BOOL, _DECISION)],
    "error": [_member("decision_error", lambda d: d.decision.error, STRING, _DECISION)],
}
