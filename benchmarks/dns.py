"""How many names a second the name server tells, and what one costs, beside a bare asyncio UDP echo.

    python benchmarks/dns.py [SERVICES]

Each server is a process of its own, asked by this one over the loopback interface with 32 questions on their way.
`hot` are names that were asked for before, `cold` each one for the first time, `search` is what glibc makes of a name
outside with ndots:5 (three names that don't exist, A and AAAA each), `change` hot names while another service changes
100 times a second. CPU is the server's own, a question's part of it.
"""

import asyncio
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from multiprocessing.connection import Connection
from typing import Any

import uvloop

from sampan.kit.clock import SystemClock
from sampan.node.network.dns.server import DnsServer, Place

SECONDS = 3.0
WINDOW = 32
DOMAIN = "cluster.local"


class Echo(asyncio.DatagramProtocol):
    """Sends back what comes."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


def service(number: int) -> dict[str, Any]:
    """One of many."""
    address = f"10.{96 + number // 65000}.{number // 250 % 256}.{number % 250 + 1}"
    spec = {"clusterIP": address, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}
    return {"metadata": {"name": f"service-{number}", "namespace": "shop"}, "spec": spec}


async def serve(pipe: Connection, services: int) -> None:
    """A name server, or an echo if it is to know no services, until the pipe is closed."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    if services:
        server = DnsServer(Place(("127.0.0.1",), DOMAIN, port=0), SystemClock())
        for number in range(services):
            server.changed("services", None, service(number))
        await server.start()
        port = server.port
    else:
        transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
    is_changing = False

    def told() -> None:
        nonlocal is_changing
        try:
            command = pipe.recv()
        except EOFError:
            ended.set()
            return
        is_changing = command == "change"
        pipe.send(sum(os.times()[:2]))

    loop.add_reader(pipe.fileno(), told)
    pipe.send(port)
    while not ended.is_set():
        await asyncio.sleep(0.01)
        if is_changing:
            server.changed("services", service(0), service(0))


def run(pipe: Connection, services: int) -> None:
    """The server's process."""
    uvloop.run(serve(pipe, services))


def question(name: str, kind: int = 1) -> bytes:
    """What libc sends."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + labels + b"\0" + kind.to_bytes(2, "big") + b"\0\1"


def ask(port: int, packets: Iterator[bytes]) -> int:
    """How many were answered, with so many on their way."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", port))
    sock.settimeout(1)
    count, end = 0, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        batch = list(islice(packets, WINDOW))
        if not batch:
            break
        for packet in batch:
            sock.send(packet)
        for _ in batch:
            sock.recv(2048)
        count += len(batch)
    sock.close()
    return count


def measure(services: int, mixes: dict[str, Callable[[], Iterator[bytes]]]) -> None:
    """Prints a line for each mix."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=run, args=(theirs, services))
    process.start()
    theirs.close()
    port = ours.recv()
    for name, packets in mixes.items():
        ours.send(name)
        before, began = ours.recv(), time.perf_counter()
        count = ask(port, packets())
        seconds = time.perf_counter() - began
        ours.send("")
        cpu = ours.recv() - before
        print(f"{name:8} {count / seconds:8.0f}/s  {cpu / count * 1e6:6.1f} us CPU a question")
    ours.close()
    process.terminate()
    process.join()


def main() -> None:
    """Prints all figures."""
    services = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    hot = [question(f"service-{number}.shop.svc.{DOMAIN}", kind) for number in range(100) for kind in (1, 28)]
    search = [
        question(f"example.com.{suffix}{DOMAIN}", kind) for suffix in ("shop.svc.", "svc.", "") for kind in (1, 28)
    ]
    measure(0, {"echo": lambda: cycle(hot)})
    mixes = {
        "cold": lambda: (question(f"service-{number}.shop.svc.{DOMAIN}") for number in range(services)),
        "hot": lambda: cycle(hot),
        "search": lambda: cycle(search),
        "change": lambda: cycle(hot),
    }
    measure(services, mixes)


if __name__ == "__main__":
    main()
