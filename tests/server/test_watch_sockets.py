"""Watches over WebSockets, as fabric8's client and browsers ask for them."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from sampan.web.messages import Messages
from tests.server.conftest import ADMIN, Api
from tests.server.test_gone_watchers import open_watches
from tests.server.test_security import https, over_https

MAPS = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PROTOBUF = "application/vnd.kubernetes.protobuf"


async def watch(api: Api, query: str = "", **more: Any) -> Any:
    url = f"https://127.0.0.1:{await https(api).port()}{MAPS}?watch=true{query}"
    return await https(api).session(ADMIN).ws_connect(url, **{"origin": "https://127.0.0.1", **more})


async def make(api: Api, *names: str) -> None:
    for name in names:
        await api.create(MAPS, {"metadata": {"name": name}})


@over_https
async def test_an_event_is_a_message(api: Api) -> None:
    """What there was, also much at once, and what comes; a line each, so that it reads the same either way."""
    await make(api, "one", "two")
    async with await watch(api) as sockets:
        await make(api, "three")
        texts = [await sockets.receive_str() for _ in range(3)]
    events = [json.loads(text) for text in texts]
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [
        ("ADDED", "one"),
        ("ADDED", "two"),
        ("ADDED", "three"),
    ]
    assert all(text.endswith("}\n") for text in texts)
    async with await watch(api, headers={"Accept": TABLE}) as sockets:
        assert (await sockets.receive_json())["object"]["kind"] == "Table"


@over_https
async def test_protobuf(api: Api) -> None:
    """Messages of bytes, which need no length before them."""
    await make(api, "one", "two")
    async with await watch(api, headers={"Accept": PROTOBUF}) as sockets:
        for name in (b"one", b"two"):
            message = await sockets.receive_bytes()
            assert message.startswith(b"\n\x05ADDED") and name in message


@over_https
async def test_the_end(api: Api) -> None:
    """The server ends it, or the client leaves: nothing of it stays."""
    before = len(open_watches(api))
    async with await watch(api) as sockets:
        assert len(open_watches(api)) == before + 1
        api.app._watching.close()
        assert (await sockets.receive()).type is aiohttp.WSMsgType.CLOSE
    async with await watch(api):
        assert len(open_watches(api)) == before + 1
    async with asyncio.timeout(60):
        while len(open_watches(api)) > before:
            await asyncio.sleep(0.01)


@over_https
async def test_sub_protocols(api: Api) -> None:
    """The one on offer is agreed to, never that by which a browser shows its token."""
    async with await watch(api, protocols=("base64.binary.k8s.io",)) as sockets:
        assert sockets.protocol == "base64.binary.k8s.io"


@over_https
@pytest.mark.parametrize("origin", [None, "null", "nobody", "http://["])
async def test_without_an_origin(api: Api, origin: str | None) -> None:
    """As upstream: no WebSocket, and a client that knows nothing else stays without."""
    with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
        await watch(api, origin=origin)


@over_https
async def test_a_refusal_is_an_answer(api: Api) -> None:
    """What can't be watched is told before there is a WebSocket."""
    with pytest.raises(aiohttp.WSServerHandshakeError, match="400"):
        await watch(api, "&resourceVersion=x")


@over_https
@pytest.mark.parametrize("header", [{"Sec-WebSocket-Version": "12"}, {"Sec-WebSocket-Key": "a"}])
async def test_no_handshake_no_watch(api: Api, header: dict[str, str]) -> None:
    """What is wrong with it is told by the API, before there is a watch."""
    before = len(open_watches(api))
    key = {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "MTIzNDU2Nzg5MDEyMzQ1Ng==", "Origin": "https://a"}
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", **key, **header}
    url = f"https://127.0.0.1:{await https(api).port()}{MAPS}?watch=true"
    async with https(api).session(ADMIN).get(url, headers=upgrade) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (400, "BadRequest")
    assert len(open_watches(api)) == before


async def test_patience_counts_while_nothing_is_taken() -> None:
    """Whoever serves it can cut a client off that takes nothing."""
    taken = asyncio.Event()

    class Client:
        async def send_str(self, text: str) -> None:
            await taken.wait()

        def __aiter__(self) -> "Client":
            return self

        async def __anext__(self) -> None:
            await asyncio.Event().wait()

    class Patience:
        since, has_ended = 0.0, False
        now = staticmethod(lambda: 5.0)

        def end(self) -> None:
            self.has_ended = True

    async def body() -> Any:
        yield b"{}\n"
        told.append(patience.since)

    told: list[float] = []
    patience = Patience()
    serving = asyncio.ensure_future(Messages((), are_lines=True).serve(body(), patience, Client()))
    while not patience.since:
        await asyncio.sleep(0)
    assert patience.since == 5.0
    taken.set()
    await serving
    assert (told, patience.has_ended) == ([0.0], True)
