"""Bodies of custom objects: they name their type themselves, and whole numbers are integers."""

from typing import Any

import pytest

from tests.server.conftest import Api
from tests.server.custom import WIDGETS, crd, establish, widget

Tree = dict[str, Any]


@pytest.mark.parametrize(
    ("changes", "code", "why"),
    [
        ({"kind": None}, 400, "Widget in version \"v1\" cannot be handled as a Widget: Object 'Kind' is missing in '{"),
        ({"apiVersion": None}, 400, "the API version in the data () does not match the expected API version (exa"),
        ({"apiVersion": "v1"}, 400, "the API version in the data (v1) does not match the expected API version (e"),
        ({"kind": "Gadget"}, 422, 'Widget.example.com "w" is invalid: kind: Invalid value: "Gadget": must be Widget'),
    ],
)
async def test_a_custom_object_names_its_type(api: Api, changes: Tree, code: int, why: str) -> None:
    """What a built-in object may leave out, and its decoder tells, is its own to say."""
    await establish(api, crd())
    body = {name: value for name, value in (widget("w") | changes).items() if value is not None}
    answer = await api.send("POST", WIDGETS, body)
    assert answer.status == code
    assert answer.tree["message"].startswith(why)


async def test_a_patch_cannot_make_it_another_kind(api: Api) -> None:
    """Nor can a patch of an object that is there."""
    await establish(api, crd())
    await api.create(WIDGETS, widget("w"))
    refused = await api.patch(f"{WIDGETS}/w", {"kind": "Gadget"})
    assert refused.status == 422
    assert refused.tree["details"]["causes"][0]["field"] == "kind"


async def test_whole_numbers_are_integers(api: Api) -> None:
    """Clients that read integers can read a number that another wrote with a point or an exponent."""
    await establish(api, crd())
    body = b"""{"kind": "Widget", "apiVersion": "example.com/v1", "metadata": {"name": "w"},
               "spec": {"n": 3.0, "list": [1e3, 2.5], "big": 1e17, "huge": 1e30, "text": "4.0"}}"""
    assert (await api.send("POST", WIDGETS, body)).status == 201
    written = (await api.send("GET", f"{WIDGETS}/w")).body
    spec = written[written.index(b'"spec"') :]
    assert spec == b'"spec":{"n":3,"list":[1000,2.5],"big":100000000000000000,"huge":1e+30,"text":"4.0"}}\n'


async def test_who_owns_nothing_is_not_listed(api: Api) -> None:
    """An object of which nobody owns a field has no managedFields."""
    await establish(api, crd())
    assert "managedFields" not in (await api.create(WIDGETS, widget("w")))["metadata"]
