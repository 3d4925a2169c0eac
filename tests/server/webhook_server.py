"""A webhook over HTTPS on this machine: answers by path, and remembers what it was asked."""

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from sampan.kit.clock import SystemClock
from sampan.web import certificates
from sampan.web.certificates import Subject

Tree = dict[str, Any]
Answerer = Callable[[Tree], Tree]
YEAR_SECONDS = 365 * 24 * 3600


class WebhookServer:
    """Paths: /allow, /deny, /hang, /redirect, /huge, /broken, /wrong-uid, and those that a test adds by `on`."""

    def __init__(self, directory: Path, host: str, *, expired: bool = False, names: tuple[str, ...] = ()) -> None:
        now = SystemClock().now()
        authority = certificates.new_authority("webhook-ca", now - 3 * YEAR_SECONDS)
        authority.save(directory, "hook-ca")
        issued = now - (2 * YEAR_SECONDS if expired else 0)
        subject = Subject("webhook", hosts=(host, *names))
        certificates.issue(authority, subject, issued).save(directory, "hook")
        self.bundle = base64.b64encode(authority.certificate).decode()
        self.host, self.port = host, 0
        self.asked: list[Tree] = []
        self.headers: list[dict[str, str]] = []
        self.answers: dict[str, Answerer] = {"/allow": lambda review: {}, "/deny": _deny}
        self._directory = directory
        self._released = asyncio.Event()

    def on(self, path: str, answer: Answerer) -> None:
        """`answer` makes what goes into the response beside uid and allowed."""
        self.answers[path] = answer

    def client(self, path: str = "/allow") -> Tree:
        """A clientConfig by URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return {"url": f"https://{host}:{self.port}{path}", "caBundle": self.bundle}

    async def start(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._directory / "hook.crt", self._directory / "hook.key")
        site = web.TCPSite(self._runner, self.host, 0, ssl_context=context)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self._released.set()
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read() or b"{}")
        self.headers.append({key.lower(): value for key, value in request.headers.items()})
        self.asked.append({"path": request.path, "query": dict(request.query), **body})
        match request.path:
            case "/hang":
                await self._released.wait()
                return web.Response(status=500)
            case "/redirect":
                return web.Response(status=307, headers={"Location": "/allow"})
            case "/huge":
                return await self._huge(request)
            case "/broken":
                return web.Response(text="this is no JSON", content_type="application/json")
            case "/status-500":
                return web.Response(status=500, text="it rains")
            case "/wrong-uid":
                return _reply(body, {}, uid="someone-else")
        answer = self.answers.get(request.path)
        if answer is None:
            return web.Response(status=404)
        return _reply(body, answer(body))

    async def _huge(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        try:
            for _ in range(10_000):
                await answer.write(b"x" * 1_000_000)
        except OSError:
            pass
        return answer


def patch(*operations: Tree) -> Answerer:
    """An answer that patches the object."""
    encoded = base64.b64encode(orjson.dumps(list(operations))).decode()
    return lambda review: {"patch": encoded, "patchType": "JSONPatch"}


def add(path: str, value: Any) -> Tree:
    return {"op": "add", "path": path, "value": value}


def _deny(review: Tree) -> Tree:
    return {"allowed": False, "status": {"message": "this webhook denies all requests", "reason": "Forbidden"}}


def _reply(review: Tree, response: Tree, uid: str = "") -> web.Response:
    uid = uid or review["request"]["uid"]
    head = {"kind": "AdmissionReview", "apiVersion": review["apiVersion"]}
    body = {**head, "response": {"uid": uid, "allowed": True, **response}}
    return web.Response(body=orjson.dumps(body), content_type="application/json")


@asynccontextmanager
async def running(directory: Path, host: str = "127.0.0.1", **options: Any) -> AsyncIterator[WebhookServer]:
    """A server as long as the block lasts."""
    server = WebhookServer(directory, host, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def own_address() -> str:
    """An address of this machine that is not loopback; "" when it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            return ""
        address = str(probe.getsockname()[0])
    return "" if address.startswith(("127.", "169.254.")) else address
