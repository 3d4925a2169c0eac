"""Admission policies and custom resources: as what is judged and changed, and as parameters."""

from typing import Any

from tests.server.conftest import Api, config_map
from tests.server.custom import WIDGETS, crd, establish, version, widget
from tests.server.test_admission_policies import MAPS, install, mutating, refusal, rules, validating

SECOND = WIDGETS.replace("/v1/", "/v2/")
LOOSE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
Tree = dict[str, Any]


def widgets(*operations: str, version: str = "v1", **more: Any) -> Tree:
    """matchConstraints for widgets in one version."""
    made = rules("widgets", *operations, group="example.com")
    made["resourceRules"][0]["apiVersions"] = [version]
    return {**made, **more}


async def test_a_custom_resource_is_judged_in_the_version_that_is_named(api: Api) -> None:
    """matchPolicy Equivalent converts what is written in another version; Exact does not look at it."""
    await establish(api, crd(versions=[version("v1", LOOSE, storage=True), version("v2", LOOSE)]))
    rule = {"expression": "object.size < 5", "messageExpression": "'too big in ' + object.apiVersion"}
    await install(api, validating("size", rule, matchConstraints=widgets()))
    said = await refusal(api, {**widget("big", size=9), "apiVersion": "example.com/v2"}, SECOND)
    assert said["message"].endswith("denied request: too big in example.com/v1")
    exact = {"spec": {"matchConstraints": {"matchPolicy": "Exact"}}}
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/size"
    assert (await api.patch(path, exact)).status == 200
    await api.create(SECOND, {**widget("big", size=9), "apiVersion": "example.com/v2"})


async def test_a_custom_resource_is_changed_by_its_schema(api: Api) -> None:
    """Lists of type map merge by their keys, fields beyond the schema are refused, defaults come after."""
    item = {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}}
    parts = {
        "type": "array", "items": {**item, "required": ["name"]},
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
    }  # fmt: skip
    extra = {"type": "object", "properties": {"d": {"type": "string", "default": "here"}}}
    properties = {"parts": parts, "extra": extra}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
    await establish(api, crd(schema=schema))
    expression = "Object{spec: Object.spec{extra: Object.spec.extra{}, parts: [Object.spec.parts{name: 'b', n: 2}]}}"
    await install(api, mutating("parts", expression, matchConstraints=widgets("CREATE")))
    made = await api.create(WIDGETS, widget("one", {"parts": [{"name": "a", "n": 1}, {"name": "b"}]}))
    assert made["spec"]["parts"] == [{"name": "a", "n": 1}, {"name": "b", "n": 2}]
    assert made["spec"]["extra"] == {"d": "here"}


async def test_a_change_in_another_version_comes_back(api: Api) -> None:
    """A policy for v1 changes what is written in v2; the answer is in v2."""
    await establish(api, crd(versions=[version("v1", LOOSE, storage=True), version("v2", LOOSE)]))
    await install(api, mutating("mark", "Object{mark: object.apiVersion}", matchConstraints=widgets("CREATE")))
    made = await api.create(SECOND, {**widget("one"), "apiVersion": "example.com/v2"})
    assert (made["apiVersion"], made["mark"]) == ("example.com/v2", "example.com/v1")


async def test_custom_parameters(api: Api) -> None:
    """A custom resource is a parameter, in the request's namespace."""
    await establish(api, crd(schema=LOOSE))
    kind = {"apiVersion": "example.com/v1", "kind": "Widget"}
    reference = {"name": "limit", "parameterNotFoundAction": "Allow"}
    await install(api, validating("few", "size(object.data) <= params.max", paramKind=kind), paramRef=reference)
    await api.create(MAPS, config_map("free", a="1", b="2"))
    await api.create(WIDGETS, widget("limit", max=1))
    await refusal(api, config_map("many", a="1", b="2"))
    await api.create(MAPS, config_map("few", a="1"))
    await api.create("/api/v1/namespaces/kube-system/configmaps", config_map("many", a="1", b="2"))


async def test_cluster_wide_parameters_have_no_namespace(api: Api) -> None:
    """A paramRef with a namespace for a cluster-scoped kind is misconfigured."""
    await establish(api, crd(schema=LOOSE, scope="Cluster"))
    kind = {"apiVersion": "example.com/v1", "kind": "Widget"}
    reference = {"name": "limit", "namespace": "default", "parameterNotFoundAction": "Allow"}
    await install(api, validating("wrong", "true", paramKind=kind), paramRef=reference)
    said = await refusal(api, config_map("one"))
    text = "failed to configure binding: paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
    assert said["message"].endswith(text)
