"""Admission webhooks and custom resources, and match conditions: conformance 6, 7, 9, 11, 15-17, 21, 22."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Api, config_map, pod
from tests.server.custom import CRDS, WIDGETS, crd, establish, version, widget
from tests.server.test_webhooks import CONFIGURATIONS, MAPS, PODS, configuration, mutating, rule, validating
from tests.server.webhook_server import WebhookServer, add, patch, running

SECOND = WIDGETS.replace("/v1/", "/v2/")
LOOSE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
Tree = dict[str, Any]


@pytest.fixture
async def hook(tmp_path: Path) -> AsyncIterator[WebhookServer]:
    async with running(tmp_path / "hook") as server:
        yield server


def only(group: str, resources: str, *operations: str, **more: Any) -> Tree:
    """`rules` of a webhook for these resources."""
    return {"rules": [rule(resources, *operations, group=group, **more)]}


async def test_custom_resources_are_refused(api: Api, hook: WebhookServer) -> None:
    """Conformance 9: creation, update and deletion of a custom resource can be denied."""
    await establish(api, crd(schema=LOOSE))
    await api.create(WIDGETS, widget("there", a=1))
    await validating(api, hook.client("/deny"), **only("example.com", "widgets"))
    assert (await api.send("POST", WIDGETS, widget("new"))).status == 400
    assert (await api.patch(f"{WIDGETS}/there", {"a": 2})).status == 400
    assert (await api.delete(f"{WIDGETS}/there")).status == 400
    operations = [asked["request"]["operation"] for asked in hook.asked]
    assert operations == ["CREATE", "UPDATE", "DELETE"]


async def test_a_definition_is_refused(api: Api, hook: WebhookServer) -> None:
    """Conformance 11: a CustomResourceDefinition can be denied."""
    await validating(api, hook.client("/deny"), **only("apiextensions.k8s.io", "customresourcedefinitions", "CREATE"))
    answer = await api.send("POST", CRDS, crd(schema=LOOSE))
    assert answer.status == 400
    assert "denied the request" in answer.tree["message"]


async def test_custom_resources_are_mutated(api: Api, hook: WebhookServer) -> None:
    """Conformance 15: a custom resource is patched like a built-in one."""
    hook.on("/stage", patch(add("/stage", "one")))
    await establish(api, crd(schema=LOOSE))
    await mutating(api, hook.client("/stage"), **only("example.com", "widgets", "CREATE"))
    assert (await api.create(WIDGETS, widget("new", a=1)))["stage"] == "one"


async def test_a_patch_is_pruned(api: Api, hook: WebhookServer) -> None:
    """Conformance 17: what a webhook adds beyond the schema is dropped, and defaults come after it."""
    schema = {
        "type": "object",
        "properties": {
            "known": {"type": "string"},
            "nested": {"type": "object", "properties": {"size": {"type": "integer", "default": 3}}},
        },
    }
    hook.on("/patch", patch(add("/known", "yes"), add("/unknown", "yes"), add("/nested", {})))
    await establish(api, crd(schema=schema))
    await mutating(api, hook.client("/patch"), **only("example.com", "widgets", "CREATE"))
    made = await api.create(WIDGETS, widget("new"))
    assert (made["known"], made["nested"]) == ("yes", {"size": 3})
    assert "unknown" not in made


async def test_another_stored_version_changes_nothing(api: Api, hook: WebhookServer) -> None:
    """Conformance 16: webhooks for v1 see and patch what is written in v2, whichever of them is stored."""
    hook.on("/mark", patch(add("/marked", "yes")))
    await establish(api, crd(versions=[version("v1", LOOSE), version("v2", LOOSE, storage=True)]))
    only_v1 = {"rules": [{**rule("widgets", group="example.com"), "apiVersions": ["v1"]}]}
    await mutating(api, hook.client("/mark"), **only_v1)
    await api.create(WIDGETS, widget("first"))
    body = {**widget("second"), "apiVersion": "example.com/v2"}
    made = await api.create(SECOND, body)
    assert (made["apiVersion"], made["marked"]) == ("example.com/v2", "yes")
    request = hook.asked[-1]["request"]
    assert request["object"]["apiVersion"] == "example.com/v1"
    assert (request["kind"]["version"], request["requestKind"]["version"]) == ("v1", "v2")
    patched = await api.patch(f"{SECOND}/first", {"x": 1})
    assert patched.tree["apiVersion"] == "example.com/v2"


@pytest.mark.parametrize("kind", ["validating", "mutating"])
async def test_match_conditions_choose_requests(api: Api, hook: WebhookServer, kind: str) -> None:
    """Conformance 6 and 7: configurations with match conditions are kept, and spare who does not match."""
    make = validating if kind == "validating" else mutating
    condition = {"name": "expression-1", "expression": "object.metadata.name != 'skip-me'"}
    made = await make(api, hook.client("/deny"), matchConditions=[condition])
    assert made["webhooks"][0]["matchConditions"] == [condition]
    assert (await api.send("POST", MAPS, config_map("one"))).status == 400
    await api.create(MAPS, config_map("skip-me"))
    more = {"name": "expression-2", "expression": "request.userInfo.username != 'kubernetes-admin'"}
    path = f"{CONFIGURATIONS}/{kind}webhookconfigurations/test"
    made["webhooks"][0]["matchConditions"].append(more)
    made = await api.put(path, made)
    assert len(made["webhooks"][0]["matchConditions"]) == 2
    await api.create(MAPS, config_map("one"))


@pytest.mark.parametrize("kind", ["validating", "mutating"])
async def test_match_conditions_that_do_not_compile_are_refused(api: Api, hook: WebhookServer, kind: str) -> None:
    """Conformance 21 and 22: the refusal carries the compiler's words."""
    condition = {"name": "invalid-expression-1", "expression": "... [] bad expression"}
    body = configuration(kind.title(), hook.client(), matchConditions=[condition])
    answer = await api.send("POST", f"{CONFIGURATIONS}/{kind}webhookconfigurations", body)
    assert answer.status == 422
    assert "compilation failed" in answer.tree["message"]
    assert answer.tree["details"]["causes"][0]["field"] == "webhooks[0].matchConditions[0].expression"


async def test_failing_match_conditions_close_or_open(api: Api, hook: WebhookServer) -> None:
    """An error refuses the request under Fail, and spares it under Ignore; one that is false decides alone."""
    broken = {"name": "broken", "expression": "object.metadata.labels.x == 'y'"}
    await validating(api, hook.client(), matchConditions=[broken])
    answer = await api.send("POST", MAPS, config_map("one"))
    assert answer.status == 403
    assert answer.tree["message"] == (
        "configmaps \"one\" is forbidden: expression 'object.metadata.labels.x == 'y'' "
        "resulted in error: no such key: labels"
    )
    path = f"{CONFIGURATIONS}/validatingwebhookconfigurations/test"
    operation = {"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}
    await api.patch(path, [operation], "json")
    await api.create(MAPS, config_map("one"))
    operation = {"op": "add", "path": "/webhooks/0/matchConditions/-", "value": {"name": "no", "expression": "false"}}
    back = {"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"}
    await api.patch(path, [operation, back], "json")
    await api.create(MAPS, config_map("two"))
    assert hook.asked == []


async def test_a_container_that_a_webhook_adds_gets_the_token_too(api: Api, hook: WebhookServer) -> None:
    """After a webhook has changed a pod, the built-in plugins look at it again."""
    hook.on("/init", patch(add("/spec/initContainers", [{"name": "added", "image": "busybox"}])))
    await mutating(api, hook.client("/init"), rules=[rule("pods", "CREATE")])
    body = pod("one")
    del body["spec"]["automountServiceAccountToken"]
    made = await api.create(PODS, body)
    assert len(made["spec"]["volumes"]) == 1
    paths = [container["volumeMounts"][0]["mountPath"] for kind in ("initContainers", "containers")
             for container in made["spec"][kind]]  # fmt: skip
    assert paths == ["/var/run/secrets/kubernetes.io/serviceaccount"] * 2


async def test_true_over_one_is_a_mutation(api: Api, hook: WebhookServer) -> None:
    """What Python takes for the same is what the webhook made of it."""
    hook.on("/turn", patch({"op": "replace", "path": "/a", "value": True}))
    await establish(api, crd(schema=LOOSE))
    await mutating(api, hook.client("/turn"), **only("example.com", "widgets", "CREATE"))
    assert (await api.create(WIDGETS, widget("new", a=1)))["a"] is True
