"""How large pods' packets may be: as large as those of the link by which they leave the node.

A tunnel to other nodes takes its own headers off that. What is too large for the way out would else be refused there,
and a peer whose firewall drops the refusal would wait for ever.
"""

import fcntl
import socket
import struct
from pathlib import Path

from sampan.node.network import overlay

USUAL = 1500
SMALLEST, LARGEST = 1280, 65535
"""Less is not enough for IPv6."""
_ASK_MTU = 0x8921
_NAME_BYTES = 16
_ROUTES = Path("/proc/thread-self/net/route")


def of_pods(uplink: str, kind: str, address: str) -> int:
    """`uplink` is the link by which other nodes are reached; without one it is that of the default route.

    `kind` of overlay leads to them, from the node's own `address`.
    """
    name = uplink or default_link()
    whole = (of_link(name) if name else 0) or USUAL
    return min(max(overlay.mtu(whole, address) if kind == overlay.VXLAN else whole, SMALLEST), LARGEST)


def of_link(name: str) -> int:
    """The link's own; 0 when there is no such link."""
    request = struct.pack(f"{_NAME_BYTES}si12x", name.encode()[: _NAME_BYTES - 1], 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, _ASK_MTU, request)
        except OSError:
            return 0
    return int(struct.unpack_from("i", answer, _NAME_BYTES)[0])


def default_link(routes: Path = _ROUTES) -> str:
    """The link of the default route that is preferred; "" when there is none."""
    try:
        lines = [line.split() for line in routes.read_text().splitlines()[1:]]
    except OSError:
        return ""
    found = sorted(
        (int(words[6]), words[0]) for words in lines if len(words) > 7 and words[1] == words[7] == "00000000"
    )
    return found[0][1] if found else ""
