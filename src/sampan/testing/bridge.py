"""Bridge: HTTPS on a loopback port in front of a simulated cluster, for clients that need a real server.

A thread with an event loop of its own answers. A request is handed to the cluster's loop, at whose present
instant it mostly finishes. Unless somebody else decides on the time, virtual time follows real time as long
as the bridge is open. Histories over a bridge are not promised to repeat: sockets have an order of their own.
"""

import asyncio
import base64
import contextlib
import ssl
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from sampan.cluster import kubeconfig
from sampan.cluster.simulated import ADMIN, SimulatedCluster
from sampan.server.app import on_error
from sampan.testing import link
from sampan.testing.exchange import Action, Exchange
from sampan.testing.linked_loop import LinkedLoop
from sampan.web import certificates
from sampan.web.certificates import Pair, Subject
from sampan.web.listener import Address, Listener, server_context
from sampan.web.message import Request, Response

HOST = "127.0.0.1"
CONTEXT = "sampan-test"
ISSUED = 946_684_800.0
"""2000-01-01: TLS asks for the real time, whatever the cluster's is, so the certificates hold for a century."""
YEARS = 100
LAG_SECONDS = 0.05


class Bridge:
    """`start()` and `close()`."""

    def __init__(self, sim: SimulatedCluster) -> None:
        self._sim = sim
        self._port = 0
        self._loop = LinkedLoop(has_real_time=True)
        self._thread = threading.Thread(target=self._run, name="sampan bridge", daemon=True)
        self._started: Future[int] = Future()
        self._stop = asyncio.Event()
        self._asked: list[Exchange] = []
        self._told: list[Action] = []
        self._open: set[Exchange] = set()
        self._is_paced = True
        self._paced_at = 0.0
        self._next_pace: asyncio.TimerHandle | None = None
        self._authority, self._server, self._admin = _keys()

    def start(self) -> None:
        """Returns when requests are answered."""
        self._thread.start()
        self._port = self._started.result()

    def close(self) -> None:
        """Ends all connections, the thread and the following of real time."""
        if self._thread.ident is None:
            self._loop.close()
            return
        with contextlib.suppress(RuntimeError):  # it is closed
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"https://{HOST}:{self._port}"

    def kubeconfig(self, directory: Path) -> Path:
        """Writes a kubeconfig of the cluster's administrator there; returns its path."""
        cluster = {"server": self.url, "certificate-authority-data": _text(self._authority.certificate)}
        user = {"client-certificate-data": _text(self._admin.certificate), "client-key-data": _text(self._admin.key)}
        path = directory / "kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": CONTEXT, "cluster": cluster}],
            "users": [{"name": CONTEXT, "user": user}],
            "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT}}],
            "current-context": CONTEXT,
        }
        kubeconfig.write(path, content)
        return path

    @contextlib.contextmanager
    def unpaced(self) -> Iterator[None]:
        """Virtual time does not follow real time."""
        with self._sim.lock:
            self._is_paced = False
        try:
            yield
        finally:
            with self._sim.lock:
                self._is_paced = True
                self._paced_at = link.real_monotonic()
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._pace)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        listener = Listener(self._handle, on_error, _tls(self._authority, self._server))
        try:
            port = await listener.listen(Address(HOST, 0))
        except OSError as error:
            self._started.set_exception(error)
            return
        self._paced_at = link.real_monotonic()
        self._loop.call_soon(self._pace)  # a plain callback: no task of this loop is under way when the other steps
        self._started.set_result(port)
        await self._stop.wait()
        self._is_paced = False
        for exchange in self._open:
            self._later(exchange.cancel)
        listener.abort()
        await listener.close()

    async def _handle(self, request: Request) -> Response:
        """Answers in the cluster's loop."""
        request.takes_pieces = False  # they would have to come from there one by one
        exchange = Exchange(self._sim, request, self._later, self._back)
        self._open.add(exchange)
        if not self._asked:
            self._loop.call_soon(self._ask)
        self._asked.append(exchange)
        try:
            return await exchange.answer(self._open.discard)
        except ConnectionError:
            raise asyncio.CancelledError from None  # the connection ends without an answer
        except BaseException:
            self._later(exchange.cancel)
            raise

    def _ask(self) -> None:
        asked, self._asked = self._asked, []
        self._step(*(exchange.begin for exchange in asked))

    def _later(self, action: Action) -> None:
        """Does something in the cluster's loop, soon."""
        self._loop.call_soon(self._step, action)

    def _back(self, action: Action) -> None:
        """Does something in this bridge's loop, with all that comes of the same instant of the cluster's."""
        if not self._told:
            self._sim.loop.when_quiet(self._tell)
        self._told.append(action)

    def _tell(self) -> None:
        told, self._told = self._told, []
        with contextlib.suppress(RuntimeError):  # it is closed
            self._loop.call_soon_threadsafe(_all, told)

    def _step(self, *actions: Action) -> None:
        with self._sim.lock:
            for action in actions:
                action()
            self._sim.loop.settle()
        self._pace()

    def _pace(self) -> None:
        """Virtual time catches up with real time, and goes on so."""
        with self._sim.lock:
            if self._next_pace is not None:
                self._next_pace.cancel()
            if not self._is_paced:
                return
            now = link.real_monotonic()
            passed, self._paced_at = now - self._paced_at, now
            self._sim.advance(passed)
            due = self._sim.loop.next_due()
        lag = LAG_SECONDS if due is None else min(max(due - self._sim.time, 0.0), LAG_SECONDS)
        self._next_pace = self._loop.call_later(lag, self._pace)


def _all(actions: list[Action]) -> None:
    for action in actions:
        action()


def _keys() -> tuple[Pair, Pair, Pair]:
    """An authority, the server and the administrator."""
    authority = certificates.new_authority(f"{CONTEXT}-ca", ISSUED, YEARS)
    server = certificates.issue(authority, Subject("kube-apiserver", hosts=(HOST, "localhost")), ISSUED, YEARS)
    admin = Subject(ADMIN.common_name, ADMIN.organizations)
    return authority, server, certificates.issue(authority, admin, ISSUED, YEARS)


def _tls(authority: Pair, server: Pair) -> ssl.SSLContext:
    """OpenSSL reads keys from files, which are gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        authority.save(directory, "ca")
        server.save(directory, "server")
        return server_context(f"{name}/server.crt", f"{name}/server.key", f"{name}/ca.crt")


def _text(data: bytes) -> Any:
    return base64.b64encode(data).decode()
