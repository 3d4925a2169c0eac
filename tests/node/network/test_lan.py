"""The network between nodes of one host, in a namespace that stands for the host."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sampan.cluster import agents
from sampan.cluster.settings import Settings
from sampan.node.network import lan, lan_ports

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")

WORLD = """
import dataclasses, json, os, socket, subprocess, sys
from pathlib import Path
from sampan.node.network import lan, namespaces
places = [dataclasses.replace(lan.read(it), run_dir=Path(sys.argv[2])) for it in json.loads(sys.argv[1])]

def told(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout

def host():
    folder = places[0].namespace.parent
    return {
        "links": sorted(line.split(":")[1].strip() for line in told("ip", "-o", "link").splitlines()),
        "routes": told("ip", "-4", "route").splitlines(),
        "rules": told("nft", "list", "ruleset"),
        "files": sorted(map(str, folder.glob("*"))) if folder.exists() else [],
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
    }

def apart(errand):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, json.dumps(errand()).encode())
        os._exit(0)
    os.close(writer)
    text = os.fdopen(reader).read()
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(text)

def enter(place, look=lambda: None):
    def errand():
        lan.enter(place)
        return [os.stat("/proc/self/ns/net").st_ino, look()]
    return apart(errand)

def leave(place):
    return apart(lambda: lan.leave(place, lan.enter_for_teardown(place)))

def inside():
    new_links = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    have_ipv6 = new_links.exists() and new_links.read_text() == "0\\n"
    return [told("ip", "-4", "-o", "address", "show", "dev", "eth0").split()[3], told("ip", "route").split()[2], have_ipv6]

def reaches(address):
    with socket.socket() as probe:
        probe.settimeout(5)
        try:
            probe.connect((address, 9))
        except ConnectionRefusedError:
            return True
        return False

told("nft", sys.argv[3])
facts = {"before": host()}
facts["places"] = [enter(place, inside)[1] for place in places]
facts["made"] = host()
facts["reached"] = enter(places[1], lambda: [reaches(places[0].address), reaches(places[0].gateway)])[1]
facts["same"] = enter(places[0])[0] == enter(places[0])[0]
lan.run(lan.ports(places[0], frozenset({("tcp", 30000)})))
enter(places[1])
facts["again"] = host()
namespaces.remove(places[1].namespace)
places[1].namespace.touch()
enter(places[1])
facts["reboot"] = host()
leave(places[0])
facts["one"] = host()
leave(places[0])
leave(places[1])
leave(places[1])
facts["after"] = host()
print(json.dumps(facts))
"""


def places(folder: Path, **terms: Any) -> list[dict[str, Any]]:
    """What two agents are told."""
    cluster = Settings("tide", folder, index=3, nodes=2, **terms)
    found = [agents.lan(cluster, number) for number in (0, 1)]
    return [json.loads(json.dumps(fields)) for fields in found]


@needs_root
@pytest.mark.slow
@pytest.mark.root
def test_nodes_join_and_leave(tmp_path: Path) -> None:
    """They reach each other and the host; joining again changes nothing; the last to leave leaves nothing.

    Though the host has a firewall that rejects what it does not know.
    """
    given = (json.dumps(places(tmp_path)), str(tmp_path / "claims"))
    refusing = "{ type filter hook input priority 10; iifname lo accept; reject with icmpx admin-prohibited; }"
    firewalld = f"table inet firewalld {{ chain filter_INPUT {refusing}; }}"
    own_links = ("unshare", "--net", "--mount", "sh", "-c", 'mount -t sysfs sysfs /sys && exec "$@"', "sh")
    command = (*own_links, sys.executable, "-c", WORLD, *given, firewalld)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    made, one = facts["made"], facts["one"]
    assert facts["places"] == [["10.160.3.2/24", "10.160.3.1", False], ["10.160.3.3/24", "10.160.3.1", False]]
    assert facts["reached"] == [True, True]
    assert facts["same"]
    assert {"sampan3lan", "sampan3lan0@if2", "sampan3lan1@if2"} <= set(made["links"])
    assert "10.99.0.0/16 via 10.160.3.2 dev sampan3lan proto static onlink" in [r.strip() for r in made["routes"]]
    assert "10.241.1.0/24 via 10.160.3.3 dev sampan3lan proto static onlink" in [r.strip() for r in made["routes"]]
    assert made["forwarding"] == "1\n"
    assert facts["again"]["rules"].count("tcp . 30000") == 1
    assert facts["again"] | {"rules": ""} == made | {"rules": ""}
    assert facts["reboot"] | {"rules": ""} == made | {"rules": ""}
    assert "sampan3lan0@if2" not in one["links"]
    assert "sampan3lan" in one["links"]
    assert not any("via 10.160.3.2" in route for route in one["routes"])
    assert facts["after"] == facts["before"]


def test_the_host_lets_in_what_the_api_is_open_to(tmp_path: Path) -> None:
    """Node ports of loopback always; of an address, or of all, only where the API listens there too."""
    closed = lan.table(lan.read(places(tmp_path)[0]))
    assert "ip daddr 127.0.0.1 meta l4proto . th dport @ports dnat ip to 10.160.3.2" in closed
    assert "prerouting ip daddr" not in closed
    private = 'guard iifname != "sampan3lan" iifname != "lo" ip daddr 10.160.3.1 drop'
    assert private in closed
    one = lan.table(lan.read(places(tmp_path, listen="192.0.2.7")[0]))
    assert "prerouting ip daddr 192.0.2.7 meta l4proto . th dport @ports dnat" in one
    assert private in one
    everywhere = lan.table(lan.read(places(tmp_path, listen="0.0.0.0")[1]))
    assert "prerouting fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto" in everywhere
    assert private not in everywhere


def test_the_first_node_leads_to_services(tmp_path: Path) -> None:
    """Only it; each leads to its own pods."""
    first, second = (lan.read(fields) for fields in places(tmp_path))
    assert first.entry_cidrs == ("10.99.0.0/16", "10.35.0.0/24")
    assert second.entry_cidrs == ()
    assert (first.pod_cidrs, second.pod_cidrs) == (("10.241.0.0/24",), ("10.241.1.0/24",))
    assert second.entry == first.address


def test_both_families_lead_to_the_nodes(tmp_path: Path) -> None:
    """Each network over the node's address of its own family; what goes out is hidden in both; one family has no other's rules."""
    first, second = (lan.read(fields) for fields in places(tmp_path, ip_families="IPv4,IPv6"))
    assert (first.gateway6, first.address6, second.address6) == (
        "fd00:10:160:3::1",
        "fd00:10:160:3::2",
        "fd00:10:160:3::3",
    )
    assert ("fd00:10:241::/64", first.address6) in first.routes
    assert ("fd00:10:99::/112", first.address6) in first.routes
    assert second.routes == [("10.241.1.0/24", second.address), ("fd00:10:241:1::/64", second.address6)]
    made = lan.table(first)
    assert "ip6 saddr { fd00:10:160:3::/64, fd00:10:241::/56 } masquerade" in made
    assert 'guard iifname != "sampan3lan" iifname != "lo" ip6 daddr fd00:10:160:3::1 drop' in made
    assert "ip6" not in lan.table(lan.read(places(tmp_path)[0]))


def test_node_ports_of_services() -> None:
    """Of those that have some, by protocol; the host's set is replaced as a whole."""
    ports = [{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP", "nodePort": 30053}, {"port": 1}]
    service: dict[str, Any] = {
        "metadata": {"name": "a", "namespace": "b"},
        "spec": {"type": "NodePort", "ports": ports},
    }
    found = lan_ports.ports(service)
    assert found == {("tcp", 30080), ("udp", 30053)}
    assert lan_ports.ports({**service, "spec": {**service["spec"], "type": "ClusterIP"}}) == frozenset()
    place = lan.read(places(Path("/nowhere"))[0])
    assert lan.ports(place, found).splitlines() == [
        "flush set inet sampan-3-lan ports",
        "add element inet sampan-3-lan ports { tcp . 30080, udp . 30053 }",
    ]
    assert lan.ports(place, frozenset()) == "flush set inet sampan-3-lan ports\n"
