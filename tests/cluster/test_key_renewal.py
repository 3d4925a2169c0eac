"""The control plane's certificates are renewed in use and in kubeconfigs, also after a disk was full."""

import asyncio
import base64
import contextlib
import copy
import dataclasses
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sampan.cluster import key_files, key_renewal, kubeconfig, outward, pki
from sampan.cluster.settings import Settings
from sampan.kit.clock import NOTICE_SECONDS, SystemClock
from sampan.server.outbound import Target
from sampan.server.outbound_http import HttpOutbound
from sampan.web.certificates import lifetime
from sampan.web.listener import Address, Listener, server_context
from sampan.web.message import Request, Response

NOW = 1_800_000_000.0
DAY = 24 * 3600


class Clock:
    """The last look is the end."""

    def __init__(self) -> None:
        self.time = NOW + 335 * DAY - 900
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        if len(self.slept) == 4:
            raise asyncio.CancelledError
        self.slept.append(seconds)
        self.time += seconds


class Waits:
    """Nobody looks whether the clock jumps; see tests/kit/test_kit.py."""

    def __init__(self, clock: Any) -> None:
        self.wait = clock.sleep


@pytest.fixture
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_renewal, "Jumps", Waits)


class Tls:
    """Notes what it is told to use; refuses at first."""

    def __init__(self) -> None:
        self.used: list[bytes] = []

    def load_cert_chain(self, certificate: str, key: str) -> None:
        assert key.removesuffix("key") == certificate.removesuffix("crt")
        self.used.append(Path(certificate).read_bytes())


@pytest.mark.usefixtures("undisturbed")
async def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried again soon; what was made before it was full is in use then too, and nothing is made twice."""
    cluster, clock, tls = Settings("tide", tmp_path), Clock(), Tls()
    keys = pki.ensure(cluster, NOW)
    renew = pki.renew

    def failing(settings: Settings, now: float) -> list[str]:
        done = renew(settings, now)
        if len(clock.slept) == 1:
            raise OSError(28, "No space left on device")
        return done

    monkeypatch.setattr(pki, "renew", failing)
    with pytest.raises(asyncio.CancelledError):
        await key_renewal.run(cluster, clock, {key_files.SERVER: (tls,)})  # type: ignore[arg-type]
    look, again = key_renewal.LOOK_SECONDS, key_renewal.AGAIN_SECONDS
    assert clock.slept == [look, again, look, look]
    assert tls.used == [(keys / "apiserver.crt").read_bytes()]


class Refusing(Tls):
    """As long as it is told to."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def load_cert_chain(self, certificate: str, key: str) -> None:
        if len(self._clock.slept) < 3:
            raise OSError(24, "Too many open files")
        super().load_cert_chain(certificate, key)


@pytest.mark.usefixtures("undisturbed")
async def test_a_place_that_fails_hinders_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All others have the new certificate at once and only once; what fails is told once, tried again, and then has it."""
    clock = Clock()
    cluster = Settings("tide", tmp_path / "tide", kubeconfig=str(tmp_path / "config"))
    keys, mine = pki.ensure(cluster, NOW), Path(cluster.kubeconfig)
    kubeconfig.merge(mine, kubeconfig.build(cluster), switch=True)
    good, broken = mine.read_text(), "a: ["
    mine.write_text(broken)
    server, front, agents = Tls(), Tls(), Refusing(clock)
    users = {key_files.SERVER: (server,), key_files.KUBELET_CLIENT: (agents,), key_files.FRONT_PROXY: (front,)}

    async def sleep(seconds: float, sleep: Callable[..., Any] = clock.sleep) -> None:
        await sleep(seconds)
        mine.write_text(broken if len(clock.slept) < 4 else good)

    clock.sleep = sleep  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await key_renewal.run(cluster, clock, users)  # type: ignore[arg-type]
    look, again = key_renewal.LOOK_SECONDS, key_renewal.AGAIN_SECONDS
    assert clock.slept == [look, look, again, again]
    for name, tls in ((key_files.SERVER, server), (key_files.FRONT_PROXY, front), (key_files.KUBELET_CLIENT, agents)):
        assert tls.used == [(keys / f"{name}.crt").read_bytes()]
    for file in (mine, cluster.path("kubeconfig")):
        assert yaml.safe_load(file.read_text())["users"] == kubeconfig.build(cluster)["users"]
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [
        f"{mine} has no new certificate yet: {mine} is not YAML: {told[0].partition(' is not YAML: ')[2]}",
        "apiserver-kubelet-client has no new certificate yet: [Errno 24] Too many open files",
    ]


class Years:
    """Time passes in sleep alone. `look` is called after each."""

    def __init__(self, start: float, look: Callable[[float], None]) -> None:
        self.time, self._look = start, look

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self._look(self.time)
        self.time += 8 * DAY  # as on a machine that sleeps a lot


def end(file: Path) -> float:
    return lifetime(file.read_bytes())[1]


@pytest.mark.slow
@pytest.mark.usefixtures("undisturbed")
async def test_years_pass(tmp_path: Path) -> None:
    """In a control plane that runs for three years no certificate that it shows has less than three weeks left."""
    cluster = Settings("tide", tmp_path / "tide", kubeconfig=str(tmp_path / "config"), nodes=0)
    keys = pki.ensure(cluster, NOW)
    mine = Path(cluster.kubeconfig)
    kubeconfig.write(cluster.path("kubeconfig"), kubeconfig.build(cluster))
    kubeconfig.merge(mine, kubeconfig.build(cluster), switch=True)
    users = {name: (Tls(),) for name in (key_files.SERVER, key_files.KUBELET_CLIENT, key_files.FRONT_PROXY)}
    admins: set[bytes] = set()

    def look(now: float) -> None:
        if now > NOW + 3 * 365 * DAY:
            raise asyncio.CancelledError
        for file in sorted(keys.glob("*.crt")):
            assert end(file) > now + 21 * DAY, file
        for file in (mine, cluster.path("kubeconfig")):
            shown = base64.b64decode(yaml.safe_load(file.read_text())["users"][0]["user"]["client-certificate-data"])
            assert lifetime(shown)[1] > now + 21 * DAY
            admins.add(shown)
        for name, (tls,) in users.items():
            assert not tls.used or tls.used[-1] == (keys / f"{name}.crt").read_bytes()

    with contextlib.suppress(asyncio.CancelledError):
        await key_renewal.run(cluster, Years(NOW, look), users)  # type: ignore[arg-type]
    assert len(admins) == 4 and all(len(tls.used) == 3 for (tls,) in users.values())


@pytest.mark.usefixtures("undisturbed")
async def test_another_process_was_first(tmp_path: Path) -> None:
    """What `sampan up` has made anew, or another server with the same keys, is shown all the same, and in kubeconfigs."""
    cluster, clock = Settings("tide", tmp_path / "tide", kubeconfig=str(tmp_path / "config")), Clock()
    clock.time = NOW
    keys, mine = pki.ensure(cluster, NOW), Path(cluster.kubeconfig)
    kubeconfig.write(cluster.path("kubeconfig"), kubeconfig.build(cluster))
    kubeconfig.merge(mine, kubeconfig.build(cluster), switch=True)
    users = {name: (Tls(),) for name in (key_files.SERVER, key_files.KUBELET_CLIENT, key_files.FRONT_PROXY)}

    async def sleep(seconds: float, sleep: Callable[..., Any] = clock.sleep) -> None:
        await sleep(seconds)
        if len(clock.slept) == 2:
            clock.time += 400 * DAY
            pki.ensure(cluster, clock.time)

    clock.sleep = sleep  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await key_renewal.run(cluster, clock, users)  # type: ignore[arg-type]
    for name, (tls,) in users.items():
        assert tls.used == [(keys / f"{name}.crt").read_bytes()]
    for file in (mine, cluster.path("kubeconfig")):
        assert yaml.safe_load(file.read_text())["users"] == kubeconfig.build(cluster)["users"]


class Sleepy:
    """A machine that sleeps when it is told to; waits take no time."""

    def __init__(self) -> None:
        self.awake_seconds, self.asleep_seconds = 0.0, 0.0

    def now(self) -> float:
        return NOW + self.awake_seconds + self.asleep_seconds

    def monotonic(self) -> float:
        return self.awake_seconds

    async def pulse(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.awake_seconds += seconds


async def test_the_machine_has_slept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noticed within seconds, also when it does so while certificates are looked at."""
    cluster, clock = Settings("tide", tmp_path), Sleepy()
    pki.ensure(cluster, NOW)
    looks: list[float] = []

    def renew(settings: Settings, now: float) -> list[str]:
        looks.append(clock.awake_seconds)
        if len(looks) == 4:
            raise asyncio.CancelledError
        if len(looks) == 2:
            clock.asleep_seconds += 400 * DAY
        return []

    monkeypatch.setattr(pki, "renew", renew)
    with pytest.raises(asyncio.CancelledError):
        await key_renewal.run(cluster, clock, {})  # type: ignore[arg-type]
    look = key_renewal.LOOK_SECONDS
    assert looks == [look, 2 * look, 2 * look + NOTICE_SECONDS, 3 * look + NOTICE_SECONDS]


def test_the_kubeconfig_of_a_user(tmp_path: Path) -> None:
    """Only this cluster's entry gets the certificate: what else is there, and another cluster of that name, stays."""
    cluster = Settings("tide", tmp_path / "a", kubeconfig=str(tmp_path / "config"))
    pki.ensure(cluster, NOW)
    path, before = Path(cluster.kubeconfig), kubeconfig.build(cluster)
    assert not kubeconfig.renew(path, before) and not path.exists()
    kubeconfig.merge(path, before, switch=True)
    assert not kubeconfig.renew(path, before)
    config = yaml.safe_load(path.read_text())
    config["users"].append({"name": "other", "user": {"token": "t"}})
    config["current-context"] = "other"
    kubeconfig.write(path, config)
    pki.renew(cluster, NOW + 340 * DAY)
    fresh = kubeconfig.build(cluster)
    assert fresh["users"] != before["users"]
    foreign = copy.deepcopy(fresh)
    foreign["clusters"][0]["cluster"]["certificate-authority-data"] = "another"
    assert not kubeconfig.renew(path, foreign)
    assert yaml.safe_load(path.read_text()) == config
    assert kubeconfig.renew(path, fresh)
    assert yaml.safe_load(path.read_text()) == {**config, "users": [*fresh["users"], config["users"][1]]}


@pytest.mark.usefixtures("undisturbed")
async def test_the_last_year_of_an_authority_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once when the control plane starts in it."""
    cluster = Settings("tide", tmp_path)
    pki.ensure(cluster, NOW)
    for days, told in ((3000, 0), (3400, 2)):
        caplog.clear()
        clock = Years(NOW + days * DAY, stop)
        with contextlib.suppress(asyncio.CancelledError):
            await key_renewal.run(cluster, clock, {})  # type: ignore[arg-type]
        assert caplog.text.count("and with it all that it signed") == told


def stop(now: float) -> None:
    raise asyncio.CancelledError


@pytest.mark.usefixtures("undisturbed")
async def test_in_use(tmp_path: Path) -> None:
    """A server and its calls to others show the new ones to whoever connects from then on; connections go on."""
    now = SystemClock().now()
    cluster = Settings("tide", tmp_path)
    keys = pki.ensure(cluster, now - 340 * DAY)
    files = [str(keys / name) for name in ("apiserver.crt", "apiserver.key", key_files.CLIENT_AUTHORITIES)]
    shown: list[bytes] = []

    async def handle(request: Request) -> Response:
        shown.append(request.peer.certificate)
        if request.path == "/together":
            await together.wait()
        return Response(200, b"ok")

    together = asyncio.Barrier(2)
    context = server_context(*files)
    listener = Listener(handle, lambda request, error: Response(500), context)
    port = await listener.listen(Address("127.0.0.1", 0))
    trusting = ssl.create_default_context(cafile=str(keys / "ca.crt"))
    way_out = HttpOutbound()
    us = dataclasses.astuple(outward.agent(keys))
    target = Target("127.0.0.1", port, ca=us[0], certificate=us[1], key=us[2], local=True)

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return reader, writer, ssl.DER_cert_to_PEM_cert(der).encode()

    def both() -> tuple[bytes, bytes]:
        return (keys / "apiserver.crt").read_bytes(), (keys / "apiserver-kubelet-client.crt").read_bytes()

    try:
        reader, writer, seen = await connect()
        await way_out.send(target, Request("GET", "/"), 60)
        assert (seen, ssl.DER_cert_to_PEM_cert(shown[-1]).encode()) == (old := both())
        users = {key_files.SERVER: (context,), key_files.KUBELET_CLIENT: (way_out,)}
        clock = Clock()
        clock.time = now - 3000
        with contextlib.suppress(asyncio.CancelledError):
            await key_renewal.run(cluster, clock, users)  # type: ignore[arg-type]
        assert all(before != after for before, after in zip(old, both(), strict=True))
        _, other, seen = await connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in await reader.readline()
        slow = [
            way_out.send(target, Request("GET", "/together"), 60) for _ in range(2)
        ]  # so one needs a new connection
        await asyncio.gather(*slow)
        assert seen == both()[0]
        assert both()[1] in {ssl.DER_cert_to_PEM_cert(der).encode() for der in shown if der}
        for one in (writer, other):
            one.close()
    finally:
        await way_out.close()
        await listener.close()
