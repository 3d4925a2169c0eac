"""The API's port: the one that was asked for, or the first free one; who has it, where somebody has."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sampan.cluster import agents, api_port, host, port_holders, processes
from sampan.cluster.host import HostError, PortTakenError
from sampan.cluster.settings import Settings
from sampan.store.protocol import Put
from sampan.store.sqlite import SqliteStore


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_free_port_stays(tmp_path: Path, taken: int) -> None:
    """And nothing is said."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    said: list[str] = []
    cluster = Settings("a", tmp_path, api_port=free)
    assert api_port.with_free_port(cluster, asked=False, report=said.append) == cluster
    assert said == []


def test_a_default_port_moves_and_says_so(tmp_path: Path, taken: int) -> None:
    """To the next that is free."""
    said: list[str] = []
    moved = api_port.with_free_port(Settings("a", tmp_path, api_port=taken), asked=False, report=said.append)
    assert moved.api_port > taken
    assert said == [f"port {taken} is taken: the API moves to port {moved.api_port}"]


def test_a_port_that_was_asked_for_does_not_move(tmp_path: Path, taken: int) -> None:
    """It is an error with the mend."""
    with pytest.raises(HostError, match=f"port {taken} on 127.0.0.1 is taken.*--api-port"):
        api_port.with_free_port(Settings("a", tmp_path, api_port=taken), asked=True, report=print)


def test_an_address_of_another_host(tmp_path: Path) -> None:
    """No port of it is free: that is not the port's fault."""
    with pytest.raises(HostError, match="192.0.2.1 is not an address of this host"):
        api_port.with_free_port(Settings("a", tmp_path, listen="192.0.2.1"), asked=False, report=print)


def test_the_last_port(tmp_path: Path) -> None:
    """There is no port after 65535."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 65535))
        listener.listen()
        with pytest.raises(HostError, match="no free port"):
            api_port.with_free_port(Settings("a", tmp_path, api_port=65535), asked=False, report=print)


def starting(monkeypatch: pytest.MonkeyPatch, taken: Callable[[int], bool]) -> list[int]:
    """Starts nothing: notes the ports of attempts, of which somebody has `taken` some."""
    tried: list[int] = []

    def start(cluster: Settings, report: object) -> None:
        tried.append(cluster.api_port)
        if taken(cluster.api_port):
            raise PortTakenError(f"port {cluster.api_port} is taken")

    monkeypatch.setattr(host, "start", start)
    monkeypatch.setattr(api_port, "is_free", lambda address, port: True)
    return tried


def test_a_port_that_is_gone_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another is taken instead, and said; the cluster has that one then."""
    tried = starting(monkeypatch, lambda port: port < 7002)
    cluster, said = Settings("a", tmp_path, api_port=7000), []
    assert api_port.start(cluster, print, asked=False, tell=said.append) == replace(cluster, api_port=7002)
    assert tried == [7000, 7001, 7002]
    assert said == [f"port {port} is taken: the API moves to port {port + 1}" for port in (7000, 7001)]


def test_a_port_that_was_asked_for_and_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is an error at once; so is whatever else goes wrong, and bad luck without end."""
    tried = starting(monkeypatch, lambda port: True)
    cluster = Settings("a", tmp_path, api_port=7000)
    with pytest.raises(PortTakenError, match="port 7000 is taken"):
        api_port.start(cluster, print, asked=True, tell=print)
    assert tried == [7000]
    with pytest.raises(PortTakenError):
        api_port.start(cluster, print, asked=False, tell=print)
    assert len(tried) == 1 + api_port.MAX_STARTS


def stored(cluster: Settings, *names: str) -> None:
    """Nodes in the store of a cluster that is down, which is noted."""

    async def store() -> None:
        opened = SqliteStore.open(cluster.path("state.db"))
        await opened.txn([], [Put(f"/registry/core/nodes/{name}", b"{}") for name in names])
        await opened.close()

    cluster.save()
    asyncio.run(store())


def test_a_cluster_that_other_machines_know_by_its_port(
    tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not move by itself, neither before it starts nor when it has tried. Once they have left, it does."""
    cluster = Settings("a", tmp_path, api_port=taken, node_ip="192.0.2.7")
    stored(cluster, "worker")
    text = f"port {taken} on 127.0.0.1 is taken by .*; other machines \\(worker\\) know the API by this one"
    with pytest.raises(HostError, match=text):
        api_port.with_free_port(cluster, asked=False, report=print)
    tried = starting(monkeypatch, lambda port: port == taken)
    with pytest.raises(PortTakenError, match=f"port {taken} is taken; other machines .worker. know the API by this"):
        api_port.start(cluster, print, asked=False, tell=print)
    assert tried == [taken]
    (tmp_path / "node-worker").mkdir()
    assert api_port.start(cluster, print, asked=False, tell=print).api_port == taken + 1


def test_whether_other_machines_know_it_cannot_be_told(tmp_path: Path, taken: int) -> None:
    """Then it stays as well."""
    cluster = Settings("a", tmp_path, api_port=taken, node_ip="192.0.2.7")
    cluster.save()
    cluster.path("state.db").write_bytes(b"no database" * 1000)
    with pytest.raises(HostError, match=f"port {taken} is taken, and whether other machines.* can't be found out"):
        api_port.with_free_port(cluster, asked=False, report=print)


def test_a_cluster_of_which_something_runs(tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node's agent knows the port, so it stays. One that is not noted keeps the cluster from another attempt."""
    cluster = Settings("a", tmp_path, api_port=taken)
    agent, sleep = (
        host.node_agent(cluster, "sampan-a"),
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"],
    )
    words = ["sampan.cluster.agent_process", str(agents.config_path(cluster, "sampan-a"))]
    with subprocess.Popen([*sleep, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline()  # before that it may have no command line yet
        assert host.runs(cluster)
        tried = starting(monkeypatch, lambda port: port == taken)
        with pytest.raises(PortTakenError, match=f"port {taken} is taken$"):
            api_port.start(cluster, print, asked=False, tell=print)
        agent.pid_file.parent.mkdir()
        agent.pid_file.write_text(f"{child.pid} {processes.start_time(child.pid)}")
        with pytest.raises(PortTakenError, match=r"nodes that run \(sampan-a\) know the API by this one"):
            api_port.start(cluster, print, asked=False, tell=print)
        monkeypatch.setattr(api_port, "is_free", lambda address, port: port != taken)
        with pytest.raises(HostError, match=r"nodes that run \(sampan-a\) know the API by this one"):
            api_port.with_free_port(cluster, asked=False, report=print)
        child.communicate("")
    assert not host.runs(cluster)
    assert tried == [taken, taken]
    assert api_port.start(cluster, print, asked=False, tell=print).api_port == taken + 1


LISTEN = """
import socket, sys
listener = socket.create_server((sys.argv[1], 0), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("address", "more"), [("127.0.0.1", ()), ("0.0.0.0", ()), ("127.0.0.1", ("plane",))])
def test_who_listens(address: str, more: tuple[str, ...]) -> None:
    """By name and pid, or as the cluster that it is; nobody for other ports and addresses."""
    words = ("sampan.cluster.control_plane_process", "/data/tide") if more else ()
    command = [sys.executable, "-c", LISTEN, address, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        name = Path(f"/proc/{child.pid}/comm").read_text().strip()
        found = "the cluster in /data/tide" if more else f"{name} (pid {child.pid})"
        assert port_holders.holder("127.0.0.1", port) == found
        if address == "127.0.0.1":
            assert port_holders.holder("127.0.0.2", port) != found
        child.communicate("")


def test_what_the_kernel_shows_of_ipv6(tmp_path: Path) -> None:
    """Its tables have words of four bytes, the last byte first; where they can't be read nobody is found."""
    (tmp_path / "net").mkdir()
    head = "  sl  local_address remote_address st tx_queue:rx_queue tr:tm retr uid timeout inode\n"
    line = "0: 000080FE00000000FF005450B6AD1DFE:192B 0:0 {state} 0:0 0:0 0 0 0 4711 1\n"
    (tmp_path / "net" / "tcp6").write_text(head + line.format(state="0A"))
    process = tmp_path / "17"
    (process / "fd").mkdir(parents=True)
    os.symlink("socket:[4711]", process / "fd" / "3")
    (process / "comm").write_text("web server\n")
    (process / "cmdline").write_bytes(b"web\0server\0")
    assert port_holders.holder("fe80::5054:ff:fe1d:adb6", 6443, tmp_path) == "web server (pid 17)"
    assert port_holders.holder("fe80::1", 6443, tmp_path) == "another process"
    (tmp_path / "net" / "tcp6").write_text(head + line.format(state="01"))
    assert port_holders.holder("fe80::5054:ff:fe1d:adb6", 6443, tmp_path) == "another process"


HEAD = "  sl  local_address remote_address st tx_queue:rx_queue tr:tm retr uid timeout inode\n"


def listening(proc: Path, address: str) -> None:
    """Puts a web server that listens at port 6443 of an IPv6 address into the folder, twice over."""
    (proc / "net").mkdir(exist_ok=True)
    (proc / "net" / "tcp6").write_text(f"{HEAD}0: {address}:192B 0:0 0A 0:0 0:0 0 0 0 4711 1\n")
    if not (process := proc / "17").exists():
        (process / "fd").mkdir(parents=True)
        for descriptor in ("3", "4"):
            os.symlink("socket:[4711]", process / "fd" / descriptor)
        (process / "comm").write_text("web server\n")
        (process / "cmdline").write_bytes(b"web\0server\0")


def test_a_listener_for_both_families(tmp_path: Path) -> None:
    """It has IPv4 addresses as IPv6 ones that stand for them."""
    for address in ("0000000000000000FFFF00000100007F", "0000000000000000FFFF000000000000", "0" * 32):
        listening(tmp_path, address)
        assert port_holders.holder("127.0.0.1", 6443, tmp_path) == "web server (pid 17)"
    assert port_holders.holder("::ffff:7f00:1", 6443, tmp_path) == "web server (pid 17)"
    listening(tmp_path, "0000000000000000FFFF00000200007F")
    assert port_holders.holder("127.0.0.1", 6443, tmp_path) == "another process"
    assert port_holders.holder("0.0.0.0", 6443, tmp_path) == "web server (pid 17)"


def test_a_descriptor_that_is_closed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says nothing of the others of that process."""
    listening(tmp_path, "0" * 32)
    seen: list[Path] = []

    def readlink(path: Path) -> str:
        seen.append(path)
        if len(seen) == 1:
            raise FileNotFoundError(path)
        return "socket:[4711]"

    monkeypatch.setattr(port_holders.os, "readlink", readlink)
    assert port_holders.holder("127.0.0.1", 6443, tmp_path) == "web server (pid 17)"
    assert len(seen) == 2
