"""Bodies that are no objects: refused with what they were to be, why they are not, and how they begin."""

import pytest

from tests.server.conftest import Api
from tests.server.custom import WIDGETS, crd, establish

MAPS = "/api/v1/namespaces/default/configmaps"
UNREADABLE = "couldn't get version/kind; json parse error: "
STRUCT = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
CUT = "unexpected end of JSON input"
LONG = b'{"kind":"ConfigMap","apiVersion":"v1",'


@pytest.mark.parametrize(
    ("body", "why", "shown"),
    [
        (b"", CUT, "<empty>"),
        (b"{", CUT, "{"),
        (LONG, CUT, '{"kind":"ConfigMap","apiVersio ...'),
        (b"[]", f"json: cannot unmarshal array into Go value of type {STRUCT}", "5b5d"),
        (b'"a"', f"json: cannot unmarshal string into Go value of type {STRUCT}", "226122"),
        (b'{"kind":1}', "json: cannot unmarshal number into Go struct field .kind of type string", '{"kind":1}'),
    ],
)
async def test_json(api: Api, body: bytes, why: str, shown: str) -> None:
    """In upstream's words, for creations and updates alike."""
    for method, path in (("POST", MAPS), ("PUT", f"{MAPS}/m")):
        answer = await api.send(method, path, body)
        assert (answer.status, answer.tree["reason"]) == (400, "BadRequest")
        assert answer.tree["message"] == (
            f"the object provided is unrecognized (must be of type ConfigMap): {UNREADABLE}{why} ({shown})"
        )


async def test_yaml(api: Api) -> None:
    """The same for what YAML's reader complains of."""
    answer = await api.send("POST", MAPS, b"a: [", content_type="application/yaml")
    assert answer.status == 400
    start = "the object provided is unrecognized (must be of type ConfigMap): error converting YAML to JSON: yaml: "
    assert answer.tree["message"].startswith(start)
    assert answer.tree["message"].endswith(" (613a205b)")


async def test_null(api: Api) -> None:
    """Is an object without anything."""
    answer = await api.send("POST", MAPS, b"null")
    assert (answer.status, answer.tree["details"]["causes"][0]["field"]) == (422, "metadata.name")


@pytest.mark.parametrize("said", [b'"kind":null', b'"kind":""', b'"apiVersion":null', b'"apiVersion":""'])
async def test_who_says_nothing_of_a_type_means_the_path_s(api: Api, said: bytes) -> None:
    """Also where nothing is said in so many words."""
    answer = await api.send("POST", MAPS, b'{%b,"metadata":{"name":"m"}}' % said)
    assert (answer.status, answer.tree["kind"], answer.tree["apiVersion"]) == (201, "ConfigMap", "v1"), answer.body


@pytest.mark.parametrize("media", ["application/json", "application/yaml"])
async def test_depth(api: Api, media: str) -> None:
    """What could not be written with all that an object is shown in is refused; up to there it can be."""
    await establish(api, crd())
    answers = {}
    for depth in (200, 220, 240, 252, 260, 400):
        name, value = b"w%d" % depth, b'{"a":' * depth + b"1" + b"}" * depth
        body = b'{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"%b"},"x":%b}' % (name, value)
        answer = await api.send("POST", WIDGETS, body, content_type=media)
        answers[depth] = answer.status
        if answer.status == 201:
            again = await api.send("PUT", f"{WIDGETS}/w{depth}", answer.tree)
            listed = await api.send("GET", WIDGETS)
            assert (again.status, listed.status) == (200, 200)
    assert answers == {200: 201, 220: 201, 240: 400, 252: 400, 260: 400, 400: 400}
