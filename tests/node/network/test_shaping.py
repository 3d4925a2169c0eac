"""Bandwidth annotations: what they may be, and that the kernel paces a pod's traffic in each direction."""

import asyncio
import json
import sys
from typing import Any

import pytest

from sampan.node.network import nft, pod_request, shaping
from sampan.node.network.pod_network import PodNetwork
from sampan.node.network.pod_request import PodRequest
from tests.node.network.inside import ask, run, server

SMALL = "resource is unreasonably small (< 1kbit)"
LARGE = "resource is unreasonably large (> 1Pbit)"


def annotated(**values: str) -> dict[str, Any]:
    annotations = {f"kubernetes.io/{name}-bandwidth": value for name, value in values.items()}
    return {"metadata": {"name": "p", "namespace": "n", "annotations": annotations}, "spec": {"containers": []}}


def test_annotations_are_bits_a_second() -> None:
    """Quantities with units; none is no limit."""
    found = pod_request.of(annotated(ingress="10M", egress="1Gi"))
    assert (found.ingress_bits, found.egress_bits) == (10_000_000, 1 << 30)
    assert pod_request.of(annotated()) == PodRequest("n", "p")


@pytest.mark.parametrize(("value", "why"), [("1", SMALL), ("0", SMALL), ("2P", LARGE), ("x", "quantities must match")])
def test_what_is_no_rate_is_refused(value: str, why: str) -> None:
    """In upstream's words, which the pod's event repeats."""
    with pytest.raises(ValueError, match="reading pod bandwidth annotations: .*") as refused:
        pod_request.of(annotated(egress=value))
    assert why in str(refused.value)


def test_a_bucket_lets_a_tenth_of_a_second_through_at_once() -> None:
    """At least a large segment, and no more than the kernel's numbers hold."""
    assert shaping.bucket(8_000_000) == shaping.TokenBucket(1_000_000, 100_000, 125_000)
    assert shaping.bucket(8000).burst_bytes == 65536
    assert shaping.bucket(10**15).limit_bytes < 1 << 32


async def bucket_of(link: str) -> dict[str, Any]:
    """The link's discipline with its figures."""
    (found,) = json.loads(await run("tc", "-s", "-j", "qdisc", "show", "dev", link))
    return dict(found)


@pytest.mark.root
async def test_both_directions_are_paced(network: PodNetwork) -> None:
    """What the pod gets goes through its cable's bucket, what it sends through that of a link of its own."""
    settings = network.settings
    pod = await network.add("slow", PodRequest(ingress_bits=8_000_000, egress_bits=16_000_000))
    cable, shaper = settings.link_name(pod.ip), settings.shaper_name(pod.ip)
    into, out = await bucket_of(cable), await bucket_of(shaper)
    assert (into["kind"], into["options"]["rate"]) == ("tbf", 1_000_000)
    assert (out["kind"], out["options"]["rate"]) == ("tbf", 2_000_000)
    async with server(pod, "slow", 80):
        assert await ask(pod.ip, 80) == f"slow {settings.gateway}"
    assert (await bucket_of(cable))["packets"] > 2
    assert (await bucket_of(shaper))["packets"] > 2


@pytest.mark.root
async def test_more_than_the_bucket_holds_has_to_wait(network: PodNetwork) -> None:
    """Of a burst without feedback, what is over the limit is dropped: counted by the kernel in each direction."""
    settings = network.settings
    pod = await network.add("slow", PodRequest(ingress_bits=80_000, egress_bits=80_000))
    code = "import socket, sys; s = socket.socket(2, 2); [s.sendto(bytes(1400), (sys.argv[1], 9)) for _ in range(200)]"
    await run(sys.executable, "-c", code, pod.ip)
    await run(sys.executable, "-c", code, settings.gateway, pod=pod)
    for link in (settings.link_name(pod.ip), settings.shaper_name(pod.ip)):
        figures = await bucket_of(link)
        assert figures["drops"] > 100, figures
        assert figures["bytes"] < 120_000, figures


@pytest.mark.root
async def test_one_direction_may_be_free(network: PodNetwork) -> None:
    """Without an annotation nothing is made."""
    into = await network.add("into", PodRequest(ingress_bits=8_000_000))
    out = await network.add("out", PodRequest(egress_bits=8_000_000))
    settings = network.settings
    assert (await bucket_of(settings.link_name(into.ip)))["kind"] == "tbf"
    assert "does not exist" in await run("ip", "link", "show", settings.shaper_name(into.ip))
    assert (await bucket_of(settings.link_name(out.ip)))["kind"] == "noqueue"


@pytest.mark.root
async def test_all_of_it_goes_with_the_pod(network: PodNetwork) -> None:
    """And a new pod with that address has no limits; a restarted agent keeps those that there are."""
    settings = network.settings
    pod = await network.add("slow", PodRequest(egress_bits=8_000_000))
    await nft.apply(shaping.end_of_diversion(settings, pod.ip))  # as if the agent had been killed before that
    restarted = PodNetwork(settings)
    await restarted.setup()
    async with server(pod, "slow", 80):
        assert await ask(pod.ip, 80) == f"slow {settings.gateway}"
    assert (await bucket_of(settings.shaper_name(pod.ip)))["packets"] > 2
    await restarted.remove("slow")
    assert "does not exist" in await run("ip", "link", "show", settings.shaper_name(pod.ip))
    listed = await nft.query("list", "table", "netdev", settings.table)
    assert not [item for item in listed if "chain" in item]
    await asyncio.gather(*(restarted.add(f"p{n}") for n in range(4)))
