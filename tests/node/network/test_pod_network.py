"""Pods on a real host: addresses, reachability, adoption after a restart, and nothing left behind."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sampan.node.network import namespaces, sysctls
from sampan.node.network.pod_network import PodAttachment, PodNetwork
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


async def test_pods_reach_each_other_and_the_host_under_their_own_address(network: PodNetwork) -> None:
    """No translation happens between pods: the server sees the client's pod address."""
    one, two = await network.add("one"), await network.add("two")
    async with web_server(one, "one"):
        assert await fetch(f"http://{one.ip}:8080", two) == f"one {two.ip}"
        assert await fetch(f"http://{one.ip}:8080", one) == f"one {one.ip}"
        assert await fetch(f"http://{one.ip}:8080") == f"one {network.settings.gateway}"


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
    """Files that nothing is bound to don't count; the pod keeps its address."""
    pod = await network.add("one")
    if network.settings.are_namespaces_shown:
        namespaces.remove(Path(pod.netns_path))
    else:
        namespaces.detach(network.settings.keeper.parent)
    await network.setup()
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


async def test_a_cable_begins_without_ipv6(network: PodNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is turned off afterwards, which waits for whoever changes links; what a pod makes itself is as ever."""
    written, write = list[str](), sysctls.write

    def noted(name: str, value: str, proc: Path = Path("/proc/sys")) -> None:
        written.append(name)
        write(name, value, proc)

    monkeypatch.setattr(sysctls, "write", noted)
    pod = await network.add("one")
    assert "net.ipv6.conf/eth0/disable_ipv6" not in written
    files = " ".join(f"/proc/sys/net/ipv6/conf/{link}/disable_ipv6" for link in ("eth0", "own", "default"))
    script = f"ip link add own type veth peer name other && cat {files}"
    inside = ("nsenter", f"--net={pod.netns_path}", "sh", "-c", script)
    usual = sysctls.read("net.ipv6.conf/default/disable_ipv6")
    found = subprocess.run(inside, capture_output=True, text=True, check=True).stdout.split()
    assert found == ["1", "0", "0"]
    assert sysctls.read(f"net.ipv6.conf/{network.settings.link_name(pod.ip)}/disable_ipv6") == "1"
    assert sysctls.read("net.ipv6.conf/default/disable_ipv6") == usual


async def test_pods_reach_out_by_the_hosts_address(network: PodNetwork) -> None:
    """Masquerade: a server on the host's own outer address sees no pod address from beyond."""
    pod = await network.add("one")
    listed = subprocess.run(["nft", "list", "table", "inet", network.settings.table], capture_output=True, text=True)
    assert "masquerade" in listed.stdout
    with socket.create_server((network.settings.gateway, 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('{network.settings.gateway}', {port}), 3)"
        process = await asyncio.create_subprocess_exec("nsenter", f"--net={pod.netns_path}", sys.executable, "-c", code)
        assert await process.wait() == 0


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
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(listener, 99), 60) == two.ip.encode()
