"""Pods on a real host: addresses, reachability, adoption after a restart, and nothing left behind."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sampan.node.network import namespaces, nft
from sampan.node.network.dns import DnsServer
from sampan.node.network.pod_network import PodAttachment, PodNetwork
from sampan.node.network.service_proxy import ServiceProxy
from sampan.node.network.settings import NetworkSettings

pytestmark = pytest.mark.root

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write((sys.argv[1] + " " + self.client_address[0]).encode())
    def log_message(self, *a): pass
server = http.server.HTTPServer(("0.0.0.0", 8080), Handler)
print("up", flush=True)
server.serve_forever()
"""
FETCH = """
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=3).read().decode())
"""


@asynccontextmanager
async def web_server(pod: PodAttachment, name: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        "nsenter", f"--net={pod.netns_path}", sys.executable, "-c", SERVER, name, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def fetch(url: str, pod: PodAttachment | None = None) -> str:
    """What the URL answers to the pod, or to the host; the error's last line otherwise."""
    inside = ("nsenter", f"--net={pod.netns_path}") if pod else ()
    process = await asyncio.create_subprocess_exec(
        *inside, sys.executable, "-c", FETCH, url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    return (output or errors).decode().strip().splitlines()[-1]


def service(name: str, ip: str, port: int = 80, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "web", "port": port, "protocol": "TCP", "targetPort": 8080}]
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": ports, **spec},
    }


def endpoint_slice(name: str, *addresses: str) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{name}-x", "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
    }


async def test_pods_reach_each_other_and_the_host_under_their_own_address(network: PodNetwork) -> None:
    """No translation happens between pods: the server sees the client's pod address."""
    one, two = await network.add("one"), await network.add("two")
    async with web_server(one, "one"):
        assert await fetch(f"http://{one.ip}:8080", two) == f"one {two.ip}"
        assert await fetch(f"http://{one.ip}:8080", one) == f"one {one.ip}"
        assert await fetch(f"http://{one.ip}:8080") == f"one {network.settings.gateway}"


async def test_a_service_address_leads_to_its_endpoints(network: PodNetwork, service_ip: str) -> None:
    """From another pod, from the endpoint itself and from the host."""
    one, two = await network.add("one"), await network.add("two")
    proxy = ServiceProxy(network.settings)
    await proxy.apply([service("web", service_ip)], [endpoint_slice("web", one.ip)])
    async with web_server(one, "one"):
        assert await fetch(f"http://{service_ip}", two) == f"one {two.ip}"
        assert await fetch(f"http://{service_ip}", one) == f"one {network.settings.gateway}"
        assert await fetch(f"http://{service_ip}") == f"one {network.settings.gateway}"


async def test_requests_are_spread_over_endpoints_and_follow_changes(network: PodNetwork, service_ip: str) -> None:
    """Two endpoints both answer; after one leaves, only the other does."""
    one, two = await network.add("one"), await network.add("two")
    proxy = ServiceProxy(network.settings)
    async with web_server(one, "one"), web_server(two, "two"):
        await proxy.apply([service("web", service_ip)], [endpoint_slice("web", one.ip, two.ip)])
        seen = {await asyncio.to_thread(answer, service_ip, 80) for _ in range(40)}
        assert seen == {"one", "two"}
        await proxy.apply([service("web", service_ip)], [endpoint_slice("web", two.ip)])
        assert {await asyncio.to_thread(answer, service_ip, 80) for _ in range(20)} == {"two"}
        sticky = service("web", service_ip, sessionAffinity="ClientIP")
        await proxy.apply([sticky], [endpoint_slice("web", one.ip, two.ip)])
        assert len({await asyncio.to_thread(answer, service_ip, 80) for _ in range(20)}) == 1


async def test_a_service_without_endpoints_refuses_at_once(network: PodNetwork, service_ip: str) -> None:
    """Connection refused, not a timeout; from pods and from the host."""
    pod = await network.add("one")
    await ServiceProxy(network.settings).apply([service("web", service_ip)], [endpoint_slice("web")])
    assert "Connection refused" in await fetch(f"http://{service_ip}", pod)
    assert "Connection refused" in await fetch(f"http://{service_ip}")


async def test_a_refused_change_keeps_the_old_rules(network: PodNetwork, service_ip: str) -> None:
    """NftError is the caller's to retry; the service goes on working."""
    one = await network.add("one")
    proxy = ServiceProxy(network.settings)
    await proxy.apply([service("web", service_ip)], [endpoint_slice("web", one.ip)])
    with pytest.raises(nft.NftError):
        await proxy.apply([service("web", service_ip)], [endpoint_slice("web", "not an address")])
    async with web_server(one, "one"):
        assert await fetch(f"http://{service_ip}") == f"one {network.settings.gateway}"
    assert await proxy.apply([service("web", service_ip)], [endpoint_slice("web", one.ip)])
    assert not await proxy.apply([service("web", service_ip)], [endpoint_slice("web", one.ip)])


async def test_many_pods_at_once_get_different_addresses(network: PodNetwork) -> None:
    """Twelve side by side, and adding again changes nothing."""
    uids = [f"pod-{i}" for i in range(12)]
    pods = await asyncio.gather(*(network.add(uid) for uid in uids))
    assert len({pod.ip for pod in pods}) == 12
    assert await asyncio.gather(*(network.add(uid) for uid in uids)) == pods
    await asyncio.gather(*(network.remove(uid) for uid in uids))
    assert await network.attachments() == {}
    again = await network.add("later")
    assert again.ip not in {pod.ip for pod in pods}


async def test_a_restarted_agent_finds_its_pods(network: PodNetwork) -> None:
    """Adoption: the same attachments, no interruption, no address given twice."""
    pod = await network.add("one")
    async with web_server(pod, "one"):
        restarted = PodNetwork(network.settings)
        await restarted.setup()
        assert await restarted.attachments() == {"one": pod}
        assert (await restarted.add("two")).ip != pod.ip
        assert await fetch(f"http://{pod.ip}:8080", await restarted.add("two")) != ""
        await restarted.remove("two")
        await restarted.remove("two")


async def test_a_namespace_lost_in_a_reboot_is_made_again(network: PodNetwork) -> None:
    """The file without a namespace doesn't count; the pod keeps its address."""
    pod = await network.add("one")
    path = network.settings.namespace_path("one")
    namespaces.remove(path)
    path.touch()
    assert await network.attachments() == {}
    assert await network.add("one") == pod
    assert await network.attachments() == {"one": pod}


async def test_two_nodes_on_one_host_share_it(
    network: PodNetwork, make_settings: Callable[..., NetworkSettings]
) -> None:
    """Pods of both reach each other; when one node goes, the other goes on."""
    other = PodNetwork(make_settings(2))
    await other.setup()
    try:
        here, there = await network.add("one"), await other.add("two")
        async with web_server(here, "one"):
            assert await fetch(f"http://{here.ip}:8080", there) == f"one {there.ip}"
            await other.teardown()
            assert await fetch(f"http://{here.ip}:8080") == f"one {network.settings.gateway}"
    finally:
        await other.teardown()


async def test_pods_reach_out_by_the_hosts_address(network: PodNetwork) -> None:
    """Masquerade: a server on the host's own outer address sees no pod address from beyond."""
    pod = await network.add("one")
    listed = subprocess.run(["nft", "list", "table", "ip", network.settings.table], capture_output=True, text=True)
    assert "masquerade" in listed.stdout
    with socket.create_server((network.settings.gateway, 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('{network.settings.gateway}', {port}), 3)"
        process = await asyncio.create_subprocess_exec("nsenter", f"--net={pod.netns_path}", sys.executable, "-c", code)
        assert await process.wait() == 0


async def test_names_resolve_through_the_dns_service(network: PodNetwork, service_ip: str) -> None:
    """A pod asks the service address by UDP and TCP; the node's name server answers."""
    pod = await network.add("one")
    gateway = network.settings.gateway
    web = service("web", service_ip)
    dns = {
        "metadata": {"name": "kube-dns", "namespace": "default"},
        "spec": {
            "clusterIP": service_ip,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
        },
    }
    server = DnsServer(gateway, "cluster.local", [], port=0)
    server.update([web], [])
    await server.start()
    ports = [
        {"name": "dns", "port": server.port, "protocol": "UDP"},
        {"name": "dns-tcp", "port": server.port, "protocol": "TCP"},
    ]
    slices = [{**endpoint_slice("kube-dns", gateway), "ports": ports}]
    await ServiceProxy(network.settings).apply([dns], slices)
    code = (
        "import dnslib, sys; q = dnslib.DNSRecord.question('web.default.svc.cluster.local');"
        "print([str(dnslib.DNSRecord.parse(q.send(sys.argv[1], 53, tcp=t, timeout=2)).a.rdata) for t in (0, 1)])"
    )
    inside = ("nsenter", f"--net={pod.netns_path}", sys.executable, "-c", code, service_ip)
    process = await asyncio.create_subprocess_exec(*inside, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    await server.stop()
    assert output.decode().strip() == str([service_ip] * 2)


async def test_an_address_without_a_pod_is_unreachable_at_once(network: PodNetwork) -> None:
    """From a pod and from the host; no waiting for an answer that cannot come."""
    pod = await network.add("one")
    nobody = f"http://{network.settings.network[77]}"
    assert "No route to host" in await fetch(nobody, pod)
    assert "No route to host" in await fetch(nobody)


async def test_a_pod_cannot_speak_under_anothers_address(network: PodNetwork) -> None:
    """The kernel drops what comes from the wrong cable: the server never sees it."""
    one, two = await network.add("one"), await network.add("two")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind((network.settings.gateway, 0))
        listener.setblocking(False)
        port = listener.getsockname()[1]
        code = (
            "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
            "s.setsockopt(socket.IPPROTO_IP, 19, 1); s.bind((sys.argv[1], 0));"
            "s.sendto(sys.argv[1].encode(), (sys.argv[2], int(sys.argv[3])))"
        )
        for source in (one.ip, two.ip):
            inside = ("nsenter", f"--net={two.netns_path}", sys.executable, "-c", code, source)
            process = await asyncio.create_subprocess_exec(*inside, network.settings.gateway, str(port))
            assert await process.wait() == 0
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(listener, 99), 2) == two.ip.encode()


def answer(host: str, port: int) -> str:
    """The name of the server that answered."""
    with socket.create_connection((host, port), 3) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        data = b""
        while chunk := connection.recv(4096):
            data += chunk
    return data.split(b"\r\n\r\n")[1].split()[0].decode()
