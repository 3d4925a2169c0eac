"""A node in a network namespace of its own: its pods, a machine outside, and small servers and clients in them."""

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sampan.kit.clock import SystemClock
from sampan.node.network import namespaces
from sampan.node.network.pod_network import PodAttachment, PodNetwork
from sampan.node.network.service_proxy import ServiceProxy
from sampan.node.network.settings import NetworkSettings

T = TypeVar("T")

NODE_IP, OUTSIDE_IP = "192.0.2.1", "192.0.2.9"
SECONDS, MOMENT = 3.0, 0.3
Object = dict[str, Any]


def settings(folder: Path, **more: Any) -> NetworkSettings:
    """A node with both families, that others reach by eth0."""
    given: Object = {
        "pod_cidr6": "fd00:10:244::/120",
        "cluster_pod_cidr6": "fd00:10:244::/64",
        "service_cidr6": "fd00:10:96::/112",
        "uplink": "eth0",
        "node_ip": NODE_IP,
        "load_balancer_cidr": "10.32.0.0/24",
        "run_dir": folder / "run",
    }
    first = ("lab", "n1", "lab0n1", "10.244.0.0/24", "10.244.0.0/16", "10.96.0.0/16", folder / "state", "lab")
    return NetworkSettings(*first, **(given | more))


@dataclass
class Lab:
    """`proxy` follows what is put; `where` are namespaces by name: "node", "outside", and pods."""

    network: PodNetwork
    proxy: ServiceProxy
    where: dict[str, int]
    pods: dict[str, PodAttachment] = field(default_factory=dict)
    known: dict[tuple[str, str, str], Object] = field(default_factory=dict)

    async def put(self, *objects: Object) -> None:
        """These are there now, and applied."""
        for obj in objects:
            plural = "services" if "spec" in obj else "endpointslices"
            key = (plural, obj["metadata"]["namespace"], obj["metadata"]["name"])
            self.proxy.changed(plural, self.known.get(key), obj)
            self.known[key] = obj
        await self.proxy.apply({})

    async def drop(self, *objects: Object) -> None:
        """These are gone."""
        for obj in objects:
            plural = "services" if "spec" in obj else "endpointslices"
            key = (plural, obj["metadata"]["namespace"], obj["metadata"]["name"])
            self.proxy.changed(plural, self.known.pop(key), None)
        await self.proxy.apply({})

    async def pod(self, name: str) -> PodAttachment:
        """A pod."""
        self.pods[name] = pod = await self.network.add(name)
        self.where[name] = os.open(pod.netns_path, os.O_RDONLY | os.O_CLOEXEC)
        return pod

    def run(self, where: str, errand: Callable[[], T]) -> T:
        """Does it in that namespace."""
        done: list[T | BaseException] = []

        def body() -> None:
            try:
                namespaces.move_to(self.where[where])
                done.append(errand())
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                done.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if isinstance(done[0], BaseException):
            raise done[0]
        return done[0]

    @contextmanager
    def server(self, where: str, port: int = 8080, *, udp: bool = False) -> Iterator[None]:
        """Tells who asks the namespace's name and the asker's address; both families."""
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        listening = self.run(where, lambda: _listening(kind, port))
        thread = threading.Thread(target=_answer_datagrams if udp else _answer, args=(listening, where))
        thread.start()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
            thread.join()

    def ask(self, where: str, address: str, port: int = 80, *, patient: bool = True) -> str:
        """Who answers, and whom it sees; "refused" or "silence"."""

        def errand() -> str:
            try:
                with _client(address, socket.SOCK_STREAM, patient) as client:
                    client.connect((address, port))
                    return client.recv(200).decode()
            except ConnectionRefusedError:
                return "refused"
            except TimeoutError:
                return "silence"

        return self.run(where, errand)

    def client(self, where: str, address: str, *, patient: bool = True) -> socket.socket:
        """A socket for datagrams."""
        return self.run(where, lambda: _client(address, socket.SOCK_DGRAM, patient))

    def names(self, where: str, address: str, port: int = 80, times: int = 12) -> set[str]:
        """Who answers of so many times."""
        return {self.ask(where, address, port).split()[0] for _ in range(times)}


def say(client: socket.socket, address: str, port: int) -> str:
    """Who answers to a datagram."""
    try:
        client.connect((address, port))
        client.send(b"?")
        return client.recv(200).decode()
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "silence"
    except OSError:
        return "unreachable"


@asynccontextmanager
async def lab(folder: Path, **more: Any) -> AsyncIterator[Lab]:
    """A node and a machine outside; the calling thread is in the node's namespace meanwhile."""
    home = namespaces.host_fd()
    outside = namespaces.enter_new()
    node = namespaces.enter_new()
    chosen = settings(folder, **more)
    network = PodNetwork(chosen)
    made = Lab(network, ServiceProxy(chosen, SystemClock(), (10250,)), {"node": node, "outside": outside})
    try:
        made.run("outside", lambda: _ip("link set lo up"))
        _ip("link set lo up", "link add eth0 type veth peer name eth9", f"addr add {NODE_IP}/24 dev eth0")
        _ip(f"link set eth9 netns /proc/{os.getpid()}/fd/{outside}", "addr add fd00:2::1/64 dev eth0 nodad")
        _ip("link set eth0 up", "route add default via 192.0.2.9", "route add default via fd00:2::9")
        for address in (f"{OUTSIDE_IP}/24", "fd00:2::9/64"):
            made.run("outside", lambda a=address: _ip(f"addr add {a} dev eth9{' nodad' if ':' in a else ''}"))  # type: ignore[misc]
        made.run("outside", lambda: _ip("link set eth9 up", *_ways(chosen)))
        await network.setup()
        await made.proxy.apply({})
        yield made
    finally:
        await made.proxy.close()
        with contextlib.suppress(Exception):
            await network.teardown()
        namespaces.move_to(home)
        for descriptor in (home, *made.where.values()):
            os.close(descriptor)


def _ways(chosen: NetworkSettings) -> list[str]:
    ways = [f"route add {cidr} via {NODE_IP}" for cidr in (chosen.service_cidr, "10.32.0.0/24", "203.0.113.0/24")]
    return [*ways, f"route add {chosen.service_cidr6} via fd00:2::1"]


def _ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True, capture_output=True)


def _client(address: str, kind: int, patient: bool) -> socket.socket:
    client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    client.settimeout(SECONDS if patient else MOMENT)
    return client


def _listening(kind: int, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6, kind)
    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("::", port))
    if kind == socket.SOCK_STREAM:
        listening.listen(64)
    return listening


def _answer(listening: socket.socket, name: str) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, peer = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(f"{name} {peer[0].removeprefix('::ffff:')}".encode())


def _answer_datagrams(listening: socket.socket, name: str) -> None:
    with contextlib.suppress(OSError):
        while True:
            data, peer = listening.recvfrom(200)
            if not data:
                return
            listening.sendto(f"{name} {peer[0].removeprefix('::ffff:')}".encode(), peer)


def service(name: str = "web", *, status: Mapping[str, Any] | None = None, **spec: Any) -> Object:
    """One at 10.96.0.9:80."""
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    whole = {"type": "ClusterIP", "clusterIP": "10.96.0.9", "ports": ports, **spec}
    made: Object = {"metadata": {"name": name, "namespace": "d"}, "spec": whole}
    return made if status is None else {**made, "status": dict(status)}


def endpoint_slice(*endpoints: Object, name: str = "web", **more: Any) -> Object:
    """Its endpoints, at port 8080."""
    return {
        "metadata": {"name": f"{name}-1", "namespace": "d", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": list(endpoints),
        **more,
    }


def endpoint(ip: str, node: str = "n1", **conditions: bool) -> Object:
    """A ready one on this node."""
    return {"addresses": [ip], "nodeName": node, "conditions": {"ready": True, **conditions}}
