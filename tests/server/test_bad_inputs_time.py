"""Inputs that are long to compute: whoever sends them waits, and nobody else does."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from sampan.server.aside import LARGE_BYTES
from tests.server import stalls
from tests.server.conftest import Api, config_map, pod
from tests.server.custom import CRDS, WIDGETS, crd, establish, spec_schema, widget
from tests.server.test_security import MAPS, PODS

Tree = dict[str, Any]

pytestmark = pytest.mark.parametrize("api", ["in-process-memory"], indirect=True)

LONGEST_STEP_SECONDS = 0.5  # of processor time: a guard against what grows with the square, which took up to 90
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
CERTIFICATE_REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
SHELL = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":'
YAML_SHELL = b"kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\ndata:\n"


def named(kind: str, api_version: str, **more: Any) -> Tree:
    return {"kind": kind, "apiVersion": api_version, "metadata": {"name": "a"}, **more}


def protobuf() -> bytes:
    count = 700_000
    length = bytes((2 * count) >> shift & 127 | (128 if shift < 21 else 0) for shift in (0, 7, 14, 21))
    return b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12" + length + b"\x12\x00" * count


BODIES: dict[str, tuple[str, Callable[[], Any], str]] = {
    "empty lists": (MAPS, lambda: SHELL + b"[" + b"[]," * 900_000 + b"1]}", "application/json"),
    "escaped colons": (MAPS, lambda: SHELL + rb'{"\u003a":"x"},"x":[' + b"{}," * 900_000 + b"1]}", "application/json"),
    "yaml": (MAPS, lambda: YAML_SHELL + b"".join(b"  k%d: v\n" % n for n in range(90_000)), "application/yaml"),
    "protobuf": (MAPS, protobuf, "application/vnd.kubernetes.protobuf"),
    "bad labels": (
        MAPS,
        lambda: {**config_map("a"), "metadata": {"name": "a", "labels": {f"k{n}": "v!" for n in range(60_000)}}},
        "application/json",
    ),
    "variables": (
        PODS,
        lambda: pod(
            "p", containers=[{"name": "c", "image": "x", "env": [{"name": f"A{n}", "value": "1"} for n in range(40_000)]}]
        ),
        "application/json",
    ),
    "usages": (
        CERTIFICATE_REQUESTS,
        lambda: named(
            "CertificateSigningRequest", "certificates.k8s.io/v1",
            spec={"request": "LS0t", "signerName": "a.b/c", "usages": ["client auth"] * 60_000},
        ),
        "application/json",
    ),
    "beginnings without an end": (
        CERTIFICATE_REQUESTS,
        lambda: named(
            "CertificateSigningRequest", "certificates.k8s.io/v1",
            spec={
                "request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K" * 30_000, "signerName": "a.b/c",
                "usages": ["client auth"],
            },
        ),
        "application/json",
    ),
    "short names": (CRDS, lambda: crd(names={"shortNames": [f"a{n}" for n in range(30_000)]}), "application/json"),
    "patterns": (
        CRDS,
        lambda: crd(
            schema=spec_schema({f"a{n}": {"type": "string", "pattern": f"(a?){{1000}}b{{{n}}}"} for n in range(400)})
        ),
        "application/json",
    ),
    "match conditions": (
        f"{ADMISSION}/validatingwebhookconfigurations",
        lambda: named(
            "ValidatingWebhookConfiguration", "admissionregistration.k8s.io/v1",
            webhooks=[
                {
                    "name": f"a{n}.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                    "clientConfig": {"url": "https://x.example"}, "rules": [],
                    "matchConditions": [{"name": "a", "expression": f"request.name == '{n}'"}],
                }
                for n in range(1000)
            ],
        ),
        "application/json",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
async def test_a_large_body_holds_nobody_up(api: Api, name: str) -> None:
    """Whatever comes of it, the steps of the loop stay short, and so does the answer."""
    path, make, media = BODIES[name]
    made = make()
    body = made if isinstance(made, bytes) else orjson.dumps(made)
    async with stalls.measured() as found:
        answer = await api.send("POST", path, body, content_type=media)
    assert answer.status in (201, 400, 422), answer.body[:300]
    assert answer.status == 201 or len(answer.body) < 3 * len(body)
    assert found.longest < LONGEST_STEP_SECONDS


async def test_many_owners_in_the_body_hold_nobody_up(api: Api) -> None:
    """A megabyte of managedFields is cut to what is kept, and later writes are as quick as ever."""
    made = await api.create(MAPS, config_map("a", k="v"))
    entry = {"operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "time": "2026-01-01T00:00:00Z"}
    fields = {"f:data": {f"f:k{n}": {} for n in range(5)}}
    many = [{**entry, "manager": f"m{n}", "fieldsV1": fields} for n in range(6000)]
    made["metadata"]["managedFields"] = many
    async with stalls.measured() as found:
        kept = await api.put(f"{MAPS}/a", made)
        await api.patch(f"{MAPS}/a", {"data": {"k": "w"}})
    assert len(kept["metadata"]["managedFields"]) < 20
    assert found.longest < LONGEST_STEP_SECONDS


CUSTOM: dict[str, tuple[Tree, Tree, int]] = {
    "a pattern that backtracks": (
        spec_schema({"a": {"type": "string", "pattern": "^(a+)+$"}}), {"a": "a" * 1_000_000 + "!"}, 422,
    ),
    "a pattern of many states": (
        spec_schema({"a": {"type": "string", "pattern": "(a|b)*a(a|b){200}c"}}), {"a": "abaabbab" * 50_000}, 422,
    ),
    "a pattern of many threads": (
        spec_schema({"a": {"type": "string", "pattern": "((a?){100}){100}c"}}), {"a": "a" * 30_000}, 422,
    ),
    "a long enum": (
        spec_schema({"a": {"type": "array", "items": {"type": "string", "enum": [f"e{n}" for n in range(10_000)]}}}),
        {"a": ["e9999"] * 50_000}, 201,
    ),
    "all with all": (
        spec_schema(
            {"a": {"type": "array", "items": {"type": "integer"}, "maxItems": 1000}},
            **{"x-kubernetes-validations": [{"rule": "self.a.all(x, self.a.exists(y, y == x + 1) || x == 999)"}]},
        ),
        {"a": list(range(1000))}, 422,
    ),
    "wrong items": (spec_schema({"a": {"type": "array", "items": {"type": "integer"}}}), {"a": ["x"] * 50_000}, 422),
    "unknown fields": (spec_schema({"b": {"type": "string"}}), {f"a{n}": {} for n in range(60_000)}, 201),
}  # fmt: skip


@pytest.mark.parametrize("name", CUSTOM)
async def test_a_schema_holds_nobody_up(api: Api, name: str) -> None:
    """Patterns, enums and rules that take long on an object of legal size."""
    schema, spec, status = CUSTOM[name]
    await establish(api, crd(schema=schema))
    async with stalls.measured() as found:
        answer = await api.send("POST", WIDGETS, widget("w", spec))
    assert answer.status == status, answer.body[:300]
    assert found.longest < LONGEST_STEP_SECONDS


async def policy(api: Api, expression: str) -> None:
    rule = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": expression}]}
    version = "admissionregistration.k8s.io/v1"
    await api.create(f"{ADMISSION}/validatingadmissionpolicies", named("ValidatingAdmissionPolicy", version, spec=spec))
    bound = {"policyName": "a", "validationActions": ["Deny"]}
    binding = named("ValidatingAdmissionPolicyBinding", version, spec=bound)
    await api.create(f"{ADMISSION}/validatingadmissionpolicybindings", binding)


TEN = "[0,1,2,3,4,5,6,7,8,9]"


async def test_a_policy_near_its_cost_limit_holds_nobody_up(api: Api) -> None:
    """The evaluation ends at its limit, elsewhere; small requests of others are answered meanwhile."""
    loops = "".join(f"{TEN}.all({name}, " for name in "abcdef")
    await policy(api, f"{loops}a + b + c + d + e + f >= 0{')' * 6}")
    async with stalls.measured() as found:
        answer = await api.send("POST", MAPS, config_map("a"))
    assert answer.status == 422
    assert "actual cost limit exceeded" in answer.tree["message"]
    assert found.longest < LONGEST_STEP_SECONDS


async def test_a_policy_that_computes_elsewhere_can_ask_the_authorizer(api: Api) -> None:
    """What only the event loop may look at is asked there."""
    small = "".join(f"{TEN}.all({name}, " for name in "abcd")
    asks = "authorizer.group('').resource('pods').check('get').allowed()"
    await policy(api, f"{small}a + b + c + d >= 0{')' * 4} && {asks}")
    assert (await api.send("POST", MAPS, config_map("a"))).status == 201


async def test_a_large_object_is_patched_as_any(api: Api) -> None:
    """Each kind of write gives the same result for an object that is large enough to be worked on elsewhere."""
    big = "x" * (LARGE_BYTES + 1)
    await api.create(MAPS, config_map("a", big=big))
    assert (await api.patch(f"{MAPS}/a", {"data": {"b": "1"}})).status == 200
    assert (await api.patch(f"{MAPS}/a", {"data": {"c": "2"}}, "strategic")).status == 200
    assert (await api.patch(f"{MAPS}/a", [{"op": "add", "path": "/data/d", "value": "3"}], "json")).status == 200
    assert (await api.patch(f"{MAPS}/a?fieldManager=x", config_map("a", e="4"), "apply")).status == 200
    found = await api.get(f"{MAPS}/a")
    assert found["data"] == {"big": big, "b": "1", "c": "2", "d": "3", "e": "4"}
    found["data"]["b"] = "5"
    assert (await api.put(f"{MAPS}/a", found))["data"]["b"] == "5"
    assert (await api.send("PUT", f"{MAPS}/a", found)).status == 409
