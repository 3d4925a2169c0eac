"""The expressions of admission policies and match conditions: what they may name, and how they compile.

One place for the server's evaluation and the kinds' validation, so that what is accepted also runs.

https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#validation-expression
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from sampan.cel import types
from sampan.cel.environment import CompileError, Environment
from sampan.cel.program import Program
from sampan.meta.status import Cause, invalid_value

MUTATION_RESULTS = {"ApplyConfiguration": (types.APPLY,), "JSONPatch": (types.list_of(types.JSON_PATCH),)}
CONDITION = (types.BOOL,)
MESSAGE = (types.STRING,)
ANNOTATION = (types.STRING, types.NULL)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What an expression may name besides object, oldObject, request and namespaceObject.

    `variables` are (name, type) of those already declared; `mutates` turns on Object{...} and JSONPatch{...}.
    `object_type` and `params_type` are for type checking; else anything goes.
    """

    has_params: bool = False
    has_authorizer: bool = True
    mutates: bool = False
    variables: tuple[tuple[str, types.Type], ...] = ()
    object_type: types.Type = types.DYN
    params_type: types.Type = types.DYN


@lru_cache(maxsize=256)
def environment(inputs: Inputs) -> Environment:
    """The environment for these inputs."""
    variables = {
        "object": inputs.object_type,
        "oldObject": inputs.object_type,
        "request": types.admission_request(),
        "namespaceObject": types.namespace_object(),
    }
    if inputs.has_params:
        variables["params"] = inputs.params_type
    if inputs.has_authorizer:
        variables["authorizer"] = types.AUTHORIZER
    made = Environment(variables, mutation=inputs.mutates)
    for name, type_ in inputs.variables:
        made = made.declare(name, type_)
    return made


@lru_cache(maxsize=2048)
def compiled(source: str, inputs: Inputs, results: tuple[types.Type, ...]) -> Program:
    """The program. Raises CompileError."""
    return environment(inputs).compile(source, results)


def causes(source: str, field: str, inputs: Inputs, results: Sequence[types.Type]) -> list[Cause]:
    """A cause when the expression does not compile, or evaluates to something else."""
    try:
        compiled(source, inputs, tuple(results))
    except CompileError as error:
        return [invalid_value(field, source, str(error))]
    return []


def with_variable(inputs: Inputs, name: str, source: str) -> Inputs:
    """Inputs that also have that variable; of any type when its expression does not compile."""
    try:
        type_ = compiled(source, inputs, ()).result_type
    except CompileError:
        type_ = types.DYN
    return replace(inputs, variables=(*inputs.variables, (name, type_)))


def without_authorizer(inputs: Inputs) -> Inputs:
    """Inputs of an expression that cannot ask the authorizer."""
    return replace(inputs, has_authorizer=False)
