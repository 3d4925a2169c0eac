"""Query parameters as the reference server reads them: what is refused, in which words, and what means yes."""

from typing import Any

import orjson
import pytest
import yaml

from tests.server.conftest import Api, config_map, deployment, pod

MAPS = "/api/v1/namespaces/default/configmaps"
MATCH = "resourceVersionMatch"
INVALID = 'ListOptions.meta.k8s.io "" is invalid: '


def number(text: str, why: str = "invalid syntax") -> str:
    return f'strconv.ParseInt: parsing "{text}": {why}'


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("limit=x", number("x")),
        ("limit=", number("")),
        ("limit=1_0", number("1_0")),
        ("limit=9223372036854775808", number("9223372036854775808", "value out of range")),
        ("timeoutSeconds=x&limit=y", number("x")),
        ("watch=1&timeoutSeconds=x", number("x")),
        ("watch=1&limit=x", number("x")),
        ("continue=no!", "invalid continue token: continue key is not valid: illegal base64 data at input byte 2"),
        ("continue=aaaaa", "invalid continue token: continue key is not valid: illegal base64 data at input byte 4"),
        ("continue=garbage", "invalid continue token: continue key is not valid: "
         "invalid character '\\u0081' looking for beginning of value"),
    ],
)  # fmt: skip
async def test_what_cannot_be_read_is_a_bad_request(api: Api, query: str, text: str) -> None:
    """400, with the words of whoever could not read it; a collection's deletion reads the same."""
    for method in ("GET", "DELETE") if "watch" not in query else ("GET",):
        answer = await api.send(method, f"{MAPS}?{query}")
        assert (answer.status, answer.tree["reason"], answer.tree["message"]) == (400, "BadRequest", text), method


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("invalid", 'invalid duration "invalid"'),
        ("5", 'missing unit in duration "5"'),
        ("3m", ""),
        ("0s", ""),
        ("", ""),
    ],
)
async def test_a_timeout_is_a_duration(api: Api, given: str, why: str) -> None:
    """400 for any other, whatever is asked for; a watch, which lasts, is not asked."""
    for method, path in (("GET", "/version"), ("GET", MAPS), ("POST", MAPS), ("GET", "/healthz")):
        answer = await api.send(method, f"{path}?timeout={given}", config_map("a") if method == "POST" else b"")
        text = f"invalid timeout specified in the request URL - time: {why}"
        assert answer.status in ((400,) if why else (200, 201)), path
        assert not why or (answer.tree["reason"], answer.tree["message"]) == ("BadRequest", text)
    watched = await api.send("GET", f"{MAPS}?watch=1&timeoutSeconds=1&resourceVersion=x&timeout={given}")
    assert "timeout specified" not in str(watched.tree)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (f"{MATCH}=Exact", f"{MATCH}: Forbidden: {MATCH} is forbidden unless resourceVersion is provided"),
        (f"{MATCH}=Some&resourceVersion=1",
         f'{MATCH}: Unsupported value: "Some": supported values: "Exact", "NotOlderThan", ""'),
        (f"{MATCH}=Exact&resourceVersion=0",
         f'{MATCH}: Forbidden: {MATCH} "exact" is forbidden for resourceVersion "0"'),
        (f"{MATCH}=Some&continue=x&sendInitialEvents=0",
         f"[{MATCH}: Forbidden: {MATCH} is forbidden unless resourceVersion is provided, "
         f"{MATCH}: Forbidden: {MATCH} is forbidden when continue is provided, "
         f'{MATCH}: Unsupported value: "Some": supported values: "Exact", "NotOlderThan", "", '
         "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list]"),
        ("sendInitialEvents=", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        ("watch=1&sendInitialEvents=x",
         f"{MATCH}: Forbidden: sendInitialEvents requires setting {MATCH} to NotOlderThan"),
        (f"watch=1&{MATCH}=Exact",
         f"[{MATCH}: Forbidden: {MATCH} is forbidden for watch unless sendInitialEvents is provided, "
         f'{MATCH}: Unsupported value: "Exact": supported values: "NotOlderThan"]'),
    ],
)  # fmt: skip
async def test_what_does_not_go_together_is_invalid(api: Api, query: str, text: str) -> None:
    """422 with every cause, in order."""
    answer = await api.send("GET", f"{MAPS}?{query}")
    assert (answer.status, answer.tree["message"]) == (422, INVALID + text)


async def test_a_limit_below_zero_is_none(api: Api) -> None:
    """And a limit at a revision lists that revision."""
    await api.create(MAPS, config_map("a"))
    before = (await api.create(MAPS, config_map("b")))["metadata"]["resourceVersion"]
    await api.create(MAPS, config_map("c"))
    assert len((await api.get(f"{MAPS}?limit=-1"))["items"]) == 3
    page = await api.get(f"{MAPS}?limit=1&resourceVersion={before}")
    assert page["metadata"]["resourceVersion"] == before
    assert page["metadata"]["remainingItemCount"] == 1


@pytest.mark.parametrize(
    ("value", "is_watch"), [("maybe", True), ("", True), ("FALSE", False), ("0", False), ("00", True)]
)
async def test_any_word_but_false_and_zero_means_yes(api: Api, value: str, is_watch: bool) -> None:  # noqa: FBT001
    """For ?watch= and every other switch."""
    answer = await api.send("GET", f"{MAPS}?watch={value}&timeoutSeconds=1&allowWatchBookmarks={value}")
    assert answer.status == 200
    assert (b'"type":"BOOKMARK"' in answer.body) is is_watch
    assert (b'"ConfigMapList"' in answer.body) is not is_watch


@pytest.mark.parametrize(
    ("method", "query", "code", "text"),
    [
        ("POST", "dryRun=foo", 422,
         'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["foo"]: supported values: "All"'),
        ("PUT", "dryRun=All&dryRun=foo", 422,
         'UpdateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["All","foo"]: supported values: "All"'),
        ("POST", "fieldValidation=foo", 422,
         'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "foo": '
         'supported values: "", "Ignore", "Strict", "Warn"'),
        ("DELETE", "gracePeriodSeconds=x", 400, number("x")),
        ("DELETE", "gracePeriodSeconds=", 400, number("")),
        ("DELETE", "propagationPolicy=foo", 422,
         'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "foo": '
         'supported values: "Foreground", "Background", "Orphan", "nil"'),
        ("DELETE", "dryRun=foo", 422,
         'DeleteOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["foo"]: supported values: "All"'),
    ],
)  # fmt: skip
async def test_options_of_writes(api: Api, method: str, query: str, code: int, text: str) -> None:
    """A write whose options cannot be understood does nothing."""
    await api.create(MAPS, config_map("a"))
    path, body = (MAPS, config_map("b")) if method == "POST" else (f"{MAPS}/a", config_map("a", k="v"))
    answer = await api.send(method, f"{path}?{query}", b"" if method == "DELETE" else body)
    assert (answer.status, answer.tree["message"]) == (code, text)
    (left,) = (await api.get(MAPS))["items"]
    assert left["metadata"]["name"] == "a" and "data" not in left


async def names(api: Api, path: str = MAPS) -> list[str]:
    return [item["metadata"]["name"] for item in (await api.get(path))["items"]]


async def test_a_collection_is_deleted_by_pages(api: Api) -> None:
    """A limit deletes one page, and its continue token the rest; the answer is the list as it was."""
    for name in "abcde":
        await api.create(MAPS, config_map(name))
    page = (await api.delete(f"{MAPS}?limit=2")).tree
    assert (page["kind"], [item["metadata"]["name"] for item in page["items"]]) == ("ConfigMapList", ["a", "b"])
    assert page["metadata"]["remainingItemCount"] == 3
    assert await names(api) == ["c", "d", "e"]
    rest = (await api.delete(f"{MAPS}?limit=2&continue={page['metadata']['continue']}")).tree
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c", "d"]
    assert await names(api) == ["e"]
    rest = (await api.delete(MAPS)).tree
    assert "continue" not in rest["metadata"] and len(rest["items"]) == 1
    assert await names(api) == []


async def test_a_collection_is_deleted_as_its_options_say(api: Api) -> None:
    """Selectors choose, a dry run deletes nothing, a precondition that fails ends it, policies reach every object."""
    for name in "abc":
        made: Any = config_map(name)
        made["metadata"]["labels"] = {"for": name}
        await api.create(MAPS, made)
    assert len((await api.delete(f"{MAPS}?dryRun=All")).tree["items"]) == 3
    assert len((await api.delete(MAPS, {"dryRun": ["All"]})).tree["items"]) == 3
    assert await names(api) == ["a", "b", "c"]
    assert (await api.delete(MAPS, {"preconditions": {"uid": "x"}})).status == 409
    assert await names(api) == ["a", "b", "c"]
    await api.delete(f"{MAPS}?labelSelector=for=b")
    await api.delete(f"{MAPS}?fieldSelector=metadata.name=c")
    assert await names(api) == ["a"]
    assert (await api.delete(f"{MAPS}?labelSelector=((")).status == 400
    apps = "/apis/apps/v1/namespaces/default/deployments"
    await api.create(apps, deployment("d"))
    answer = (await api.delete(f"{apps}?propagationPolicy=Foreground")).tree
    assert "deletionTimestamp" not in answer["items"][0]["metadata"]
    assert (await api.get(f"{apps}/d"))["metadata"]["finalizers"] == ["foregroundDeletion"]


async def test_a_collections_grace_reaches_every_pod(api: Api) -> None:
    """By the query and by the body."""
    pods = "/api/v1/namespaces/default/pods"
    for name in "ab":
        await api.create(pods, pod(name, nodeName="n"))
    await api.delete(f"{pods}?gracePeriodSeconds=7")
    assert [i["metadata"]["deletionGracePeriodSeconds"] for i in (await api.get(pods))["items"]] == [7, 7]
    await api.delete(pods, {"gracePeriodSeconds": 0})
    assert await names(api, pods) == []


async def test_tables_of_the_old_version_are_of_the_old_version(api: Api) -> None:
    """One object, a list and a watch say v1beta1 where it was asked for, in the table and in its rows' objects."""
    await api.create(MAPS, config_map("a"))
    accept = "application/json;as=Table;v=v1beta1;g=meta.k8s.io"
    for path in (f"{MAPS}/a", MAPS, f"{MAPS}?watch=1&timeoutSeconds=1"):
        answer = await api.send("GET", path, accept=accept)
        assert answer.status == 200
        tree = answer.tree["object"] if "watch" in path else answer.tree
        assert (tree["kind"], tree["apiVersion"]) == ("Table", "meta.k8s.io/v1beta1"), path
        row = tree["rows"][0]["object"]
        assert (row["kind"], row["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1beta1"), path
    accept = accept.replace("Table", "PartialObjectMetadata")
    assert (await api.get(f"{MAPS}/a", accept=accept))["apiVersion"] == "meta.k8s.io/v1beta1"
    for path in (MAPS, f"{MAPS}?watch=1&timeoutSeconds=1"):
        tree = (await api.send("GET", path, accept=accept.replace("Metadata;", "MetadataList;"))).tree
        assert (tree["object"] if "watch" in path else tree["items"][0])["apiVersion"] == "meta.k8s.io/v1beta1", path


async def test_answers_are_indented_for_people(api: Api) -> None:
    """For ?pretty=true and for curl, refusals too; a word that is no truth value means no, and streams never are."""
    await api.create(MAPS, config_map("a", k="v"))
    plain = (await api.send("GET", f"{MAPS}/a")).body
    for path, agent in (
        (f"{MAPS}/a?pretty=true", "kubectl/v1"),
        (f"{MAPS}/a", "curl/8.0"),
        (f"{MAPS}/a", "Mozilla/5.0 x"),
    ):
        body = (await api.send("GET", path, user_agent=agent)).body
        assert body.startswith(b'{\n  "kind": "ConfigMap",\n  "apiVersion": "v1",\n  "metadata": {\n    "')
        assert orjson.loads(body) == orjson.loads(plain)
    for path, agent in ((f"{MAPS}/a?pretty=x", "kubectl/v1"), (f"{MAPS}/a?pretty=false", "curl/8.0")):
        assert (await api.send("GET", path, user_agent=agent)).body == plain
    for path in (MAPS, f"{MAPS}/b", "/api", "/apis/apps/v1", "/version"):
        assert (await api.send("GET", path, user_agent="Wget/1")).body.startswith(b"{\n  "), path
    watched = await api.send("GET", f"{MAPS}?watch=1&timeoutSeconds=1&pretty=true", user_agent="curl/8.0")
    assert watched.body.startswith(b'{"type":"ADDED",')
    assert (await api.send("GET", "/nope", user_agent="curl/8.0")).body == b"404 page not found\n"


async def test_json_ends_with_a_line_break(api: Api) -> None:
    """Objects, lists, Tables, refusals and discovery; not what is indented, and not the other documents."""
    await api.create(MAPS, config_map("a"))
    table = "application/json;as=Table;g=meta.k8s.io;v=v1"
    for path in (MAPS, f"{MAPS}/a", f"{MAPS}/b", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1"):
        assert (await api.send("GET", path)).body.endswith(b"}\n"), path
        assert (await api.send("GET", f"{path}?pretty=1")).body.endswith(b"\n}"), path
    for path in (MAPS, f"{MAPS}/a"):
        assert (await api.send("GET", path, accept=table)).body.endswith(b"}\n"), path
    for path in ("/", "/version", "/openapi/v3", "/openapi/v3/api/v1", "/openapi/v2", "/openid/v1/jwks"):
        assert (await api.send("GET", path)).body.endswith(b"}"), path


@pytest.mark.parametrize("accept", ["application/json", "application/yaml"])
async def test_a_list_says_once_of_which_kind_its_items_are(api: Api, accept: str) -> None:
    """Of custom resources each item says it too, as upstream's do."""
    await api.send("POST", MAPS, {"metadata": {"name": "one"}})
    listed = yaml.safe_load((await api.send("GET", MAPS, accept=accept)).body)
    found = next(item for item in listed["items"] if item["metadata"]["name"] == "one")
    assert (listed["kind"], {"kind", "apiVersion"} & set(found)) == ("ConfigMapList", set())
    assert found["metadata"]["resourceVersion"]
