"""Another implementation of gRPC, Google's own in C, on either side of the socket."""

import grpc
import grpc.aio
import pytest

from sampan.node.rpc import messages, service
from sampan.node.rpc.client import Client
from sampan.node.rpc.server import Server
from sampan.node.rpc.service import RpcError

MESSAGES = messages.parse("""
Ask
  1 name string
Answer
  1 names string*
""")
ASK = service.methods("test.v1.Asking", MESSAGES, "Once Ask Answer\nOften Ask Answer*\nOther Ask Answer")
REQUEST = MESSAGES["Ask"].write({"name": "a"})


async def once(request):
    if request["name"] != "a":
        raise RpcError("NotFound", "é: not there")
    return {"names": [request["name"]]}


async def often(request):
    for number in range(3):
        yield {"names": [str(number)]}


@pytest.fixture
def path(tmp_path):
    """Longer than a socket's address may be."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    return folder / "s.sock"


async def test_its_client_and_our_server(tmp_path):
    """Answers, streams, errors and methods that there are not."""
    server = Server({ASK["Once"]: once, ASK["Often"]: often})
    await server.listen(tmp_path / "s.sock")
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s.sock") as channel:
        assert MESSAGES["Answer"].read(await channel.unary_unary(ASK["Once"].path)(REQUEST)) == {"names": ["a"]}
        answers = [MESSAGES["Answer"].read(each) async for each in channel.unary_stream(ASK["Often"].path)(REQUEST)]
        assert answers == [{"names": [str(number)]} for number in range(3)]
        for name, code, text in (
            ("Once", "NOT_FOUND", "é: not there"),
            ("Other", "UNIMPLEMENTED", "unknown method Other"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await channel.unary_unary(ASK[name].path)(b"")
            assert (error.value.code().name, text in error.value.details()) == (code, True)
    await server.close()


async def test_its_server_and_our_client(tmp_path):
    """The same the other way round."""

    async def answer(request, context):
        if not request:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "nobody: é")
        return MESSAGES["Answer"].write({"names": ["b"]})

    async def answers(request, context):
        for number in range(3):
            yield MESSAGES["Answer"].write({"names": [str(number)]})

    server = grpc.aio.server()
    handlers = {
        "Once": grpc.unary_unary_rpc_method_handler(answer),
        "Often": grpc.unary_stream_rpc_method_handler(answers),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.v1.Asking", handlers),))
    server.add_insecure_port(f"unix:{tmp_path}/s.sock")
    await server.start()
    client = Client(tmp_path / "s.sock")
    assert await client.call(ASK["Once"], {"name": "a"}, timeout_seconds=60) == {"names": ["b"]}
    found = [each async for each in client.stream(ASK["Often"], {"name": "a"})]
    assert found == [{"names": [str(number)]} for number in range(3)]
    with pytest.raises(RpcError, match="code = FailedPrecondition desc = nobody: é"):
        await client.call(ASK["Once"], timeout_seconds=60)
    with pytest.raises(RpcError, match="code = Unimplemented"):
        await client.call(ASK["Other"], timeout_seconds=60)
    client.close()
    await server.stop(None)


async def test_a_long_path(path):
    """Is no hindrance."""
    server, client = Server({ASK["Once"]: once}), Client(path)
    await server.listen(path)
    assert await client.call(ASK["Once"], {"name": "a"}, timeout_seconds=60) == {"names": ["a"]}
    client.close()
    await server.close()
    assert not path.exists()
