"""The options of `sampan up` about other machines, and what nodes are told of them."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import orjson
import pytest

from sampan.cli import main, other_machines
from sampan.cli.main import CommandError
from sampan.cluster import agents, wiring
from sampan.cluster.settings import Settings
from sampan.store.protocol import Put
from sampan.store.sqlite import SqliteStore


def asked(**fields: Any) -> Settings:
    return Settings("tide", Path("/nowhere"), **fields)


def test_where_others_reach_the_node() -> None:
    """At the address that was asked for; nowhere on loopback, of several nodes, or of simulated ones."""
    made = other_machines.settled(asked(listen="192.0.2.7"), is_asked=False)
    assert (made.node_ip, made.overlay) == ("192.0.2.7", "vxlan")
    assert made.internal_ip(0) == made.api_address == "192.0.2.7"
    assert other_machines.settled(asked(listen="192.0.2.7", overlay="direct"), is_asked=True).overlay == "direct"
    for fields in ({}, {"nodes": 3}, {"runtime": "simulated"}, {"listen": "::1"}):
        made = other_machines.settled(
            asked(**{"listen": "192.0.2.7" if fields else "127.0.0.1", **fields}), is_asked=False
        )
        assert (made.node_ip, made.overlay) == ("", "")
    back = dataclasses.replace(asked(), node_ip="192.0.2.7", overlay="vxlan")
    assert other_machines.settled(back, is_asked=False).node_ip == ""


def test_refusals() -> None:
    """An overlay without other machines, and a node of another's cluster, which is started otherwise."""
    with pytest.raises(CommandError, match="--listen with an IPv4 address"):
        other_machines.settled(asked(overlay="direct"), is_asked=True)
    with pytest.raises(CommandError, match="start it with: sampan node start"):
        other_machines.settled(asked(joined_to="https://192.0.2.7:6443"), is_asked=False)


def test_what_a_joined_node_is_told(tmp_path: Path) -> None:
    """Its number gives it names of its own on the machine; the rest follows from the cluster's."""
    joined = {"joined_to": "https://192.0.2.7:6443", "joined_as": "worker", "joined_number": 3}
    cluster = Settings("node-worker", tmp_path, index=2, node_ip="192.0.2.8", overlay="vxlan", **joined)  # type: ignore[arg-type]
    config = orjson.loads(agents.write_config(cluster, 0).read_bytes())
    assert (config["node"], config["server"], config["internal_ip"]) == ("worker", joined["joined_to"], "192.0.2.8")
    network = config["network"]
    assert network["bridge"] == "sampan2n3"
    assert network["table"] == "sampan-2-3"
    assert (network["pod_cidr"], network["cluster_pod_cidr"]) == ("10.242.3.0/24", "10.242.0.0/16")
    assert (network["node_ip"], network["overlay"], network["vni"]) == ("192.0.2.8", "vxlan", 4244)
    assert "node_port_addresses" not in network
    everywhere = dataclasses.replace(cluster, listen="0.0.0.0")
    config = orjson.loads(agents.write_config(everywhere, 0).read_bytes())
    assert config["network"]["node_port_addresses"] == ["0.0.0.0/0"]


def test_networks_for_nodes() -> None:
    """From the cluster's ranges, without those of its own nodes; simulated nodes come with theirs."""
    (pool,) = wiring.pod_pools(asked(nodes=3))
    assert (pool.cidr, pool.prefix_length, pool.reserved) == ("10.244.0.0/16", 24, 3)
    assert [p.prefix_length for p in wiring.pod_pools(asked(ip_families="IPv4,IPv6"))] == [24, 64]
    assert wiring.pod_pools(asked(runtime="simulated")) == ()


WIDE = {"listen": "192.0.2.7", "node_ip": "192.0.2.7", "overlay": "vxlan"}


@pytest.mark.parametrize("change", [{"nodes": 2}, {"nodes": 0}, {"listen": "127.0.0.1"}, {"listen": "192.0.2.8"}])
def test_a_cluster_with_other_machines_keeps_its_place(tmp_path: Path, change: dict[str, Any]) -> None:
    """Else a second node here would have the pod network of the first that joined. Without others, all is as asked."""
    known = Settings("tide", tmp_path, **WIDE)  # type: ignore[arg-type]
    wanted = other_machines.settled(dataclasses.replace(known, **change), is_asked=False)
    other_machines.check_guests(known, wanted)  # no store yet
    stored(known, known.node_names()[0], "old", "worker")
    (tmp_path / "node-old").mkdir()
    with pytest.raises(CommandError, match=r"are nodes of tide \(worker\).*sampan node --name tide remove.*--purge"):
        other_machines.check_guests(known, wanted)
    other_machines.check_guests(known, other_machines.settled(known, is_asked=False))
    (tmp_path / "node-worker").mkdir()
    other_machines.check_guests(known, wanted)


def stored(cluster: Settings, *names: str) -> None:
    """Nodes in its store."""

    async def store() -> None:
        opened = SqliteStore.open(cluster.path("state.db"))
        await opened.txn([], [Put(f"/registry/core/nodes/{name}", b"{}") for name in names])
        await opened.close()

    asyncio.run(store())


def test_it_is_told_before_a_start(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """By `sampan up`, of a cluster that is down."""
    known = Settings("tide", tmp_path / "data", **WIDE)  # type: ignore[arg-type]
    known.directory.mkdir()
    known.save()
    stored(known, "worker")
    up = ["up", "--dry-run", "--data-dir", str(known.directory), "--kubeconfig", str(tmp_path / "kubeconfig")]
    assert main.run([*up, "--nodes", "2"]) == 1
    assert "other machines are nodes of tide (worker), so it keeps its one node" in capsys.readouterr().err
