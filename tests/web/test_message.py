"""What passes between a client's transport and the server."""

import asyncio
import dataclasses

from sampan.web.message import Peer, Request

LEFT_OUT = {
    "raw_path": "",
    "raw_query": "",
    "others_seconds": 0.0,
    "others_until": 0.0,
    "takes_pieces": False,
    "gone": None,
}


async def _nothing():  # type: ignore[no-untyped-def]
    yield b""


async def test_each_field_of_a_request_is_handed_on_or_left_out() -> None:
    """In this process too nothing of it is lost but what only a listener knows, and what was waited."""
    request = Request(
        "POST", "/a b", (("watch", "1"),), {"accept": "x"}, b"body", Peer("who"), takes_trees=True,
        raw_path="/a%20b", raw_query="watch=1", others_seconds=1.0, others_until=2.0, stream=_nothing(),
        wants_stream=True, takes_pieces=True, gone=asyncio.get_running_loop().create_future(),
    )  # fmt: skip
    asked = {field.name: getattr(request, field.name) for field in dataclasses.fields(Request)}
    plain = Request("GET", "/")
    assert not [name for name, value in asked.items() if value == getattr(plain, name)], "a field is not tried here"
    made = request.of(Peer("other"))
    found = {field.name: getattr(made, field.name) for field in dataclasses.fields(Request)}
    assert found == asked | LEFT_OUT | {"peer": Peer("other")}
