"""How the server calls others: webhooks, extension API servers, proxied pods and nodes.

Nobody who is called can send us elsewhere: redirects are never followed, a name is resolved once and the
checked address is the one that is dialled, and loopback, link-local and the server's own addresses are
refused. A cluster without an `Outbound` refuses a call by name; that of a simulated one stays in its process.
"""

import ipaddress
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from sampan.meta import status
from sampan.web.message import Request, Response

ANSWER_BYTES = 4 * 1024 * 1024
NOT_ALLOWED = "address not allowed"
_PATH_SAFE = "$&+,/:;=@-_.~"


@dataclass(frozen=True, slots=True)
class Target:
    """Where to, and how to know that it is the right one.

    `host` is an address or a DNS name. `server_name` is what the certificate must be valid for and the Host
    header when the request has none; "" means `host`. `ca` is PEM, None for the system's authorities;
    `insecure` checks nothing. `certificate` and `key` name the files of the certificate that we show.
    `local` allows loopback and link-local addresses, for what an administrator has written down as a URL.
    """

    host: str
    port: int
    scheme: str = "https"
    server_name: str = ""
    ca: bytes | None = None
    insecure: bool = False
    certificate: str = ""
    key: str = ""
    local: bool = False

    @property
    def name(self) -> str:
        return self.server_name or self.host

    @property
    def address(self) -> str:
        """HOST:PORT as in a URL."""
        return join_host_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Credentials:
    """How the server shows itself to a peer of its own: the peer's authority (PEM), and our certificate's files."""

    ca: bytes
    certificate: str
    key: str


class OutboundError(Exception):
    """The call failed before an answer was complete; the text is as upstream words it (`dial tcp ...`)."""

    def __init__(self, text: str, *, timed_out: bool = False) -> None:
        super().__init__(text)
        self.timed_out = timed_out


class Outbound(Protocol):
    """The server's way out.

    A request's path is sent below the target's root; `raw_query` is sent as it is where there is one, else
    `query`. All headers given are sent, and no others but Host and Content-Length. One that `is_simulated` reaches
    what runs on simulated nodes, and nothing else.
    """

    is_simulated: bool

    async def send(
        self, target: Target, request: Request, timeout_seconds: float, limit_bytes: int = ANSWER_BYTES
    ) -> Response:
        """The whole answer, whatever its status, its body in bytes. Raises OutboundError, also when it is too long."""
        ...

    async def open(self, target: Target, request: Request) -> Response:
        """The answer with its body as a stream; 101 has a `hijack` that joins both connections.

        The request may ask for an upgrade to any protocol. Raises OutboundError.
        """
        ...

    async def close(self) -> None: ...


def needed(outbound: Outbound | None, what: str) -> Outbound:
    """The way out; a cluster without one refuses `what` by name. Raises ApiError 503."""
    if outbound is None:
        raise status.unavailable(f"{what} needs a network, and this cluster is simulated")
    return outbound


def join_host_port(host: str, port: int | str) -> str:
    """As in a URL: IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def escaped(path: str) -> str:
    """A decoded path as it is written on the wire."""
    return "/" + quote(path.removeprefix("/"), safe=_PATH_SAFE)


def is_proxyable(address: str) -> bool:
    """Whether an address may be called for somebody else: a global unicast one, also when mapped into IPv6."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_unspecified or ip.is_loopback or ip.is_multicast or ip.is_link_local:
        return False
    return str(ip) != "255.255.255.255"
