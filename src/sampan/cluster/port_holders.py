"""Who listens on a TCP port of this host, as far as the invoking user may see."""

import contextlib
import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path

_LISTENING = "0A"
_PLANE = "sampan.cluster.control_plane_process"
_ANYWHERE = ("0.0.0.0", "::")


def holder(host: str, port: int, proc: Path = Path("/proc")) -> str:
    """Such as "nginx (pid 17)" or "the cluster in DIR"; "another process" where nobody is to be seen."""
    sockets = set(_listening(host, port, proc))
    for entry in proc.glob("[0-9]*") if sockets else ():
        if entry.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):
            if any(_target(each) in sockets for each in (entry / "fd").iterdir()):
                return _named(entry)
    return "another process"


def _target(descriptor: Path) -> str:
    """What it is open on; "" where it has been closed meanwhile."""
    with contextlib.suppress(OSError):
        return os.readlink(descriptor)
    return ""


def _named(entry: Path) -> str:
    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
    if _PLANE in words[:-1]:
        return f"the cluster in {words[words.index(_PLANE) + 1]}"
    return f"{(entry / 'comm').read_text().strip()} (pid {entry.name})"


def _listening(host: str, port: int, proc: Path) -> Iterator[str]:
    """What descriptors of the sockets look like that keep others from the address."""
    wanted = (_plain(host), *_ANYWHERE)
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                address, _, number = fields[1].partition(":")
                if fields[3] != _LISTENING or int(number, 16) != port:
                    continue
                if wanted[0] in _ANYWHERE or _plain(_address(address)) in wanted:
                    yield f"socket:[{fields[9]}]"


def _plain(address: str) -> str:
    """Of an IPv6 address that stands for an IPv4 one, that one."""
    with contextlib.suppress(ValueError):
        return str(getattr(ipaddress.ip_address(address), "ipv4_mapped", None) or address)
    return address


def _address(shown: str) -> str:
    """An address as the kernel's tables have it: words of four bytes, the last byte first."""
    data = bytes.fromhex(shown)
    words = b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    return socket.inet_ntop(socket.AF_INET if len(words) == 4 else socket.AF_INET6, words)
