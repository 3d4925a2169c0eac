"""matchConditions: up to 64 expressions that all must hold, of webhooks and of admission policies.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-matchconditions
"""

from collections.abc import Sequence

from sampan.kinds.kind import Object
from sampan.kinds.parts import admission_expressions
from sampan.kinds.parts.admission_expressions import Inputs
from sampan.meta import names, validation
from sampan.meta.status import Cause, duplicate, required, too_many

MAX_CONDITIONS = 64

__all__ = ["MAX_CONDITIONS", "Inputs", "causes"]


def causes(conditions: Sequence[Object], field: str, inputs: Inputs) -> list[Cause]:
    """What is wrong with match conditions: names, and expressions that do not compile."""
    found: list[Cause] = []
    if len(conditions) > MAX_CONDITIONS:
        found.append(too_many(field, len(conditions), MAX_CONDITIONS))
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        where, name = f"{field}[{index}]", condition.get("name") or ""
        expression = (condition.get("expression") or "").strip()
        if not expression:
            found.append(required(f"{where}.expression"))
        else:
            found += admission_expressions.causes(
                expression, f"{where}.expression", inputs, admission_expressions.CONDITION
            )
        if not name:
            found.append(required(f"{where}.name"))
            continue
        found += validation.each(f"{where}.name", name, names.qualified_name(name))
        if name in seen:
            found.append(duplicate(f"{where}.name", name))
        seen.add(name)
    return found
