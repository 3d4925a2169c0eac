"""schemathesis over our own OpenAPI: whatever the documents allow, and what they do not, is never our failure."""

import functools
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sampan.kinds.builtin import KINDS
from sampan.server import openapi
from sampan.web.message import Request
from tests import thorough
from tests.server.test_fuzz import ADMIN, Server, check

pytestmark = [pytest.mark.slow]

DOCUMENTS = sorted(openapi.v3_index(KINDS)["paths"])
EXAMPLES = 150 if thorough.IS else 50
LONG = ("/exec", "/attach", "/log", "/portforward", "/proxy")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@functools.cache
def operations(path: str) -> tuple[Any, ...]:
    """The operations of one document that end by themselves."""
    document = openapi.v3(KINDS, path)
    assert document is not None
    found = schemathesis.openapi.from_dict(orjson.loads(orjson.dumps(document))).get_all_operations()
    return tuple(o for o in (result.ok() for result in found) if not o.path.endswith(LONG))


@pytest.mark.parametrize("path", DOCUMENTS)
def test_no_operation_fails(server: Server, path: str) -> None:
    """Any body, query and name on any operation of the group and version."""

    @given(data=st.data())
    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def run(data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from(operations(path)))
        check(server, request_of(data.draw(operation.as_strategy())))

    run()


def request_of(case: Any) -> Request:
    """A generated case as our own Request."""
    if "namespace" in (case.path_parameters or {}):
        case.path_parameters["namespace"] = "default"
    query = [(key, str(value)) for key, value in (case.query or {}).items() if key != "watch"]
    body = case.body
    raw = body if isinstance(body, bytes) else orjson.dumps(plain(body))
    media = case.media_type if case.method.upper() == "PATCH" else "application/json"
    headers = {"content-type": media, "user-agent": "schemathesis/4"}
    return Request(case.method.upper(), unquote(case.formatted_path), tuple(query), headers, raw, ADMIN)


def plain(body: Any) -> Any:
    """What JSON can say of a generated body."""
    if isinstance(body, dict):
        return {str(key): plain(value) for key, value in body.items()}
    if isinstance(body, list | tuple):
        return [plain(item) for item in body]
    if isinstance(body, int) and not isinstance(body, bool) and not -(2**63) <= body < 2**64:
        return float(body)
    return body if isinstance(body, str | int | float | bool) or body is None else str(body)
