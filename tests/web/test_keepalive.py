"""Connections whose other end may have gone are asked after."""

import socket
import sys

import pytest

from sampan.client.http import HttpTransport
from sampan.client.kubeconfig import Access
from sampan.web import keepalive, listener
from sampan.web.listener import Address

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux' options")


def test_what_listens_asks_after_those_that_connect() -> None:
    """And waits as long as it takes for one that is slow to read."""
    with listener.bind(Address("127.0.0.1", 0)) as door:
        door.listen()
        with socket.create_connection(door.getsockname()):
            door.setblocking(True)
            accepted, _ = door.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == keepalive.IDLE_SECONDS
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0


def test_a_client_gives_up_a_server_that_answers_nothing() -> None:
    """After its patience; an idle connection is asked after before that is over."""
    transport = HttpTransport(Access("https://192.0.2.1"), patience_seconds=1.5)
    with transport._socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 1))) as made:
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1500
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 1
