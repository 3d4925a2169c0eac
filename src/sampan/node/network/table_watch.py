"""TableWatch: has our nftables tables put back when somebody else has removed them (`nft flush ruleset`).

A follower (node/networking.py) that wants no objects: the kernel tells of removed tables. Our own transactions remove
tables too, to make them anew; so what is told is only a reason to look. Policies come back first: while only they are
missing, more is open than should be.

https://man7.org/linux/man-pages/man7/netlink.7.html ; messages as in linux/netfilter/nf_tables.h
"""

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from sampan.kinds.kind import Kind
from sampan.node.network import namespaces
from sampan.node.network.threads import run_in_fresh_thread

log = logging.getLogger(__name__)

LATER_SECONDS = 0.1
"""Until then whoever restarts a firewall has come to its end."""

_NETFILTER, _MEMBERSHIP, _TABLES_GROUP = 12, 1, 7
_SOL_NETLINK = 270
_TABLE_REMOVED = 10 << 8 | 2
_HEADER, _FAMILY_HEADER, _NAME = 16, 4, 1
_BUFFER_BYTES = 1 << 18

Object = dict[str, Any]
Restore = Callable[[], Awaitable[None]]


class TableWatch:
    """`restores` put back a table each if it is missing, in this order; they are asked at the start too.

    `namespace` is a descriptor of the network namespace where the tables are, if it isn't this thread's.
    """

    kinds: tuple[Kind, ...] = ()

    def __init__(self, tables: Collection[str], restores: Sequence[Restore], namespace: int | None = None) -> None:
        self._namespace = namespace
        self._tables, self._restores = frozenset(tables), tuple(restores)
        self._wake: Callable[[], None] = lambda: None
        self._kernel: socket.socket | None = None
        self._later: asyncio.TimerHandle | None = None
        self._is_open = False

    def attend(self, wake: Callable[[], None]) -> None:
        """`wake` has `apply` called."""
        self._wake = wake

    async def apply(self, objects: Mapping[str, Sequence[Object]]) -> None:
        """What is missing is there again. NftError when the kernel refuses."""
        if not self._is_open:
            self._is_open = True
            await self._open()
        for restore in self._restores:
            await restore()

    async def close(self) -> None:
        """Watches no longer."""
        if self._later is not None:
            self._later.cancel()
        self._shut()

    async def _open(self) -> None:
        try:
            if self._namespace is None:
                self._kernel = _listening()
            else:
                self._kernel = await run_in_fresh_thread(self._listening_there)
        except OSError as error:
            log.warning("rules that somebody else removes won't come back by themselves: %s", error)
            return
        asyncio.get_running_loop().add_reader(self._kernel, self._read, self._kernel)

    def _listening_there(self) -> socket.socket:
        assert self._namespace is not None
        namespaces.move_to(self._namespace)
        return _listening()

    def _shut(self) -> None:
        if self._kernel is not None:
            asyncio.get_running_loop().remove_reader(self._kernel)
            self._kernel.close()
            self._kernel = None

    def _read(self, kernel: socket.socket) -> None:
        try:
            is_about_us = not self._tables.isdisjoint(removed(kernel.recv(_BUFFER_BYTES)))
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            is_about_us = True  # it had more to tell than there is room for
        if is_about_us and self._later is None:
            self._later = asyncio.get_running_loop().call_later(LATER_SECONDS, self._look)

    def _look(self) -> None:
        self._later = None
        self._wake()


def _listening() -> socket.socket:
    """Hears of tables in the calling thread's namespace."""
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
    try:
        kernel.setblocking(False)
        kernel.bind((0, 0))
        kernel.setsockopt(_SOL_NETLINK, _MEMBERSHIP, _TABLES_GROUP)
    except OSError:
        kernel.close()
        raise
    return kernel


def removed(messages: bytes) -> set[str]:
    """The names of the tables that these messages say are removed."""
    found, at = set(), 0
    while at + _HEADER <= len(messages):
        length, type = struct.unpack_from("IH", messages, at)
        if length < _HEADER:
            break
        if type == _TABLE_REMOVED:
            found.add(_name(messages[at + _HEADER + _FAMILY_HEADER : at + length]))
        at += (length + 3) & ~3
    return found


def _name(attributes: bytes) -> str:
    at = 0
    while at + 4 <= len(attributes):
        length, type = struct.unpack_from("HH", attributes, at)
        if type == _NAME:
            return attributes[at + 4 : at + length].rstrip(b"\0").decode(errors="replace")
        at += max((length + 3) & ~3, 4)
    return ""
