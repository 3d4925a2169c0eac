"""Paths that lead nowhere and methods that nobody takes, as the reference server answers them."""

import asyncio

import orjson
import pytest

from sampan.web.message import Peer
from tests.server import custom
from tests.server.conftest import Answer, Api, config_map

MAPS = "/api/v1/namespaces/default/configmaps"
NOBODY = Peer()
STATUS = "the server could not find the requested resource"
METHOD = "the server does not allow this method on the requested resource"


def is_plain(answer: Answer) -> bool:
    """Whether this is the page of the last handler of all."""
    kind = answer.headers["content-type"], answer.headers.get("x-content-type-options")
    return (answer.status, answer.body, *kind) == (
        404, b"404 page not found\n", "text/plain; charset=utf-8", "nosniff",
    )  # fmt: skip


@pytest.mark.parametrize(
    "path",
    ["/nope", "/apis/nope", "/apis/nope/v1", "/apis/nope/v1/things", "/healthz/nope", "/openapi/v3/nope", "/metrics/x"],
)
async def test_what_nobody_serves_is_a_plain_page(api: Api, path: str) -> None:
    """For those who may ask; others are told that they may not, as a Status."""
    for method in ("GET", "POST"):
        assert is_plain(await api.send(method, path)), (method, path)
    refused = await api.send("GET", path, peer=NOBODY)
    assert (refused.status, refused.tree["kind"]) == (403, "Status")


@pytest.mark.parametrize(
    "path",
    ["/api/v1/nopes", "/api/v2", "/api/v2/pods", "/apis/apps/v1/nopes", "/apis/apps/v9", "/apis/apps/v9/things/x",
     "/api/v1/pods/p", "/api/v1/namespaces/default/nodes", f"{MAPS}/a/nope", "/version/x", "/openid/v1/jwks/x"],
)  # fmt: skip
async def test_what_is_missing_below_a_built_in_group_is_a_status(api: Api, path: str) -> None:
    """With details that are there, though empty."""
    answer = await api.send("GET", path)
    assert answer.tree == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": STATUS,
        "reason": "NotFound", "details": {}, "code": 404,
    }  # fmt: skip
    assert answer.headers["content-type"] == "application/json"


async def test_what_is_missing_below_a_custom_group_is_a_plain_page(api: Api) -> None:
    """Another resource, version or scope; a subresource that is not declared names the object."""
    await custom.establish(api, custom.crd())
    for method, path in (
        ("GET", "/apis/example.com/v1/nopes"),
        ("GET", "/apis/example.com/v9/widgets"),
        ("GET", "/apis/example.com/v1/widgets/w"),
        ("POST", "/apis/example.com/v1/widgets"),
        ("DELETE", "/apis/example.com/v1/widgets"),
    ):
        assert is_plain(await api.send(method, path)), (method, path)
    answer = await api.send("GET", f"{custom.WIDGETS}/w/nope")
    assert (answer.status, answer.tree["message"]) == (404, 'widgets.example.com "w" not found')


@pytest.mark.parametrize(
    ("method", "path"),
    [("HEAD", MAPS), ("HEAD", f"{MAPS}/a"), ("OPTIONS", MAPS), ("TRACE", MAPS), ("PURGE", MAPS), ("PUT", MAPS),
     ("PATCH", MAPS), ("POST", f"{MAPS}/a"), ("POST", f"{MAPS}/a/"), ("HEAD", "/api"), ("HEAD", "/apis/apps/v1"),
     ("HEAD", "/version"), ("PUT", "/version"), ("POST", "/openid/v1/jwks"), ("POST", "/api/v1/namespaces/default"),
     ("DELETE", "/api/v1/pods"), ("HEAD", "/api/v1/namespaces/default/pods/p/log")],
)  # fmt: skip
async def test_a_method_that_a_built_in_resource_does_not_take(api: Api, method: str, path: str) -> None:
    """405 in words that clients know; HEAD too, whose answer has no body."""
    await api.create(MAPS, config_map("a"))
    answer = await api.send(method, path, content_type="application/json")
    assert answer.status == 405, answer.body
    if method != "HEAD":
        assert (answer.tree["reason"], answer.tree["message"], answer.tree["details"]) == (
            "MethodNotAllowed",
            METHOD,
            {},
        )


async def test_custom_resources_take_what_the_verb_allows(api: Api) -> None:
    """They are served by the verb alone: HEAD reads, and what needs a name says so."""
    await custom.establish(api, custom.crd())
    await api.create(custom.WIDGETS, custom.widget("w"))
    for path in (custom.WIDGETS, f"{custom.WIDGETS}/w"):
        assert (await api.send("HEAD", path)).status == 200
    for method in ("PUT", "PATCH"):
        answer = await api.send(method, custom.WIDGETS, custom.widget("w"), content_type="application/merge-patch+json")
        assert (answer.status, answer.tree["message"]) == (400, "name must be provided")
    assert (await api.send("POST", f"{custom.WIDGETS}/elsewhere", custom.widget("x"))).status == 201
    assert (await api.get(f"{custom.WIDGETS}/x"))["metadata"]["name"] == "x"
    answer = await api.send("OPTIONS", custom.WIDGETS)
    assert answer.status == 405
    assert answer.tree["message"] == ' is not supported on resources of kind "widgets.example.com"'


@pytest.mark.slow
async def test_the_older_paths_of_watches(api: Api) -> None:
    """/watch/ before a collection or an object is ?watch=1, of custom resources too."""
    await custom.establish(api, custom.crd())
    await api.create(custom.WIDGETS, custom.widget("w"))
    await api.create(MAPS, config_map("a"))
    await api.create(MAPS, config_map("b"))
    paths = {
        "/api/v1/watch/namespaces/default/configmaps": {"a", "b"},
        "/api/v1/watch/namespaces/default/configmaps/a": {"a"},
        "/api/v1/watch/configmaps": {"a", "b"},
        "/api/v1/watch/namespaces/default": {"default"},
        "/api/v1/watch/namespaces": {"default"},
        "/apis/example.com/v1/watch/namespaces/default/widgets": {"w"},
    }
    answers = await asyncio.gather(*(api.send("GET", f"{path}?timeoutSeconds=1") for path in paths))
    for (path, names), answer in zip(paths.items(), answers, strict=True):
        assert answer.status == 200, (path, answer.body)
        events = [orjson.loads(line) for line in answer.body.splitlines()]
        assert {event["type"] for event in events} == {"ADDED"}, path
        assert names <= {event["object"]["metadata"]["name"] for event in events}, path
        assert not path.endswith(("/a", "/default")) or len(events) == 1, path


async def test_the_older_paths_of_watches_need_the_same_rights(api: Api) -> None:
    """The verb is watch, whatever the method, and there is nothing below an object."""
    path = "/api/v1/watch/namespaces/default/configmaps"
    refused = await api.send("GET", f"{path}/a", peer=Peer("mary"))
    text = (
        'configmaps "a" is forbidden: User "mary" cannot watch resource "configmaps" in API group "" in the namespace '
    )
    assert (refused.status, refused.tree["message"]) == (403, f'{text}"default"')
    for method in ("POST", "PUT", "DELETE", "HEAD"):
        assert (await api.send(method, path, config_map("a"))).status == 405, method
    for missing in ("pods/p/log", "pods/p/proxy", "pods/p/proxy/x", "nonsense"):
        assert (await api.send("GET", f"/api/v1/watch/namespaces/default/{missing}")).status == 404, missing
    assert (await api.send("GET", "/api/v1/watch")).status == 404


async def test_documents_of_the_outer_handlers_do_not_look_at_the_method(api: Api) -> None:
    """Health, metrics and the lists of groups."""
    for path in ("/healthz", "/livez/ping", "/readyz", "/metrics", "/apis", "/apis/apps", "/"):
        for method in ("HEAD", "POST"):
            assert (await api.send(method, path)).status == 200, (method, path)


async def test_clients_are_told_where_the_server_is(api: Api) -> None:
    """/api says it; the lists of groups do not."""
    told = await api.get("/api")
    assert told["serverAddressByClientCIDRs"] == [{"clientCIDR": "0.0.0.0/0", "serverAddress": "10.244.0.1:6443"}]
    assert "serverAddressByClientCIDRs" not in (await api.get("/apis"))["groups"][0]
    assert "serverAddressByClientCIDRs" not in await api.get("/apis/apps")


async def test_health_pages(api: Api) -> None:
    """One check, all of them in words, and one left out."""
    assert (await api.send("GET", "/livez/ping")).body == b"ok"
    text = (await api.send("GET", "/readyz?verbose&exclude=etcd&exclude=nope")).body.decode()
    lines = text.split("\n")
    assert "[+]ping ok" in lines and "[+]etcd excluded: ok" in lines
    assert 'warn: some health checks cannot be excluded: no matches for "nope"' in lines
    assert lines[-2:] == ["readyz check passed", ""]


async def test_the_version_has_the_fields_of_this_level(api: Api) -> None:
    """Those of 1.36, in order."""
    told = await api.get("/version")
    assert list(told) == [
        "major", "minor", "emulationMajor", "emulationMinor", "minCompatibilityMajor", "minCompatibilityMinor",
        "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform",
    ]  # fmt: skip
    assert (told["major"], told["minor"], told["emulationMinor"], told["minCompatibilityMinor"]) == (
        "1",
        "36",
        "36",
        "35",
    )


async def test_flow_schemas_are_listed_by_name(api: Api) -> None:
    """As everything is."""
    found = [
        i["metadata"]["name"] for i in (await api.get("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"))["items"]
    ]
    assert found == sorted(found) and len(found) > 5
