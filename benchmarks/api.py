"""The API server beside a bare aiohttp TLS server: same machine, same run, same client.

    python benchmarks/api.py [OBJECTS]

The bare server has one stored pod, as ours gave it out: it answers with the pod's bytes, lists them OBJECTS times over (2,000
unless told), decodes what is created and hands it to its watchers. That is what Python and TLS allow;
the ratio tells what storing, checking, defaulting and field ownership cost on top of it. The
cluster has no nodes, and its pods name a scheduler that does not exist, so that nothing else is at work.
"""

import asyncio
import contextlib
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson
import uvloop
from aiohttp import web

WORKERS = 16
GETS = 4000
LISTS = 10
WATCHERS = 50
WATCHED_CREATES = 100
PODS = "/api/v1/namespaces/default/pods"
SAMPAN = (sys.executable, "-m", "sampan")


def pod(name: str) -> bytes:
    """A small pod as a client sends it."""
    resources = {"requests": {"cpu": "100m", "memory": "64Mi"}}
    container = {"name": "main", "image": "nginx:1.27", "ports": [{"containerPort": 80}], "resources": resources}
    metadata = {"name": name, "labels": {"app": "bench"}}
    spec = {"containers": [container], "schedulerName": "none"}
    return orjson.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


@dataclass
class Figures:
    """What was measured of one server, in the units of `ROWS`."""

    create: float = 0
    get: float = 0
    list: float = 0
    watch: float = 0


ROWS = (
    ("create", "creates a second"),
    ("get", "gets a second"),
    ("list", "lists a second"),
    ("watch", "watch events a second"),
)


class Driver:
    """One client session to one server."""

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        self._session = session
        self._pods = server + PODS

    async def run(self, objects: int) -> Figures:
        """Every figure, the creates first: they are what is listed."""
        names = [f"p-{n}" for n in range(objects)]
        return Figures(
            create=await self._rate(self._create, names),
            get=await self._rate(self._get, ["p-1"] * GETS),
            list=await self._rate(self._list, [""] * LISTS, workers=1),
            watch=await self._fan_out(),
        )

    async def _rate(self, act: Callable[[str], Awaitable[None]], names: list[str], workers: int = WORKERS) -> float:
        waiting = iter(names)

        async def work() -> None:
            for name in waiting:
                await act(name)

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(workers)))
        return len(names) / (time.perf_counter() - began)

    async def _create(self, name: str) -> None:
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self._pods, data=pod(name), headers=headers) as answer:
            body = await answer.read()
            assert answer.status == 201, body

    async def _get(self, name: str) -> None:
        async with self._session.get(f"{self._pods}/{name}") as answer:
            assert answer.status == 200, await answer.read()
            await answer.read()

    async def _list(self, _: str) -> None:
        async with self._session.get(self._pods) as answer:
            assert answer.status == 200, await answer.read()
            await answer.read()

    async def _fan_out(self) -> float:
        """Events a second over all watchers, from the first create until each has seen all."""
        async with self._session.get(f"{self._pods}?limit=1") as answer:
            version = orjson.loads(await answer.read())["metadata"].get("resourceVersion", "")
        async with contextlib.AsyncExitStack() as stack:
            url = f"{self._pods}?watch=true&resourceVersion={version}"
            streams = [await stack.enter_async_context(self._session.get(url)) for _ in range(WATCHERS)]
            began = time.perf_counter()
            seen = asyncio.gather(*(_count_lines(stream, WATCHED_CREATES) for stream in streams))
            await self._rate(self._create, [f"w-{n}" for n in range(WATCHED_CREATES)])
            await seen
            return WATCHERS * WATCHED_CREATES / (time.perf_counter() - began)


async def _count_lines(stream: aiohttp.ClientResponse, wanted: int) -> None:
    count = 0
    async for chunk in stream.content.iter_any():
        count += chunk.count(b"\n")
        if count >= wanted:
            return


class Bare:
    """The bare server."""

    def __init__(self, objects: int, stored: bytes) -> None:
        self._pod = stored
        self._list = b'{"kind":"PodList","metadata":{},"items":[' + b",".join([self._pod] * objects) + b"]}"
        self._watchers: set[asyncio.Queue[bytes]] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            line = orjson.dumps({"type": "ADDED", "object": orjson.loads(await request.read())}) + b"\n"
            for watcher in self._watchers:
                watcher.put_nowait(line)
            return web.Response(body=self._pod, status=201, content_type="application/json")
        if "watch" in request.query:
            return await self._watch(request)
        body = self._list if request.path == PODS else self._pod
        return web.Response(body=body, content_type="application/json")

    async def _watch(self, request: web.BaseRequest) -> web.StreamResponse:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._watchers.add(queue)
        stream = web.StreamResponse()
        await stream.prepare(request)
        try:
            while True:
                await stream.write(await queue.get())
        finally:
            self._watchers.discard(queue)


async def serve_bare(objects: int, stored: bytes, keys: Path) -> None:
    """Serves until killed; prints its port."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(keys / "apiserver.crt", keys / "apiserver.key")
    server = web.Server(Bare(objects, stored).handle, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=tls)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, Path]]:
    """A control plane of its own, in its own process; yields its address and its keys."""
    environment = {**os.environ, "XDG_DATA_HOME": str(folder)}
    where = ("--name", "bench", "--data-dir", str(folder / "data"))
    up = (*SAMPAN, "up", *where, "--runtime", "simulated", "--no-node", "--kubeconfig", str(folder / "kubeconfig"))
    subprocess.run(up, env=environment, stdout=subprocess.DEVNULL, check=True)
    try:
        port = orjson.loads((folder / "data" / "cluster.json").read_bytes())["api_port"]
        yield f"https://127.0.0.1:{port}", folder / "data" / "pki"
    finally:
        subprocess.run((*SAMPAN, "down", *where, "--purge"), env=environment, stdout=subprocess.DEVNULL, check=True)


@contextlib.contextmanager
def bare(objects: int, stored: bytes, keys: Path) -> Iterator[str]:
    """The bare server in its own process; yields its address."""
    command = (sys.executable, __file__, "--bare", str(objects), str(keys))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(stored)
            process.stdin.close()
            yield f"https://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


@contextlib.asynccontextmanager
async def session(keys: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """The client, the same for both: the administrator's certificate."""
    tls = ssl.create_default_context(cafile=str(keys / "ca.crt"))
    tls.load_cert_chain(keys / "admin.crt", keys / "admin.key")
    connector = aiohttp.TCPConnector(ssl=tls, limit=WORKERS + WATCHERS)
    async with aiohttp.ClientSession(connector=connector, headers={"Accept-Encoding": "identity"}) as opened:
        yield opened


async def fetch(url: str, keys: Path) -> bytes:
    """One answer's body."""
    async with session(keys) as opened, opened.get(url) as answer:
        return await answer.read()


async def measure(server: str, keys: Path, objects: int) -> Figures:
    """Drives one server."""
    async with session(keys) as opened:
        return await Driver(opened, server).run(objects)


def main() -> None:
    """Prints the figures of both and the ratio of each."""
    if sys.argv[1:2] == ["--bare"]:
        uvloop.run(serve_bare(int(sys.argv[2]), sys.stdin.buffer.read(), Path(sys.argv[3])))
        return
    objects = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory(prefix="sampan-bench-") as folder, cluster(Path(folder)) as (server, keys):
        ours = uvloop.run(measure(server, keys, objects))
        stored = uvloop.run(fetch(f"{server}{PODS}/p-1", keys))
        with bare(objects, stored, keys) as other:
            floor = uvloop.run(measure(other, keys, objects))
    print(f"{'':<24} {'sampan':>10} {'bare':>10} {'ratio':>7}    ({objects} pods, {WATCHERS} watchers)")
    for name, text in ROWS:
        mine, theirs = getattr(ours, name), getattr(floor, name)
        print(f"{text:<24} {mine:>10.1f} {theirs:>10.1f} {mine / theirs:>7.2f}")


if __name__ == "__main__":
    main()
