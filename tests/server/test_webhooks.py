"""Admission webhooks over HTTPS: conformance 2-14, 18-20, 23 (without a pod: the webhook runs on this machine)."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sampan.meta.status import ApiError
from sampan.server.admission import terminating_definition
from sampan.server.admission.chain import Attributes
from sampan.server.admission.webhooks import CallingFailed
from sampan.server.outbound import OutboundError
from sampan.server.registry import Registry
from sampan.store.protocol import Compare
from sampan.web.message import Peer
from tests.server.conftest import Api, config_map, pod
from tests.server.webhook_server import WebhookServer, add, own_address, patch, running

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
Tree = dict[str, Any]


@pytest.fixture
async def hook(tmp_path: Path) -> AsyncIterator[WebhookServer]:
    async with running(tmp_path / "hook") as server:
        yield server


def configuration(kind: str, client: Tree, name: str = "test", **changes: Any) -> Tree:
    """A configuration of one webhook, for configmaps unless `rules` says otherwise."""
    rule = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    webhook = {
        "name": f"{name}.example.com", "clientConfig": client, "rules": [rule], "sideEffects": "None",
        "admissionReviewVersions": ["v1"], **changes,
    }  # fmt: skip
    return {
        "kind": f"{kind}WebhookConfiguration",
        "apiVersion": "admissionregistration.k8s.io/v1",
        "metadata": {"name": name},
        "webhooks": [webhook],
    }


def rule(resources: str, *operations: str, group: str = "", **more: Any) -> Tree:
    return {
        "operations": list(operations or ("*",)), "apiGroups": [group], "apiVersions": ["*"],
        "resources": resources.split(","), **more,
    }  # fmt: skip


async def validating(api: Api, client: Tree, name: str = "test", **changes: Any) -> Tree:
    made = configuration("Validating", client, name, **changes)
    return await api.create(f"{CONFIGURATIONS}/validatingwebhookconfigurations", made)


async def mutating(api: Api, client: Tree, name: str = "test", **changes: Any) -> Tree:
    made = configuration("Mutating", client, name, **changes)
    return await api.create(f"{CONFIGURATIONS}/mutatingwebhookconfigurations", made)


async def test_a_webhook_refuses_creation_update_and_patch(api: Api, hook: WebhookServer) -> None:
    """Conformance 10: what a webhook denies is not stored, and the client reads the webhook's words."""
    await api.create(MAPS, config_map("before", a="1"))
    await validating(api, hook.client("/deny"), rules=[rule("configmaps,pods", "CREATE", "UPDATE")])
    answer = await api.send("POST", MAPS, config_map("refused"))
    assert answer.status == 400, answer.body
    text = 'admission webhook "test.example.com" denied the request: this webhook denies all requests'
    assert (answer.tree["message"], answer.tree["reason"]) == (text, "Forbidden")
    assert (await api.send("POST", PODS, pod("refused"))).status == 400
    assert (await api.patch(f"{MAPS}/before", {"data": {"a": "2"}})).status == 400
    assert (await api.send("PUT", f"{MAPS}/before", config_map("before", a="3"))).status == 400
    assert (await api.get(f"{MAPS}/before"))["data"] == {"a": "1"}
    assert (await api.delete(f"{MAPS}/before")).status == 200


async def test_the_review_tells_the_request(api: Api, hook: WebhookServer) -> None:
    """The webhook gets kind, resource, names, operation, user, options, object and old object; no credentials."""
    await validating(api, hook.client())
    alice = Peer("alice", ("system:masters",))
    await api.send("POST", f"{MAPS}?fieldManager=me&dryRun=All", config_map("one", a="1"), alice)
    await api.create(MAPS, config_map("one", a="1"))
    await api.patch(f"{MAPS}/one", {"data": {"a": "2"}})
    await api.delete(f"{MAPS}/one")
    first, _, changed, gone = (asked["request"] for asked in hook.asked)
    assert hook.asked[0]["apiVersion"] == "admission.k8s.io/v1"
    assert hook.asked[0]["query"] == {"timeout": "10s"}
    kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert (first["kind"], first["requestKind"]) == (kind, kind)
    assert first["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (first["name"], first["namespace"], first["operation"]) == ("one", "default", "CREATE")
    assert (first["dryRun"], first["oldObject"], first["object"]["data"]) == (True, None, {"a": "1"})
    assert first["userInfo"]["username"] == "alice"
    options = {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me", "dryRun": ["All"]}
    assert first["options"] == options
    assert (changed["oldObject"]["data"], changed["object"]["data"]) == ({"a": "1"}, {"a": "2"})
    assert changed["options"]["kind"] == "PatchOptions"
    assert (gone["operation"], gone["object"], gone["oldObject"]["data"]) == ("DELETE", None, {"a": "2"})
    assert len({asked["request"]["uid"] for asked in hook.asked}) == 4
    assert not any("authorization" in headers for headers in hook.headers)


async def test_mutating_webhooks_run_in_order_of_their_names(api: Api, hook: WebhookServer) -> None:
    """Conformance 14: each patches what the one before it left."""
    hook.on("/one", patch(add("/data/one", "yes")))
    hook.on("/two", patch({"op": "test", "path": "/data/one", "value": "yes"}, add("/data/two", "yes")))
    await mutating(api, hook.client("/two"), "b-second")
    await mutating(api, hook.client("/one"), "a-first")
    made = await api.create(MAPS, config_map("one", start="yes"))
    assert made["data"] == {"start": "yes", "one": "yes", "two": "yes"}


async def test_defaults_apply_after_mutation(api: Api, hook: WebhookServer) -> None:
    """Conformance 19: a container that a webhook adds gets its defaults."""
    hook.on("/init", patch(add("/spec/initContainers", [{"name": "webhook-added", "image": "busybox"}])))
    await mutating(api, hook.client("/init"), rules=[rule("pods", "CREATE")])
    made = await api.create(PODS, pod("one"))
    (added,) = made["spec"]["initContainers"]
    assert added["name"] == "webhook-added"
    assert added["terminationMessagePolicy"] == "File"
    assert added["imagePullPolicy"] == "Always"


async def test_unknown_fields_of_a_patch_are_dropped(api: Api, hook: WebhookServer) -> None:
    """What a webhook adds to a built-in object beyond its schema is not stored."""
    hook.on("/odd", patch(add("/oddity", 1), add("/data", {"a": "1"})))
    await mutating(api, hook.client("/odd"))
    made = await api.create(MAPS, config_map("one"))
    assert made["data"] == {"a": "1"}
    assert "oddity" not in made


async def test_a_connection_can_be_refused(api: Api, hook: WebhookServer) -> None:
    """Conformance 8: attaching to a pod is a CONNECT that a webhook may deny."""
    await api.create(PODS, pod("one"))
    await validating(api, hook.client("/deny"), rules=[rule("pods/attach", "CONNECT")])
    answer = await api.send("POST", f"{PODS}/one/attach?container=c&stdin=true&stdout=true")
    assert answer.status == 400
    assert "denied the request" in answer.tree["message"]
    request = hook.asked[0]["request"]
    assert (request["operation"], request["subResource"], request["name"]) == ("CONNECT", "attach", "one")
    assert request["kind"] == {"group": "", "version": "v1", "kind": "PodAttachOptions"}
    assert request["resource"]["resource"] == "pods"
    assert request["object"]["container"] == "c"


async def test_subresources_are_named_by_rules(api: Api, hook: WebhookServer) -> None:
    """pods does not mean pods/status, pods/* means both, */scale every scale."""
    await api.create(PODS, pod("one"))
    await validating(api, hook.client(), rules=[rule("pods", "UPDATE")])
    status = {"status": {"message": "x"}}
    assert (await api.patch(f"{PODS}/one/status", status)).status == 200
    assert hook.asked == []
    await validating(api, hook.client("/deny"), "whole", rules=[rule("pods/*", "UPDATE")])
    assert (await api.patch(f"{PODS}/one/status", {"status": {"message": "y"}})).status == 400
    assert hook.asked[0]["request"]["subResource"] == "status"


async def test_an_eviction_is_a_creation_below_the_pod(api: Api, hook: WebhookServer) -> None:
    """A webhook on pods/eviction sees the Eviction."""
    await api.create(PODS, pod("one"))
    await validating(api, hook.client("/deny"), rules=[rule("pods/eviction", "CREATE")])
    body = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "one", "namespace": "default"}}
    answer = await api.send("POST", f"{PODS}/one/eviction", body)
    assert answer.status == 400, answer.body
    assert hook.asked[0]["request"]["kind"] == {"group": "policy", "version": "v1", "kind": "Eviction"}


async def test_an_eviction_is_not_judged_as_a_deletion_as_well(api: Api, hook: WebhookServer) -> None:
    """As with the reference server, a webhook on the deletion of pods is not asked about it."""
    await api.create(PODS, pod("one"))
    await validating(api, hook.client("/deny"), rules=[rule("pods", "DELETE")])
    body = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "one", "namespace": "default"}}
    assert (await api.send("POST", f"{PODS}/one/eviction", body)).status == 201
    assert hook.asked == []


async def test_an_eviction_that_is_tried_again_is_admitted_once(
    api: Api, hook: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else is faster once: no webhook is called twice, and who joins the transaction is asked again."""
    real, tries = Registry.put, list[int]()

    async def put(registry: Registry, *given: Any) -> Any:
        tries.append(len(given[3].compares))
        return None if len(tries) == 1 else await real(registry, *given)

    class Joining:
        JOINS = True

        async def validate(self, attributes: Attributes, lookup: Any) -> None:
            attributes.compares.append(Compare("/nobody/here", 0))

    await api.create(PODS, pod("one", nodeName="n1"))
    await validating(api, hook.client(), rules=[rule("pods/eviction", "CREATE")])
    api.app.admission.insert((Joining(),), before=terminating_definition)
    monkeypatch.setattr(Registry, "put", put)
    body = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "one", "namespace": "default"}}
    assert (await api.send("POST", f"{PODS}/one/eviction", body)).status == 201
    assert tries == [1, 1]
    assert len(hook.asked) == 1


async def test_selectors_choose_namespaces_and_objects(api: Api, hook: WebhookServer) -> None:
    """Conformance 10 and 18: a namespace or an object that is not selected passes, as it is or as it was."""
    for name, labels in (("exempt", {"skip": "yes"}), ("plain", {})):
        body = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name, "labels": labels}}
        await api.create("/api/v1/namespaces", body)
    not_skipped = {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]}
    selectors = {"namespaceSelector": not_skipped, "objectSelector": {"matchLabels": {"watched": "yes"}}}
    await validating(api, hook.client("/deny"), **selectors)
    watched = config_map("w")
    watched["metadata"]["labels"] = {"watched": "yes"}
    assert (await api.send("POST", "/api/v1/namespaces/exempt/configmaps", watched)).status == 201
    assert (await api.send("POST", "/api/v1/namespaces/plain/configmaps", config_map("free"))).status == 201
    assert (await api.send("POST", "/api/v1/namespaces/plain/configmaps", watched)).status == 400
    labelled = {"metadata": {"labels": {"watched": "yes"}}}
    assert (await api.patch("/api/v1/namespaces/plain/configmaps/free", labelled)).status == 400


async def test_the_name_label_selects_a_namespace(api: Api, hook: WebhookServer) -> None:
    """kubernetes.io/metadata.name is on every namespace."""
    selector = {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}
    await validating(api, hook.client("/deny"), namespaceSelector=selector)
    await api.create(MAPS, config_map("one"))
    answer = await api.send("POST", "/api/v1/namespaces/kube-system/configmaps", config_map("one"))
    assert answer.status == 400


async def test_scope_tells_namespaced_from_cluster_wide(api: Api, hook: WebhookServer) -> None:
    """A Namespace itself is cluster-scoped."""
    await validating(api, hook.client("/deny"), rules=[rule("*", "CREATE", scope="Cluster")])
    await api.create(MAPS, config_map("one"))
    body = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "new"}}
    assert (await api.send("POST", "/api/v1/namespaces", body)).status == 400


async def test_webhooks_do_not_see_webhook_configurations(api: Api, hook: WebhookServer) -> None:
    """Conformance 20: a webhook on everything neither changes nor holds configurations."""
    everything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
    hook.on("/label", patch(add("/metadata/labels", {"marked": "yes"})))
    await validating(api, hook.client("/deny"), "holder", rules=[everything])
    await mutating(api, hook.client("/label"), "marker", rules=[everything])
    for plural, make in (("validatingwebhookconfigurations", validating), ("mutatingwebhookconfigurations", mutating)):
        made = await make(api, hook.client(), "dummy")
        assert "labels" not in made["metadata"]
        assert (await api.delete(f"{CONFIGURATIONS}/{plural}/dummy")).status == 200
    assert (await api.delete(f"{CONFIGURATIONS}/validatingwebhookconfigurations/holder")).status == 200
    assert hook.asked == []


async def test_what_cannot_be_called_refuses_unless_it_may_fail(api: Api, hook: WebhookServer) -> None:
    """Conformance 23: failurePolicy Fail closes the door, Ignore leaves it open."""
    nowhere = {"url": "https://127.0.0.1:1/nowhere", "caBundle": hook.bundle}
    await validating(api, nowhere, "closed")
    answer = await api.send("POST", MAPS, config_map("one"))
    assert (answer.status, answer.tree["reason"]) == (500, "InternalError")
    head = 'Internal error occurred: failed calling webhook "closed.example.com": failed to call webhook: '
    assert answer.tree["message"].startswith(head + 'Post "https://127.0.0.1:1/nowhere?timeout=10s": dial tcp')
    await api.delete(f"{CONFIGURATIONS}/validatingwebhookconfigurations/closed")
    await validating(api, nowhere, "open", failurePolicy="Ignore")
    await mutating(api, nowhere, "open", failurePolicy="Ignore")
    await api.create(MAPS, config_map("one"))


@pytest.mark.parametrize("where", ["deny", "nowhere"])
@pytest.mark.parametrize("asks", [validating, mutating])
async def test_a_refusal_leaves_no_garbage(
    api: Api, hook: WebhookServer, asks: Any, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The errors that tell of it are freed with the request, not when garbage is looked for."""
    caplog.set_level(logging.ERROR, "sampan.server.admission.webhooks")  # what is logged, tests keep
    nowhere = {"url": "https://127.0.0.1:1/nowhere", "caBundle": hook.bundle}
    await asks(api, hook.client("/deny") if where == "deny" else nowhere)
    gc.collect()
    gc.disable()
    try:
        before = [each for each in gc.get_objects() if isinstance(each, Exception)]
        assert (await api.send("POST", MAPS, config_map("one"))).status == (400 if where == "deny" else 500)
        await asyncio.sleep(0)  # the step that answered is over, and what it was called with is let go of
        errors = (ApiError, CallingFailed, OutboundError)
        assert not [each for each in gc.get_objects() if isinstance(each, errors) and each not in before]
    finally:
        gc.enable()


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
async def test_a_slow_webhook_has_its_time(api: Api, hook: WebhookServer, policy: str) -> None:
    """Conformance 12: after timeoutSeconds the failurePolicy decides."""
    await validating(api, hook.client("/hang"), timeoutSeconds=1, failurePolicy=policy)
    answer = await api.send("POST", MAPS, config_map("one"))
    assert answer.status == {"Fail": 500, "Ignore": 201}[policy]
    if policy == "Fail":
        assert answer.tree["message"].endswith('/hang?timeout=1s": context deadline exceeded')


async def test_ten_seconds_are_the_default(api: Api, hook: WebhookServer) -> None:
    """Conformance 12: an empty timeout is 10 seconds; the other defaults are upstream's."""
    (made,) = (await mutating(api, hook.client()))["webhooks"]
    assert made["timeoutSeconds"] == 10
    assert (made["failurePolicy"], made["matchPolicy"], made["reinvocationPolicy"]) == ("Fail", "Equivalent", "Never")
    assert (made["namespaceSelector"], made["objectSelector"], made["rules"][0]["scope"]) == ({}, {}, "*")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/wrong-uid", 'received invalid webhook response: expected response.uid="'),
        ("/redirect", "failed to call webhook: the server responded with the status code 307"),
        ("/missing", "failed to call webhook: the server could not find the requested resource"),
        ("/status-500", 'an error on the server ("it rains") has prevented the request from succeeding'),
        ("/broken", "failed to call webhook: couldn't get version/kind; json parse error"),
        ("/huge", "failed to call webhook: "),
    ],
)
async def test_bad_answers_are_failures(api: Api, hook: WebhookServer, path: str, said: str) -> None:
    """F26: another request's uid, a redirect, an error, no JSON, or gigabytes are no verdict."""
    await validating(api, hook.client(path))
    answer = await api.send("POST", MAPS, config_map("one"))
    assert answer.status == 500
    assert said in answer.tree["message"]
    assert [asked["path"] for asked in hook.asked] == [path]


async def test_the_certificate_must_be_trusted_and_valid(api: Api, tmp_path: Path, hook: WebhookServer) -> None:
    """F26: a certificate of another authority, or one that has expired, is refused."""
    async with running(tmp_path / "old", expired=True) as old:
        await validating(api, old.client(), "expired")
        answer = await api.send("POST", MAPS, config_map("one"))
        assert "x509: certificate has expired or is not yet valid" in answer.tree["message"]
        assert old.asked == []
        await api.delete(f"{CONFIGURATIONS}/validatingwebhookconfigurations/expired")
        await validating(api, {**hook.client(), "caBundle": old.bundle}, "strange")
        answer = await api.send("POST", MAPS, config_map("one"))
        assert "x509: certificate signed by unknown authority" in answer.tree["message"]
        assert hook.asked == []


async def test_a_service_is_called_through_its_endpoints(api: Api, tmp_path: Path) -> None:
    """A webhook behind a Service: port and path, the certificate is for NAME.NAMESPACE.svc."""
    host = own_address()
    if not host:
        pytest.skip("this machine has no address but loopback")
    async with running(tmp_path / "service", host, names=("hook.default.svc",)) as server:
        service = {"service": {"name": "hook", "namespace": "default", "path": "/deny", "port": 8443}}
        client = {**service, "caBundle": server.bundle}
        await validating(api, client)
        answer = await api.send("POST", MAPS, config_map("one"))
        where = 'Post "https://hook.default.svc:8443/deny?timeout=10s": '
        assert answer.tree["message"].endswith(where + 'service "hook" not found')
        port = {"port": 8443, "targetPort": server.port}
        body = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "hook"}, "spec": {"ports": [port]}}
        await api.create("/api/v1/namespaces/default/services", body)
        answer = await api.send("POST", MAPS, config_map("one"))
        assert answer.tree["message"].endswith(where + 'no endpoints available for service "hook"')
        await api.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", _slice(host, server.port))
        answer = await api.send("POST", MAPS, config_map("one"))
        assert answer.status == 400
        assert "denied the request" in answer.tree["message"]


def _slice(host: str, port: int) -> Tree:
    return {
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
        "ports": [{"name": "", "port": port, "protocol": "TCP"}],
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["validating", "mutating"])
async def test_configurations_are_listed_and_deleted_together(api: Api, hook: WebhookServer, kind: str) -> None:
    """Conformance 2 and 3: webhooks listed by label apply, and after deletecollection they are gone."""
    path = f"{CONFIGURATIONS}/{kind}webhookconfigurations"
    hook.on("/mark", patch(add("/data", {"marked": "yes"})))
    for index in range(3):
        client = hook.client("/deny" if kind == "validating" else "/mark")
        made = configuration(kind.title(), client, f"list-{index}")
        made["metadata"]["labels"] = {"e2e-list-test": "yes"}
        await api.create(path, made)
    listed = await api.get(f"{path}?labelSelector=e2e-list-test=yes")
    assert len(listed["items"]) == 3
    answer = await api.send("POST", MAPS, config_map("one"))
    assert answer.status == 400 if kind == "validating" else answer.tree["data"] == {"marked": "yes"}
    assert (await api.delete(f"{path}?labelSelector=e2e-list-test=yes")).status == 200
    assert "data" not in await api.create(MAPS, config_map("two"))


@pytest.mark.parametrize("kind", ["validating", "mutating"])
async def test_rules_can_be_changed(api: Api, hook: WebhookServer, kind: str) -> None:
    """Conformance 4 and 5: an update takes CREATE out of the rules, a patch puts it back; generation counts."""
    path = f"{CONFIGURATIONS}/{kind}webhookconfigurations"
    made = await api.create(path, configuration(kind.title(), hook.client("/deny")))
    made["webhooks"][0]["rules"][0]["operations"] = ["UPDATE"]
    changed = await api.put(f"{path}/test", made)
    assert (made["metadata"]["generation"], changed["metadata"]["generation"]) == (1, 2)
    await api.create(MAPS, config_map("one"))
    operation = {"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}
    assert (await api.patch(f"{path}/test", [operation], "json")).status == 200
    assert (await api.send("POST", MAPS, config_map("two"))).status == 400


async def test_webhook_resources_are_discovered(api: Api) -> None:
    """Conformance 13: the group, its version and its resources are in the discovery documents."""
    groups = {group["name"]: group for group in (await api.get("/apis"))["groups"]}
    group = groups["admissionregistration.k8s.io"]
    assert group["preferredVersion"]["version"] == "v1"
    resources = {r["name"]: r for r in (await api.get(CONFIGURATIONS))["resources"]}
    assert {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} <= resources.keys()
    assert not any(r["namespaced"] for r in resources.values())


async def test_warnings_and_words_of_a_webhook_reach_the_client(api: Api, hook: WebhookServer) -> None:
    """Warnings become headers; a status keeps its code, reason and details; none at all has its own text."""
    hook.on("/warn", lambda review: {"warnings": ["beware"]})
    details = {"causes": [{"field": "x", "message": "y"}]}
    said = {"code": 422, "reason": "Invalid", "message": "too big", "details": details}
    hook.on("/own", lambda review: {"allowed": False, "status": said})
    hook.on("/silent", lambda review: {"allowed": False})
    await validating(api, hook.client("/warn"), "warn")
    answer = await api.send("POST", MAPS, config_map("one"))
    assert (answer.status, answer.headers["warning"]) == (201, '299 - "beware"')
    await validating(api, hook.client("/own"), "own")
    answer = await api.send("POST", MAPS, config_map("two"))
    assert (answer.status, answer.tree["reason"], answer.tree["details"]) == (422, "Invalid", details)
    assert answer.tree["message"] == 'admission webhook "own.example.com" denied the request: too big'
    await api.delete(f"{CONFIGURATIONS}/validatingwebhookconfigurations/own")
    await validating(api, hook.client("/silent"), "silent")
    answer = await api.send("POST", MAPS, config_map("two"))
    assert answer.tree["message"] == 'admission webhook "silent.example.com" denied the request without explanation'
    assert (answer.status, answer.tree["code"]) == (400, 400)


async def test_the_older_review_is_spoken(api: Api, hook: WebhookServer) -> None:
    """A webhook that only takes v1beta1 gets v1beta1."""
    await validating(api, hook.client("/deny"), admissionReviewVersions=["v1beta1", "v1alpha9"])
    assert (await api.send("POST", MAPS, config_map("one"))).status == 400
    assert hook.asked[0]["apiVersion"] == "admission.k8s.io/v1beta1"


async def test_a_webhook_is_asked_again_when_others_changed_the_object(api: Api, hook: WebhookServer) -> None:
    """reinvocationPolicy IfNeeded: once more, and only for who ran before the change; Never: once."""
    hook.on("/count", lambda review: {})
    hook.on("/never", lambda review: {})
    hook.on("/change", patch(add("/data", {"changed": "yes"})))
    await mutating(api, hook.client("/count"), "a", reinvocationPolicy="IfNeeded")
    await mutating(api, hook.client("/never"), "b")
    await mutating(api, hook.client("/change"), "c", reinvocationPolicy="IfNeeded")
    await mutating(api, hook.client("/count"), "d", reinvocationPolicy="IfNeeded")
    await api.create(MAPS, config_map("one"))
    assert [asked["path"] for asked in hook.asked] == ["/count", "/never", "/change", "/count", "/count"]
    assert hook.asked[-1]["request"]["object"]["data"] == {"changed": "yes"}


async def test_a_patch_cannot_move_or_replace_an_object(api: Api, hook: WebhookServer) -> None:
    """Another namespace is refused; the uid and the creation time stay the server's."""
    hook.on("/move", patch(add("/metadata/namespace", "kube-system")))
    hook.on("/uid", patch(add("/metadata/uid", "forged"), add("/metadata/creationTimestamp", "2000-01-01T00:00:00Z")))
    await mutating(api, hook.client("/move"), "move")
    assert (await api.send("POST", MAPS, config_map("one"))).status == 400
    await api.delete(f"{CONFIGURATIONS}/mutatingwebhookconfigurations/move")
    await mutating(api, hook.client("/uid"), "uid")
    made = await api.create(MAPS, config_map("one"))
    assert made["metadata"]["uid"] != "forged"
    assert made["metadata"]["creationTimestamp"] != "2000-01-01T00:00:00Z"


async def test_a_patch_stays_behind_its_door(api: Api, hook: WebhookServer) -> None:
    """What a webhook changes in the status through the main door, or elsewhere through /status, is not stored."""
    await api.create(PODS, pod("one"))
    hook.on("/both", patch(add("/metadata/labels", {"a": "b"}), add("/status", {"message": "hooked"})))
    await mutating(api, hook.client("/both"), rules=[rule("pods,pods/status", "UPDATE")])
    made = (await api.patch(f"{PODS}/one", {"metadata": {"annotations": {"x": "y"}}})).tree
    assert made["metadata"]["labels"] == {"a": "b"}
    assert "message" not in made["status"]
    hook.on("/both", patch(add("/spec/activeDeadlineSeconds", 5), add("/status/message", "hooked")))
    made = (await api.patch(f"{PODS}/one/status", {"status": {"reason": "z"}})).tree
    assert "activeDeadlineSeconds" not in made["spec"]
    assert (made["status"]["message"], made["status"]["reason"]) == ("hooked", "z")


async def test_services_keep_one_address_through_two_rounds(api: Api, hook: WebhookServer) -> None:
    """An object that takes something in the same transaction takes it once, also when it is looked at twice."""
    hook.on("/label", patch(add("/metadata/labels", {"a": "b"})))
    await mutating(api, hook.client("/label"), rules=[rule("services", "CREATE")])
    body = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    made = await api.create("/api/v1/namespaces/default/services", body)
    assert made["metadata"]["labels"] == {"a": "b"}
    assert made["spec"]["clusterIPs"] == [made["spec"]["clusterIP"]]


async def test_a_validating_webhook_may_not_patch(api: Api, hook: WebhookServer) -> None:
    """Its patch is an invalid answer, and the request fails."""
    hook.on("/patch", patch(add("/data", {})))
    await validating(api, hook.client("/patch"))
    answer = await api.send("POST", MAPS, config_map("one"))
    assert answer.tree["message"].endswith("validating webhook may not return response.patch")


async def test_equivalent_versions_are_matched_and_shown_in_the_hooks_version(api: Api, hook: WebhookServer) -> None:
    """matchPolicy Equivalent: a rule for events.k8s.io sees core events, converted; Exact does not."""
    only = {"rules": [rule("events", "CREATE", group="events.k8s.io")]}
    await validating(api, hook.client(), "exact", matchPolicy="Exact", **only)
    event = {
        "kind": "Event", "apiVersion": "v1", "metadata": {"name": "e"}, "reason": "R", "message": "m", "type": "Normal",
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "x"}, "source": {"component": "c"},
    }  # fmt: skip
    await api.create("/api/v1/namespaces/default/events", event)
    assert hook.asked == []
    await validating(api, hook.client(), "equivalent", **only)
    event["metadata"] = {"name": "f"}
    await api.create("/api/v1/namespaces/default/events", event)
    (asked,) = hook.asked
    assert asked["request"]["kind"] == {"group": "events.k8s.io", "version": "v1", "kind": "Event"}
    assert asked["request"]["requestKind"] == {"group": "", "version": "v1", "kind": "Event"}
    assert asked["request"]["object"]["note"] == "m"


async def test_calls_are_counted(api: Api, hook: WebhookServer) -> None:
    """Metrics tell who was called, who refused, and who failed open."""
    await validating(api, hook.client("/deny"), "denier")
    await api.send("POST", MAPS, config_map("one"))
    await api.delete(f"{CONFIGURATIONS}/validatingwebhookconfigurations/denier")
    await mutating(api, {"url": "https://127.0.0.1:1/", "caBundle": hook.bundle}, "open", failurePolicy="Ignore")
    await api.create(MAPS, config_map("one"))
    text = (await api.send("GET", "/metrics")).body.decode()
    labels = 'name="denier.example.com",operation="CREATE",rejection_code="400",type="validating"'
    assert f'apiserver_admission_webhook_rejection_count{{error_type="no_error",{labels}}} 1' in text
    assert 'apiserver_admission_webhook_fail_open_count{name="open.example.com",type="admit"} 1' in text
    assert 'apiserver_admission_webhook_admission_duration_seconds_count{name="denier.example.com"' in text
