"""Evaluating admission's expressions: the variables that a request gives them, budgets, and match conditions.

https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#validation-expression
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.cel import program, types
from sampan.cel.environment import CompileError
from sampan.cel.program import BudgetExceeded, EvaluationError
from sampan.kinds.parts import admission_expressions
from sampan.kinds.parts.admission_expressions import Inputs
from sampan.meta import objects
from sampan.server import aside
from sampan.server.admission import admission_request
from sampan.server.admission.chain import Attributes
from sampan.server.admission.matching import Match
from sampan.server.authz import decision
from sampan.server.authz.authorizer import Authorizer
from sampan.server.identity import AUTHENTICATED_GROUP, SERVICE_ACCOUNTS_GROUP, User

_NAMESPACE_FIELDS = (
    "name", "generateName", "namespace", "labels", "annotations", "uid", "creationTimestamp", "finalizers",
    "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "resourceVersion",
)  # fmt: skip

Tree = dict[str, Any]
Variables = Mapping[str, Any]


class Failed(Exception):
    """An expression could not be compiled or evaluated; the text is what the caller is told."""


def request_variables(
    attributes: Attributes, match: Match, trees: tuple[Tree | None, Tree | None], authorizer: Authorizer
) -> dict[str, Any]:
    """What every expression sees; `trees` are the object and the old one in the version that was matched."""
    return {
        "object": trees[0],
        "oldObject": trees[1],
        "request": admission_request.tree(attributes, match),
        "namespaceObject": None,
        "authorizer": _authorizer(attributes, authorizer),
    }


def namespace_object(namespace: Tree) -> Tree:
    """A namespace as expressions see it: without owners and managed fields."""
    metadata = {k: v for k, v in objects.metadata(namespace).items() if k in _NAMESPACE_FIELDS}
    return {"metadata": metadata, "spec": namespace.get("spec") or {}, "status": namespace.get("status") or {}}


def evaluate(
    source: str, inputs: Inputs, results: tuple[types.Type, ...], variables: Variables, budget: program.Budget
) -> Any:
    """The value as a JSON tree. Raises Failed, or BudgetExceeded when all together cost too much."""
    try:
        compiled = admission_expressions.compiled(source, inputs, results)
    except CompileError as error:
        raise Failed(f"compilation error: {error}") from error
    try:
        return compiled.evaluate(variables, budget)
    except BudgetExceeded:
        raise
    except EvaluationError as error:
        raise Failed(f"expression '{source}' resulted in error: {error}") from error


def conditions_hold(conditions: Sequence[Tree], inputs: Inputs, variables: Variables, failure_policy: str) -> bool:
    """Whether all match conditions are true; one that is false decides. Raises Failed when the policy is Fail."""
    budget = program.Budget(program.MATCH_CONDITIONS_LIMIT)
    failures: list[str] = []
    try:
        for condition in conditions:
            try:
                source = condition["expression"].strip()
                if not evaluate(source, inputs, admission_expressions.CONDITION, variables, budget):
                    return False
            except Failed as error:
                failures.append(str(error))
    except BudgetExceeded as error:
        failures = [str(error)]
    if not failures:
        return True
    if failure_policy == "Ignore":
        return False
    raise Failed(failures[0] if len(failures) == 1 else f"[{', '.join(failures)}]")


def _authorizer(attributes: Attributes, authorizer: Authorizer) -> program.Authorizer:
    def decide(check: program.Check) -> program.Decision:
        user = service_account(check.user) if check.user else attributes.user
        made = aside.at_home(authorizer.authorize, user, _asked(check))
        return program.Decision(made.allowed, made.reason)

    kind = attributes.kind
    resource = program.Check(
        verb="",
        group=kind.group,
        resource=kind.plural,
        subresource=attributes.subresource,
        namespace=attributes.namespace,
        name=attributes.name,
    )
    return program.Authorizer(decide, resource)


def _asked(check: program.Check) -> decision.Attributes:
    if check.path:
        return decision.Attributes(verb=check.verb, path=check.path, is_resource=False)
    return decision.Attributes(
        verb=check.verb,
        group=check.group,
        resource=check.resource,
        subresource=check.subresource,
        namespace=check.namespace,
        name=check.name,
        fields=check.field_selector,
    )


def service_account(name: str) -> User:
    """The user that system:serviceaccount:NAMESPACE:NAME is."""
    namespace = name.split(":")[2]
    groups = (SERVICE_ACCOUNTS_GROUP, f"{SERVICE_ACCOUNTS_GROUP}:{namespace}", AUTHENTICATED_GROUP)
    return User(name, groups=groups)
