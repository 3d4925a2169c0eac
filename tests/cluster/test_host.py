"""Ports, readiness and starting on this host."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.cluster import agents, host, processes
from sampan.cluster.host import HostError
from sampan.cluster.settings import Settings


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
    assert host.with_free_port(cluster, asked=False, report=said.append) == cluster
    assert said == []


def test_a_default_port_moves_and_says_so(tmp_path: Path, taken: int) -> None:
    """To the next that is free."""
    said: list[str] = []
    moved = host.with_free_port(Settings("a", tmp_path, api_port=taken), asked=False, report=said.append)
    assert moved.api_port > taken
    assert said == [f"port {taken} is taken: the API moves to port {moved.api_port}"]


def test_a_port_that_was_asked_for_does_not_move(tmp_path: Path, taken: int) -> None:
    """It is an error with the mend."""
    with pytest.raises(HostError, match=f"port {taken} on 127.0.0.1 is taken.*--api-port"):
        host.with_free_port(Settings("a", tmp_path, api_port=taken), asked=True, report=print)


def test_an_address_of_another_host(tmp_path: Path) -> None:
    """No port of it is free: that is not the port's fault."""
    with pytest.raises(HostError, match="192.0.2.1 is not an address of this host"):
        host.with_free_port(Settings("a", tmp_path, listen="192.0.2.1"), asked=False, report=print)


def test_the_last_port(tmp_path: Path) -> None:
    """There is no port after 65535."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 65535))
        listener.listen()
        with pytest.raises(HostError, match="no free port"):
            host.with_free_port(Settings("a", tmp_path, api_port=65535), asked=False, report=print)


def test_nothing_runs_where_nothing_is(tmp_path: Path) -> None:
    """Neither a process nor an API."""
    cluster = Settings("a", tmp_path, api_port=1)
    assert [p.name for p in host.all_processes(cluster)] == ["control-plane", "node-sampan-a"]
    assert not host.is_running(cluster)
    assert not host.is_ready(cluster)
    assert not host.answers(cluster)


def test_only_real_containers_of_others_than_root_are_elevated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through sudo."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert host.elevation(Settings("a", tmp_path)) == ["sudo"]
    assert host.elevation(Settings("a", tmp_path, runtime="simulated")) == []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert host.elevation(Settings("a", tmp_path)) == []


def test_links_say_whose_addresses_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lan of a cluster that nobody here knows has its index; one whose node was not taken down is its own."""
    links = tmp_path / "net"
    (links / "sampan0lan").mkdir(parents=True)
    (links / "sampan1n0").mkdir()
    monkeypatch.setattr(host, "_LINKS", links)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert host.free_index(tmp_path / "c") == 2
    cluster = Settings("a", tmp_path / "c", nodes=3)
    with pytest.raises(HostError, match="its link is sampan0lan"):
        host.check_links(cluster)
    kept = agents.config_path(cluster, "sampan-a-3")
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    assert host.is_left(cluster)
    host.check_links(cluster)
    with pytest.raises(HostError, match="its link is sampan1n0"):
        host.check_links(Settings("a", tmp_path / "c", index=1))


def test_one_that_ended_before_anybody_looked_is_told(tmp_path: Path) -> None:
    """It is not waited for: here an agent has ended while the keys of the others were still being made."""
    cluster = Settings("a", tmp_path)
    agent = host.node_agent(cluster, "a-node")
    processes.start(agent, [sys.executable, "-c", "print('no more'); raise SystemExit(1)"]).wait()
    start = host._Start(lambda text: None)
    start.await_running(agent, "agent a-node", lambda: False)
    with pytest.raises(HostError, match="node-a-node ended at once: no more"):
        start.wait(cluster)
