"""The bare server: aiohttp over TLS that answers bytes which it was given, and does nothing else.

PUT gives it an answer for a path; GET answers it. POST and PATCH read the body as JSON and answer what was given for
`ANSWER`, with the object's own name in the place of NAME, and hand that to whoever watches the collection. That is
what Python and TLS allow; the ratio tells what storing, checking, defaulting and owning fields cost on top of it.

    python -m benchmarks.table.bare KEYS
"""

import asyncio
import ssl
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import uvloop
from aiohttp import web

ANSWER = "/answer"
NAME = b"bench-name-goes-here"
JSON = "application/json"


class Bare:
    """Its handler."""

    def __init__(self) -> None:
        self._answers: dict[str, bytes] = {}
        self._watchers: dict[str, set[asyncio.Queue[bytes]]] = defaultdict(set)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            if "watch" in request.query:
                return await self._watch(request)
            return web.Response(body=self._answers[request.path], content_type=JSON)
        body = b"".join([chunk async for chunk in request.content.iter_any()])
        if request.method == "PUT":
            self._answers[request.path] = body
            return web.Response(status=201)
        name = orjson.loads(body).get("metadata", {}).get("name", "")
        answer = self._answers[ANSWER].replace(NAME, name.encode())
        line = b'{"type":"ADDED","object":%b}\n' % answer
        for watcher in self._watchers[request.path]:
            watcher.put_nowait(line)
        return web.Response(body=answer, status=201, content_type=JSON)

    async def _watch(self, request: web.BaseRequest) -> web.StreamResponse:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        watchers = self._watchers[request.path]
        watchers.add(queue)
        stream = web.StreamResponse()
        await stream.prepare(request)
        try:
            while True:
                lines = [await queue.get()]
                while not queue.empty():
                    lines.append(queue.get_nowait())
                await stream.write(b"".join(lines))
        except ConnectionError:  # the watcher has seen enough
            return stream
        finally:
            watchers.discard(queue)


@contextmanager
def bare(keys: Path) -> Iterator[tuple[str, int]]:
    """The server in its own process, with the API server's certificate; yields its address and process id."""
    command = (sys.executable, "-m", "benchmarks.table.bare", str(keys))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield f"https://127.0.0.1:{int(process.stdout.readline())}", process.pid
        finally:
            process.terminate()


async def serve(keys: Path) -> None:
    """Serves until killed; prints its port."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(keys / "apiserver.crt", keys / "apiserver.key")
    server = web.Server(Bare().handle, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=tls, backlog=1024)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
