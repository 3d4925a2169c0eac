"""A node whose certificate has ended: who can make it a new one does, and everybody else is told the mend."""

from pathlib import Path

import pytest

from sampan.cluster import expiry, host, key_files
from sampan.cluster.settings import Settings
from sampan.kit.clock import SystemClock
from sampan.web import certificates
from sampan.web.certificates import Subject

NOW = 1_700_000_000.0
YEAR = 365 * 24 * 3600


def expired(cluster: Settings) -> Settings:
    """Its node's certificate ended in 2024."""
    authority = certificates.new_authority("sampan-ca", NOW)
    cluster.directory.mkdir(exist_ok=True)
    for name in cluster.node_names():
        certificates.issue(authority, Subject(f"system:node:{name}"), NOW).save(
            cluster.path("pki"), key_files.node(name)
        )
    return cluster


def test_what_is_told(tmp_path: Path) -> None:
    """When it ended, and what helps here; nothing before, or where there is nothing to read."""
    cluster = Settings("tide", tmp_path, nodes=2)
    assert expiry.nodes(cluster, NOW) == {}
    expired(cluster)
    assert expiry.nodes(cluster, NOW + YEAR - 400) == {}
    assert expiry.nodes(cluster, NOW + YEAR) == {
        name: f"the certificate of node {name} expired on 2024-11-13T22:08:20Z: sampan up --name tide"
        for name in ("sampan-tide", "sampan-tide-2")
    }
    (tmp_path / "pki" / "node-sampan-tide.crt").write_text("damaged")
    assert list(expiry.nodes(cluster, NOW + YEAR)) == ["sampan-tide-2"]
    joined = expired(Settings("n", tmp_path, joined_to="https://192.0.2.7:6443", joined_as="worker"))
    assert (
        "sampan node remove worker, sampan node token; then here the line that it prints"
        in expiry.nodes(joined, NOW + YEAR)["worker"]
    )


def test_an_authority_that_was_prolonged_elsewhere(tmp_path: Path) -> None:
    """A machine that joined and was away meanwhile is told; a cluster's own gets a new one at its start."""
    for cluster in (
        Settings("n", tmp_path, joined_to="https://192.0.2.7:6443", joined_as="worker"),
        Settings("tide", tmp_path),
    ):
        old = certificates.new_authority("sampan-ca", NOW - 9 * YEAR)
        old.save(tmp_path / "pki", key_files.AUTHORITY)
        prolonged = certificates.prolong(old, NOW)
        node = key_files.node(cluster.node_names()[0])
        certificates.issue(prolonged, Subject("system:node:n"), NOW + YEAR).save(tmp_path / "pki", node)
        told = expiry.nodes(cluster, NOW + YEAR + 1)
        assert ("node worker's copy of the authority's certificate expired on 2024-" in told.get("worker", "")) == bool(
            cluster.joined_to
        )
        prolonged.save(tmp_path / "pki", key_files.AUTHORITY)
        assert expiry.nodes(cluster, NOW + YEAR + 1) == {}


def test_a_joined_node_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not be Ready: said at once, and nothing is written."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    joined = expired(Settings("n", tmp_path / "n", joined_to="https://192.0.2.7:6443", joined_as="worker"))
    with pytest.raises(host.HostError, match="worker expired on 2024-.*sampan node remove worker, sampan node token"):
        host.start(joined, print)
    assert not (tmp_path / "n" / "cluster.json").exists()


@pytest.mark.parametrize("agent_runs", [True, False])
@pytest.mark.parametrize("plane_runs", [True, False])
def test_a_local_node_gets_new_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plane_runs: bool, agent_runs: bool
) -> None:
    """Before its agent reads them, whether the control plane is new or runs on; an agent that runs takes them up."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    cluster = expired(Settings("tide", tmp_path / "tide", runtime="simulated"))
    found: list[dict[str, str]] = []

    class Start:
        def __init__(self, tell: object) -> None:
            pass

        def agents(self, cluster: Settings, missing: list[int]) -> None:
            found.append(expiry.nodes(cluster, SystemClock().now()))

        def control_plane(self, *arguments: object) -> None:
            assert not plane_runs

        def await_running(self, process: object, name: str, probe: object) -> None:
            assert agent_runs if name.startswith("agent") else plane_runs

        def wait(self, cluster: Settings) -> None:
            found.append(expiry.nodes(cluster, SystemClock().now()))

        def close(self) -> None:
            pass

    class Running:
        name, pid = "running", 1

    monkeypatch.setattr(host, "_Start", Start)
    if plane_runs:
        monkeypatch.setattr(host, "control_plane", lambda cluster: Running())
    if agent_runs:
        monkeypatch.setattr(host, "node_agent", lambda cluster, name: Running())
    host.start(cluster, print)
    assert found == [{}] * (1 if agent_runs else 2)
