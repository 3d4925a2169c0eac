"""Calls over a unix socket: answers, streams, errors, deadlines, and a side that goes away."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from sampan.node.rpc import messages, service
from sampan.node.rpc.client import Client
from sampan.node.rpc.server import Server
from sampan.node.rpc.service import RpcError

MESSAGES = messages.parse("""
Empty
Ask
  1 name string
Answer
  1 names string*
""")
ASK = service.methods("test.v1.Asking", MESSAGES, "Once Ask Answer\nOften Ask Answer*\nSilent Empty Answer")


async def once(request):
    if request["name"] == "nobody":
        raise RpcError("NotFound", "there is no nobody")
    if request["name"] == "fault":
        raise ValueError("oh")
    return {"names": [request["name"]] * 2}


async def often(request):
    for number in range(3):
        yield {"names": [f"{request['name']}{number}"]}
    if request["name"] == "bad":
        raise RpcError("ResourceExhausted", "no more")
    if request["name"] == "ever":
        await asyncio.Event().wait()


@asynccontextmanager
async def served(tmp_path, answers=None):
    server, client = Server(answers or {ASK["Once"]: once, ASK["Often"]: often}), Client(tmp_path / "s.sock")
    await server.listen(tmp_path / "s.sock")
    try:
        yield server, client
    finally:
        client.close()
        await server.close()


async def test_an_answer(tmp_path):
    """Has every field of its message; a socket that was left behind is in nobody's way."""
    (tmp_path / "s.sock").touch()
    async with served(tmp_path) as (_, client):
        assert await client.call(ASK["Once"], {"name": "a"}, timeout_seconds=60) == {"names": ["a", "a"]}
        assert await client.call(ASK["Once"], timeout_seconds=60) == {"names": ["", ""]}
    assert not (tmp_path / "s.sock").exists()


async def test_a_stream(tmp_path):
    """As the answers come."""
    async with served(tmp_path) as (_, client):
        assert [each["names"] async for each in client.stream(ASK["Often"], {"name": "a"})] == [["a0"], ["a1"], ["a2"]]
        found = []
        with pytest.raises(RpcError, match="code = ResourceExhausted desc = no more"):
            async for each in client.stream(ASK["Often"], {"name": "bad"}):
                found.append(each)
        assert len(found) == 3


async def test_refusals(tmp_path, caplog):
    """In Go's words."""
    async with served(tmp_path) as (_, client):
        for name, why in (("nobody", "NotFound desc = there is no nobody"), ("fault", "Unknown desc = oh")):
            with pytest.raises(RpcError) as error:
                await client.call(ASK["Once"], {"name": name}, timeout_seconds=60)
            assert str(error.value) == f"rpc error: code = {why}"
        with pytest.raises(
            RpcError, match="code = Unimplemented desc = unknown method Silent for service test.v1.Asking"
        ):
            await client.call(ASK["Silent"], timeout_seconds=60)


async def test_what_is_no_message(tmp_path):
    """Is an error on the side that reads it."""
    other = messages.parse("Other\n  1 number int32\n  2 names int64*\n")["Other"]
    wrong_question = service.Method(ASK["Once"].path, other, MESSAGES["Answer"])
    wrong_answer = service.Method(ASK["Once"].path, MESSAGES["Ask"], other)
    async with served(tmp_path) as (_, client):
        with pytest.raises(RpcError, match=r"code = Internal desc = grpc: error unmarshalling request: .* field name"):
            await client.call(wrong_question, {"number": 1}, timeout_seconds=60)
        with pytest.raises(RpcError, match="code = Internal desc = grpc: failed to unmarshal the received message"):
            await client.call(wrong_answer, {"name": "a"}, timeout_seconds=60)


async def test_nobody_there(tmp_path):
    """Says where nobody is; the client is good again when somebody comes."""
    client = Client(tmp_path / "s.sock")
    with pytest.raises(RpcError) as error:
        await client.call(ASK["Once"], timeout_seconds=60)
    assert error.value.code == "Unavailable"
    assert error.value.message.endswith(f'dial unix {tmp_path}/s.sock: connect: no such file or directory"')
    async with served(tmp_path):
        assert await client.call(ASK["Once"], timeout_seconds=60)
    client.close()


async def test_one_that_does_not_answer(tmp_path):
    """Has its time, and no more."""

    async def silent(request):
        await asyncio.Event().wait()

    async with served(tmp_path, {ASK["Silent"]: silent}) as (_, client):
        with pytest.raises(RpcError, match="code = DeadlineExceeded desc = context deadline exceeded"):
            await client.call(ASK["Silent"], timeout_seconds=0.05)


async def test_one_that_goes_away(tmp_path):
    """Ends its streams with an error."""
    async with served(tmp_path) as (server, client):
        found = []
        with pytest.raises(RpcError):
            async for each in client.stream(ASK["Often"], {"name": "ever"}):
                found.append(each)
                if len(found) == 3:
                    await server.close()
        assert len(found) == 3
