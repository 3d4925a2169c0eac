"""Services in a real kernel: who answers, and whom it sees, from pods, from the node and from outside."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.kit.clock import SystemClock
from sampan.node.exposition import Exposition
from sampan.node.network import nft
from sampan.node.network.service_proxy import ServiceProxy
from tests.node.network import lab as labs
from tests.node.network.lab import Lab, endpoint, endpoint_slice, service

pytestmark = pytest.mark.root


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with labs.lab(tmp_path) as made:
        yield made


async def test_a_cluster_address_leads_to_its_endpoints(lab: Lab) -> None:
    """From another pod, from the endpoint itself, from the node and from outside, each seen as it should be."""
    one, two = await lab.pod("one"), await lab.pod("two")
    await lab.put(service(), endpoint_slice(endpoint(one.ip)))
    with lab.server("one"):
        assert lab.ask("two", "10.96.0.9") == f"one {two.ip}"
        assert lab.ask("one", "10.96.0.9") == "one 10.244.0.1"
        assert lab.ask("node", "10.96.0.9") == "one 10.244.0.1"
        assert lab.ask("outside", "10.96.0.9") == "one 10.244.0.1"
        assert lab.ask("two", "10.96.0.9", 81) == "refused"


async def test_both_families_and_protocols_are_spread_and_follow_changes(lab: Lab) -> None:
    """Two endpoints answer, after one leaves only the other does; of IPv4 and IPv6, streams and datagrams."""
    one, _ = await lab.pod("one"), await lab.pod("two")
    ports = [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    offered = [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 5353, "protocol": "UDP"}]
    both = service(clusterIPs=["10.96.0.9", "fd00:10:96::9"], ports=ports)

    def slices(*pods: str) -> list[labs.Object]:
        four = endpoint_slice(*(endpoint(lab.pods[p].ip) for p in pods), ports=offered)
        six = endpoint_slice(*(endpoint(lab.pods[p].ip6) for p in pods), ports=offered, addressType="IPv6")
        six["metadata"]["name"] = "web-6"
        return [four, six]

    await lab.put(both, *slices("one", "two"))
    with lab.server("one"), lab.server("two"), lab.server("one", 5353, udp=True), lab.server("two", 5353, udp=True):
        for address in ("10.96.0.9", "fd00:10:96::9"):
            assert lab.names("node", address, times=20) == {"one", "two"}
            assert lab.names("outside", address, times=20) == {"one", "two"}
        assert lab.ask("one", "fd00:10:96::9").split()[1] in (one.ip6, "fd00:10:244::1")
        await lab.put(*slices("two"))
        with lab.client("one", "10.96.0.9") as four, lab.client("one", "fd00:10:96::9") as six:
            for name in ("two", "one", "two"):
                await lab.put(*slices(name))
                seen = (one.ip, one.ip6) if name == "two" else ("10.244.0.1", "fd00:10:244::1")
                assert labs.say(four, "10.96.0.9", 53) == f"{name} {seen[0]}"
                assert labs.say(six, "fd00:10:96::9", 53) == f"{name} {seen[1]}"
        await lab.put(*slices("one"))
        assert lab.names("node", "10.96.0.9") == lab.names("node", "fd00:10:96::9") == {"one"}


async def test_who_has_no_endpoint_is_refused_until_there_is_one(lab: Lab) -> None:
    """At once, wherever the service is reached; a client of datagrams that had tried before gets through later."""
    pod = await lab.pod("one")
    await lab.pod("two")
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    ports.append({"name": "dns", "port": 53, "nodePort": 30053, "protocol": "UDP"})
    status = {
        "loadBalancer": {"ingress": [{"ip": "10.32.0.1", "ipMode": "VIP"}, {"ip": "10.32.0.2", "ipMode": "Proxy"}]}
    }
    web = service(type="LoadBalancer", ports=ports, externalIPs=["203.0.113.5"], status=status)
    places = [("10.96.0.9", 80), (labs.NODE_IP, 30080), ("10.32.0.1", 80), ("203.0.113.5", 80)]
    await lab.put(web)
    for where in ("two", "node", "outside"):
        assert {lab.ask(where, *place) for place in places} == {"refused"}
    assert lab.ask("outside", "10.32.0.2") == "refused"
    assert lab.ask("node", "127.0.0.1", 30080) == "refused"
    with lab.server("one"), lab.server("one", 5353, udp=True), lab.client("two", "10.96.0.9") as client:
        asked = [("10.96.0.9", 53), (labs.NODE_IP, 30053), ("10.32.0.1", 53)]
        assert [labs.say(client, *place) for place in asked] == ["refused"] * 3
        offered = [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 5353, "protocol": "UDP"}]
        await lab.put(endpoint_slice(endpoint(pod.ip), ports=offered))
        assert [labs.say(client, *place).split()[0] for place in asked] == ["one"] * 3
        for where in ("two", "node", "outside"):
            assert {lab.ask(where, *place).split()[0] for place in places} == {"one"}
        assert lab.ask("node", "127.0.0.1", 30080) == "one 10.244.0.1"
        assert lab.ask("outside", labs.NODE_IP, 30080) == "one 10.244.0.1"  # under the node's own address
        assert lab.ask("outside", "10.32.0.2") == "refused"
    with lab.server("outside"):
        elsewhere = endpoint_slice(endpoint(labs.OUTSIDE_IP, node="n2"))
        await lab.put(elsewhere)
        assert lab.ask("node", "127.0.0.1", 30080) == lab.ask("two", labs.NODE_IP, 30080) == f"outside {labs.NODE_IP}"
        assert lab.ask("node", "10.32.0.1") == f"outside {labs.NODE_IP}"
    await lab.put(endpoint_slice(endpoint(pod.ip), ports=offered))
    with lab.server("one", 5353, udp=True), lab.client("two", "198.51.100.7", patient=False) as client:
        assert labs.say(client, "198.51.100.7", 53) in ("silence", "unreachable")
        await lab.put(service(ports=ports, externalIPs=["198.51.100.7"]))
        assert labs.say(client, "198.51.100.7", 53).split()[0] == "one"


async def test_local_policies_keep_to_this_node(lab: Lab) -> None:
    """From outside only endpoints of this node, who see the client; pods and the node get to all; none here: silence."""
    one, two = await lab.pod("one"), await lab.pod("two")
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    status = {"loadBalancer": {"ingress": [{"ip": "10.32.0.1"}]}}
    local = service(type="LoadBalancer", ports=ports, externalTrafficPolicy="Local", status=status)
    await lab.put(local, endpoint_slice(endpoint(one.ip), endpoint(two.ip, node="n2")))
    with lab.server("one"), lab.server("two"):
        for _ in range(8):
            assert lab.ask("outside", labs.NODE_IP, 30080) == f"one {labs.OUTSIDE_IP}"
            assert lab.ask("outside", "10.32.0.1") == f"one {labs.OUTSIDE_IP}"
        assert lab.names("node", "10.32.0.1", times=20) == lab.names("one", labs.NODE_IP, 30080, times=20)
        assert lab.names("node", labs.NODE_IP, 30080, times=20) == {"one", "two"}
        assert lab.names("outside", "10.96.0.9", times=20) == {"one", "two"}
        await lab.put(endpoint_slice(endpoint(two.ip, node="n2")))
        assert lab.ask("outside", "10.32.0.1", patient=False) == "silence"
        assert lab.ask("outside", labs.NODE_IP, 30080, patient=False) == "silence"
        assert lab.ask("one", "10.32.0.1") == f"two {one.ip}"
        assert lab.ask("node", labs.NODE_IP, 30080).split()[0] == "two"
        await lab.put(service(internalTrafficPolicy="Local"))
        assert lab.ask("one", "10.96.0.9", patient=False) == "silence"
        await lab.put(endpoint_slice(endpoint(one.ip), endpoint(two.ip, node="n2")))
        assert lab.names("two", "10.96.0.9") == {"one"}
        await lab.put(endpoint_slice())
        assert lab.ask("two", "10.96.0.9") == lab.ask("outside", "10.96.0.9") == "refused"


async def test_a_client_stays_with_its_endpoint(lab: Lab) -> None:
    """Also while others come and go, at every address of the service; with its own gone it gets another; until it's off."""
    pods = [await lab.pod(name) for name in ("one", "two", "three", "four")]
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    both = ["10.96.0.9", "fd00:10:96::9"]
    sticky = service(type="NodePort", ports=ports, sessionAffinity="ClientIP", clusterIPs=both)

    def only(*names: str) -> list[labs.Object]:
        four = endpoint_slice(*(endpoint(lab.pods[name].ip) for name in names))
        six = endpoint_slice(*(endpoint(lab.pods[name].ip6) for name in names), addressType="IPv6")
        six["metadata"]["name"] = "web-6"
        return [four, six]

    await lab.put(sticky, *only("one", "two", "three"))
    with lab.server("one"), lab.server("two"), lab.server("three"), lab.server("four"):
        for where, address, port in (
            ("four", "10.96.0.9", 80),
            ("outside", labs.NODE_IP, 30080),
            ("four", "fd00:10:96::9", 80),
            ("four", "fd00:10:244::1", 30080),
        ):
            await lab.put(*only("one", "two", "three"))
            (own,) = lab.names(where, address, port)
            await lab.put(*only("one", "two", "three", "four"))
            assert lab.names(where, address, port) == {own}
            others = sorted({"one", "two", "three"} - {own})
            await lab.put(*only(own, others[0]))
            assert lab.names(where, address, port) == {own}
            await lab.put(*only(*others))
            (next_one,) = lab.names(where, address, port)
            assert next_one in others
            await lab.put(*only("one", "two", "three"))
            assert lab.names(where, address, port) == {next_one}
            await lab.proxy.close()
            lab.proxy = ServiceProxy(lab.network.settings, SystemClock())  # another agent
            await lab.put(*lab.known.values())
            assert lab.names(where, address, port) == {next_one}
        assert lab.ask("outside", labs.NODE_IP, 30080).split()[1] == "10.244.0.1"
        assert {lab.ask("four", "10.96.0.9").split()[1] for _ in range(8)} == {pods[3].ip}
        local = service(type="NodePort", ports=ports, sessionAffinity="ClientIP", externalTrafficPolicy="Local")
        await lab.put(local)
        (answer,) = {lab.ask("outside", labs.NODE_IP, 30080) for _ in range(8)}
        assert answer.split()[1] == labs.OUTSIDE_IP
        await lab.put(service(type="NodePort", ports=ports))
        assert len(lab.names("four", "10.96.0.9", times=30)) == len(lab.names("outside", labs.NODE_IP, 30080, 30)) == 3


async def test_a_service_changes_its_type(lab: Lab) -> None:
    """What it no longer has leads nowhere; in both directions, with ports that another may take over."""
    one = await lab.pod("one")
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    status = {"loadBalancer": {"ingress": [{"ip": "10.32.0.1"}]}}
    with lab.server("one"):
        await lab.put(service(), endpoint_slice(endpoint(one.ip)))
        assert lab.ask("outside", labs.NODE_IP, 30080) == "refused"
        await lab.put(service(type="NodePort", ports=ports))
        assert lab.names("outside", labs.NODE_IP, 30080, 1) == {"one"}
        ranges = ["198.51.100.0/24", "192.0.2.0/25", "192.0.2.0/24"]
        await lab.put(service(type="LoadBalancer", ports=ports, status=status, loadBalancerSourceRanges=ranges))
        assert lab.names("outside", "10.32.0.1", 80, 1) == {"one"}
        await lab.put(service(type="LoadBalancer", ports=ports, status=status, loadBalancerSourceRanges=ranges[:1]))
        assert lab.ask("outside", "10.32.0.1", patient=False) == "silence"
        assert lab.names("outside", labs.NODE_IP, 30080, 1) == {"one"}
        await lab.put(service(type="ClusterIP"))
        assert lab.ask("outside", labs.NODE_IP, 30080) == lab.ask("outside", "10.32.0.1") == "refused"
        await lab.put(service(type="ExternalName", clusterIP="", externalName="example.org", ports=[]))
        assert lab.ask("node", "10.96.0.9") == "refused"
        await lab.put(service(type="NodePort", ports=ports))
        assert lab.names("node", "10.96.0.9", 80, 1) == lab.names("node", "127.0.0.1", 30080, 1) == {"one"}
        await lab.drop(service())
        assert lab.ask("node", "10.96.0.9") == lab.ask("node", "127.0.0.1", 30080) == "refused"


async def test_a_refused_change_keeps_the_old_rules(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them; health checks say so; the next attempt replaces the table. So does a new agent, and nobody notices."""
    one, two = await lab.pod("one"), await lab.pod("two")
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}
    await lab.put(service(**spec), endpoint_slice(endpoint(one.ip)))
    apply = nft.apply
    with lab.server("one"), lab.server("two"):
        with monkeypatch.context() as patch:
            patch.setattr(nft, "apply", lambda text: apply(text + "add rule inet lab-services nowhere drop\n"))
            with pytest.raises(nft.NftError):
                await lab.put(service("other", clusterIP="10.96.0.8"), endpoint_slice(endpoint(two.ip)))
            with pytest.raises(nft.NftError):
                await lab.put()
            assert lab.names("two", "10.96.0.9") == {"one"}
            assert lab.ask("two", "10.96.0.8") == "refused"
            assert (await _get(lab, 32000)).startswith("HTTP/1.1 503 Service Unavailable")
        await lab.put()
        assert lab.names("two", "10.96.0.9") == {"two"}
        figures = Exposition()
        lab.proxy.figures(figures)
        assert b"nftables_sync_failures_total 2\n" in figures.text()
        assert b"kubeproxy_sync_full_proxy_rules_duration_seconds_count{} 2\n" in figures.text()
        answer = await _get(lab, 32000)
        assert answer.startswith("HTTP/1.1 200 OK")
        assert "X-Load-Balancing-Endpoint-Weight: 1\r\n" in answer
        assert '"localEndpoints": 1' in answer
        await lab.put(endpoint_slice(endpoint(two.ip, node="n2")))
        assert (await _get(lab, 32000)).startswith("HTTP/1.1 503 ")
        await lab.put(service())
        with pytest.raises(ConnectionRefusedError):
            await _get(lab, 32000)
        before = await nft.query("list", "map", "inet", "lab-services", "endpoints4")
        await lab.proxy.close()
        lab.proxy = ServiceProxy(lab.network.settings, SystemClock())
        await lab.put(*lab.known.values())
        assert lab.names("one", "10.96.0.9") == {"two"}
        assert _elements(await nft.query("list", "map", "inet", "lab-services", "endpoints4")) == _elements(before)


async def test_health_checks_are_answered_while_rules_are_written(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has failed: the old rules serve. After a refusal it is said, until the next time that they are taken."""
    one = await lab.pod("one")
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}
    await lab.put(service(**spec), endpoint_slice(endpoint(one.ip)))
    begun, may_end = asyncio.Event(), asyncio.Event()
    with monkeypatch.context() as patch:

        async def refused(text: str) -> None:
            begun.set()
            await may_end.wait()
            raise nft.NftError("no")

        patch.setattr(nft, "apply", refused)
        change = asyncio.ensure_future(lab.put(service("other", clusterIP="10.96.0.8")))
        await begun.wait()
        assert (await _get(lab, 32000)).startswith("HTTP/1.1 200 ")
        may_end.set()
        with pytest.raises(nft.NftError):
            await change
        assert (await _get(lab, 32000)).startswith("HTTP/1.1 503 ")
    await lab.put()
    assert (await _get(lab, 32000)).startswith("HTTP/1.1 200 ")


async def _get(lab: Lab, port: int) -> str:
    reader, writer = await asyncio.open_connection(labs.NODE_IP, port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.decode()


def _elements(listing: list[labs.Object]) -> str:
    return str(next(item["map"]["elem"] for item in listing if "map" in item))


async def test_services_of_bad_will_harm_nobody(lab: Lab) -> None:
    """They reach neither the machine nor its neighbours, take nobody's address, and others go on working."""
    one = await lab.pod("one")
    with lab.server("one"), lab.server("node", 9000):
        await lab.put(service(), endpoint_slice(endpoint(one.ip)))
        ports = [{"name": "http", "port": 1000 + n} for n in range(10000)]
        evil = service("evil", clusterIP="10.96.0.66", externalIPs=["10.96.0.9", one.ip, "127.0.0.1"], ports=ports)
        addresses = ("127.0.0.1", "127.0.0.53", "169.254.169.254", "224.0.0.1", "10.96.0.9", "0.0.0.0")
        offered = [{"name": "http", "port": 9000, "protocol": "TCP"}]
        await lab.put(evil, endpoint_slice(*(endpoint(a) for a in addresses), name="evil", ports=offered))
        assert lab.ask("one", "10.96.0.66", 1000) == lab.ask("outside", "10.96.0.66", 10999) == "refused"
        assert lab.ask("node", "127.0.0.1", 9000) == "node 127.0.0.1"
        assert lab.names("one", "10.96.0.9", times=1) == lab.names("outside", "10.96.0.9", times=1) == {"one"}
        await lab.put({**service("broken"), "spec": {"clusterIP": "10.96.0.67", "ports": [{"port": {}}]}})
        await lab.put(service("later", clusterIP="10.96.0.7"), endpoint_slice(endpoint(one.ip), name="later"))
        assert lab.names("node", "10.96.0.7", times=1) == {"one"}


async def test_near_endpoints_come_first_and_the_nodes_own_names(tmp_path: Path) -> None:
    """The zone is the one that the Node has now; the name service's address is answered by the node itself."""
    async with labs.lab(tmp_path, dns_ip="10.96.0.10") as lab:
        one, two = await lab.pod("one"), await lab.pod("two")
        near, far = ({"hints": {"forZones": [{"name": zone}]}} for zone in ("a", "b"))
        await lab.put(service(), endpoint_slice(endpoint(one.ip) | near, endpoint(two.ip) | far))
        dns = service("kube-dns", clusterIP="10.96.0.10", ports=[{"name": "dns", "port": 53, "protocol": "UDP"}])
        await lab.put(dns)
        with lab.server("one"), lab.server("two"), lab.server("node", 53, udp=True):
            assert lab.names("node", "10.96.0.9", times=20) == {"one", "two"}
            for zone, expected in (("a", "one"), ("b", "two")):
                labels = {"topology.kubernetes.io/zone": zone}
                assert lab.proxy.node_changed({"metadata": {"labels": labels}})
                assert not lab.proxy.node_changed({"metadata": {"labels": labels | {"other": "x"}}})
                await lab.put()
                assert lab.names("node", "10.96.0.9") == {expected}
            with lab.client("one", "10.96.0.10") as client:
                assert labs.say(client, "10.96.0.10", 53) == f"node {one.ip}"
