"""Columns of custom resources: what a cell shows for lists, numbers, dates, and what is not there."""

from typing import Any

from tests.server.conftest import Api
from tests.server.custom import WIDGETS, crd, establish, widget

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
Tree = dict[str, Any]


async def cells(api: Api, specs: list[Tree], *columns: tuple[str, str]) -> list[list[Any]]:
    """The cells of objects with these specs, under columns of (type, path)."""
    defined = [{"name": f"C{index}", "type": kind, "jsonPath": path} for index, (kind, path) in enumerate(columns)]
    await establish(api, crd(version={"additionalPrinterColumns": defined}))
    for index, spec in enumerate(specs):
        await api.create(WIDGETS, widget(f"w{index}", spec))
    answer = await api.send("GET", WIDGETS, accept=TABLE)
    assert answer.status == 200
    return [row["cells"][1:] for row in answer.tree["rows"]]


async def test_lists(api: Api) -> None:
    """A path to several values shows the first; a list or map is shown as JSON."""
    spec = {"list": [{"name": "a"}, {"name": "<b>"}]}
    found = await cells(api, [spec, {}], ("string", ".spec.list[*].name"), ("string", ".spec.list"))
    assert found == [["a", '[{"name":"a"},{"name":"\\u003cb\\u003e"}]'], [None, None]]


async def test_empty_brackets(api: Api) -> None:
    """Many definitions have them: they mean the first of a list."""
    specs: list[Tree] = [{"list": [{"name": "a"}, {"name": "b"}]}, {"list": []}, {}]
    found = await cells(api, specs, ("string", ".spec.list[].name"), ("string", ".spec.list[]"))
    assert found == [["a", '{"name":"a"}'], [None, None], [None, None]]


async def test_numbers(api: Api) -> None:
    """Numbers fit their column's type, also those that no integer holds; text is no number."""
    specs: list[Tree] = [{"n": n} for n in (3, 2.5, 3.0, 1e21, 12345678.5, 0.00001, True, "4")]
    found = await cells(api, specs, ("integer", ".spec.n"), ("number", ".spec.n"), ("string", ".spec.n"))
    assert found == [
        [3, 3, "3"],
        [2, 2.5, "2.5"],
        [3, 3, "3"],
        [-(2**63), 1e21, "1e+21"],
        [12345678, 12345678.5, "1.23456785e+07"],
        [0, 1e-5, "1e-05"],
        [None, None, "true"],
        [None, None, "4"],
    ]


async def test_booleans_and_nulls(api: Api) -> None:
    """A null is a value in a text column only."""
    found = await cells(api, [{"b": False}, {"b": "x"}, {"b": None}, {}], ("boolean", ".spec.b"), ("string", ".spec.b"))
    assert found == [[False, "false"], [None, "x"], [None, "<no value>"], [None, None]]


async def test_dates(api: Api) -> None:
    """A date is an age; what is none, or lies ahead, is told."""
    dates = ("2025-12-29T00:00:00Z", "", "soon", "2026-02-01T00:00:00Z", 5)
    found = await cells(api, [{"at": at} for at in dates], ("date", ".spec.at"))
    assert found == [["3d"], ["<unknown>"], ["<invalid>"], ["<invalid>"], [None]]


async def test_any_priority(api: Api) -> None:
    """A column's priority is told as it is."""
    column = {"name": "C", "type": "string", "jsonPath": ".spec.c", "priority": 5}
    await establish(api, crd(version={"additionalPrinterColumns": [column]}))
    answer = await api.send("GET", WIDGETS, accept=TABLE)
    assert [column["priority"] for column in answer.tree["columnDefinitions"]] == [0, 5]
