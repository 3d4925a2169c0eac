"""What is seen of other firewalls and name servers of a host, and how nft is asked."""

import os
import shutil
import socket
from pathlib import Path

import pytest

from sampan.cluster import host_network

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ANY, ANY6, LOOPBACK = "0" * 8, "0" * 32, "0100007F"


def line(address: str, port: int, state: str, inode: int) -> str:
    """As the kernel shows a socket."""
    place = f"{address}:{port:04X} {'0' * len(address)}:0000"
    return f"   0: {place} {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 100 0 0 10 0\n"


def process(proc: Path, pid: int, name: str, inode: int) -> None:
    """One with a socket."""
    (proc / f"{pid}/fd").mkdir(parents=True)
    (proc / f"{pid}/comm").write_text(f"{name}\n")
    (proc / f"{pid}/fd/3").symlink_to(f"socket:[{inode}]")


def test_who_listens_at_all_addresses(tmp_path: Path) -> None:
    """By name where it may be looked up; not who has loopback, another port, or a connection from there."""
    net = tmp_path / "net"
    net.mkdir()
    (net / "tcp").write_text(HEAD + line(LOOPBACK, 53, "0A", 1) + line(ANY, 80, "0A", 2) + line(ANY, 53, "01", 3))
    assert host_network.listeners(53, tmp_path) == ()
    (net / "udp").write_text(HEAD + line(LOOPBACK, 53, "07", 4) + line(ANY, 53, "07", 5))
    (net / "tcp6").write_text(HEAD + line(ANY6, 53, "0A", 6))
    (net / "udp6").write_text(HEAD + line(ANY6, 53, "07", 7))
    process(tmp_path, 31, "dnsmasq", 5)
    process(tmp_path, 32, "coredns", 7)
    assert host_network.listeners(53, tmp_path) == ("a program at [::]", "coredns at [::]", "dnsmasq at 0.0.0.0")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_who_listens_here(kind: socket.SocketKind) -> None:
    """The kernel's own tables."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("0.0.0.0", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        name = Path("/proc/self/comm").read_text().strip()
        assert host_network.listeners(taken.getsockname()[1]) == (f"{name} at 0.0.0.0",)


def test_a_program_that_runs(tmp_path: Path) -> None:
    """By its whole name."""
    process(tmp_path, 31, "firewalld", 1)
    assert host_network.runs("firewalld", tmp_path)
    assert not host_network.runs("firewall", tmp_path)


@pytest.mark.parametrize(
    ("policy", "names", "drops"), [("DROP", "filter", 1), ("ACCEPT", "filter", 0), ("DROP", "nat", 0)]
)
def test_the_older_iptables(tmp_path: Path, policy: str, names: str, drops: int) -> None:
    """It is asked only where its table is there already."""
    program = tmp_path / "iptables-legacy"
    program.write_text(f"#!/bin/sh\n[ \"$*\" = '-S FORWARD' ] && echo '-P FORWARD {policy}'\n")
    program.chmod(0o755)
    (tmp_path / "net").mkdir()
    (tmp_path / "net/ip_tables_names").write_text(f"{names}\n")
    assert host_network.legacy_forward_drops(str(program), tmp_path) == bool(drops)
    assert not host_network.legacy_forward_drops("", tmp_path)


@pytest.mark.parametrize("word", ["masquerade", "fib saddr", "map services4", "chain ingress"])
def test_nft_is_asked_for_what_a_node_needs(tmp_path: Path, word: str) -> None:
    """The pods' table, the services' and the policies', without any change."""
    program = tmp_path / "nft"
    program.write_text(
        f"#!/bin/sh\n[ \"$*\" = '-c -f -' ] || exit 0\ngrep -q '{word}' || exit 0\n"
        f"echo 'Error: no {word}' >&2; echo more >&2; exit 1\n"
    )
    program.chmod(0o755)
    assert host_network.nft_error(str(program)) == f"Error: no {word}"


@pytest.mark.root
def test_nft_takes_it_here() -> None:
    """And nothing is there afterwards."""
    program = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if os.geteuid() != 0 or not program:
        pytest.skip("needs root and nft")
    assert host_network.nft_error(program) == ""
