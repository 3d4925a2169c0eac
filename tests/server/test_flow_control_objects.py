"""FlowSchema and PriorityLevelConfiguration over HTTP: the default ones, their life and status, what is refused."""

from typing import Any

import pytest

from sampan.kinds.parts import flow_defaults
from tests.server.conftest import Api, Tree

ROOT = "/apis/flowcontrol.apiserver.k8s.io/v1"
SCHEMAS = f"{ROOT}/flowschemas"
LEVELS = f"{ROOT}/prioritylevelconfigurations"


def schema(name: str, **spec: Any) -> Tree:
    group = {"kind": "Group", "group": {"name": "g"}}
    everything = {"verbs": ["*"], "nonResourceURLs": ["*"]}
    spec = {
        "priorityLevelConfiguration": {"name": "global-default"},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [group], "nonResourceRules": [everything]}],
        **spec,
    }
    metadata = {"name": name, "labels": {"e2e": "a"}}
    return {"kind": "FlowSchema", "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "metadata": metadata, "spec": spec}


def level(name: str, **limited: Any) -> Tree:
    limited = {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}, **limited}
    return {
        "kind": "PriorityLevelConfiguration",
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "metadata": {"name": name, "labels": {"e2e": "a"}},
        "spec": {"type": "Limited", "limited": limited},
    }


def queued(**queuing: int) -> Tree:
    return {"limitResponse": {"type": "Queue", "queuing": queuing}}


async def operations(api: Api, path: str, body: Tree, change: Tree) -> None:
    """The steps of conformance 0 and 1."""
    made = await api.create(path, body)
    assert made["metadata"]["generation"] == 1 and made["status"] == {}
    assert (await api.get(f"{path}/x"))["metadata"]["uid"] == made["metadata"]["uid"]
    assert [i["metadata"]["name"] for i in (await api.get(f"{path}?labelSelector=e2e=a"))["items"]] == ["x"]
    patch = {"metadata": {"annotations": {"patched": "true"}}, "spec": change}
    patched = (await api.patch(f"{path}/x", patch)).tree
    assert patched["metadata"]["annotations"]["patched"] == "true" and patched["metadata"]["generation"] == 2
    patched["metadata"]["annotations"]["updated"] = "true"
    assert (await api.put(f"{path}/x", patched))["metadata"]["generation"] == 2
    assert (await api.get(f"{path}/x/status"))["metadata"]["name"] == "x"
    said = {"type": "PatchStatusFailed", "status": "False", "reason": "e2e"}
    answer = await api.patch(f"{path}/x/status", {"status": {"conditions": [said]}})
    assert answer.tree["status"]["conditions"] == [said]
    live = answer.tree
    live["status"]["conditions"][0]["type"] = "UpdateStatus"
    live["spec"] = {}
    replaced = await api.put(f"{path}/x/status", live)
    assert replaced["status"]["conditions"][0]["type"] == "UpdateStatus" and replaced["spec"] == patched["spec"]
    answer = await api.patch(f"{path}/x/status", {"status": {"conditions": [said, said]}})
    assert 'status.conditions[1].type: Duplicate value: "PatchStatusFailed"' in answer.tree["message"]
    assert (await api.delete(f"{path}/x")).status == 200
    await api.create(path, body)
    assert (await api.send("DELETE", f"{path}?labelSelector=e2e=a")).status == 200
    assert (await api.get(f"{path}?labelSelector=e2e=a"))["items"] == []


async def test_flow_schema_operations(api: Api) -> None:
    """FlowSchemas: create, read, patch, replace, status, delete (conformance 0)."""
    await operations(api, SCHEMAS, schema("x"), {"matchingPrecedence": 9999})
    assert (await api.create(SCHEMAS, schema("y")))["spec"]["matchingPrecedence"] == 1000


async def test_priority_level_operations(api: Api) -> None:
    """PriorityLevelConfigurations: create, read, patch, replace, status, delete (conformance 1)."""
    await operations(api, LEVELS, level("x"), {"limited": {"nominalConcurrencyShares": 4}})
    limited = (await api.create(LEVELS, level("y", nominalConcurrencyShares=None, **queued())))["spec"]["limited"]
    assert limited["nominalConcurrencyShares"] == 30 and limited["lendablePercent"] == 0
    assert limited["limitResponse"]["queuing"] == {"queues": 64, "handSize": 8, "queueLengthLimit": 50}


async def test_the_default_objects(api: Api) -> None:
    """The mandatory and suggested objects are there from the start, as kubectl shows them."""
    levels = {i["metadata"]["name"]: i["spec"] for i in (await api.get(LEVELS))["items"]}
    schemas = {i["metadata"]["name"]: i["spec"] for i in (await api.get(SCHEMAS))["items"]}
    assert levels == dict(flow_defaults.PRIORITY_LEVELS) and schemas == dict(flow_defaults.FLOW_SCHEMAS)
    assert {s["priorityLevelConfiguration"]["name"] for s in schemas.values()} == levels.keys()
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    table = await api.get(LEVELS, accept=accept)
    row = next(r["cells"] for r in table["rows"] if r["cells"][0] == "workload-low")
    assert row[:6] == ["workload-low", "Limited", 100, 128, 6, 50]
    row = next(r["cells"] for r in table["rows"] if r["cells"][0] == "exempt")
    assert row[:6] == ["exempt", "Exempt", *["<none>"] * 4]
    table = await api.get(SCHEMAS, accept=accept)
    row = next(r["cells"] for r in table["rows"] if r["cells"][0] == "probes")
    assert row[:4] == ["probes", "exempt", 2, "<none>"] and row[5] in ("?", "False")


async def test_mandatory_objects_keep_their_values(api: Api) -> None:
    """exempt and catch-all are what they are, but for what exempt lends."""
    for path, name in ((SCHEMAS, "exempt"), (SCHEMAS, "catch-all"), (LEVELS, "catch-all")):
        live = await api.get(f"{path}/{name}")
        if path == SCHEMAS:
            live["spec"]["matchingPrecedence"] += 1
        else:
            live["spec"]["limited"]["nominalConcurrencyShares"] = 7
        answer = await api.send("PUT", f"{path}/{name}", live)
        assert answer.status == 422 and f"spec of '{name}' must equal the fixed value" in answer.tree["message"]
    live = await api.get(f"{LEVELS}/exempt")
    live["spec"]["exempt"]["lendablePercent"] = 50
    assert (await api.put(f"{LEVELS}/exempt", live))["spec"]["exempt"]["lendablePercent"] == 50


def subject(**given: Any) -> Tree:
    rules = [{"subjects": [given], "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/a"]}]}]
    return {"rules": rules}


def rules(**given: Any) -> Tree:
    return {"rules": [{"subjects": [{"kind": "User", "user": {"name": "u"}}], **given}]}


def resources(**given: Any) -> Tree:
    rule = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"], **given}
    return rules(resourceRules=[rule])


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"matchingPrecedence": -1}, "spec.matchingPrecedence: Invalid value: -1: must be a positive value"),
        ({"matchingPrecedence": 10001}, "must not be greater than 10000"),
        ({"matchingPrecedence": 1}, "only the schema named 'exempt' may have matchingPrecedence 1"),
        ({"distinguisherMethod": {"type": "ByMood"}}, 'supported values: "ByNamespace", "ByUser"'),
        ({"priorityLevelConfiguration": {"name": ""}}, "must reference a priority level"),
        (subject(kind="Ghost"), 'supported values: "Group", "ServiceAccount", "User"'),
        (subject(kind="User"), "user is required when subject kind is 'User'"),
        (subject(kind="Group", group={"name": ""}), "rules[0].subjects[0].group.name: Required value"),
        (subject(kind="User", user={"name": "u"}, group={"name": "g"}), "forbidden when subject kind is not 'Group'"),
        (subject(kind="ServiceAccount", serviceAccount={"name": "*"}), "must specify namespace for service account"),
        ({"rules": [{"subjects": []}]}, "subjects must contain at least one value"),
        (rules(), "at least one of resourceRules and nonResourceRules has to be non-empty"),
        (rules(nonResourceRules=[{"verbs": ["get"], "nonResourceURLs": ["a"]}]), "must start with slash"),
        (rules(nonResourceRules=[{"verbs": ["get"], "nonResourceURLs": ["/a*"]}]), "wildcard can only do suffix"),
        (rules(nonResourceRules=[{"verbs": ["fly"], "nonResourceURLs": ["/"]}]), "Unsupported value"),
        (resources(verbs=["*", "get"]), "if '*' is present, must not specify other verbs"),
        (resources(apiGroups=[]), "resource rules must supply at least one api group"),
        (resources(namespaces=[]), "that are not cluster scoped must supply at least one namespace"),
        (resources(namespaces=["A"]), "each member of this list must be '*' or a DNS-1123 label; "),
    ],
)
async def test_bad_schemas(api: Api, spec: Tree, why: str) -> None:
    """Precedence, subjects and rules are checked, in upstream's words."""
    answer = await api.send("POST", SCHEMAS, schema("x", **spec))
    assert answer.status == 422 and why in answer.tree["message"], answer.body


@pytest.mark.parametrize(
    ("limited", "why"),
    [
        ({"nominalConcurrencyShares": -1}, "must be a non-negative integer"),
        ({"lendablePercent": 101}, "must be between 0 and 100, inclusive"),
        ({"borrowingLimitPercent": -1}, "if specified, must be a non-negative integer"),
        ({"limitResponse": {"type": "Wait"}}, 'supported values: "Queue", "Reject"'),
        ({"limitResponse": {"type": "Queue"}}, "must not be empty if limited.limitResponse.type is Limited"),
        (queued(queues=-1), "must be positive"),
        (queued(queues=4, handSize=5), "should not be greater than queues (4)"),
        (queued(queues=10_000_001), "must not be greater than 10000000"),
        (queued(queues=512, handSize=8), "required entropy bits of deckSize 512 and handSize 8"),
        (
            {"limitResponse": {"type": "Reject", "queuing": {}}},
            "must be nil if limited.limitResponse.type is not Limited",
        ),
    ],
)
async def test_bad_levels(api: Api, limited: Tree, why: str) -> None:
    """Shares, responses and queues are checked, in upstream's words."""
    answer = await api.send("POST", LEVELS, level("x", **limited))
    assert answer.status == 422 and why in answer.tree["message"], answer.body


async def test_exempt_is_one_of_a_kind(api: Api) -> None:
    """No other level is exempt, and each type brings its own part alone."""
    body = level("x")
    body["spec"] = {"type": "Exempt"}
    answer = await api.send("POST", LEVELS, body)
    assert "type must be 'Exempt' if and only if name is 'exempt'" in answer.tree["message"]
    body["spec"] = {"type": "Limited"}
    answer = await api.send("POST", LEVELS, body)
    assert "spec.limited: Required value: must not be empty when type is Limited" in answer.tree["message"]
    body["spec"] = {**level("x")["spec"], "exempt": {}}
    answer = await api.send("POST", LEVELS, body)
    assert "spec.exempt: Forbidden: must be nil if the type is Limited" in answer.tree["message"]
