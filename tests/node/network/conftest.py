"""A private network for each test, and the check that nothing of it stays behind."""

import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.node.network.pod_network import PodNetwork
from sampan.node.network.settings import NetworkSettings

UNIT = uuid.uuid4().hex[:4]
SECOND_OCTET = 200 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 20


def host_state() -> dict[str, list[str]]:
    """What a network of these tests has on the host now: lines that bear its names or addresses."""
    commands = {
        "links": ("ip", "-br", "link"),
        "addresses": ("ip", "-br", "addr"),
        "routes": ("ip", "route", "show", "table", "all"),
        "routes6": ("ip", "-6", "route", "show", "table", "all"),
        "neighbours": ("ip", "neighbour"),
        "rules": ("ip", "rule"),
        "nft": ("nft", "list", "ruleset"),
    }
    marks = (f"st{UNIT}", f"sampan-test-{UNIT}", f"10.{SECOND_OCTET}.", f"fd00:{SECOND_OCTET}:", "sampan-network-test")
    state = {}
    for name, command in commands.items():
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        state[name] = [line for line in output.splitlines() if any(mark in line for mark in marks)]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    state["mounts"] = [line for line in mounts if "sampan-network-test" in line]
    return state


@pytest.fixture
def unchanged_host() -> Iterator[None]:
    """The host looks afterwards as it did before."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    run_dir = NetworkSettings.__dataclass_fields__["run_dir"].default
    forwarding = Path("/proc/sys/net/ipv4/ip_forward")
    forwarding6 = Path("/proc/sys/net/ipv6/conf/all/forwarding")
    old = None if run_dir.exists() else (forwarding.read_text(), forwarding6.read_text())
    before = host_state()
    assert not any(before.values())
    yield None
    assert host_state() == before
    if old is not None and not run_dir.exists():
        assert (forwarding.read_text(), forwarding6.read_text()) == old


@pytest.fixture
def make_settings(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., NetworkSettings]:
    """Settings with names nobody else uses. Private ranges that no cluster uses by default."""
    folder = tmp_path_factory.mktemp("sampan-network-test")

    def make(number: int = 1, **more: Any) -> NetworkSettings:
        return NetworkSettings(
            cluster=f"test-{UNIT}",
            node=f"n{number}",
            bridge=f"st{UNIT}n{number}",
            pod_cidr=f"10.{SECOND_OCTET}.{number}.0/24",
            cluster_pod_cidr=f"10.{SECOND_OCTET}.0.0/17",
            service_cidr=f"10.{SECOND_OCTET}.128.0/17",
            state_dir=folder / f"network-{number}",
            table=f"sampan-test-{UNIT}-{number}",
            **more,
        )

    return make


@pytest.fixture
async def network(unchanged_host: None, make_settings: Callable[..., NetworkSettings]) -> AsyncIterator[PodNetwork]:
    network = PodNetwork(make_settings())
    try:
        await network.setup()
        yield network
    finally:
        await network.teardown()


@pytest.fixture
async def dual(unchanged_host: None, make_settings: Callable[..., NetworkSettings]) -> AsyncIterator[PodNetwork]:
    """The same with addresses of both families."""
    network = PodNetwork(
        make_settings(
            pod_cidr6=f"fd00:{SECOND_OCTET}:0:1::/64",
            cluster_pod_cidr6=f"fd00:{SECOND_OCTET}::/56",
            service_cidr6=f"fd00:{SECOND_OCTET}:1::/112",
        )
    )
    try:
        await network.setup()
        yield network
    finally:
        await network.teardown()
