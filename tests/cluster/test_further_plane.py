"""A further control plane: what it has from the first one, and from whom it can't be made."""

import dataclasses
from pathlib import Path

import pytest

from sampan.cli import main
from sampan.cluster import further_plane, pki, settings, tokens, wiring
from sampan.cluster.further_plane import FurtherPlaneError
from sampan.cluster.settings import Settings
from sampan.control.view import Snapshot, View
from sampan.controllers import node_serving_approving
from sampan.kinds.core.endpoints import ENDPOINTS
from sampan.kinds.core.node import NODE
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE, SERVICE_NAME_LABEL
from sampan.kinds.parts import csr

ETCD = "etcd://127.0.0.1:1,127.0.0.1:2"
NOW = 1_767_225_600.0
YEAR = 365 * 24 * 3600


def made(directory: Path, count: int = 2, **fields: object) -> Settings:
    """A first control plane with its keys."""
    directory.mkdir()
    cluster = Settings("first", directory, index=3, store=ETCD, nodes=count, **fields)  # type: ignore[arg-type]
    cluster.save()
    pki.ensure(cluster, NOW)
    return cluster


def test_what_both_have(tmp_path: Path) -> None:
    """Authorities, the key of tokens, ranges, store and configuration; certificates, nodes and names are its own."""
    first = made(tmp_path / "a", node_grace_seconds=7.0)
    first.path("server.yaml").write_text("x")
    (first.path("pki") / "sa-old.pub").write_text("old")
    second = further_plane.of(first.directory, "second", tmp_path / "b")
    assert (second.store, second.service_cidr, second.pod_cidr) == (ETCD, first.service_cidr, first.pod_cidr)
    assert (second.name, second.nodes, second.node_grace_seconds) == ("second", 0, 7.0)
    further_plane.take_over(first.directory, second)
    further_plane.take_over(first.directory, second)  # again, as after an interruption
    pki.ensure(second, NOW)
    same = {"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa-old.pub", "client-ca.crt"}
    for name in same:
        copy = second.path("pki", name)
        assert copy.read_bytes() == first.path("pki", name).read_bytes(), name
        assert name.endswith((".crt", ".pub")) or copy.stat().st_mode & 0o077 == 0
    assert second.path("pki", "apiserver.crt").read_bytes() != first.path("pki", "apiserver.crt").read_bytes()
    assert second.path("server.yaml").read_text() == "x"


def test_an_authority_that_was_prolonged(tmp_path: Path) -> None:
    """Its other certificate is for the same key: it is the same cluster's."""
    first = made(tmp_path / "a")
    second = further_plane.of(first.directory, "second", tmp_path / "b")
    further_plane.take_over(first.directory, second)
    pki.ensure(second, NOW)
    pki.ensure(first, NOW + 9 * YEAR)
    further_plane.take_over(first.directory, second)
    moved = dataclasses.replace(first, listen="198.51.100.8", nodes=1, node_ip="198.51.100.8")
    moved.save()
    assert further_plane.again(second, first.directory).api_at == "198.51.100.8"


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No cluster there, one with a store of its own, one without keys yet, other keys here, nodes."""
    with pytest.raises(FurtherPlaneError, match="holds no cluster"):
        further_plane.of(tmp_path, "b", tmp_path / "b")
    first = made(tmp_path / "a")
    other = Settings("second", tmp_path / "b", store=ETCD)
    other.directory.mkdir()
    pki.ensure(other, NOW)
    with pytest.raises(FurtherPlaneError, match="is another key than"):
        further_plane.take_over(first.directory, other)
    second = further_plane.of(first.directory, "c", tmp_path / "e")
    further_plane.take_over(first.directory, second)
    second.path("pki", "ca.crt").write_text("damaged")
    with pytest.raises(FurtherPlaneError, match=r"ca\.crt is another key than"):
        further_plane.take_over(first.directory, second)
    first.path("pki", "sa.key").unlink()
    with pytest.raises(FurtherPlaneError, match=r"lacks sa\.key"):
        further_plane.of(first.directory, "b", tmp_path / "b")
    rootless = Settings("rootless", tmp_path / "r", store=ETCD, rootless=True)
    rootless.directory.mkdir()
    rootless.save()
    with pytest.raises(FurtherPlaneError, match="runs without root, in a network of its own"):
        further_plane.of(rootless.directory, "b", tmp_path / "b")
    alone = Settings("alone", tmp_path / "c", store="sqlite")
    alone.directory.mkdir()
    alone.save()
    up = ["up", "--name", "b", "--data-dir", str(tmp_path / "d"), "--control-plane-of"]
    assert main.run([*up, str(alone.directory)]) == 1
    assert "in sqlite, which only one control plane can use" in capsys.readouterr().err
    assert main.run([*up, str(first.directory), "--nodes", "2"]) == 1
    assert "a further control plane has no nodes" in capsys.readouterr().err


def test_where_it_is_reached(tmp_path: Path) -> None:
    """Without nodes, at the address that it listens on, if it is one for others; else by this host's first node."""
    assert Settings("a", tmp_path, nodes=0, listen="198.51.100.8").api_address == "198.51.100.8"
    assert Settings("a", tmp_path, nodes=0).api_address == "10.244.0.1"
    assert Settings("a", tmp_path, nodes=0, listen="0.0.0.0").api_address == "10.244.0.1"


def test_where_it_is_reached_on_the_same_machine(tmp_path: Path) -> None:
    """Where nodes and pods find the first one, such as in the network of its nodes; on another machine at its own address."""
    first = made(tmp_path / "a", runtime="oci")
    second = further_plane.of(first.directory, "b", tmp_path / "b")
    assert first.has_lan
    assert second.api_address == first.api_address == "10.160.3.1"
    assert dataclasses.replace(second, listen="198.51.100.8").api_address == "198.51.100.8"
    with pytest.raises(tokens.TokenError, match="b is a further control plane: make the token at the first one"):
        tokens.check(second)


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("address", ["", "192.168.1.10"])
def test_whose_addresses_it_knows(nodes: int, address: str, tmp_path: Path) -> None:
    """While it leads, the nodes beside the first control plane get certificates for their addresses, as from that one."""
    first = made(tmp_path / "a", count=nodes, runtime="oci", node_ip=address, listen=address or "127.0.0.1")
    second = further_plane.of(first.directory, "b", tmp_path / "b")
    second.directory.mkdir()
    second.save()
    kept = settings.load(second.directory)
    assert kept is not None
    third = further_plane.of(first.directory, "c", tmp_path / "c")
    for leader in (first, kept, third):
        terms = wiring.serving_terms(leader)
        assert list(terms.local) == first.node_names()
        for number, name in enumerate(first.node_names()):
            assert serves(terms, first, name, first.internal_ip(number))
            assert not serves(terms, first, "other", first.internal_ip(number))


def serves(terms: node_serving_approving.Terms, first: Settings, name: str, address: str) -> bool:
    """Whether the node's request for this address of its own is approved."""
    node = {
        "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }
    api = {
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {SERVICE_NAME_LABEL: "kubernetes"}},
        "endpoints": [{"addresses": [first.api_address]}],
    }
    sources = {kind.resource: Snapshot(()) for kind in (SERVICE, ENDPOINTS)}
    sources |= {NODE.resource: Snapshot([node]), ENDPOINTSLICE.resource: Snapshot([api])}
    asked = csr.Request(f"system:node:{name}", ("system:nodes",), (name,), (address,))
    return node_serving_approving.is_its_own(terms, View(sources), asked)


def test_what_it_notes_again(tmp_path: Path) -> None:
    """What an older version did not note, or is otherwise by now; nothing at the first one itself, or at another cluster."""
    first = made(tmp_path / "a", runtime="oci")
    second = further_plane.of(first.directory, "b", tmp_path / "b")
    further_plane.take_over(first.directory, second)
    older = dataclasses.replace(second, api_at="", nodes_at={}, listen="198.51.100.8")
    assert further_plane.again(older, first.directory) == dataclasses.replace(second, listen="198.51.100.8")
    assert further_plane.again(first, first.directory) == first
    other = Settings("other", tmp_path / "c", nodes=0, store=ETCD)
    other.directory.mkdir()
    pki.ensure(other, NOW)
    assert further_plane.again(other, first.directory) == other
