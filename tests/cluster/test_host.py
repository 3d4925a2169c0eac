"""Readiness and starting on this host."""

import sys
from pathlib import Path

import pytest

from sampan.cluster import agents, host, processes
from sampan.cluster.host import HostError
from sampan.cluster.settings import Settings


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
