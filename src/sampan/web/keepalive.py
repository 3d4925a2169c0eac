"""Connections whose other end has gone without a word are found out, and closed.

https://man7.org/linux/man-pages/man7/tcp.7.html
"""

import socket

IDLE_SECONDS = 15
INTERVAL_SECONDS = 5
PROBES = 3


def watch(sock: socket.socket) -> None:
    """Has it asked after when it is silent. A listening socket's connections are as it is."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", IDLE_SECONDS),
        ("TCP_KEEPINTVL", INTERVAL_SECONDS),
        ("TCP_KEEPCNT", PROBES),
    ):
        _set(sock, name, value)


def limit(sock: socket.socket, seconds: float) -> None:
    """Gives it up when what was sent, a question whether it lives included, stays without an answer for so long."""
    watch(sock)
    _set(sock, "TCP_KEEPIDLE", max(1, min(IDLE_SECONDS, int(seconds))))
    _set(sock, "TCP_USER_TIMEOUT", int(seconds * 1000))


def _set(sock: socket.socket, name: str, value: int) -> None:
    """Where the system has the option."""
    option = getattr(socket, name, None)
    if option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
