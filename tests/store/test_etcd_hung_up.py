"""What is told of an etcd that hangs up while it is asked: its reason, though a reset has taken that away once."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.store import etcd_diagnosis
from sampan.store.etcd_address import Address
from sampan.web import certificates
from sampan.web.certificates import Subject

AT_ONCE = struct.pack("ii", 1, 0)
"""With this lingering a closed connection is reset."""
Talk = Callable[[socket.socket], None]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority and the server's certificate."""
    folder, now = tmp_path_factory.mktemp("keys"), time.time()
    authority = certificates.new_authority("ca", now)
    authority.save(folder, "ca")
    certificates.issue(authority, Subject("etcd", hosts=("127.0.0.1",)), now).save(folder, "etcd")
    return folder


@contextlib.contextmanager
def server(*talks: Talk) -> Iterator[int]:
    """One that has these talks, with one client after the other; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)

        def serve() -> None:
            for talk in talks:
                client, _ = listening.accept()
                with client, contextlib.suppress(OSError):
                    talk(client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def resetting(keys: Path, *, at_once: bool = False) -> Talk:
    """Shakes hands, hears the question (or does not wait for it) and resets the connection."""

    def talk(client: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(keys / "etcd.crt", keys / "etcd.key")
        with context.wrap_socket(client, server_side=True) as heard:
            if not at_once:
                heard.recv(1)
            heard.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)

    return talk


def asking(keys: Path) -> Talk:
    """Wants a client's certificate, and says so where there is none: after the handshake, for the client."""

    def talk(client: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(keys / "etcd.crt", keys / "etcd.key")
        context.load_verify_locations(keys / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        with context.wrap_socket(client, server_side=True):
            raise AssertionError

    return talk


def closing(client: socket.socket) -> None:
    """Hears something and closes."""
    client.recv(1)


def refusing(client: socket.socket) -> None:
    """Resets what does not begin as HTTP."""
    client.recv(1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)


def answering(client: socket.socket) -> None:
    """Tells its version."""
    client.recv(1000)
    client.sendall(b'HTTP/1.0 200 OK\r\n\r\n{"etcdserver":"3.5.0"}')


async def told(port: int, keys: Path | None) -> etcd_diagnosis.Finding:
    address = Address.parse(f"etcd{'s' if keys else ''}://127.0.0.1:{port}")
    (found,) = await etcd_diagnosis.look(address.with_files(ca=str(keys / "ca.crt")) if keys else address)
    return found


async def test_the_reason_is_asked_for_again(keys: Path) -> None:
    """A reset says nothing; whoever then only listens hears the refusal, and that won't pass."""
    with server(resetting(keys), asking(keys)) as port:
        found = await told(port, keys)
    assert (found.fault, found.is_passing) == ("it wants a client certificate: give cert and key", False)


async def test_without_a_reason_it_may_pass(keys: Path) -> None:
    """One that resets every connection may be one that is just ending."""
    with server(resetting(keys), resetting(keys, at_once=True)) as port:
        found = await told(port, keys)
    assert (found.fault, found.is_passing) == ("it hung up", True)


async def test_without_tls_it_may_be_tls_that_is_wanted() -> None:
    """Nothing is heard of that without TLS: it is asked once, and told what to try."""
    with server(closing) as port:
        found = await told(port, None)
    assert (found.fault, found.is_passing) == (
        "it hung up; if it wants TLS, say etcds:// and which authority signed it",
        False,
    )


async def test_one_without_tls_may_reset_who_speaks_it(keys: Path) -> None:
    """It is asked without, and then that is said."""
    with server(refusing, refusing, answering) as port:
        found = await told(port, keys)
    assert (found.fault, found.is_passing) == ("it speaks no TLS: say etcd:// instead", False)


async def test_one_that_only_resets_may_pass(keys: Path) -> None:
    """Nor does it answer without TLS."""
    with server(refusing, refusing, refusing) as port:
        found = await told(port, keys)
    assert (found.fault, found.is_passing) == ("it hung up", True)
