"""Bodies and options that are almost right: a refusal that says what is wrong, never a failure of ours or a silent yes."""

from typing import Any

import pytest

from tests.server.conftest import Api, config_map, deployment, pod
from tests.server.test_security import ACCOUNTS, MAPS, PODS

Tree = dict[str, Any]

pytestmark = pytest.mark.parametrize("api", ["in-process-memory"], indirect=True)

DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/d"


@pytest.mark.parametrize(
    "options",
    [
        {"gracePeriodSeconds": "x"}, {"gracePeriodSeconds": 1.5}, {"gracePeriodSeconds": []}, {"preconditions": "x"},
        {"preconditions": {"uid": 5}}, {"preconditions": {"resourceVersion": 5}}, {"dryRun": 5}, {"dryRun": "All"},
        {"dryRun": [{}]}, {"dryRun": ["x"]}, {"propagationPolicy": 5}, {"propagationPolicy": []},
        {"propagationPolicy": "Never"}, {"orphanDependents": "x"}, {"kind": "Pod", "apiVersion": "v1"}, {"kind": 5},
        {"preconditions": {"uid": "another"}},
    ],
    ids=str,
)  # fmt: skip
async def test_delete_options_of_a_wrong_type_delete_nothing(api: Api, options: Tree) -> None:
    """Of one object, of a collection and of an eviction."""
    made = await api.create(MAPS, config_map("a"))
    answer = await api.delete(f"{MAPS}/a", options)
    assert answer.status in (400, 409, 422), answer.body
    if "preconditions" not in options:
        assert (await api.delete(MAPS, options)).status in (400, 422)
    assert await api.get(f"{MAPS}/a") == made
    await api.create(PODS, pod("p"))
    eviction = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "p"}, "deleteOptions": options}
    if "kind" not in options:
        assert (await api.send("POST", f"{PODS}/p/eviction", eviction)).status in (400, 409, 422)
        assert "deletionTimestamp" not in (await api.get(f"{PODS}/p"))["metadata"]


@pytest.mark.parametrize(
    "query",
    ["fieldValidation=x", "fieldManager=a\0b", "fieldManager=a\x7f", "fieldManager=" + "x" * 129, "dryRun=x", "dryRun=All&dryRun=x"],
)  # fmt: skip
async def test_options_that_there_are_not_write_nothing(api: Api, query: str) -> None:
    """On create, update and patch; each is told as its own options."""
    made = await api.create(MAPS, config_map("a"))
    for method, path, body, kind in (
        ("POST", MAPS, config_map("b"), "CreateOptions"),
        ("PUT", f"{MAPS}/a", {**made, "data": {"k": "v"}}, "UpdateOptions"),
    ):
        answer = await api.send(method, f"{path}?{query}", body)
        assert answer.status == 422, answer.body
        assert answer.tree["message"].startswith(f"{kind}.meta.k8s.io "), answer.body
    merge = "application/merge-patch+json"
    assert (await api.send("PATCH", f"{MAPS}/a?{query}", {"data": {"k": "v"}}, content_type=merge)).status == 422
    assert [item["metadata"] for item in (await api.get(MAPS))["items"]] == [made["metadata"]]


async def test_a_subresource_takes_a_body_without_metadata(api: Api) -> None:
    """Nothing fails of what a client left out."""
    await api.create("/apis/apps/v1/namespaces/default/deployments", deployment("d"))
    await api.create(PODS, pod("p"))
    bodies: list[tuple[str, str, Tree]] = [
        ("PUT", "/api/v1/namespaces/default/finalize", {"kind": "Namespace", "apiVersion": "v1"}),
        ("PUT", f"{DEPLOYMENT}/scale", {"kind": "Scale", "apiVersion": "autoscaling/v1"}),
        ("PUT", f"{DEPLOYMENT}/status", {"kind": "Deployment", "apiVersion": "apps/v1"}),
        ("POST", f"{PODS}/p/binding", {"kind": "Binding", "apiVersion": "v1"}),
        ("POST", f"{PODS}/p/eviction", {"kind": "Eviction", "apiVersion": "policy/v1"}),
        ("POST", f"{ACCOUNTS}/default/token", {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1"}),
        ("PUT", f"{PODS}/p/ephemeralcontainers", {"kind": "Pod", "apiVersion": "v1"}),
        ("PUT", f"{PODS}/p/resize", {"kind": "Pod", "apiVersion": "v1"}),
    ]
    for method, path, body in bodies:
        for more in ({}, {"metadata": None}, {"metadata": {}}, {"spec": None}, {"metadata": 5}, {"spec": 5}):
            answer = await api.send(method, f"{path}?dryRun=All", {**body, **more})
            assert answer.status < 500, (path, more, answer.body)


async def test_an_answer_does_not_grow_with_the_mistakes(api: Api) -> None:
    """The first hundred unknown fields and the first thousand causes are told."""
    many = {f"u{n}": 1 for n in range(20_000)}
    answer = await api.send("POST", f"{MAPS}?fieldValidation=Strict", {**config_map("a"), **many})
    assert answer.status == 400
    assert answer.tree["message"].count("unknown field") == 100
    answer = await api.send("POST", MAPS, {**config_map("a"), **many})
    assert answer.status == 201
    assert len(answer.headers["warning"]) < 8192
    labels = {f"k{n}": "v!" for n in range(20_000)}
    answer = await api.send("POST", MAPS, {**config_map("b"), "metadata": {"name": "b", "labels": labels}})
    assert (answer.status, len(answer.tree["details"]["causes"])) == (422, 1000)


async def test_generated_names_fit(api: Api) -> None:
    """A base that is too long is cut for the name; one that makes no name is refused."""
    for base, status in (
        ("a" * 250, 201),
        ("a" * 254, 422),
        ("A-", 422),
        ("-", 422),
        ("..", 422),
        ("a/", 422),
        ("a\0", 422),
    ):
        body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"generateName": base}}
        answer = await api.send("POST", MAPS, body)
        assert answer.status == status, (base, answer.body)
        if status == 201:
            assert len(answer.tree["metadata"]["name"]) == 63


SEGMENTS = (
    "..",
    ".",
    "%2e%2e",
    "%2f",
    "a%2fb",
    "a%00",
    "\0",
    "*",
    "",
    " ",
    "é",
    "x" * 300,
    "-",
    "A",
    "%",
    "%zz",
    "a;b",
    "a?",
    "#",
)


async def test_a_name_in_any_place_of_a_path_leads_nowhere_else(api: Api) -> None:
    """Every segment of every form of path, by every method: nothing but a refusal, and nothing is made or lost."""
    await api.create(MAPS, config_map("a", k="secret-value"))
    before = await api.get(MAPS)
    forms = (
        "/{}/v1/namespaces/default/configmaps/a", "/api/{}/namespaces/default/configmaps/a",
        "/api/v1/{}/default/configmaps/a", "/api/v1/namespaces/{}/configmaps/a",
        "/api/v1/namespaces/default/{}/a", "/api/v1/namespaces/default/configmaps/{}",
        "/api/v1/namespaces/default/configmaps/a/{}", "/api/v1/namespaces/default/pods/{}/proxy/x",
        "/api/v1/namespaces/default/services/{}/proxy/x", "/api/v1/nodes/{}/proxy/x",
        "/apis/{}/v1/namespaces/default/deployments/a", "/api/v1/namespaces/default/configmaps/a/{}/status",
    )  # fmt: skip
    for form in forms:
        for segment in SEGMENTS:
            for method in ("GET", "PUT", "PATCH", "DELETE"):
                path = form.format(segment)
                if path.partition("?")[0].rstrip("/") in (MAPS, f"{MAPS}/a"):
                    continue  # a slash at the end says nothing
                answer = await api.send(method, path.replace("?", "%3f"), b"{}")
                assert 400 <= answer.status < 500 or answer.status == 503, (method, path, answer.status, answer.body)
                assert b"secret-value" not in answer.body
    assert (await api.get(MAPS))["items"] == before["items"]
