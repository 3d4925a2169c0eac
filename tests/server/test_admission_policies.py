"""ValidatingAdmissionPolicy and MutatingAdmissionPolicy: conformance 63-66 and 89-92, and what they don't try."""

from typing import Any

import pytest

from sampan.web.message import Peer
from tests.server.conftest import ADMIN, Api, config_map, deployment, pod

GROUP = "/apis/admissionregistration.k8s.io/v1"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MAPS = "/api/v1/namespaces/default/configmaps"
VERSION = "admissionregistration.k8s.io/v1"
Tree = dict[str, Any]


def rules(resources: str = "configmaps", *operations: str, group: str = "") -> Tree:
    rule = {
        "operations": list(operations or ("CREATE", "UPDATE")), "apiGroups": [group], "apiVersions": ["v1"],
        "resources": resources.split(","),
    }  # fmt: skip
    return {"resourceRules": [rule]}


def validating(name: str, *validations: Tree | str, **spec: Any) -> Tree:
    made = [{"expression": one} if isinstance(one, str) else one for one in validations]
    return {
        "kind": "ValidatingAdmissionPolicy", "apiVersion": VERSION, "metadata": {"name": name},
        "spec": {"matchConstraints": rules(), "validations": made, **spec},
    }  # fmt: skip


def mutating(name: str, *mutations: Tree | str, **spec: Any) -> Tree:
    made = [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": one}} if isinstance(one, str) else one
        for one in mutations
    ]
    return {
        "kind": "MutatingAdmissionPolicy", "apiVersion": VERSION, "metadata": {"name": name},
        "spec": {"matchConstraints": rules(), "reinvocationPolicy": "Never", "mutations": made, **spec},
    }  # fmt: skip


def json_patch(expression: str) -> Tree:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def bound(policy: Tree, *actions: str, **spec: Any) -> Tree:
    """A binding of a policy, by the policy's name."""
    name = policy["metadata"]["name"]
    made: Tree = {"policyName": name, **spec}
    if policy["kind"].startswith("Validating"):
        made["validationActions"] = list(actions or ("Deny",))
    return {
        "kind": f"{policy['kind']}Binding", "apiVersion": VERSION, "metadata": {"name": f"{name}-binding"}, "spec": made
    }  # fmt: skip


async def install(api: Api, policy: Tree, *actions: str, **spec: Any) -> None:
    plural = {"V": "validatingadmissionpolicies", "M": "mutatingadmissionpolicies"}[policy["kind"][0]]
    await api.create(f"{GROUP}/{plural}", policy)
    await api.create(f"{GROUP}/{plural.removesuffix('ies')}ybindings", bound(policy, *actions, **spec))


async def refusal(api: Api, body: Tree, path: str = MAPS) -> Tree:
    answer = await api.send("POST", path, body)
    assert answer.status >= 400, answer.body
    return answer.tree


async def test_a_policy_validates_a_deployment(api: Api) -> None:
    """Conformance 92: a deployment with one replica is refused in upstream's words, one with two passes."""
    policy = validating("min", "object.spec.replicas > 1", matchConstraints=rules("deployments", group="apps"))
    await install(api, policy)
    said = await refusal(api, deployment("one", 1), DEPLOYMENTS)
    head = "ValidatingAdmissionPolicy 'min' with binding 'min-binding' denied request: "
    message = head + "failed expression: object.spec.replicas > 1"
    assert said["message"] == f'deployments.apps "one" is forbidden: {message}'
    assert (said["code"], said["reason"]) == (422, "Invalid")
    assert said["details"]["causes"] == [{"message": message}]
    await api.create(DEPLOYMENTS, deployment("two", 2))
    answer = await api.patch(f"{DEPLOYMENTS}/two", {"spec": {"replicas": 1}})
    assert answer.status == 422


async def test_a_policy_without_a_binding_does_nothing(api: Api) -> None:
    """Only bindings put a policy into effect; without it again it stops."""
    policy = validating("never", "false")
    await api.create(f"{GROUP}/validatingadmissionpolicies", policy)
    await api.create(MAPS, config_map("one"))
    await api.create(f"{GROUP}/validatingadmissionpolicybindings", bound(policy))
    await refusal(api, config_map("two"))
    await api.delete(f"{GROUP}/validatingadmissionpolicybindings/never-binding")
    await api.create(MAPS, config_map("two"))


async def test_expressions_refer_to_variables(api: Api) -> None:
    """Conformance 89: variables may build on each other, and fail only where they are used."""
    variables = [
        {"name": "replicas", "expression": "object.spec.replicas"},
        {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
        {"name": "broken", "expression": "object.spec.nothing.at.all"},
    ]
    rule = {
        "expression": "variables.replicas > 1 && variables.oddReplicas",
        "messageExpression": "'replicas must be odd and more than 1, got ' + string(variables.replicas)",
        "reason": "Forbidden",
    }
    constraints = rules("deployments", group="apps")
    await install(api, validating("odd", rule, variables=variables, matchConstraints=constraints))
    said = await refusal(api, deployment("two", 2), DEPLOYMENTS)
    assert said["message"].endswith("denied request: replicas must be odd and more than 1, got 2")
    assert (said["code"], said["reason"]) == (403, "Forbidden")
    await api.create(DEPLOYMENTS, deployment("three", 3))


@pytest.mark.parametrize(
    ("plural", "make"), [("validatingadmissionpolicies", validating), ("mutatingadmissionpolicies", mutating)]
)
async def test_policies_and_bindings_are_objects_like_others(api: Api, plural: str, make: Any) -> None:
    """Conformance 65, 66, 90, 91: create, get, list, watch by label, patch, update, status, delete, deletecollection."""
    expression = "true" if make is validating else "Object{}"
    bindings = f"{plural.removesuffix('ies')}ybindings"
    for path, body in ((plural, make("one", expression)), (bindings, bound(make("one", expression)))):
        body["metadata"]["labels"] = {"test": "yes"}
        made = await api.create(f"{GROUP}/{path}", body)
        assert made["metadata"]["generation"] == 1
        name = made["metadata"]["name"]
        assert len((await api.get(f"{GROUP}/{path}?labelSelector=test=yes"))["items"]) == 1
        patched = await api.patch(f"{GROUP}/{path}/{name}", {"metadata": {"annotations": {"patched": "true"}}})
        assert patched.tree["metadata"]["annotations"] == {"patched": "true"}
        assert patched.tree["metadata"]["generation"] == 1
        made = patched.tree
        field = "matchConstraints" if path == plural else "matchResources"
        made["spec"][field] = {"matchPolicy": "Exact", **rules()}
        made = await api.put(f"{GROUP}/{path}/{name}", made)
        assert made["metadata"]["generation"] == 2
        assert made["spec"][field]["namespaceSelector"] == {}
        assert made["spec"][field]["resourceRules"][0]["scope"] == "*"
        assert (await api.delete(f"{GROUP}/{path}/{name}")).status == 200
        assert (await api.send("GET", f"{GROUP}/{path}/{name}")).status == 404
        await api.create(f"{GROUP}/{path}", body)
        assert (await api.delete(f"{GROUP}/{path}?labelSelector=test=yes")).status == 200
        assert (await api.get(f"{GROUP}/{path}"))["items"] == []


async def test_a_policys_status_has_its_own_door(api: Api) -> None:
    """Conformance 90: /status is read, patched and updated; the main door leaves it alone."""
    path = f"{GROUP}/validatingadmissionpolicies"
    await api.create(path, {**validating("one", "true"), "status": {"observedGeneration": 7}})
    assert (await api.get(f"{path}/one/status")).get("status", {}) == {}
    condition = {"type": "StatusPatched", "status": "True", "reason": "R", "message": "m"}
    condition["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    answer = await api.patch(f"{path}/one/status", {"status": {"conditions": [condition]}})
    assert answer.tree["status"]["conditions"] == [condition]
    assert answer.tree["metadata"]["generation"] == 1


async def test_what_does_not_compile_is_refused(api: Api) -> None:
    """Conformance 63-66, 89-92 and B16: an expression that cannot run is refused with the compiler's words."""
    path = f"{GROUP}/validatingadmissionpolicies"
    said = await refusal(api, validating("x", "object.spec.replicas >"), path)
    assert said["details"]["causes"][0]["field"] == "spec.validations[0].expression"
    assert "compilation failed: ERROR: <input>:1:" in said["message"]
    said = await refusal(api, validating("x", "1 + 1"), path)
    assert "must evaluate to bool" in said["message"]
    said = await refusal(api, validating("x", "params.x"), path)
    assert "undeclared reference to 'params'" in said["message"]
    said = await refusal(api, validating("x", "true", variables=[{"name": "a-b", "expression": "1"}]), path)
    assert said["message"].endswith('spec.variables[0].name: Invalid value: "a-b": name is not a valid CEL identifier')
    said = await refusal(api, mutating("x", "Object{"), f"{GROUP}/mutatingadmissionpolicies")
    assert said["details"]["causes"][0]["field"] == "spec.mutations[0].applyConfiguration.expression"


async def test_the_request_is_seen(api: Api) -> None:
    """request, oldObject and namespaceObject are as upstream says."""
    expression = (
        "request.operation == 'UPDATE' ? oldObject.data.a != object.data.a : "
        "oldObject == null && request.name == 'one' && request.namespace == 'default' && "
        "request.userInfo.username == 'kubernetes-admin' && request.kind.kind == 'ConfigMap' && "
        "request.resource.resource == 'configmaps' && request.dryRun == false && "
        "namespaceObject.metadata.name == 'default' && namespaceObject.status.phase == 'Active'"
    )
    await install(api, validating("seen", expression))
    await api.create(MAPS, config_map("one", a="1"))
    await refusal(api, config_map("two"))
    assert (await api.patch(f"{MAPS}/one", {"data": {"a": "2"}})).status == 200
    assert (await api.patch(f"{MAPS}/one", {"metadata": {"labels": {"x": "y"}}})).status == 422


async def test_deletion_and_connection_are_validated(api: Api) -> None:
    """DELETE has oldObject and no object; CONNECT is there too."""
    await install(api, validating("keep", "oldObject.data.a == '1'", matchConstraints=rules("configmaps", "DELETE")))
    await api.create(MAPS, config_map("one", a="1"))
    await api.create(MAPS, config_map("two", a="2"))
    assert (await api.delete(f"{MAPS}/two")).status == 422
    assert (await api.delete(f"{MAPS}/one")).status == 200
    pods = "/api/v1/namespaces/default/pods"
    await api.create(pods, pod("one"))
    await install(api, validating("no-exec", "false", matchConstraints=rules("pods/exec", "CONNECT")))
    assert (await api.send("POST", f"{pods}/one/exec?command=ls")).status == 422


async def test_scale_has_its_own_rule(api: Api) -> None:
    """deployments/scale shows the Scale; a rule for deployments alone does not see it."""
    constraints = rules("deployments/scale", "UPDATE", group="apps")
    rule = "object.kind == 'Scale' && object.spec.replicas < 3 && oldObject.spec.replicas == 1"
    await install(api, validating("scale", rule, matchConstraints=constraints))
    await api.create(DEPLOYMENTS, deployment("one", 1))
    assert (await api.patch(f"{DEPLOYMENTS}/one/scale", {"spec": {"replicas": 3}})).status == 422
    assert (await api.patch(f"{DEPLOYMENTS}/one/scale", {"spec": {"replicas": 2}})).status == 200


async def test_match_conditions_skip_and_fail(api: Api) -> None:
    """One that is false skips the policy; one that fails counts by the failurePolicy."""
    conditions = [{"name": "only-watched", "expression": "object.metadata.labels.watched == 'yes'"}]
    await install(api, validating("strict", "false", matchConditions=conditions))
    said = await refusal(api, config_map("one"))
    text = "expression 'object.metadata.labels.watched == 'yes'' resulted in error: no such key: labels"
    assert said["message"].endswith(text)
    body = config_map("one")
    body["metadata"]["labels"] = {"watched": "no"}
    await api.create(MAPS, body)
    body["metadata"] = {"name": "two", "labels": {"watched": "yes"}}
    await refusal(api, body)
    patch = {"spec": {"failurePolicy": "Ignore"}}
    await api.patch(f"{GROUP}/validatingadmissionpolicies/strict", patch)
    await api.create(MAPS, config_map("three"))


async def test_warn_and_audit_let_the_request_pass(api: Api) -> None:
    """validationActions Warn becomes a Warning header; the request passes."""
    await install(api, validating("soft", {"expression": "false", "message": "think again"}), "Warn", "Audit")
    answer = await api.send("POST", MAPS, config_map("one"))
    assert answer.status == 201
    text = "Validation failed for ValidatingAdmissionPolicy 'soft' with binding 'soft-binding': think again"
    assert answer.headers["warning"] == f'299 - "{text}"'


async def test_errors_count_by_the_failure_policy(api: Api) -> None:
    """Fail denies with the error, Ignore lets pass."""
    await install(api, validating("a-closed", "object.nothing.there == 1"))
    said = await refusal(api, config_map("one"))
    assert said["message"].endswith("expression 'object.nothing.there == 1' resulted in error: no such key: nothing")
    await api.patch(f"{GROUP}/validatingadmissionpolicies/a-closed", {"spec": {"failurePolicy": "Ignore"}})
    await api.create(MAPS, config_map("one"))


async def test_params_by_name_and_by_selector(api: Api) -> None:
    """A binding's parameters are found by name or labels, in the request's namespace unless another is named."""
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    expression = "!has(object.spec.replicas) || object.spec.replicas <= int(params.data.max)"
    policy = validating("max", expression, paramKind=kind, matchConstraints=rules("deployments", group="apps"))
    reference = {"name": "limits", "parameterNotFoundAction": "Deny"}
    await install(api, policy, paramRef=reference)
    said = await refusal(api, deployment("one", 1), DEPLOYMENTS)
    text = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    assert said["message"].endswith(text)
    await api.create(MAPS, config_map("limits", max="3"))
    await api.create(DEPLOYMENTS, deployment("three", 3))
    await refusal(api, deployment("four", 4), DEPLOYMENTS)
    selector = {"selector": {"matchLabels": {"limit": "yes"}}, "parameterNotFoundAction": "Allow"}
    path = f"{GROUP}/validatingadmissionpolicybindings/max-binding"
    await api.patch(path, {"spec": {"paramRef": {**selector, "name": None}}})
    await api.create(DEPLOYMENTS, deployment("five", 5))
    strict = config_map("strict", max="1")
    strict["metadata"]["labels"] = {"limit": "yes"}
    await api.create(MAPS, strict)
    await refusal(api, deployment("six", 6), DEPLOYMENTS)


async def test_an_unknown_param_kind_is_misconfigured(api: Api) -> None:
    """Fail closed, in upstream's words."""
    kind = {"apiVersion": "rules.example.com/v1", "kind": "Limit"}
    reference = {"name": "x", "parameterNotFoundAction": "Allow"}
    await install(api, validating("lost", "true", paramKind=kind), paramRef=reference)
    said = await refusal(api, config_map("one"))
    text = "failed to find resource referenced by paramKind: 'rules.example.com/v1, Kind=Limit'"
    head = "ValidatingAdmissionPolicy 'lost' denied request: failed to configure policy: "
    assert said["message"].endswith(head + text)


async def test_bindings_narrow_and_rules_exclude(api: Api) -> None:
    """matchResources of a binding, excludeResourceRules and resourceNames restrict where a policy applies."""
    exclude = [{**rules()["resourceRules"][0], "resourceNames": ["free"]}]
    constraints = {**rules(), "excludeResourceRules": exclude}
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}
    await install(api, validating("narrow", "false", matchConstraints=constraints), matchResources=selector)
    await refusal(api, config_map("one"))
    await api.create(MAPS, config_map("free"))
    await api.create("/api/v1/namespaces/kube-system/configmaps", config_map("one"))


async def test_the_authorizer_is_asked(api: Api) -> None:
    """authorizer tells what the requester may."""
    expression = "authorizer.group('').resource('secrets').namespace('default').check('delete').allowed()"
    await install(api, validating("may", expression))
    role = {
        "kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "maps"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}],
    }  # fmt: skip
    await api.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
    binding = {
        "kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "maps"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "maps"},
        "subjects": [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}],
    }  # fmt: skip
    await api.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    answer = await api.send("POST", MAPS, config_map("one"), Peer("alice"))
    assert answer.status == 422, answer.body
    assert (await api.send("POST", MAPS, config_map("one"), ADMIN)).status == 201


async def test_parameters_are_readable_for_who_names_them(api: Api) -> None:
    """A policy's author must be allowed to get what its parameters are, a binding's author the one it names."""
    role = {
        "kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "author"},
        "rules": [{"apiGroups": ["admissionregistration.k8s.io"], "resources": ["*"], "verbs": ["*"]}],
    }  # fmt: skip
    await api.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
    binding = {
        "kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "author"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "author"},
        "subjects": [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}],
    }  # fmt: skip
    await api.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    policy = validating("secret", "true", paramKind={"apiVersion": "v1", "kind": "Secret"})
    path = f"{GROUP}/validatingadmissionpolicies"
    answer = await api.send("POST", path, policy, Peer("alice"))
    assert answer.status == 422
    text = 'must have "get" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)'
    assert answer.tree["message"].endswith(text)
    await api.create(path, policy)
    reference = {"name": "s", "namespace": "default", "parameterNotFoundAction": "Deny"}
    answer = await api.send("POST", f"{path[:-3]}ybindings", bound(policy, paramRef=reference), Peer("alice"))
    assert answer.status == 422
    assert answer.tree["message"].endswith('does not have "get" permission on the object referenced by paramRef')
    assert (await api.send("POST", f"{path[:-3]}ybindings", bound(policy), Peer("alice"))).status == 201


async def test_policies_do_not_see_policies_and_reviews(api: Api) -> None:
    """Nobody is locked out by a policy on everything."""
    everything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
    await install(api, validating("all", "false", matchConstraints={"resourceRules": [everything]}))
    await refusal(api, config_map("one"))
    await api.create(f"{GROUP}/validatingadmissionpolicies", validating("other", "true"))
    review = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    assert (await api.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)).status == 201
    assert (await api.delete(f"{GROUP}/validatingadmissionpolicies/all")).status == 200


async def test_a_mutating_policy_changes_a_deployment(api: Api) -> None:
    """Conformance 63: ApplyConfiguration is merged like a server-side apply."""
    expression = (
        "Object{spec: Object.spec{replicas: object.spec.replicas + 1, template: Object.spec.template{"
        "spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{"
        "name: 'c', env: [Object.spec.template.spec.containers.env{name: 'A', value: 'x'}]}]}}}}"
    )
    await install(api, mutating("grow", expression, matchConstraints=rules("deployments", "CREATE", group="apps")))
    made = await api.create(DEPLOYMENTS, deployment("one", 1))
    assert made["spec"]["replicas"] == 2
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["env"]) == ("busybox", [{"name": "A", "value": "x"}])


async def test_a_mutating_policy_adds_annotations(api: Api) -> None:
    """Conformance 64: a map that is not there is made, one that is there is kept."""
    expression = "Object{metadata: Object.metadata{annotations: Object.metadata.annotations{marked: 'yes'}}}"
    await install(api, mutating("mark", expression))
    assert (await api.create(MAPS, config_map("one")))["metadata"]["annotations"] == {"marked": "yes"}
    body = config_map("two")
    body["metadata"]["annotations"] = {"mine": "too"}
    made = await api.create(MAPS, body)
    assert made["metadata"]["annotations"] == {"mine": "too", "marked": "yes"}


async def test_a_json_patch_is_carried_out(api: Api) -> None:
    """patchType JSONPatch, with a test that fails: then nothing happens."""
    expression = (
        "[JSONPatch{op: 'test', path: '/data/a', value: '1'}, JSONPatch{op: 'add', path: '/data/b', value: '2'}]"
    )
    await install(api, mutating("patch", json_patch(expression)))
    assert (await api.create(MAPS, config_map("one", a="1")))["data"] == {"a": "1", "b": "2"}
    assert (await api.create(MAPS, config_map("two", a="9")))["data"] == {"a": "9"}


async def test_atomic_lists_are_not_mutated(api: Api) -> None:
    """An ApplyConfiguration that would replace a whole atomic list is refused by name."""
    expression = (
        "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{"
        "containers: [Object.spec.template.spec.containers{name: 'c', args: ['x']}]}}}}"
    )
    await install(api, mutating("args", expression, matchConstraints=rules("deployments", group="apps")))
    said = await refusal(api, deployment("one"), DEPLOYMENTS)
    head = "policy 'args' with binding 'args-binding' denied request: error applying patch: "
    text = "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: "
    assert said["message"] == f"{head}{text}.spec.template.spec.containers[0].args"
    assert said["code"] == 403


async def test_unknown_fields_of_a_configuration_are_refused(api: Api) -> None:
    """What the schema does not know is an error, not lost in silence."""
    await install(api, mutating("odd", "Object{spec: Object.spec{oddity: 1}}"))
    said = await refusal(api, config_map("one"))
    assert "field not declared in schema" in said["message"]


async def test_mutations_use_params_variables_and_earlier_mutations(api: Api) -> None:
    """Each mutation sees what the one before it made."""
    first = json_patch("[JSONPatch{op: 'add', path: '/data', value: {'n': params.data.n}}]")
    second = json_patch("[JSONPatch{op: 'add', path: '/data/m', value: string(int(object.data.n) + variables.step)}]")
    variables = [{"name": "step", "expression": "2"}]
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    conditions = [{"name": "not-params", "expression": "request.name != 'params'"}]
    policy = mutating("sum", first, second, variables=variables, paramKind=kind, matchConditions=conditions)
    await api.create(MAPS, config_map("params", n="40"))
    reference = {"name": "params", "namespace": "default", "parameterNotFoundAction": "Deny"}
    await install(api, policy, paramRef=reference)
    assert (await api.create(MAPS, config_map("one")))["data"] == {"n": "40", "m": "42"}


async def test_policies_are_asked_again_after_each_other(api: Api) -> None:
    """reinvocationPolicy IfNeeded: a policy sees what a later one did, once."""
    expression = "has(object.data) && 'z' in object.data ? Object{data: Object.data{seen: 'yes'}} : Object{}"
    await install(api, mutating("a-first", expression, reinvocationPolicy="IfNeeded"))
    await install(api, mutating("z-last", "Object{data: Object.data{z: '1'}}"))
    assert (await api.create(MAPS, config_map("one")))["data"] == {"z": "1", "seen": "yes"}


async def test_a_failing_mutation_counts_by_the_failure_policy(api: Api) -> None:
    """Fail refuses, Ignore leaves the object as it was."""
    await install(api, mutating("broken", "Object{data: Object.data{a: object.data.missing}}"))
    said = await refusal(api, config_map("one", b="1"))
    assert said["message"].endswith("resulted in error: no such key: missing")
    await api.patch(f"{GROUP}/mutatingadmissionpolicies/broken", {"spec": {"failurePolicy": "Ignore"}})
    assert (await api.create(MAPS, config_map("one", b="1")))["data"] == {"b": "1"}


async def test_defaults_come_after_a_policys_mutation(api: Api) -> None:
    """A container that a policy adds gets its defaults, and validation sees it."""
    expression = (
        "Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: 'added', image: 'busybox'}]}}"
    )
    await install(api, mutating("init", expression, matchConstraints=rules("pods", "CREATE")))
    made = await api.create("/api/v1/namespaces/default/pods", pod("one"))
    assert made["spec"]["initContainers"][0]["terminationMessagePolicy"] == "File"
