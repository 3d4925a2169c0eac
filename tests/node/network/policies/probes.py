"""Who really reaches whom: nine pods that listen, and first packets of each to each, without waiting for what is dropped.

All is sent from one CPU, whose packets between cables are worked off in order. So when the node's own packets to a pod,
which always pass, have arrived after all others, whatever has not arrived by then was dropped.
"""

import os
import select
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from sampan.node.network import namespaces
from sampan.node.network.pod_network import PodAttachment
from sampan.node.network.threads import run_in_fresh_thread
from tests.node.network.policies.suite import Check

TYPES = {
    "TCP": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "UDP": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "SCTP": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
LAST = b"last"
_ABORT = struct.pack("ii", 1, 0)
Pair = tuple[str, str]


def has_sctp() -> bool:
    """Whether the kernel speaks it."""
    try:
        socket.socket(socket.AF_INET, *TYPES["SCTP"]).close()
    except OSError:
        return False
    return True


def within(attachment: PodAttachment, errand: Callable[[], None]) -> None:
    """Does the errand in a pod's network; only in a thread that ends soon."""
    descriptor = os.open(attachment.netns_path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        namespaces.move_to(descriptor)
        errand()
    finally:
        os.close(descriptor)


@dataclass
class Pods:
    """The pods by their places (x/a), and the sockets on which they listen, by place, family, protocol and port."""

    attachments: Mapping[str, PodAttachment]
    listening: dict[tuple[str, int, str, int], socket.socket] = field(default_factory=dict)

    async def listen(self, ports: Iterable[tuple[str, int]]) -> None:
        """Each pod listens at these (protocol, port), in both families."""
        wanted = list(ports)

        def all_of_them() -> None:
            for place, attachment in self.attachments.items():
                within(attachment, lambda place=place: self._listen(place, wanted))  # type: ignore[misc]

        await run_in_fresh_thread(all_of_them)

    def close(self) -> None:
        for each in self.listening.values():
            each.close()

    async def reached(self, check: Check, family: int = 4) -> dict[Pair, bool]:
        """Whether a first packet of one pod reaches the other, for each pair of them."""
        return await run_in_fresh_thread(lambda: self._probe(check, family))

    def _listen(self, place: str, ports: list[tuple[str, int]]) -> None:
        for protocol, port in ports:
            for family, net in ((4, socket.AF_INET), (6, socket.AF_INET6)):
                made = socket.socket(net, *TYPES[protocol])
                if family == 6:
                    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                made.bind(("", port))
                if protocol != "UDP":
                    made.listen(64)
                made.setblocking(False)
                self.listening[place, family, protocol, port] = made

    def _address(self, place: str, family: int) -> str:
        found = self.attachments[place]
        return found.ip if family == 4 else found.ip6

    def _probe(self, check: Check, family: int) -> dict[Pair, bool]:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        host = os.open(f"/proc/{os.getpid()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        sent: dict[Pair, socket.socket] = {}

        def send_all(source: str) -> None:
            for target in self.attachments:
                sent[source, target] = self._send(source, target, check, family)

        try:
            for source, attachment in self.attachments.items():
                within(attachment, lambda source=source: send_all(source))  # type: ignore[misc]
            namespaces.move_to(host)
            arrived = self._arrived(check, family)
            return {pair: pair in arrived or _is_connected(made, check) for pair, made in sent.items()}
        finally:
            os.close(host)
            for made in sent.values():
                made.close()

    def _send(self, source: str, target: str, check: Check, family: int) -> socket.socket:
        made = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, *TYPES[check.protocol])
        made.setblocking(False)
        place = self._address(target, family), check.port
        if check.protocol != "UDP":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            made.connect_ex(place)
        else:
            made.sendto(f"{source}>{target}".encode(), place)
        return made

    def _arrived(self, check: Check, family: int) -> set[Pair]:
        """The node itself reaches every pod, after all others; which of these came before by UDP."""
        found: set[Pair] = set()
        for target in self.attachments:
            place = self._address(target, family), check.port
            listening = self.listening[target, family, check.protocol, check.port]
            if check.protocol != "UDP":
                _connect(place, check, family)
                _take_all(listening)
                continue
            with socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as marker:
                marker.sendto(LAST, place)
            while (said := _received(listening)) != LAST:
                source, _, to = said.decode().partition(">")
                found.add((source, to))
        return found


def _connect(place: tuple[str, int], check: Check, family: int) -> None:
    with socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, *TYPES[check.protocol]) as made:
        made.settimeout(60)
        made.connect(place)


def _is_connected(made: socket.socket, check: Check) -> bool:
    if check.protocol == "UDP":
        return False
    poll = select.poll()
    poll.register(made, select.POLLOUT)
    return bool(poll.poll(0)) and made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def _received(listening: socket.socket) -> bytes:
    assert select.select([listening], [], [], 5)[0], "the node does not reach its own pod"
    return listening.recv(200)


def _take_all(listening: socket.socket) -> None:
    while True:
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            return
