"""Ports of the node that lead to pods: from everywhere, by address and protocol, kept over restarts, given back."""

import asyncio
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan.node.network import host_ports, nft, pod_request
from sampan.node.network.pod_network import PodNetwork
from sampan.node.network.pod_request import HostPort, PodRequest
from sampan.node.network.settings import NetworkSettings
from tests.node.network.inside import ask, run, server

PORT = 31999


def request(*ports: HostPort) -> PodRequest:
    return PodRequest("default", "web", host_ports=ports)


def test_what_a_pod_asks_for_is_in_its_containers_ports() -> None:
    """Also those of sidecars; other init containers have none, and ports without hostPort don't count."""
    web = {"ports": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]}
    named = {"ports": [{"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "127.0.0.1"}]}
    sidecar = {"restartPolicy": "Always", "ports": [{"containerPort": 1, "hostPort": 1}]}
    first = {"ports": [{"containerPort": 2, "hostPort": 2}]}
    pod = {
        "metadata": {"name": "p", "namespace": "n"},
        "spec": {"containers": [web, named], "initContainers": [sidecar, first]},
    }
    assert pod_request.of(pod).host_ports == (
        HostPort("tcp", 1, 1),
        HostPort("tcp", 8080, 80),
        HostPort("udp", 53, 53, "127.0.0.1"),
    )


def test_elements_are_of_the_addresses_families(make_settings: Callable[..., NetworkSettings]) -> None:
    """Without an address for both; with one, or an unspecified one, for its own."""
    settings = make_settings(pod_cidr6="fd00:9::/64", cluster_pod_cidr6="fd00:9::/56")
    pod = str(settings.network[5])
    ports = (
        HostPort("tcp", 1, 10),
        HostPort("tcp", 2, 20, "0.0.0.0"),
        HostPort("udp", 3, 30, "::"),
        HostPort("sctp", 4, 40, "fd00::7"),
    )
    found = host_ports.elements(settings, pod, ports)
    assert found == {
        "host-ports4": [f"tcp . 1 : {pod} . 10", f"tcp . 2 : {pod} . 20"],
        "host-ports6": ["tcp . 1 : fd00:9::5 . 10", "udp . 3 : fd00:9::5 . 30"],
        "host-ports-at6": ["fd00::7 . sctp . 4 : fd00:9::5 . 40"],
        "hairpins4": [f"{pod} . {pod}"],
        "hairpins6": ["fd00:9::5 . fd00:9::5"],
    }


def test_the_record_is_there_only_while_a_pod_has_ports(tmp_path: Path) -> None:
    """And tells a new agent all of it."""
    path = tmp_path / "ports.json"
    kept = host_ports.HostPorts(path)
    kept.keep("u", "10.0.0.2", (HostPort("udp", 53, 5353, "127.0.0.1"),))
    assert host_ports.HostPorts(path).items() == {"u": ("10.0.0.2", (HostPort("udp", 53, 5353, "127.0.0.1"),))}
    kept.drop("u")
    assert not path.exists()


@pytest.mark.root
async def test_a_port_of_the_node_leads_to_the_pod(network: PodNetwork) -> None:
    """By the node's address and 127.0.0.1, from the host, another pod, and the pod itself; then no longer."""
    gateway = network.settings.gateway
    web, other = await network.add("web", request(HostPort("tcp", PORT, 80))), await network.add("other")
    async with server(web, "web", 80):
        assert await ask(gateway, PORT) == f"web {gateway}"
        assert await ask("127.0.0.1", PORT) == f"web {gateway}"
        assert await ask(gateway, PORT, other) == f"web {other.ip}"
        assert await ask(gateway, PORT, web) == f"web {gateway}"
        await network.remove("web")
        assert await ask(gateway, PORT, other) == "Connection refused"
        assert await ask("127.0.0.1", PORT) == "Connection refused"


@pytest.mark.root
async def test_address_and_protocol_tell_ports_apart(network: PodNetwork) -> None:
    """The same number three times, without a conflict (conformance 210)."""
    gateway = network.settings.gateway
    one = await network.add("one", request(HostPort("tcp", PORT, 80, "127.0.0.1")))
    two = await network.add("two", request(HostPort("tcp", PORT, 80, gateway)))
    three = await network.add("three", request(HostPort("udp", PORT, 80, gateway)))
    async with server(one, "one", 80), server(two, "two", 80), server(three, "three", 80, "udp"):
        assert await ask("127.0.0.1", PORT) == f"one {gateway}"
        assert await ask(gateway, PORT) == f"two {gateway}"
        assert await ask(gateway, PORT, one) == f"two {one.ip}"
        assert await ask(gateway, PORT, kind="udp") == f"three {gateway}"
        assert await ask(gateway, PORT, two, kind="udp") == f"three {two.ip}"


@pytest.mark.root
async def test_a_client_that_goes_on_sending_comes_to_the_next_pod(network: PodNetwork) -> None:
    """By datagrams from one port: while nobody has the node's port, and from one pod to another."""
    gateway, wanted = network.settings.gateway, request(HostPort("udp", PORT, 80))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.bind((gateway, 0))
        loop = asyncio.get_running_loop()
        client.sendto(b"?", (gateway, PORT))
        for name in ("one", "two"):
            async with server(await network.add(name, wanted), name, 80, "udp"):
                client.sendto(b"?", (gateway, PORT))
                assert await asyncio.wait_for(loop.sock_recv(client, 99), 60) == f"{name} {gateway}".encode()
            await network.remove(name)


@pytest.mark.root
async def test_ports_outlive_the_agent(network: PodNetwork) -> None:
    """A restarted agent has the same rules, and gives the ports back with the pod."""
    web = await network.add("web", request(HostPort("tcp", PORT, 80)))
    await nft.delete_table(network.settings.table)
    restarted = PodNetwork(network.settings)
    await restarted.setup()
    async with server(web, "web", 80):
        assert await ask("127.0.0.1", PORT) == f"web {network.settings.gateway}"
        await restarted.remove("web")
        again = await restarted.add("again", request(HostPort("tcp", PORT, 81)))
        async with server(again, "again", 81):
            assert await ask("127.0.0.1", PORT) == f"again {network.settings.gateway}"


@pytest.mark.root
async def test_a_taken_port_leaves_no_half_made_pod(network: PodNetwork) -> None:
    """The kernel refuses; whoever has the port keeps it."""
    web = await network.add("web", request(HostPort("tcp", PORT, 80)))
    with pytest.raises(nft.NftError):
        await network.add("late", request(HostPort("tcp", PORT + 1, 80), HostPort("tcp", PORT, 80)))
    assert set(await network.attachments()) == {"web"}
    async with server(web, "web", 80):
        assert await ask("127.0.0.1", PORT) == f"web {network.settings.gateway}"
    await network.remove("late")
    await network.add("later", request(HostPort("tcp", PORT + 1, 80)))


@pytest.mark.root
async def test_pods_do_not_reach_the_hosts_loopback(network: PodNetwork) -> None:
    """Though clients there reach pods: what a pod sends to 127.0.0.1 by its cable goes nowhere."""
    pod, gateway = await network.add("one"), network.settings.gateway
    for command in (
        "ip route del local 127.0.0.0/8 dev lo table local",
        "ip route del local 127.0.0.1 dev lo table local",
        "sysctl -wq net.ipv4.conf.all.route_localnet=1",
        f"ip route add 127.0.0.0/8 via {gateway} dev eth0 onlink",
    ):
        assert await run(*command.split(), pod=pod) == ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("0.0.0.0", 0))
        listener.setblocking(False)
        port = str(listener.getsockname()[1])
        code = (
            "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((sys.argv[1], 0));"
            "[s.sendto(to.encode(), (to, int(sys.argv[2]))) for to in sys.argv[3:]]"
        )
        assert await run(sys.executable, "-c", code, pod.ip, port, "127.0.0.1", gateway, pod=pod) == ""
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(listener, 99), 60) == gateway.encode()
