"""An authority that is prolonged: nodes that joined before take it up by themselves, and nobody else's."""

import asyncio
import contextlib
import logging
import ssl
import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from sampan.client.http import HttpTransport
from sampan.client.kubeconfig import Access
from sampan.client.transport import TransportError
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kit import files
from sampan.kit.clock import SystemClock
from sampan.kit.dice import Dice
from sampan.kit.ids import SystemIds
from sampan.kit.tasks import Tasks
from sampan.node import authority, renewal
from sampan.node.authority import Authority
from sampan.node.certificates import Files
from sampan.node.server import NodeServer
from sampan.web.certificates import (
    YEAR_SECONDS,
    Pair,
    Subject,
    holds,
    issue,
    lifetime,
    new_authority,
    prolong,
    prolonged,
)
from sampan.web.listener import Address, Listener, server_context
from sampan.web.message import Request, Response

NOW = 1_767_225_600.0
OLD = new_authority("ca", NOW - 9 * YEAR_SECONDS)
NEW = prolong(OLD, NOW)
ALTERNATIVE_NAMES, KEY_USES = b"\x06\x03\x55\x1d\x11", b"\x06\x03\x55\x1d\x25"
LONG_SECONDS = 3 * authority.LOOK_SECONDS


def test_one_that_was_prolonged_is_trusted_instead() -> None:
    """In its longest form, whatever order they are told in; where there is nothing better, all stays as it is."""
    assert prolonged(OLD.certificate, NEW.certificate, NOW) == NEW.certificate
    assert prolonged(OLD.certificate, OLD.certificate + NEW.certificate, NOW) == NEW.certificate
    for told in (OLD.certificate, NEW.certificate + OLD.certificate):
        assert prolonged(NEW.certificate, told, NOW) == NEW.certificate
    other = new_authority("other", NOW)
    both = OLD.certificate + other.certificate
    assert prolonged(both, NEW.certificate, NOW) == NEW.certificate + other.certificate
    assert prolonged(OLD.certificate + NEW.certificate, NEW.certificate, NOW) == NEW.certificate


def test_nobody_else_is_trusted() -> None:
    """Not another authority, beside or instead; nor one of that name, one of a time to come, or what it has signed."""
    later = prolong(new_authority("ca", NOW + YEAR_SECONDS), NOW + YEAR_SECONDS)
    ahead = prolong(Pair(new_authority("ca", NOW + YEAR_SECONDS).certificate, OLD.key), NOW + 2 * YEAR_SECONDS)
    leaf = issue(NEW, Subject("ca"), NOW)
    for told in (new_authority("ca", NOW), new_authority("other", NOW), later, ahead, leaf):
        assert prolonged(OLD.certificate, told.certificate, NOW) == OLD.certificate
        assert prolonged(OLD.certificate, told.certificate + NEW.certificate, NOW) == NEW.certificate
    for told in (b"", b"rubbish"):
        with pytest.raises(ValueError):
            prolonged(OLD.certificate, told, NOW)


class Clock:
    """Nobody waits."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await asyncio.sleep(0)

    async def pulse(self, seconds: float) -> None:
        await self.sleep(seconds)


class Api:
    """Answers one after the other; the last one again and again."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self._answers, self.asked = list(answers), 0

    async def get(self, *name: Any) -> dict[str, Any]:
        assert name == (CONFIGMAP, "kube-root-ca.crt", "kube-system")
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return {"data": {"ca.crt": answer.decode()}}


class Node:
    """Its file, and what it was told to trust."""

    def __init__(self, file: Path) -> None:
        self.file, self.trusted = file, [OLD.certificate]
        file.write_bytes(OLD.certificate)

    async def use(self, trusted: bytes) -> None:
        if trusted != self.trusted[-1]:
            self.trusted.append(trusted)

    async def follow(self, api: Api, times: int) -> Clock:
        clock, dice = Clock(), Dice(7)
        run = asyncio.ensure_future(Authority(api, clock, self.file).run(dice, self.use))  # type: ignore[arg-type]
        async with asyncio.timeout(60):
            while api.asked < times and clock.time < NOW + LONG_SECONDS and not run.done():
                await asyncio.sleep(0)
        run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await run
        return clock


async def test_it_is_taken_up(tmp_path: Path) -> None:
    """In its file and in what is in use, within hours; then nothing changes any more."""
    node = Node(tmp_path / "ca.crt")
    clock = await node.follow(Api(OLD.certificate, NEW.certificate), 3)
    assert node.trusted[1:] == [NEW.certificate]
    assert node.file.read_bytes() == NEW.certificate
    assert stat.S_IMODE(node.file.stat().st_mode) == 0o644
    assert clock.time - NOW < LONG_SECONDS
    assert [file.name for file in tmp_path.iterdir()] == ["ca.crt"]


async def test_what_fails_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Soon, and told once: an API that does not answer or tells rubbish, another's authority, a disk that is full."""
    node, other = Node(tmp_path / "ca.crt"), new_authority("ca", NOW).certificate
    gone = TransportError("gone")
    with caplog.at_level(logging.INFO):
        await node.follow(Api(gone, gone, gone, b"rubbish", other, NEW.certificate), 7)
    assert node.trusted[1:] == [NEW.certificate]
    assert caplog.text.count("not known yet: gone") == 1
    assert caplog.text.count("not known yet") == 2
    assert "ca.crt holds until 2035-12-" in caplog.text


async def test_what_somebody_puts_into_the_file(tmp_path: Path) -> None:
    """Is trusted though the API does not answer, which it may do for that reason; what can't be read is not."""
    node, own = Node(tmp_path / "ca.crt"), new_authority("own", NOW).certificate
    node.file.write_bytes(own)
    await node.follow(Api(TransportError("gone")), 2)
    assert node.trusted[1:] == [own]
    node.file.write_bytes(b"rubbish")
    api = Api(NEW.certificate)
    clock = await node.follow(api, 1)
    assert node.trusted[1:] == [own] and not api.asked and clock.time >= NOW + LONG_SECONDS


async def test_a_file_that_is_being_written(tmp_path: Path) -> None:
    """Nothing of it is taken up before it can be read whole."""
    node, own = Node(tmp_path / "ca.crt"), new_authority("own", NOW).certificate
    node.file.write_bytes(OLD.certificate + own[: len(own) // 2])
    await node.follow(Api(TransportError("gone")), 1)
    assert node.trusted == [OLD.certificate]
    node.file.write_bytes(OLD.certificate + own)
    await node.follow(Api(TransportError("gone")), 1)
    assert node.trusted[1:] == [OLD.certificate + own]


async def test_a_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was prolonged is trusted meanwhile, and written when there is room; what somebody else wrote then stays."""
    node, full = Node(tmp_path / "ca.crt"), [True, True, False]
    write = files.write_whole

    def fails(*given: Any) -> None:
        if full.pop(0):
            raise OSError(28, "No space left on device")
        write(*given)

    monkeypatch.setattr(files, "write_whole", fails)
    await node.follow(Api(NEW.certificate), 4)
    assert node.trusted[1:] == [NEW.certificate] and node.file.read_bytes() == NEW.certificate and not full
    other = Node(tmp_path / "other.crt")
    errand = Authority(Api(NEW.certificate), Clock(), other.file)  # type: ignore[arg-type]
    assert not errand._save(b"what it was before", NEW.certificate) and other.file.read_bytes() == OLD.certificate


async def test_certificates_that_nobody_can_read(tmp_path: Path) -> None:
    """Anybody's, with an extension twice or a name that nobody knows: no harm is done, nor to the good one beside it."""
    for odd in odd_ones():
        node = Node(tmp_path / "ca.crt")
        await node.follow(Api(odd + NEW.certificate), 2)
        assert node.trusted[1:] == [NEW.certificate]
        assert prolonged(OLD.certificate, odd, NOW) == OLD.certificate


def odd_ones() -> list[bytes]:
    """Of the authority's name and signed by nobody that counts: an extension is there twice, or has a form not known."""
    stranger = new_authority("ca", NOW)
    made = x509.load_pem_x509_certificate(
        issue(stranger, Subject("ca", hosts=("aaaa.example",)), NOW).certificate
    ).public_bytes(serialization.Encoding.DER)
    assert made.count(ALTERNATIVE_NAMES) == 1
    as_second = made.replace(ALTERNATIVE_NAMES, KEY_USES)  # there are two of these now
    as_unknown = made.replace(b"\x82\x0caaaa.example", b"\xa3\x0caaaa.example")  # x400Address
    assert made not in (as_second, as_unknown)
    return [ssl.DER_cert_to_PEM_cert(each).encode() for each in (as_second, as_unknown)]


async def test_an_agent_goes_on_when_the_former_one_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It trusts the API again, and its port those whom the prolonged authority has signed."""
    monkeypatch.setattr(authority, "FIRST_SECONDS", 0.01)
    now = time.time()
    ended = new_authority("ca", now - 11 * YEAR_SECONDS)
    fresh = prolong(ended, now)
    assert not holds(ended.certificate, now) and lifetime(fresh.certificate)[1] > now + 9 * YEAR_SECONDS
    pair = issue(fresh, Subject("system:node:n1", hosts=("127.0.0.1",)), now)
    kept = Files(tmp_path / "n.crt", tmp_path / "n.key")
    kept.save(pair)
    (tmp_path / "api.crt").write_bytes(fresh.certificate)
    (tmp_path / "ca.crt").write_bytes(ended.certificate)

    async def answer(request: Request) -> Response:
        return Response(200, request.peer.common_name.encode() if request.peer else b"")

    async def refuse(*_: Any) -> None:
        raise TransportError("not asked for certificates here")

    context = server_context(str(kept.certificate), str(kept.key), str(tmp_path / "api.crt"))
    listener = Listener(answer, lambda request, error: Response(500), context)
    port = await listener.listen(Address("127.0.0.1", 0))
    access = Access(
        f"https://127.0.0.1:{port}", ended.certificate.decode(), pair.certificate.decode(), pair.key.decode()
    )
    transport, tasks = HttpTransport(access), Tasks("test")
    client = SimpleNamespace(transport=transport, get=Api(fresh.certificate).get, create=refuse)
    parts = SimpleNamespace(client=client, clock=SystemClock(), ids=SystemIds())
    agent: Any = SimpleNamespace(parts=parts, settings=SimpleNamespace(node="n1", is_simulated=True))
    server = NodeServer(agent)
    own_port = await server.listen(
        Address("127.0.0.1", 0), str(kept.certificate), str(kept.key), str(tmp_path / "ca.crt")
    )
    caller = HttpTransport(
        Access(f"https://127.0.0.1:{own_port}", fresh.certificate.decode(), access.certificate, access.key)
    )

    async def is_answered(way: HttpTransport) -> bool:
        with contextlib.suppress(TransportError):
            return (await way.request(Request("GET", "/"))).status > 0
        return False

    try:
        assert not await is_answered(transport)
        assert not await is_answered(caller)
        other = Files(tmp_path / "serving.crt", tmp_path / "serving.key")
        renewal.start(renewal.Pairs(kept, other, (), tmp_path / "ca.crt"), agent, server, tasks)
        async with asyncio.timeout(60):
            while not (await is_answered(transport) and await is_answered(caller)):
                await asyncio.sleep(0.02)
        assert (tmp_path / "ca.crt").read_bytes() == fresh.certificate
    finally:
        await tasks.close()
        await transport.close()
        await caller.close()
        await server.close()
        await listener.close()
