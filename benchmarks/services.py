"""Services in the kernel: how long many of them take to be there, and a change of one of them among many.

    sudo python benchmarks/services.py [SERVICES [ENDPOINTS]]

In a network namespace of its own, with nftables as it is on this machine. Python's part, by CPU time, and nft's, by the
clock, are told apart; the time of a change is that of the quickest of so many, from the changed object to rules in the kernel.
"""

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sampan.kit.clock import SystemClock
from sampan.node.network import namespaces, nft
from sampan.node.network.service_proxy import ServiceProxy
from sampan.node.network.settings import NetworkSettings

CHANGES = 20
Object = dict[str, Any]


def service(n: int) -> Object:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    address = f"10.96.{n >> 8}.{n & 255}"
    spec = {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "ports": ports}
    return {"metadata": {"name": f"web-{n}", "namespace": "default"}, "spec": spec}


def endpoint_slice(n: int, endpoints: int, version: int = 0) -> Object:
    first = n * endpoints + version
    numbers = range(first, first + endpoints)
    return {
        "metadata": {
            "name": f"web-{n}-x",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": f"web-{n}"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [f"10.{128 + (i >> 16)}.{i >> 8 & 255}.{i & 255}"],
                "nodeName": f"n{i % 100}",
                "conditions": {"ready": True, "serving": True, "terminating": False},
            }
            for i in numbers
        ],
    }


class Clock:
    """What nft takes is taken out of what Python takes."""

    def __init__(self) -> None:
        self.nft_seconds, self.bytes = 0.0, 0
        self._apply = nft.apply
        nft.apply = self.apply

    async def apply(self, text: str) -> None:
        began = time.perf_counter()
        await self._apply(text)
        self.nft_seconds += time.perf_counter() - began
        self.bytes = len(text)

    async def measure(self, work: Any) -> tuple[float, float]:
        """Seconds of Python and of nft."""
        self.nft_seconds, began = 0.0, time.process_time()
        await work
        return time.process_time() - began, self.nft_seconds


def base_rules(table: str) -> int:
    """Rules in chains that the kernel calls, and in those that each packet's service is looked up in."""
    output = subprocess.run(["nft", "-j", "list", "table", "inet", table], check=True, capture_output=True).stdout
    items = json.loads(output)["nftables"]
    called = {item["chain"]["name"] for item in items if item.get("chain", {}).get("hook")}
    return sum(1 for item in items if item.get("rule", {}).get("chain") in called | {"translate", "check"})


def chains(table: str) -> int:
    output = subprocess.run(["nft", "-j", "-t", "list", "table", "inet", table], check=True, capture_output=True).stdout
    return sum(1 for item in json.loads(output)["nftables"] if "chain" in item)


def changes(count: int, endpoints: int) -> Iterator[tuple[Object, Object]]:
    for i in range(CHANGES):
        n = (i * 37) % count
        yield endpoint_slice(n, endpoints), endpoint_slice(n, endpoints, version=1)


async def main(count: int, endpoints: int) -> None:
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        names = ("bench", "n1", "bench0n1", "10.128.0.0/24", "10.128.0.0/9", "10.96.0.0/12", Path(folder), "bench")
        proxy = ServiceProxy(NetworkSettings(*names), SystemClock())
        for n in range(count):
            proxy.changed("services", None, service(n))
            proxy.changed("endpointslices", None, endpoint_slice(n, endpoints))
        python, kernel = await clock.measure(proxy.apply({}))
        print(f"{count} services with {endpoints} endpoints each, from nothing:", end=" ")
        print(f"{python + kernel:.2f} s (Python {python:.2f} s, nft {kernel:.2f} s, {clock.bytes / 1e6:.1f} MB)")
        print(f"rules in base chains: {base_rules('bench-services')}; chains in all: {chains('bench-services')}")
        best = (1e9, 0.0)
        for old, new in changes(count, endpoints):
            proxy.changed("endpointslices", old, new)
            best = min(best, await clock.measure(proxy.apply({})), key=sum)
        python, kernel = best
        print(f"one endpoint of one service:  {1000 * sum(best):.1f} ms", end=" ")
        print(f"(Python {1000 * python:.2f} ms, nft {1000 * kernel:.1f} ms, {clock.bytes} bytes)")
    print(f"memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most")


if __name__ == "__main__":
    namespaces.enter_new()
    asyncio.run(main(*(int(n) for n in (*sys.argv[1:], *("10000", "10")[len(sys.argv) - 1 :]))))
