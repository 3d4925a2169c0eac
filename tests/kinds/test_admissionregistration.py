"""Webhook configurations and admission policies: defaults, refusals in upstream's words, and columns."""

from collections.abc import Callable
from typing import Any

import pytest

from sampan.kinds import builtin
from sampan.kinds.kind import Kind
from sampan.kinds.parts import policy_causes
from sampan.meta import objects

Tree = dict[str, Any]
Change = Callable[[Tree], Any]
RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}


def kind(name: str) -> Kind:
    return next(k for k in builtin.KINDS if k.name == name)


def webhooks(**changes: Any) -> Tree:
    hook = {
        "name": "a.example.com", "clientConfig": {"url": "https://example.com/x"}, "rules": [RULE],
        "sideEffects": "None", "admissionReviewVersions": ["v1"], **changes,
    }  # fmt: skip
    return {"metadata": {"name": "x"}, "webhooks": [hook]}


def policy(**changes: Any) -> Tree:
    spec = {"matchConstraints": {"resourceRules": [RULE]}, "validations": [{"expression": "true"}], **changes}
    return {"metadata": {"name": "x"}, "spec": {k: v for k, v in spec.items() if v is not None}}


def mutation(**changes: Any) -> Tree:
    one = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}
    spec = {"matchConstraints": {"resourceRules": [RULE]}, "mutations": [one], "reinvocationPolicy": "Never"}
    return {"metadata": {"name": "x"}, "spec": {k: v for k, v in {**spec, **changes}.items() if v is not None}}


def binding(**changes: Any) -> Tree:
    spec = {"policyName": "p", "validationActions": ["Deny"], **changes}
    return {"metadata": {"name": "x"}, "spec": spec}


def problems(name: str, body: Tree) -> list[str]:
    """The texts of all causes, after defaults."""
    hooks = kind(name).hooks
    made = objects.copy(body)
    hooks.default(made)
    return [cause.text for cause in hooks.validate(made, None, "")]


def rule(**changes: Any) -> Tree:
    return {"rules": [{**RULE, **changes}]}


HOOKS: list[tuple[Tree, str]] = [
    ({"name": "x"}, 'name: Invalid value: "x": should be a domain with at least three segments separated by dots'),
    ({"name": ""}, "name: Required value"),
    ({"timeoutSeconds": 31}, "timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"),
    ({"timeoutSeconds": 0}, "timeoutSeconds: Invalid value: 0: the timeout value must be between 1 and 30 seconds"),
    ({"sideEffects": "Some"}, 'sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"'),
    ({"sideEffects": None}, "sideEffects: Required value: must specify one of None, NoneOnDryRun"),
    ({"failurePolicy": "x"}, 'failurePolicy: Unsupported value: "x": supported values: "Fail", "Ignore"'),
    ({"matchPolicy": "x"}, 'matchPolicy: Unsupported value: "x": supported values: "Equivalent", "Exact"'),
    ({"admissionReviewVersions": []}, "admissionReviewVersions: Required value: must specify one of v1, v1beta1"),
    ({"admissionReviewVersions": ["v9"]},
     'admissionReviewVersions: Invalid value: ["v9"]: must include at least one of v1, v1beta1'),
    ({"admissionReviewVersions": ["v1", "v1"]}, 'admissionReviewVersions[1]: Invalid value: "v1": duplicate version'),
    ({"clientConfig": {}}, "clientConfig: Required value: exactly one of url or service is required"),
    ({"clientConfig": {"url": "http://x.example.com"}},
     'clientConfig.url: Invalid value: "http": \'https\' is the only allowed URL scheme; '
     "desired format: https://host[/path]"),
    ({"clientConfig": {"url": "https://u:p@x.example.com"}},
     'clientConfig.url: Invalid value: "u:p": user information is not permitted in the URL'),
    ({"clientConfig": {"url": "https://x.example.com?a=b"}},
     'clientConfig.url: Invalid value: "a=b": query parameters are not permitted in the URL'),
    ({"clientConfig": {"service": {"name": "s", "namespace": ""}}},
     "clientConfig.service.namespace: Required value: service namespace is required"),
    ({"clientConfig": {"service": {"name": "s", "namespace": "n", "port": 65536}}},
     "clientConfig.service.port: Invalid value: 65536: port is not valid: must be between 1 and 65535, inclusive"),
    ({"clientConfig": {"service": {"name": "s", "namespace": "n", "path": "/a//b"}}},
     'clientConfig.service.path: Invalid value: "/a//b": segment[1] may not be empty'),
    (rule(operations=["*", "CREATE"]),
     'rules[0].operations: Invalid value: ["*","CREATE"]: if \'*\' is present, must not specify other operations'),
    (rule(operations=["x"]),
     'rules[0].operations[0]: Unsupported value: "x": supported values: '
     '"*", "CONNECT", "CREATE", "DELETE", "UPDATE"'),
    (rule(apiVersions=[]), "rules[0].apiVersions: Required value"),
    (rule(resources=["pods/*", "pods/x"]),
     'rules[0].resources[1]: Invalid value: "pods/x": if \'pods/*\' is present, must not specify pods/x'),
    (rule(resources=["*/*", "x"]),
     'rules[0].resources: Invalid value: ["*/*","x"]: if \'*/*\' is present, must not specify other resources'),
    (rule(scope="x"), 'rules[0].scope: Unsupported value: "x": supported values: "*", "Cluster", "Namespaced"'),
    ({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "x"}]}},
     'namespaceSelector.matchExpressions[0].operator: Invalid value: "x": not a valid selector operator'),
    ({"matchConditions": [{"name": "a", "expression": " "}]}, "matchConditions[0].expression: Required value"),
    ({"matchConditions": [{"name": "a", "expression": "true"}] * 2},
     'matchConditions[1].name: Duplicate value: "a"'),
    ({"matchConditions": [{"name": f"a{i}", "expression": "true"} for i in range(65)]},
     "matchConditions: Too many: 65: must have at most 64 items"),
]  # fmt: skip


@pytest.mark.parametrize("name", ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"])
@pytest.mark.parametrize(("changes", "text"), HOOKS)
def test_webhooks(name: str, changes: Tree, text: str) -> None:
    """Each mistake has one cause."""
    assert problems(name, webhooks(**changes)) == [f"webhooks[0].{text}"]


def test_webhook_names_are_unique() -> None:
    """Two webhooks of one configuration have two names; reinvocation is a choice of two."""
    body = webhooks()
    body["webhooks"] *= 2
    assert problems("ValidatingWebhookConfiguration", body) == ['webhooks[1].name: Duplicate value: "a.example.com"']
    found = problems("MutatingWebhookConfiguration", webhooks(reinvocationPolicy="x"))
    assert found == ['webhooks[0].reinvocationPolicy: Unsupported value: "x": supported values: "IfNeeded", "Never"']


POLICIES: list[tuple[Tree, list[str]]] = [
    ({"matchConstraints": None}, ["spec.matchConstraints: Required value"]),
    ({"matchConstraints": {}}, ["spec.matchConstraints.resourceRules: Required value"]),
    ({"validations": []},
     [f"spec.{field}: Required value: validations or auditAnnotations must contain at least one item"
      for field in ("validations", "auditAnnotations")]),
    ({"validations": [{"expression": ""}]},
     ["spec.validations[0].expression: Required value: expression is not specified"]),
    ({"validations": [{"expression": "true", "message": "a\nb"}]},
     ['spec.validations[0].message: Invalid value: "a\\nb": message must not contain line breaks']),
    ({"validations": [{"expression": "true", "messageExpression": " "}]},
     ['spec.validations[0].messageExpression: Invalid value: " ": must be non-empty if specified']),
    ({"paramKind": {"apiVersion": "a/b/c", "kind": "X"}},
     ['spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c']),
    ({"paramKind": {"apiVersion": "v1"}}, ["spec.paramKind.kind: Required value"]),
    ({"variables": [{"name": "in", "expression": "1"}]},
     ['spec.variables[0].name: Invalid value: "in": name is not a valid CEL identifier']),
    ({"variables": [{"name": "a", "expression": ""}]},
     ["spec.variables[0].expression: Required value: expression is not specified"]),
    ({"auditAnnotations": [{"key": "a", "valueExpression": "'x'"}] * 2},
     ['spec.auditAnnotations[1].key: Duplicate value: "a"']),
    ({"auditAnnotations": [{"key": "a b", "valueExpression": "'x'"}]},
     ["spec.auditAnnotations[0].key: Invalid value: \"x/a b\": name part must consist of alphanumeric characters, '-', "
      "'_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', "
      "regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "texts"), POLICIES)
def test_validating_policies(changes: Tree, texts: list[str]) -> None:
    """Each mistake has its cause."""
    assert problems("ValidatingAdmissionPolicy", policy(**changes)) == texts


def test_a_messages_expression_cannot_ask_the_authorizer() -> None:
    """But the validation itself can."""
    asks = "authorizer.path('/healthz').check('get').allowed()"
    assert problems("ValidatingAdmissionPolicy", policy(validations=[{"expression": asks}])) == []
    rule = {"expression": "true", "messageExpression": f"string({asks})"}
    (text,) = problems("ValidatingAdmissionPolicy", policy(validations=[rule]))
    assert "undeclared reference to 'authorizer'" in text


MUTATIONS: list[tuple[Tree, str]] = [
    ({"mutations": []}, "spec.mutations: Required value: mutations must contain at least one item"),
    ({"reinvocationPolicy": None}, "spec.reinvocationPolicy: Required value"),
    ({"mutations": [{"patchType": "x"}]},
     'spec.mutations[0].patchType: Unsupported value: "x": supported values: "ApplyConfiguration", "JSONPatch"'),
    ({"mutations": [{"patchType": "JSONPatch"}]},
     "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch"),
    ({"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/a'}]"}, "applyConfiguration": {}}]},
     'spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": '
     "must not be specified when patchType is JSONPatch"),
    ({"matchConstraints": {"resourceRules": [{**RULE, "operations": ["DELETE"]}]}},
     'spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": '
     'supported values: "*", "CONNECT", "CREATE", "UPDATE"'),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "text"), MUTATIONS)
def test_mutating_policies(changes: Tree, text: str) -> None:
    """Each mistake has one cause."""
    assert problems("MutatingAdmissionPolicy", mutation(**changes)) == [text]


BINDINGS: list[tuple[Tree, list[str]]] = [
    ({"policyName": ""}, ["spec.policyName: Required value"]),
    ({"validationActions": []}, ["spec.validationActions: Required value: at least one validation action is required"]),
    ({"validationActions": ["x"]},
     ['spec.validationActions[0]: Unsupported value: "x": supported values: "Audit", "Deny", "Warn"']),
    ({"validationActions": ["Deny", "Warn"]},
     ['spec.validationActions: Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn (repeating the same '
      "validation failure information in the API response and headers serves no purpose)"]),
    ({"paramRef": {"parameterNotFoundAction": "Deny"}},
     ["spec.paramRef: Required value: one of name or selector must be specified"]),
    ({"paramRef": {"name": "a", "selector": {}, "parameterNotFoundAction": "Deny"}},
     ["spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
      "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive"]),
    ({"paramRef": {"name": "a"}}, ["spec.paramRef.parameterNotFoundAction: Required value"]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "texts"), BINDINGS)
def test_bindings(changes: Tree, texts: list[str]) -> None:
    """Each mistake has its cause."""
    assert problems("ValidatingAdmissionPolicyBinding", binding(**changes)) == texts


def test_what_was_stored_may_stay() -> None:
    """Match conditions that did not change are not compiled again."""
    hooks = kind("ValidatingWebhookConfiguration").hooks
    body = webhooks(matchConditions=[{"name": "a", "expression": "no longer valid ("}])
    hooks.default(body)
    assert hooks.validate(body, body, "") == []


def test_columns() -> None:
    """As kubectl shows policies and bindings."""
    kinds = {"spec": {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}}
    assert policy_causes.param_kind_text(kinds, 0) == "v1/ConfigMap"
    assert policy_causes.param_kind_text({"spec": {}}, 0) == "<unset>"
    for reference, text in (
        (None, "<unset>"), ({"name": "a"}, "*/a"), ({"name": "a", "namespace": "n"}, "n/a"),
        ({"selector": {"matchLabels": {"a": "b"}}},
         "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},}"),
    ):  # fmt: skip
        assert policy_causes.param_ref_text({"spec": {"paramRef": reference}}, 0) == text
    columns = [column.name for column in kind("ValidatingAdmissionPolicy").columns]
    assert columns == ["Validations", "ParamKind", "Age"]
