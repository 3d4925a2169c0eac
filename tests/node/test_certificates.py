"""A node's certificates: asked for, kept in files, renewed in time, and changed under a running agent."""

import asyncio
import base64
import contextlib
import itertools
import ssl
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sampan.client.http import HttpTransport
from sampan.client.kubeconfig import Access
from sampan.kinds.parts import csr
from sampan.kit.dice import Dice
from sampan.kit.ids import SystemIds
from sampan.kit.tasks import Tasks
from sampan.meta.status import bad_request
from sampan.node import certificates, renewal
from sampan.node.certificates import Files, NotIssued, Rotation
from sampan.node.server import NodeServer
from sampan.web.certificates import Order, Pair, Subject, holds, issue, lifetime, new_authority, sign
from sampan.web.listener import Address, Listener, server_context
from sampan.web.message import Request, Response

NOW = 1_767_225_600.0
DAY = 86400.0
AUTHORITY = new_authority("ca", NOW)

Object = dict[str, Any]


class Waits:
    """Nobody looks whether the clock jumps; see tests/kit/test_kit.py."""

    def __init__(self, clock: Any) -> None:
        self.wait = clock.sleep


@pytest.fixture
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "Jumps", Waits)


class Clock:
    """Nobody waits: what sleeps finds that the time has passed."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await asyncio.sleep(0)


class Signing:
    """The API as far as requests go: signs each at the third look, unless it is told otherwise."""

    def __init__(self, clock: Clock, days: float = 10.0) -> None:
        self._clock, self._days = clock, days
        self.requests: list[Object] = []
        self.conditions: list[Object] = [{"type": "Approved", "status": "True"}]
        self.refusals = 0
        self._looks = 0

    async def create(self, kind: Any, obj: Object) -> Object:
        if self.refusals:
            self.refusals -= 1
            raise bad_request("not today")
        self.requests.append(obj)
        self._looks = 0
        return {**obj, "metadata": {"name": f"csr-{len(self.requests)}"}}

    async def get(self, kind: Any, name: str) -> Object:
        self._looks += 1
        if self._looks < 3:
            return {"metadata": {"name": name}, "status": {}}
        asked = self.requests[-1]["spec"]
        order = Order(base64.b64decode(asked["request"]), tuple(asked["usages"]), int(self._days * DAY))
        signed = sign(AUTHORITY, order, self._clock.now())
        return {
            "metadata": {"name": name},
            "status": {"conditions": self.conditions, "certificate": base64.b64encode(signed).decode()},
        }


def files(folder: Path, name: str = "node") -> Files:
    return Files(folder / f"{name}.crt", folder / f"{name}.key")


async def test_a_pair_is_asked_for() -> None:
    """As the signers want it, for a new key that does not leave the machine."""
    clock = Clock()
    api: Any = Signing(clock)
    pair = await certificates.ask(api, clock, certificates.serving("n1", ("n1", "192.0.2.1")))  # type: ignore[arg-type]
    spec = api.requests[0]["spec"]
    asked = csr.parse(spec["request"])
    assert csr.refusal(asked, spec["usages"], spec["signerName"]) == ""
    assert (asked.common_name, asked.dns_names, asked.addresses) == ("system:node:n1", ("n1",), ("192.0.2.1",))
    assert b"PRIVATE KEY" in pair.key and pair.key not in base64.b64decode(spec["request"])
    again = await certificates.ask(api, clock, certificates.client("n1"))  # type: ignore[arg-type]
    spec = api.requests[1]["spec"]
    assert csr.refusal(csr.parse(spec["request"]), spec["usages"], csr.KUBELET_CLIENT) == ""
    assert again.key != pair.key


@pytest.mark.parametrize("type", ["Denied", "Failed"])
async def test_a_refused_request(type: str) -> None:
    """The reason is told; one that nobody looks at is given up in the end."""
    clock = Clock()
    api: Any = Signing(clock)
    api.conditions = [{"type": type, "message": "no room"}]
    with pytest.raises(NotIssued, match=f"csr-1 was {type.lower()}: no room"):
        await certificates.ask(api, clock, certificates.client("n1"))  # type: ignore[arg-type]
    api.conditions = []
    with pytest.raises(NotIssued, match="kubectl describe csr csr-2"):
        await certificates.ask(api, clock, certificates.client("n1"), 60.0)  # type: ignore[arg-type]


@pytest.mark.usefixtures("undisturbed")
async def test_renewal_in_time(tmp_path: Path) -> None:
    """Between 70 and 90 % of each life, again and again; a refusal is tried again; the files change as one."""
    clock = Clock()
    api: Any = Signing(clock)
    kept = files(tmp_path)
    kept.save(issue(AUTHORITY, Subject("system:node:n1", ("system:nodes",)), NOW))
    api.refusals = 2
    seen: list[tuple[float, Pair]] = []

    async def use(pair: Pair) -> None:
        seen.append((clock.now(), pair))
        assert kept.load() == pair
        if len(seen) == 3:
            raise asyncio.CancelledError

    start, end = lifetime(kept.load().certificate)
    with contextlib.suppress(asyncio.CancelledError):
        await Rotation(api, clock, certificates.client("n1"), kept).run(Dice(7), use)  # type: ignore[arg-type]
    for when, pair in seen:
        share = (when - start) / (end - start)
        assert 0.7 <= share <= 0.91
        start, end = lifetime(pair.certificate)
    assert len({pair.key for _, pair in seen}) == 3
    assert stat.S_IMODE(kept.key.stat().st_mode) == 0o600


@pytest.mark.usefixtures("undisturbed")
async def test_renewal_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be read, written or used at first is tried again, with the same pair; nothing ends."""
    clock = Clock()
    api: Any = Signing(clock)
    kept = files(tmp_path)
    failures: list[Exception] = [OSError(28, "No space left"), PermissionError(13, "denied"), ssl.SSLError("no")]
    save, load, used = Files.save, Files.load, []

    def failing_load(self: Files) -> Pair:
        if len(failures) == 3:
            failures.pop(0)
            kept.key.parent.mkdir(exist_ok=True)
            save(kept, issue(AUTHORITY, Subject("system:node:n1", ("system:nodes",)), NOW))
            raise PermissionError(13, "denied")
        return load(self)

    def failing_save(self: Files, pair: Pair) -> None:
        if len(failures) == 2:
            raise failures.pop(0)
        save(self, pair)

    async def use(pair: Pair) -> None:
        used.append(pair)
        if failures:
            raise failures.pop(0)
        raise asyncio.CancelledError

    monkeypatch.setattr(Files, "load", failing_load)
    monkeypatch.setattr(Files, "save", failing_save)
    with contextlib.suppress(asyncio.CancelledError):
        await Rotation(api, clock, certificates.client("n1"), kept).run(Dice(7), use)  # type: ignore[arg-type]
    assert len(api.requests) == 1
    assert used == [load(kept), load(kept)]


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize("is_ahead", [False, True])
async def test_the_machine_has_slept(tmp_path: Path, is_ahead: bool) -> None:
    """A node that nobody answers any more takes up what its control plane puts into its files, once that holds.

    So does one whose certificate was made while the clock was ahead.
    """
    clock = Clock()
    api: Any = Signing(clock)
    api.refusals = 10**6
    kept, subject = files(tmp_path), Subject("system:node:n1", ("system:nodes",))
    kept.save(issue(AUTHORITY, subject, NOW))
    clock.time = NOW - 400 * DAY if is_ahead else NOW + 400 * DAY
    others = (
        issue(AUTHORITY, subject, clock.time + days * DAY) for days in ((-390, -380, 0) if not is_ahead else (100, 0))
    )
    used: list[Pair] = []

    async def use(pair: Pair) -> None:
        used.append(pair)
        raise asyncio.CancelledError

    sleep = clock.sleep

    async def put(seconds: float) -> None:
        assert not used and seconds <= certificates.AGAIN_SECONDS
        pair = next(others)
        kept.certificate.write_bytes(pair.certificate)
        await sleep(seconds)
        kept.key.write_bytes(pair.key)
        await sleep(seconds)

    clock.sleep = put  # type: ignore[method-assign]
    with contextlib.suppress(asyncio.CancelledError):
        await Rotation(api, clock, certificates.client("n1"), kept).run(Dice(7), use)  # type: ignore[arg-type]
    (pair,) = used
    assert pair == kept.load() and holds(pair.certificate, clock.now())


@pytest.mark.usefixtures("undisturbed")
async def test_a_clock_that_is_behind(tmp_path: Path) -> None:
    """A certificate that begins later, by the API's clock, is not asked for again and again."""
    clock = Clock()
    api: Any = Signing(clock, days=365.0)
    kept = files(tmp_path)
    kept.save(issue(AUTHORITY, Subject("system:node:n1", ("system:nodes",)), NOW + DAY / 2))
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        raise asyncio.CancelledError

    clock.sleep = sleep  # type: ignore[method-assign]
    with contextlib.suppress(asyncio.CancelledError):
        await Rotation(api, clock, certificates.client("n1"), kept).run(Dice(7), sleep)  # type: ignore[arg-type]
    assert waits[0] > 200 * DAY and not api.requests


class Sleepy(Clock):
    """A machine that sleeps at its second look at the clock's ways."""

    def __init__(self) -> None:
        super().__init__()
        self.awake_seconds, self.pulses = 0.0, 0

    def monotonic(self) -> float:
        return self.awake_seconds

    async def sleep(self, seconds: float) -> None:
        self.awake_seconds += seconds
        await super().sleep(seconds)

    async def pulse(self, seconds: float) -> None:
        self.pulses += 1
        await self.sleep(seconds)
        if self.pulses == 2:
            self.time += 340 * DAY


async def test_the_machine_has_slept_over_the_time(tmp_path: Path) -> None:
    """The next one is asked for within seconds of waking up, and not after the rest of a wait of months."""
    clock = Sleepy()
    api: Any = Signing(clock)
    kept = files(tmp_path)
    kept.save(issue(AUTHORITY, Subject("system:node:n1", ("system:nodes",)), NOW))

    async def use(pair: Pair) -> None:
        assert clock.pulses == 2
        raise asyncio.CancelledError

    with contextlib.suppress(asyncio.CancelledError):
        await Rotation(api, clock, certificates.client("n1"), kept).run(Dice(7), use)  # type: ignore[arg-type]
    assert len(api.requests) == 1


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize("ahead_days", [2, -20])
async def test_the_clock_of_the_api_is_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ahead_days: float
) -> None:
    """A fresh certificate that does not hold here is not asked for again and again, and is told once."""
    clock, theirs = Clock(), Clock()
    theirs.now = lambda: clock.time + ahead_days * DAY  # type: ignore[method-assign]
    api: Any = Signing(theirs)
    kept = files(tmp_path)
    kept.save(issue(AUTHORITY, Subject("system:node:n1", ("system:nodes",)), NOW - 400 * DAY))
    used: list[float] = []

    async def use(pair: Pair) -> None:
        used.append(clock.time)
        if len(used) == 20:
            raise asyncio.CancelledError

    sleep = clock.sleep

    async def until(seconds: float) -> None:
        if clock.time > NOW + DAY / 8:
            raise asyncio.CancelledError
        await sleep(seconds)

    clock.sleep = until  # type: ignore[method-assign]
    with contextlib.suppress(asyncio.CancelledError):
        await Rotation(api, clock, certificates.client("n1"), kept).run(Dice(7), use)  # type: ignore[arg-type]
    waits = [after - before for before, after in itertools.pairwise(used)]
    assert len(used) < 15 and min(waits) >= certificates.AGAIN_SECONDS
    assert waits[-1] >= certificates.SELDOM_SECONDS
    assert caplog.text.count("set this machine's clock, or the API server's") == 1


def test_a_change_that_was_broken_off(tmp_path: Path) -> None:
    """Certificate and key are of one pair, wherever it broke off."""
    old, new = (issue(AUTHORITY, Subject("system:node:n1"), NOW) for _ in range(2))
    fresh = tmp_path / "node.crt.fresh"
    kept = files(tmp_path)
    kept.save(old)
    fresh.write_bytes(new.certificate)  # before the key was there
    kept.settle()
    assert kept.load() == old and not fresh.exists()
    fresh.write_bytes(new.certificate)
    kept.key.write_bytes(new.key)  # after it
    kept.settle()
    assert kept.load() == new and not fresh.exists()
    kept.settle()
    assert kept.load() == new


async def test_a_client_changes_its_certificate(tmp_path: Path) -> None:
    """Requests from then on bear the new one; an answer that is under way comes all the same."""
    served, names = files(tmp_path, "server"), ("system:node:old", "system:node:new")
    served.save(issue(AUTHORITY, Subject("server", hosts=("127.0.0.1",)), NOW, years=10))
    (tmp_path / "ca.crt").write_bytes(AUTHORITY.certificate)
    old, new = (issue(AUTHORITY, Subject(name), NOW, years=10) for name in names)
    go_on, has_begun = asyncio.Event(), asyncio.Event()

    async def handle(request: Request) -> Response:
        if request.path == "/slow":
            has_begun.set()
            await go_on.wait()
        return Response(200, request.peer.common_name.encode())

    def failed(request: Request, error: BaseException) -> Response:
        return Response(500)

    context = server_context(str(served.certificate), str(served.key), str(tmp_path / "ca.crt"))
    listener = Listener(handle, failed, context)
    port = await listener.listen(Address("127.0.0.1", 0))
    ca = AUTHORITY.certificate.decode()
    accesses = [
        Access(f"https://127.0.0.1:{port}", ca, pair.certificate.decode(), pair.key.decode()) for pair in (old, new)
    ]
    transport = HttpTransport(accesses[0])
    try:
        assert (await transport.request(Request("GET", "/"))).body == b"system:node:old"
        slow = asyncio.ensure_future(transport.request(Request("GET", "/slow")))
        await has_begun.wait()
        transport.change(accesses[1])
        assert (await transport.request(Request("GET", "/"))).body == b"system:node:new"
        go_on.set()
        assert (await slow).body == b"system:node:old"
        await transport.drop_former()
        assert (await transport.request(Request("GET", "/"))).body == b"system:node:new"
    finally:
        await transport.close()
        await listener.close()


async def test_a_change_holds_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under way has a minute to end; in it the clock may be set again, and yet another certificate be due."""
    used, dropped, asleep = asyncio.Event(), asyncio.Event(), asyncio.Event()
    pair = issue(AUTHORITY, Subject("system:node:n1"), NOW)

    class Once:
        def __init__(self, *_: Any) -> None: ...

        async def run(self, _: Dice, use: Any) -> None:
            await use(pair)
            used.set()

    async def sleep(seconds: float) -> None:
        assert seconds == renewal.REQUEST_SECONDS
        await asleep.wait()

    async def drop() -> None:
        dropped.set()

    transport, tasks = HttpTransport(Access("https://127.0.0.1:1", "", "", "")), Tasks("test")
    monkeypatch.setattr(renewal, "Rotation", Once)
    monkeypatch.setattr("sampan.node.authority.Authority.run", lambda *_: asyncio.sleep(0))
    monkeypatch.setattr(transport, "drop_former", drop)
    parts = SimpleNamespace(
        client=SimpleNamespace(transport=transport), clock=SimpleNamespace(sleep=sleep), ids=SystemIds()
    )
    agent: Any = SimpleNamespace(parts=parts, settings=SimpleNamespace(node="n1", is_simulated=True))
    server: Any = None
    renewal.start(
        renewal.Pairs(files(tmp_path), files(tmp_path, "server"), (), tmp_path / "ca.crt"), agent, server, tasks
    )
    try:
        async with asyncio.timeout(60):
            await used.wait()
            assert transport.access.certificate == pair.certificate.decode()
            assert not dropped.is_set()
            asleep.set()
            await dropped.wait()
    finally:
        await tasks.close()
        await transport.close()


async def test_a_port_changes_its_certificate(tmp_path: Path, node: Any) -> None:
    """Who connects from then on sees the new one; a connection from before goes on."""
    kept = files(tmp_path)
    old, new = (issue(AUTHORITY, Subject("system:node:n1", hosts=("127.0.0.1",)), NOW, years=10) for _ in range(2))
    kept.save(old)
    (tmp_path / "ca.crt").write_bytes(AUTHORITY.certificate)
    server = NodeServer(node.agent)
    port = await server.listen(Address("127.0.0.1", 0), str(kept.certificate), str(kept.key), str(tmp_path / "ca.crt"))
    context = ssl.create_default_context(cadata=AUTHORITY.certificate.decode())

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return reader, writer, ssl.DER_cert_to_PEM_cert(shown).encode()

    async def asks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n")
        return await reader.readline()

    reader, writer, shown = await connect()
    assert shown == old.certificate
    assert b"401" in await asks(reader, writer)
    kept.save(new)
    server.change(str(kept.certificate), str(kept.key))
    _, other, shown = await connect()
    assert shown == new.certificate
    await reader.readuntil(b"Unauthorized")
    assert b"401" in await asks(reader, writer)
    for one in (writer, other):
        one.close()
    await server.close()
