"""Bodies that are no objects: refused with what they were to be, why they are not, and how they begin."""

import pytest

from tests.server.conftest import Api

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
