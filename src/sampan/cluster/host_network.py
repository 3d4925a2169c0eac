"""What else on this host has to do with the pods' network: other firewalls, name servers, and whether nft takes our rules."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

ANY, ANY6 = "0.0.0.0", "[::]"
FIREWALLD = "firewalld"
_TABLES = {"tcp": (ANY, "0A"), "udp": (ANY, "07"), "tcp6": (ANY6, "0A"), "udp6": (ANY6, "07")}
"""Each with what stands for all addresses there, and the state of a socket that takes what comes."""
_PROC = Path("/proc")
_SECONDS = 10


def listeners(port: int, proc: Path = _PROC) -> tuple[str, ...]:
    """Who takes what comes to the port at any address, such as "dnsmasq at 0.0.0.0"."""
    sockets = {inode: place for table in _TABLES for inode, place in _at_any_address(proc, table, port)}
    if not sockets:
        return ()
    names = _holders(proc, set(sockets))
    return tuple(sorted({f"{names.get(inode, 'a program')} at {place}" for inode, place in sockets.items()}))


def runs(program: str, proc: Path = _PROC) -> bool:
    """Whether there is a process of that name."""
    return any(_text(process / "comm").strip() == program for process in proc.glob("[0-9]*"))


def legacy_forward_drops(program: str, proc: Path = _PROC) -> bool:
    """Whether the older iptables, which nft does not show, drops what is forwarded. Asking must not load its module."""
    if not program or "filter" not in _text(proc / "net/ip_tables_names").split():
        return False
    command = (program, "-S", "FORWARD")
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    return "-P FORWARD DROP" in outcome.stdout.splitlines()


def nft_error(program: str) -> str:
    """What nft says to the tables of a node, which it is only asked to check."""
    if not program:
        return ""
    outcome = subprocess.run(
        (program, "-c", "-f", "-"), input=_tables(), capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    return "" if outcome.returncode == 0 else (outcome.stderr.strip().splitlines() or ["no reason given"])[0]


def _tables() -> str:
    from sampan.node.network import firewall
    from sampan.node.network.policies.ruleset import Ruleset
    from sampan.node.network.services import table
    from sampan.node.network.settings import NetworkSettings

    ranges = ("10.244.0.0/24", "10.244.0.0/16", "10.96.0.0/16")
    sample = NetworkSettings("doctor", "n", "sampandrn1", *ranges, Path("/nowhere"), "sampan-doctor")
    return firewall.table(sample) + table.base(sample) + Ruleset().whole(sample.policies_table)


def _at_any_address(proc: Path, table: str, port: int) -> Iterator[tuple[str, str]]:
    """Inode and address of each such socket."""
    place, waiting = _TABLES[table]
    for line in _text(proc / "net" / table).splitlines()[1:]:
        words = line.split()
        address, _, number = words[1].partition(":")
        if int(number, 16) == port and not address.strip("0") and words[3] == waiting:
            yield words[9], place


def _holders(proc: Path, inodes: set[str]) -> dict[str, str]:
    """Names of the processes that have these sockets, as far as this user may look."""
    found = {}
    for descriptor in proc.glob("[0-9]*/fd/*"):
        try:
            inode = str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]")
        except OSError:
            continue
        if inode in inodes:
            found[inode] = _text(descriptor.parents[1] / "comm").strip() or "a program"
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
