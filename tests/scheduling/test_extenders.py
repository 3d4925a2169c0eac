"""Extenders over HTTP and HTTPS: what is sent, and what is made of answers that are none."""

import asyncio
import base64
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from sampan.scheduling import extenders
from sampan.scheduling.extenders import Extenders
from sampan.scheduling.extending import Extender, ExtenderError, Question
from sampan.web import certificates


async def _filter(request: web.Request) -> web.Response:
    assert request.headers["content-type"] == "application/json"
    body = await request.json()
    return web.json_response({"Pod": body["Pod"], "Nodes": body.get("Nodes"), "NodeNames": body["NodeNames"]})


async def _broken(request: web.Request) -> web.Response:
    return web.Response(status=503, text="no")


async def _odd(request: web.Request) -> web.Response:
    return web.Response(text="<html>")


OVER = web.AppKey("over", asyncio.Event)


async def _slow(request: web.Request) -> web.Response:
    await request.app[OVER].wait()
    return web.json_response({})


@asynccontextmanager
async def served(context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    app = web.Application()
    for name, handler in (("filter", _filter), ("broken", _broken), ("odd", _odd), ("slow", _slow)):
        app.router.add_post(f"/v1/{name}", handler)
    app[OVER] = asyncio.Event()
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1]
    finally:
        app[OVER].set()
        await runner.cleanup()


async def ask(extender: Extender, verb: str = "filter", *, is_full: bool = False) -> Any:
    asked = Extenders(extenders.over_http, {"a": {"metadata": {"name": "a"}}}.get)
    body = {"Pod": {"metadata": {"name": "p"}}, "Nodes": None, "NodeNames": None if is_full else ["a"]}
    try:
        return await asked.ask(Question(extender, verb, body, ["a", "gone"], is_full))
    finally:
        await asked.close()


async def test_over_http() -> None:
    """Names, or nodes as they were last seen; a prefix may end in a slash."""
    async with served() as port:
        url = f"http://127.0.0.1:{port}/v1"
        brief = await ask(Extender(url))
        assert brief == {"Pod": {"metadata": {"name": "p"}}, "Nodes": None, "NodeNames": ["a"]}
        whole = await ask(Extender(f"{url}/"), is_full=True)
        assert whole["Nodes"] == {"metadata": {}, "items": [{"metadata": {"name": "a"}}]}


async def test_no_answer() -> None:
    """Each way of having none is told."""
    async with served() as port:
        url = f"http://127.0.0.1:{port}/v1"
        assert await told(Extender(url), "broken") == f"failed broken with extender at URL {url}/broken, code 503"
        assert "unexpected" in await told(Extender(url), "odd")
        late = f'Post "{url}/slow": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
        assert await told(Extender(url, seconds=0.05), "slow") == late
    assert (await told(Extender(url), "filter")).startswith(f'Post "{url}/filter": ')


async def told(extender: Extender, verb: str) -> str:
    error = await ask(extender, verb)
    assert isinstance(error, ExtenderError)
    return str(error)


async def test_over_https(tmp_path: Path) -> None:
    """By an authority and a server's name, with a certificate of our own; or in blind faith."""
    authority = certificates.new_authority("extenders", time.time())
    server = certificates.issue(authority, certificates.Subject("s", hosts=("extender.example",)), time.time())
    client = certificates.issue(authority, certificates.Subject("scheduler"), time.time())
    server.save(tmp_path, "server")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.crt"))
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    own = {
        name: base64.b64encode(data).decode()
        for name, data in (("certData", client.certificate), ("keyData", client.key))
    }
    trusted = {**own, "caFile": str(tmp_path / "ca.crt"), "serverName": "extender.example"}
    async with served(context) as port:
        url = f"https://127.0.0.1:{port}/v1"
        for tls in (trusted, {**own, "enableHTTPS": True}, {**own, "insecure": True}):
            assert (await ask(Extender(url, tls=tuple(tls.items()))))["NodeNames"] == ["a"]
        for tls in ({**trusted, "serverName": "other.example"}, own, {**trusted, "caFile": "/gone"}):
            assert isinstance(await ask(Extender(url, tls=tuple(tls.items()))), ExtenderError)
