"""A machine that was away until its certificates ended is let in again by a new token, and keeps what it has."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sampan.cli import main
from sampan.client.transport import TransportError
from sampan.cluster import discovery, host, joining, key_files, settings
from sampan.cluster.discovery import Invitation
from sampan.cluster.joining import Wish
from sampan.cluster.settings import Settings
from sampan.kit.clock import SystemClock
from sampan.meta import status
from sampan.node import certificates
from sampan.node.certificates import Files
from sampan.web.certificates import Pair, Subject, holds, issue, key_hash, new_authority

YEAR = 365 * 24 * 3600
AWAY = YEAR + 1000
ADDRESS = "198.51.100.8"
TOLD = {"index": "0", "overlay": "vxlan"}
CLIENT, SERVING = key_files.node("n"), key_files.node_serving("n")


@dataclass
class Machine:
    """The directory of the node n, its cluster, and what happens to both. `fails` is the request that is refused."""

    directory: Path
    fails: str = ""
    done: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    is_known: bool = False

    def make(self, age: float) -> Settings:
        """The node, with certificates that are as old."""
        made = time.time() - age
        cluster = Settings("node-n", self.directory, joined_to="https://198.51.100.7:6443", joined_as="n")
        self.directory.mkdir(exist_ok=True)
        cluster.save()
        new_authority("ca", made).save(self.directory / "pki", key_files.AUTHORITY)
        for name in (CLIENT, SERVING):
            self.issue(name, made)
        return cluster

    def issue(self, name: str, now: float, *hosts: str) -> Pair:
        subject = Subject("system:node:n", ("system:nodes",), ("n", *(hosts or (ADDRESS,))))
        pair = issue(self.authority, subject, now)
        pair.save(self.directory / "pki", name)
        return pair

    @property
    def authority(self) -> Pair:
        found = Pair.load(self.directory / "pki", key_files.AUTHORITY)
        assert found is not None
        return found

    def files(self, name: str) -> Files:
        return Files(self.directory / "pki" / f"{name}.crt", self.directory / "pki" / f"{name}.key")

    def join(self, name: str = "n", ca_hash: str = "") -> int:
        hash = ca_hash or key_hash(self.authority.certificate)
        line = ["198.51.100.9:6443", "--token", "abcdef.0123456789abcdef", "--ca-hash", hash, "--name", name]
        return main.run(["node", "join", *line, "--data-dir", str(self.directory), "--node-ip", ADDRESS])

    def start(self) -> int:
        return main.run(["node", "start", "--data-dir", str(self.directory)])

    async def get(self, kind: Any, *name: Any) -> Any:
        if kind.name == "ConfigMap":
            if self.fails == "token":
                raise status.unauthorized()
            return {"data": TOLD}
        if not self.is_known:
            raise status.not_found("", "nodes", "n")
        return {"spec": {"podCIDR": "10.244.3.0/24"}}

    async def create(self, kind: Any, wanted: Any) -> None:
        if self.fails == "node":
            raise TransportError("the line is cut")
        self.is_known = True

    async def patch(self, *arguments: Any, **options: Any) -> None:
        pass

    async def close(self) -> None:
        pass

    async def ask(self, api: Any, clock: Any, asked: certificates.Asked, patience: float) -> Pair:
        name = "serving" if asked.subject.hosts else "client"
        self.asked.append(name)
        return issue(self.authority, asked.subject, time.time())


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path / "node-n")

    async def authority(*arguments: Any) -> str:
        return made.authority.certificate.decode()

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("sampan.cli.node._check_machine", lambda wanted: None)
    monkeypatch.setattr("sampan.cli.node._note_servers", lambda cluster: None)
    monkeypatch.setattr("socket.if_nameindex", lambda: [(1, "lo")])
    monkeypatch.setattr(discovery, "authority", authority)
    monkeypatch.setattr(joining, "HttpTransport", lambda access: made)
    monkeypatch.setattr(joining, "Client", lambda transport, agent: made)
    monkeypatch.setattr(certificates, "ask", made.ask)
    monkeypatch.setattr(host, "stop", lambda cluster, report: made.done.append("stop"))
    monkeypatch.setattr(host, "start", lambda cluster, report: made.done.append(f"start {cluster.joined_number}"))
    return made


def test_it_joins_again(machine: Machine) -> None:
    """By another server of the cluster too; what runs of it is ended before, and all is the new node's."""
    machine.make(AWAY)
    assert machine.join() == 0
    assert machine.done == ["stop", "start 3"] and machine.asked == ["client", "serving"]
    known = settings.load(machine.directory)
    assert known is not None and known.joined_to == "https://198.51.100.9:6443"
    assert machine.start() == 0


@pytest.mark.parametrize(("age", "name", "is_other"), [(0, "n", False), (AWAY, "other", False), (AWAY, "n", True)])
def test_who_does_not(
    machine: Machine, capsys: pytest.CaptureFixture[str], age: int, name: str, *, is_other: bool
) -> None:
    """Who can start, who would be another node, and who would be another cluster's."""
    machine.make(age)
    assert machine.join(name, f"sha256:{'0' * 64}" if is_other else "") == 1
    assert machine.done == machine.asked == []
    assert "is a node of https://198.51.100.7:6443 already; sampan node start" in capsys.readouterr().err


def test_a_token_that_is_refused(machine: Machine) -> None:
    """Ends nothing that runs, and leaves the node as it was."""
    machine.make(AWAY)
    before = machine.files(CLIENT).load()
    machine.fails = "token"
    assert machine.join() == 1
    assert machine.done == [] and machine.files(CLIENT).load() == before
    assert machine.files(SERVING).certificate.exists()
    assert not joining.is_unfinished(Settings("node-n", machine.directory))


def test_an_attempt_that_breaks_off(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Can be made again; till then nothing is started that is half the former node, half the new one."""
    machine.make(AWAY)
    machine.fails = "node"
    assert machine.join() == 1
    assert machine.start() == 1
    assert "was about to join https://198.51.100.7:6443 again, and that broke off" in capsys.readouterr().err
    assert machine.done == ["stop"] and machine.asked == ["client"]
    machine.fails = ""
    assert machine.join() == 0
    assert machine.done == ["stop", "stop", "start 3"] and machine.asked == ["client", "serving"]
    assert machine.start() == 0
    assert machine.done[-1] == "start 3"
    assert machine.join() == 1


def test_links_of_a_node_that_runs(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Are its own: they don't keep it from joining again."""
    cluster = machine.make(AWAY)
    monkeypatch.setattr("socket.if_nameindex", lambda: [(1, "lo"), (2, "sampan0n0")])
    assert machine.join() == 1
    cluster.path("run").mkdir()
    cluster.path("run", "node-n.json").write_text("{}")
    assert machine.join() == 0


def joining_of(machine: Machine) -> Any:
    invitation = Invitation("198.51.100.7:6443", "abcdef.0123456789abcdef", f"sha256:{'0' * 64}")
    wish = Wish("n", ADDRESS, machine.directory)
    return joining._Joining(invitation, wish, SystemClock(), machine.authority.certificate.decode())


@pytest.mark.parametrize(
    ("what", "is_good"),
    [("", True), ("ended", False), ("later", False), ("address", False), ("torn", False), ("key", False)],
)
def test_which_certificates_are_used_again(machine: Machine, what: str, *, is_good: bool) -> None:
    """Those that hold now, are whole, of their key, and of the node's address."""
    cluster, now = machine.make(0), time.time()
    for name in (CLIENT, SERVING):
        if what in ("ended", "later", "address"):
            made = {"ended": now - AWAY, "later": now + AWAY}.get(what, now)
            machine.issue(name, made, *(("198.51.100.77",) if what == "address" else ()))
        elif what == "torn":
            machine.files(name).certificate.write_bytes(b"")
        elif what == "key":
            key = machine.files(name).key.read_bytes()
            machine.issue(name, now)
            machine.files(name).key.write_bytes(key)
    made_again = joining_of(machine)
    assert made_again._has_certificate() is (is_good or what == "address")
    asyncio.run(made_again.ask_serving(cluster))
    assert machine.asked == ([] if is_good else ["serving"])
    assert holds(machine.files(SERVING).load().certificate, now + 1)


def test_serving_certificate_of_the_former_node(machine: Machine) -> None:
    """Is not used with another client certificate, though it holds."""
    machine.make(0).path(settings.CLUSTER_FILE).unlink()
    machine.files(CLIENT).certificate.write_bytes(b"")
    assert machine.join() == 0
    assert machine.asked == ["client", "serving"]
