"""When policies are taken in, when a pod may begin, and what is left in the kernel; with a kernel of paper."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sampan.node.network import network_policies, nft
from sampan.node.network.network_policies import NetworkPolicies, NotInForce
from sampan.node.network.settings import NetworkSettings
from tests.node.network.policies import world
from tests.node.network.policies.suite import DENY_ALL, DENY_INGRESS

Tree = dict[str, Any]
TABLE = "t-policies"


class Kernel:
    """Keeps the transactions; refuses the next one if it is told to."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.refuses = False

    async def apply(self, text: str) -> None:
        if self.refuses:
            self.refuses = False
            raise nft.NftError("no")
        self.texts.append(text)


class Place:
    def __init__(self, *ips: str) -> None:
        self.ips = ips


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(nft, "apply", made.apply)
    return made


@pytest.fixture
def settings(tmp_path: Path) -> NetworkSettings:
    return NetworkSettings("c", "n1", "b0", "10.1.0.0/24", "10.1.0.0/16", "10.2.0.0/16", tmp_path, "t")


@pytest.fixture
def make(settings: NetworkSettings) -> Callable[..., NetworkPolicies]:
    def made(**places: Place) -> NetworkPolicies:
        async def attachments() -> dict[str, Place]:
            return places

        return NetworkPolicies(settings, attachments)

    return made


async def tell(policies: NetworkPolicies, *objs: tuple[str, Tree]) -> None:
    """What is there; policies are listed as well, as by the API."""
    for plural, obj in objs:
        policies.changed(plural, None, obj)
    await policies.apply({"networkpolicies": [obj for plural, obj in objs if plural == "networkpolicies"]})


A_POD = world.pod("x/a", "10.1.0.5")


async def test_without_policies_nothing_happens(make: Callable[..., NetworkPolicies], kernel: Kernel) -> None:
    """No table, and pods begin at once."""
    policies = make()
    await tell(policies)
    await policies.cover(A_POD, ["10.1.0.5"])
    assert kernel.texts == []


async def test_what_an_earlier_agent_left_is_taken_away(
    make: Callable[..., NetworkPolicies], kernel: Kernel, settings: NetworkSettings
) -> None:
    """Its policies may have gone while no agent was there."""
    first = make()
    await tell(first, ("networkpolicies", DENY_INGRESS), ("pods", A_POD))
    assert f"table inet {TABLE}" in kernel.texts.pop()
    await tell(make())
    assert f"delete table inet {TABLE}" in kernel.texts.pop()
    await tell(make())
    assert kernel.texts == []


async def test_a_pod_begins_under_its_policies(make: Callable[..., NetworkPolicies], kernel: Kernel) -> None:
    """Its address leads to its rules before anything runs in it, though no status tells of it yet; and then it stays so."""
    policies = make()
    await tell(policies, ("networkpolicies", DENY_INGRESS))
    young = world.pod("x/a")
    await policies.cover(young, ["10.1.0.5"])
    assert "ingress4 { 10.1.0.5 : goto" in kernel.texts.pop()
    policies.changed("pods", None, young)
    await policies.apply({"networkpolicies": [DENY_INGRESS]})
    assert kernel.texts == []


async def test_no_pod_begins_before_policies_are_known(
    make: Callable[..., NetworkPolicies], kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for them; if it has waited too long, it says so. Pods of the node's own files need no API."""
    policies = make()
    waiting = asyncio.ensure_future(policies.cover(A_POD, ["10.1.0.5"]))
    await asyncio.sleep(0)
    assert not waiting.done()
    await tell(policies, ("networkpolicies", DENY_INGRESS))
    await waiting
    assert "10.1.0.5 : goto" in kernel.texts[-1]
    monkeypatch.setattr(network_policies, "PATIENCE_SECONDS", 0.0)
    static = {**A_POD, "metadata": {**A_POD["metadata"], "annotations": {"kubernetes.io/config.source": "file"}}}
    await make().cover(static, ["10.1.0.5"])
    with pytest.raises(NotInForce, match="network policies are not known yet"):
        await make().cover(A_POD, ["10.1.0.5"])


async def test_pods_that_are_here_when_the_first_policy_comes(
    make: Callable[..., NetworkPolicies], kernel: Kernel
) -> None:
    """Their addresses are those that they have, whatever their statuses say."""
    policies = make(**{"uid-x-a": Place("10.1.0.9")})
    await tell(policies, ("networkpolicies", DENY_INGRESS), ("pods", A_POD), ("pods", world.pod("x/b", "10.1.0.6")))
    assert "10.1.0.9 : goto" in kernel.texts[-1]
    assert "10.1.0.6 : goto" in kernel.texts[-1]
    assert "10.1.0.5" not in kernel.texts[-1]


async def test_a_pod_that_is_gone_does_not_come_back(make: Callable[..., NetworkPolicies], kernel: Kernel) -> None:
    """It is deleted while its network is being made: it doesn't begin, and is nobody's peer. Another of its name does."""
    policies = make()
    await tell(policies, ("networkpolicies", DENY_INGRESS), ("pods", A_POD))
    policies.changed("pods", A_POD, None)
    await policies.apply({"networkpolicies": [DENY_INGRESS]})
    before = list(kernel.texts)
    with pytest.raises(NotInForce, match="the pod is gone"):
        await policies.cover(A_POD, ["10.1.0.5"])
    await policies.apply({"networkpolicies": [DENY_INGRESS]})
    assert kernel.texts == before
    await policies.cover({**A_POD, "metadata": {**A_POD["metadata"], "uid": "another"}}, ["10.1.0.7"])
    assert "10.1.0.7 : goto" in kernel.texts[-1]


async def test_a_refused_change_is_made_whole_later(make: Callable[..., NetworkPolicies], kernel: Kernel) -> None:
    """The pod it was for does not begin; the next transaction replaces everything."""
    policies = make()
    await tell(policies, ("networkpolicies", DENY_INGRESS), ("pods", world.pod("x/b", "10.1.0.6")))
    kernel.refuses = True
    with pytest.raises(nft.NftError):
        await policies.cover(A_POD, ["10.1.0.5"])
    await policies.apply({"networkpolicies": [DENY_INGRESS]})
    assert kernel.texts[-1].startswith(f"table inet {TABLE}\ndelete table inet {TABLE}\n")
    assert "10.1.0.5 : goto" in kernel.texts[-1]


async def test_a_pods_coming_and_going_changes_elements_only(
    make: Callable[..., NetworkPolicies], kernel: Kernel
) -> None:
    """No chain is written for a pod that is under the same policies as others."""
    policies = make()
    await tell(policies, ("networkpolicies", DENY_ALL), ("pods", world.pod("x/b", "10.1.0.6")))
    await policies.cover(A_POD, ["10.1.0.5"])
    lines = kernel.texts[-1].splitlines()
    assert len(lines) == 3
    assert all(line.startswith("add element inet t-policies ") and "10.1.0.5" in line for line in lines)
    policies.changed("pods", A_POD, None)
    await policies.apply({"networkpolicies": [DENY_ALL]})
    assert [line.split()[0] for line in kernel.texts[-1].splitlines()] == ["delete"] * 3
