"""What validating and mutating admission policies share, and their bindings: checks of all but the rules themselves.

https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

import re
from typing import Any

from sampan.cel import types
from sampan.kinds.kind import Column, Object
from sampan.kinds.parts import admission_expressions, admission_match, match_conditions
from sampan.kinds.parts.admission_expressions import Inputs
from sampan.kinds.parts.cells import AGE
from sampan.meta import names, validation
from sampan.meta.status import Cause, forbidden_field, invalid_value, not_supported, required

UNSET = "<unset>"
_IDENTIFIER = re.compile("[_a-zA-Z][_a-zA-Z0-9]*")

Causes = list[Cause]


def default(obj: Object) -> None:
    """Fail closed; the rules match equivalent versions and everything."""
    spec = obj.setdefault("spec", {})
    if spec.get("failurePolicy") is None:
        spec["failurePolicy"] = "Fail"
    if spec.get("matchConstraints") is not None:
        admission_match.default_resources(spec["matchConstraints"])


def default_binding(obj: Object) -> None:
    """matchResources match equivalent versions and everything."""
    spec = obj.setdefault("spec", {})
    if spec.get("matchResources") is not None:
        admission_match.default_resources(spec["matchResources"])


def head_causes(spec: Object, old: Object | None) -> Causes:
    """Failure policy, parameters, constraints and match conditions of a policy's spec."""
    found = admission_match.choice_causes(
        spec.get("failurePolicy"), "spec.failurePolicy", admission_match.FAILURE_POLICIES
    )
    if spec.get("paramKind") is not None:
        found += _param_kind_causes(spec["paramKind"], "spec.paramKind")
    constraints = spec.get("matchConstraints")
    if constraints is None:
        found.append(required("spec.matchConstraints"))
    else:
        found += admission_match.resources_causes(constraints, "spec.matchConstraints")
        if not constraints.get("resourceRules"):
            found.append(required("spec.matchConstraints.resourceRules"))
    names_same = old is not None and all(spec.get(n) == old.get(n) for n in ("paramKind", "matchConditions"))
    if not names_same:
        inputs = Inputs(has_params=spec.get("paramKind") is not None)
        found += match_conditions.causes(spec.get("matchConditions") or [], "spec.matchConditions", inputs)
    return found


def variables_causes(spec: Object, inputs: Inputs) -> tuple[Causes, Inputs]:
    """What is wrong with the variables, and the inputs that expressions after them have."""
    found: Causes = []
    for index, variable in enumerate(spec.get("variables") or ()):
        where, name = f"spec.variables[{index}]", variable.get("name") or ""
        expression = variable.get("expression") or ""
        if not name.strip():
            found.append(required(f"{where}.name", "name is not specified"))
        elif not is_identifier(name):
            found.append(invalid_value(f"{where}.name", name, "name is not a valid CEL identifier"))
        if not expression.strip():
            found.append(required(f"{where}.expression", "expression is not specified"))
            continue
        problems = admission_expressions.causes(expression, f"{where}.expression", inputs, ())
        found += problems
        inputs = admission_expressions.with_variable(inputs, name, expression)
    return found, inputs


def is_identifier(name: str) -> bool:
    """Whether CEL can name a variable so."""
    return _IDENTIFIER.fullmatch(name) is not None and name not in types.KEYWORDS


def binding_causes(spec: Object, match_field: str) -> Causes:
    """Policy name, parameters and resources of a binding's spec."""
    name = spec.get("policyName") or ""
    found = (
        validation.each("spec.policyName", name, names.dns1123_subdomain(name))
        if name
        else [required("spec.policyName")]
    )
    if spec.get("paramRef") is not None:
        found += _param_ref_causes(spec["paramRef"], "spec.paramRef")
    if spec.get("matchResources") is not None:
        found += admission_match.resources_causes(spec["matchResources"], match_field)
    return found


def param_kind_text(obj: Object, now: float) -> str:
    """The parameters' apiVersion and kind, as kubectl shows them."""
    kind = (obj.get("spec") or {}).get("paramKind")
    return UNSET if kind is None else f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}"


def param_ref_text(obj: Object, now: float) -> str:
    """The parameters a binding refers to, as kubectl shows them."""
    reference = (obj.get("spec") or {}).get("paramRef")
    if reference is None:
        return UNSET
    if reference.get("name"):
        return f"{reference.get('namespace') or '*'}/{reference['name']}"
    selector = reference.get("selector")
    return UNSET if selector is None else _selector_text(selector)


def _selector_text(selector: Object) -> str:
    """A selector as the reference server prints it, which is how Go would."""
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    expressions = "".join(
        "LabelSelectorRequirement{Key:%s,Operator:%s,Values:[%s],},"  # noqa: UP031 - braces are the text
        % (one.get("key", ""), one.get("operator", ""), " ".join(one.get("values") or ()))
        for one in selector.get("matchExpressions") or ()
    )
    shown = "map[string]string{%s},MatchExpressions:[]LabelSelectorRequirement{%s}" % (labels, expressions)  # noqa: UP031
    return "&LabelSelector{MatchLabels:%s,}" % shown  # noqa: UP031


def _param_kind_causes(kind: Object, field: str) -> Causes:
    found: Causes = []
    text, name = kind.get("apiVersion") or "", kind.get("kind") or ""
    group, _, version = text.rpartition("/")
    if not text:
        found.append(required(f"{field}.apiVersion"))
    elif "/" in group:
        found.append(invalid_value(f"{field}.apiVersion", text, f"unexpected GroupVersion string: {text}"))
    else:
        if group and (errors := names.dns1123_subdomain(group)):
            found.append(invalid_value(f"{field}.apiVersion", group, ",".join(errors)))
        if not version:
            found.append(invalid_value(f"{field}.apiVersion", text, "version must be specified"))
        elif errors := names.dns1035_label(version):
            found.append(invalid_value(f"{field}.apiVersion", version, ",".join(errors)))
    if not name:
        found.append(required(f"{field}.kind"))
    elif errors := names.dns1035_label(name.lower()):
        why = "may have mixed case, but should otherwise match: " + ",".join(errors)
        found.append(invalid_value(f"{field}.kind", name, why))
    return found


def _param_ref_causes(reference: Object, field: str) -> Causes:
    name, selector = reference.get("name") or "", reference.get("selector")
    exclusive = "name and selector are mutually exclusive"
    found: Causes = []
    if name:
        found += validation.each(f"{field}.name", name, names.path_segment(name))
        if selector is not None:
            found.append(forbidden_field(f"{field}.name", exclusive))
    if selector is not None:
        found += validation.label_selector(selector, f"{field}.selector")
        if name:
            found.append(forbidden_field(f"{field}.selector", exclusive))
    if not name and selector is None:
        found.append(required(field, "one of name or selector must be specified"))
    action: Any = reference.get("parameterNotFoundAction")
    if not action:
        found.append(required(f"{field}.parameterNotFoundAction"))
    elif action not in ("Allow", "Deny"):
        found.append(not_supported(f"{field}.parameterNotFoundAction", action, ("Deny", "Allow")))
    return found


BINDING_COLUMNS = (
    Column(
        "PolicyName",
        "spec.policyName",
        description="PolicyName indicates the policy definition which the policy binding binded to",
    ),
    Column(
        "ParamRef",
        param_ref_text,
        description="ParamRef indicates the param resource which sets the configration param",
    ),
    AGE,
)
