"""An etcd behind TLS, with certificates of our own authority, and with users; and how its refusals are told."""

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("grpc")

from sampan.store import etcd_diagnosis, etcd_wire  # noqa: E402
from sampan.store.etcd import EtcdStore  # noqa: E402
from sampan.store.etcd_address import Address  # noqa: E402
from sampan.store.etcd_client import Client  # noqa: E402
from sampan.store.protocol import Put, StoreError  # noqa: E402
from sampan.web import certificates  # noqa: E402
from sampan.web.certificates import Subject  # noqa: E402
from tests.store.etcd import Etcd, free_ports  # noqa: E402


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities, and certificates of the first one."""
    folder, now = tmp_path_factory.mktemp("keys"), time.time()
    for name in ("ca", "stranger"):
        authority = certificates.new_authority(name, now)
        authority.save(folder, name)
        certificates.issue(authority, Subject(f"{name}-client"), now).save(folder, f"{name}-client")
        if name == "ca":
            certificates.issue(authority, Subject("etcd", hosts=("127.0.0.1",)), now).save(folder, "etcd")
            certificates.issue(authority, Subject("etcd", hosts=("elsewhere",)), now).save(folder, "elsewhere")
    return folder


def served(directory: Path, keys: Path, pair: str, *flags: str) -> Etcd:
    files = (f"--cert-file={keys / pair}.crt", f"--key-file={keys / pair}.key")
    return Etcd(directory, *files, *flags, scheme="https")


@pytest.fixture
def etcd(tmp_path: Path, keys: Path) -> Iterator[Etcd]:
    """It asks for certificates."""
    made = served(tmp_path, keys, "etcd", "--client-cert-auth", f"--trusted-ca-file={keys / 'ca.crt'}")
    made.start()
    yield made
    made.stop()


def named(etcd: Etcd, **files: Path) -> str:
    return Address.parse(f"etcds://127.0.0.1:{etcd.port}").with_files(**{n: str(f) for n, f in files.items()}).url


async def refused(url: str) -> str:
    with pytest.raises(StoreError) as refusal:
        await (await EtcdStore.open(url)).close()
    return str(refusal.value)


async def test_certificates(etcd: Etcd, keys: Path) -> None:
    """With the right ones all goes as ever; with wrong ones it is said at once what is wrong with which file."""
    client = {"cert": keys / "ca-client.crt", "key": keys / "ca-client.key"}
    store = await EtcdStore.open(named(etcd, ca=keys / "ca.crt", **client))
    await store.txn((), (Put("a", b""),))
    await store.close()

    stranger = keys / "stranger.crt"
    assert f"its certificate is not signed by {stranger}" in await refused(named(etcd, ca=stranger, **client))
    assert "by an authority that this machine knows" in await refused(named(etcd))
    assert "it wants a client certificate: give cert and key" in await refused(named(etcd, ca=keys / "ca.crt"))
    other = {"cert": keys / "stranger-client.crt", "key": keys / "stranger-client.key"}
    assert "it does not accept our certificate" in await refused(named(etcd, ca=keys / "ca.crt", **other))
    assert "No such file" in await refused(named(etcd, ca=keys / "nothing"))
    assert "if it wants TLS, say etcds://" in await refused(f"etcd://127.0.0.1:{etcd.port}")


@pytest.mark.slow
async def test_renewed_certificates(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New files are shown without a restart once they are whole; what is under way goes on, watches have no gap."""
    monkeypatch.setattr("sampan.store.etcd_client.LOOK_SECONDS", 0.0)
    own = tmp_path / "own"
    own.mkdir()
    for name, copy in (("ca.crt", "ca.crt"), ("ca-client.crt", "client.crt"), ("ca-client.key", "client.key")):
        shutil.copy(keys / name, own / copy)
    trusted = f"--trusted-ca-file={keys / 'ca.crt'}"
    etcd = served(tmp_path / "etcd", keys, "etcd", "--client-cert-auth", trusted)
    etcd.start()
    store = await EtcdStore.open(named(etcd, ca=own / "ca.crt", cert=own / "client.crt", key=own / "client.key"))
    try:
        watch = store.watch("", await store.revision())
        before = store._client._members[0]
        await store.txn((), (Put("a", b"1"),))
        assert store._client._members[0] is before, "nothing is new"

        # Etcd comes back with another authority, for its own certificate and for ours.
        renew(own / "client.crt", keys / "stranger-client.crt")
        await store.txn((), (Put("a", b"2"),))
        assert store._client._members[0] is before, "the key is still the old one's"
        renew(own / "client.key", keys / "stranger-client.key")
        (own / "ca.crt").write_bytes((keys / "ca.crt").read_bytes() + (keys / "stranger.crt").read_bytes())
        etcd.stop()
        now, port = time.time(), etcd.port
        stranger = certificates.Pair.load(keys, "stranger")
        assert stranger is not None
        certificates.issue(stranger, Subject("etcd", hosts=("127.0.0.1",)), now).save(keys, "etcd-anew")
        etcd = served(
            tmp_path / "etcd", keys, "etcd-anew", "--client-cert-auth", trusted.replace("ca.crt", "stranger.crt")
        )
        etcd.port = port
        etcd.start()
        await store.txn((), (Put("a", b"3"),))
        assert store._client._members[0] is not before
        seen: list[bytes | None] = []
        while len(seen) < 3:
            seen += [event.value for event in (await anext(watch)).events]
        assert seen == [b"1", b"2", b"3"]
    finally:
        await store.close()
        etcd.stop()


async def test_a_renewal_while_somebody_logs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who logged in meanwhile goes on over the new channels; the old ones are closed."""
    monkeypatch.setattr("sampan.store.etcd_client.CALL_SECONDS", 0.5)
    (port,) = free_ports(1)
    client = Client(Address.parse(f"etcd://127.0.0.1:{port}"))

    async def renewed() -> tuple[tuple[str, str], ...]:
        former, client._members = client._members, client._connected()
        for member in former:
            await member.close()
        return ()

    monkeypatch.setattr(client, "_metadata", renewed)
    with pytest.raises(StoreError, match="failed to connect|refused"):
        await anext(client.watch(1))
    with pytest.raises(StoreError, match="failed to connect|refused"):
        await client.call("status", etcd_wire.make("StatusRequest")())
    await client.close()
    with pytest.raises(StoreError, match="the store is closed"):
        await client.call("status", etcd_wire.make("StatusRequest")())


def renew(file: Path, by: Path) -> None:
    """As who renews certificates does it: in one step."""
    fresh = file.with_suffix(".new")
    shutil.copy(by, fresh)
    fresh.rename(file)


async def test_another_name(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate must be for the address that is called; that is said at once, also when nobody was there at first."""
    monkeypatch.setattr("sampan.store.etcd_client.CALL_SECONDS", 3600.0)
    monkeypatch.setattr("sampan.store.etcd.LOOK_SECONDS", 0.05)
    etcd, looks, look = served(tmp_path, keys, "elsewhere"), 0, etcd_diagnosis.look

    async def looking(address: Address) -> list[etcd_diagnosis.Finding]:
        nonlocal looks
        looks += 1
        if looks == 2:  # it is being waited for
            etcd.start()
        return await look(address)

    monkeypatch.setattr(etcd_diagnosis, "look", looking)
    try:
        async with asyncio.timeout(60):
            assert "its certificate is for another name" in await refused(named(etcd, ca=keys / "ca.crt"))
        assert looks > 2
    finally:
        etcd.stop()


async def test_no_tls_there(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS where there is none, and nobody at all, are told apart."""
    monkeypatch.setattr("sampan.store.etcd_client.CALL_SECONDS", 0.5)
    etcd = Etcd(tmp_path)
    etcd.start()
    try:
        assert "it speaks no TLS: say etcd:// instead" in await refused(named(etcd, ca=keys / "ca.crt"))
    finally:
        etcd.stop()
    (port,) = free_ports(1)
    assert f"127.0.0.1:{port}: Connection refused" in await refused(f"etcd://127.0.0.1:{port}")


async def test_users(tmp_path: Path) -> None:
    """Where etcd asks for a password, ours is given, also anew when what it was exchanged for has ended."""
    import grpc.aio

    etcd = Etcd(tmp_path)
    etcd.start()
    try:
        await (await EtcdStore.open(etcd.url)).close()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{etcd.port}") as channel:
            root, password = b"\x0a\x04root", b"\x12\x06s cret"
            for call, message in (
                ("UserAdd", root + password), ("RoleAdd", root), ("UserGrantRole", root + b"\x12\x04root"), ("AuthEnable", b""),
            ):  # fmt: skip
                await channel.unary_unary(f"/etcdserverpb.Auth/{call}")(message, timeout=60)
        store = await EtcdStore.open(f"etcd://root:s%20cret@127.0.0.1:{etcd.port}")
        await store.txn((), (Put("a", b""),))
        store._client._token = "of-another-time.1"
        assert (await store.txn((), (Put("b", b""),))).succeeded
        assert [record.key for record in (await store.list("")).records] == ["a", "b"]
        await store.close()
        assert "invalid user ID or password" in await refused(f"etcd://root:wrong@127.0.0.1:{etcd.port}")
        assert "user name is empty" in await refused(etcd.url)
    finally:
        etcd.stop()
