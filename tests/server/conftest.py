"""The API over each transport and each store: every test that takes `api` runs on each once, or in every combination."""

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from sampan.kinds import builtin
from sampan.kinds.feature_gates import Gates
from sampan.kit.clock import SystemClock
from sampan.kit.ids import SeededIds
from sampan.kit.tasks import Tasks
from sampan.server import bootstrap, request_info
from sampan.server.app import App, Parts, on_error
from sampan.server.outbound_http import HttpOutbound
from sampan.store.memory import MemoryStore
from sampan.store.protocol import Store
from sampan.store.sqlite import SqliteStore
from sampan.web import certificates
from sampan.web.certificates import Subject
from sampan.web.handshakes import Handshakes
from sampan.web.listener import Address, Listener, client_context, server_context
from sampan.web.message import Peer, Request
from tests import thorough
from tests.server import backend

ADMIN = Peer("kubernetes-admin", ("system:masters",))
NOW = 1_767_225_600.0
Tree = dict[str, Any]


class Clock(SystemClock):
    """A wall clock that tests set; waiting is real."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> float:
        return self.time


@dataclass
class Answer:
    """What came back: `tree` is the decoded JSON body."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def tree(self) -> Tree:
        tree: Tree = orjson.loads(self.body)
        return tree


class InProcess:
    """Requests handed to the server's `handle`."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def send(self, request: Request, peer: Peer) -> Answer:
        request.peer = peer
        response = await self.app.handle(request)
        body = response.body
        if not isinstance(body, bytes | dict):
            body = b"".join([chunk async for chunk in body])
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        headers = {k.lower(): v for k, v in response.headers.items()} | {"content-type": response.content_type}
        return Answer(response.status, data, headers)

    async def close(self) -> None: ...


class Https:
    """Requests over TLS with a client certificate for each identity."""

    def __init__(self, app: App, directory: Path) -> None:
        self._app, self._directory = app, directory
        self._authority = certificates.new_authority("test-ca", SystemClock().now())
        self._authority.save(directory, "ca")
        self._listener: Listener | None = None
        self._sessions: dict[Peer, aiohttp.ClientSession] = {}
        self._port = 0

    async def send(self, request: Request, peer: Peer) -> Answer:
        port = await self.port()
        body = request.body if isinstance(request.body, bytes) else orjson.dumps(request.body)
        url = f"https://127.0.0.1:{port}{request.path}"
        async with self.session(peer).request(
            request.method, url, params=list(request.query), data=body or None, headers=dict(request.headers)
        ) as answer:
            return Answer(answer.status, await answer.read(), {k.lower(): v for k, v in answer.headers.items()})

    async def connect(self, peer: Peer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection for bytes that no HTTP client would send."""
        return await asyncio.open_connection("127.0.0.1", await self.port(), ssl=self._tls(peer))

    async def port(self) -> int:
        """Where the server listens."""
        if self._listener is None:
            await self._listen()
        return self._port

    @property
    def handshakes(self) -> Handshakes:
        """Of the listener, once it listens."""
        assert self._listener is not None
        return self._listener.handshakes

    def session(self, peer: Peer) -> aiohttp.ClientSession:
        """An HTTP client that shows this identity's certificate."""
        if peer not in self._sessions:
            connector = aiohttp.TCPConnector(ssl=self._tls(peer))
            self._sessions[peer] = aiohttp.ClientSession(connector=connector)
        return self._sessions[peer]

    def _tls(self, peer: Peer) -> ssl.SSLContext:
        if not peer.common_name:
            return client_context(str(self._directory / "ca.crt"))
        name = f"client-{len(self._sessions)}"
        subject = Subject(peer.common_name, peer.organizations)
        certificates.issue(self._authority, subject, SystemClock().now()).save(self._directory, name)
        paths = (self._directory / f"{name}.crt", self._directory / f"{name}.key")
        return client_context(str(self._directory / "ca.crt"), *map(str, paths))

    async def _listen(self) -> None:
        subject = Subject("server", hosts=("127.0.0.1",))
        certificates.issue(self._authority, subject, SystemClock().now()).save(self._directory, "server")
        names = ("server.crt", "server.key", "ca.crt")
        context = server_context(*(str(self._directory / name) for name in names))
        self._listener = Listener(self._app.handle, on_error, context, request_info.is_proxied)
        self._port = await self._listener.listen(Address("127.0.0.1", 0))

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        if self._listener is not None:
            await self._listener.close(0.1)


class Api:
    """Short words for requests. A body that is not bytes is sent as JSON."""

    def __init__(self, door: InProcess | Https, app: App, clock: Clock) -> None:
        self.door, self.app, self.clock = door, app, clock
        self.token_key = SIGNING_KEY.decode()

    async def send(self, method: str, path: str, body: Any = b"", peer: Peer = ADMIN, **headers: str) -> Answer:
        path, _, query = path.partition("?")
        pairs = tuple(tuple(part.partition("=")[::2]) for part in query.split("&") if part)
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given.setdefault("content-type", "application/json")
        given.setdefault("user-agent", "pytest/1")
        return await self.door.send(Request(method, path, pairs, given, data), peer)

    async def get(self, path: str, **headers: str) -> Tree:
        answer = await self.send("GET", path, **headers)
        assert answer.status == 200, answer.body
        return answer.tree

    async def create(self, path: str, body: Tree) -> Tree:
        answer = await self.send("POST", path, body)
        assert answer.status == 201, answer.body
        return answer.tree

    async def put(self, path: str, body: Tree) -> Tree:
        answer = await self.send("PUT", path, body)
        assert answer.status == 200, answer.body
        return answer.tree

    async def patch(self, path: str, body: Any, kind: str = "merge") -> Answer:
        content_type = {
            "merge": "application/merge-patch+json",
            "json": "application/json-patch+json",
            "strategic": "application/strategic-merge-patch+json",
            "apply": "application/apply-patch+yaml",
        }[kind]
        return await self.send("PATCH", path, body, content_type=content_type)

    async def delete(self, path: str, body: Any = b"") -> Answer:
        return await self.send("DELETE", path, body)


SIGNING_KEY = certificates.new_signing_key()
TRANSPORTS, STORES = ("in-process", "https"), ("memory", "sqlite")
COMBINATIONS = [f"{t}-{s}" for t, s in itertools.product(TRANSPORTS, STORES)]
USUAL = [f"{t}-{s}" for t, s in zip(TRANSPORTS, STORES, strict=True)]  # neither knows of the other


@pytest.fixture
def gates() -> Gates:
    """The feature gates that are open: none, where a test does not parametrize it."""
    return frozenset()


@pytest.fixture(params=COMBINATIONS if thorough.IS else USUAL)
async def api(request: pytest.FixtureRequest, tmp_path: Path, gates: Gates) -> AsyncIterator[Api]:
    """A server with its first objects and the default service account."""
    transport, _, stored = request.param.rpartition("-")
    store: Store = MemoryStore() if stored == "memory" else SqliteStore.open(tmp_path / "state.db")
    tasks, clock = Tasks("test"), Clock()
    outbound = HttpOutbound()
    app = App(
        Parts(
            store=store, kinds=builtin.kinds(gates), clock=clock, ids=SeededIds(1), tasks=tasks,
            token_key=SIGNING_KEY, service_cidr="10.96.0.0/16", version="test", outbound=outbound, gates=gates,
            aggregation=backend.identity(tmp_path),
        )
    )  # fmt: skip
    await app.start()
    await bootstrap.ensure(app, bootstrap.Endpoints("10.96.0.1", "10.244.0.1", 6443))
    door = InProcess(app) if transport == "in-process" else Https(app, tmp_path)
    made = Api(door, app, clock)
    account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}
    await made.create("/api/v1/namespaces/default/serviceaccounts", account)
    yield made
    await app.close()
    await door.close()
    await outbound.close()
    await tasks.close()
    await store.close()


def pod(name: str, **spec: Any) -> Tree:
    """A pod of one container."""
    container = {"name": "c", "image": "busybox:1.36"}
    spec = {"containers": [container], "automountServiceAccountToken": False, **spec}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}


def config_map(name: str, **data: str) -> Tree:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": data}


def deployment(name: str, replicas: int = 1) -> Tree:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": name}, "spec": spec}
