"""Upstream's suite for network policies once more, with real packets between nine pods of both families."""

import os
import socket
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sampan.node.network import namespaces
from sampan.node.network.network_policies import NetworkPolicies
from sampan.node.network.pod_network import PodNetwork
from sampan.node.network.threads import run_in_fresh_thread
from tests.node.network.policies import world
from tests.node.network.policies.probes import Pods, has_sctp, within
from tests.node.network.policies.suite import DENY_INGRESS, SUITE, A, Check, Step, policy, port
from tests.node.network.policies.suite import pods as peers

pytestmark = [pytest.mark.root, pytest.mark.slow]
Tree = dict[str, Any]


class Api:
    """What the API says: told to the follower change by change."""

    def __init__(self, network: PodNetwork, pods: Pods) -> None:
        self.policies, self._network, self._pods = NetworkPolicies(network.settings, network.attachments), network, pods
        self._known: dict[tuple[str, str, str], Tree] = {}

    async def become(self, step: Step) -> None:
        """All is as the step has it."""
        wanted = {("networkpolicies", *_key(one)): one for one in (self._made(each) for each in step.policies)}
        for name in (*world.NAMESPACES, "kube-system"):
            wanted["namespaces", "", name] = world.namespace(name, **step.labels.get(name, {}))
        for place, attachment in self._pods.attachments.items():
            node = self._network.settings.node
            made = world.pod(place, *attachment.ips, node=node, **step.labels.get(place, {}))
            wanted["pods", *_key(made)] = made
        for key in {**self._known, **wanted}:
            old, new = self._known.get(key), wanted.get(key)
            if old != new:
                self.policies.changed(key[0], old, new)
        self._known = wanted
        await self.policies.apply(
            {"networkpolicies": [obj for key, obj in wanted.items() if key[0] == "networkpolicies"]}
        )

    def _made(self, policy: Any) -> Tree:
        made: Tree = policy(lambda place: self._pods.attachments[place].ips) if callable(policy) else policy
        return made


def _key(obj: Tree) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


@pytest.fixture
async def pods(dual: PodNetwork) -> AsyncIterator[Pods]:
    made = Pods({place: await dual.add(f"uid-{place.replace('/', '-')}") for place in world.PODS})
    await made.listen((protocol, port) for protocol in ("TCP", "UDP") for port in (80, 81))
    yield made
    made.close()


async def test_whole_suite_in_turn(dual: PodNetwork, pods: Pods) -> None:
    """Each case follows from the one before by small changes, and who reaches whom is as upstream expects it."""
    api, table = Api(dual, pods), dual.settings.policies_table
    for name, steps in SUITE.items():
        for number, step in enumerate(steps):
            await api.become(step)
            for check in step.checks:
                if check.protocol != "SCTP":
                    for family in (4, 6):
                        found = await pods.reached(check, family)
                        wrong = {p: is_let for p, is_let in found.items() if is_let != check.expected()[p]}
                        assert not wrong, (name, number, check, family)
    assert table in listed()
    await api.become(Step())
    assert table not in listed()


@pytest.mark.skipif(not has_sctp(), reason="needs a kernel with SCTP")
async def test_the_cases_of_sctp(dual: PodNetwork, pods: Pods) -> None:
    """They hold with its own associations: a rule for TCP or another port lets none through."""
    await pods.listen([("SCTP", 80), ("SCTP", 81)])
    api, count = Api(dual, pods), 0
    for name, steps in SUITE.items():
        if not any(check.protocol == "SCTP" for step in steps for check in step.checks):
            continue
        for step in steps:
            await api.become(step)
            for check in step.checks:
                if check.protocol == "SCTP":
                    for family in (4, 6):
                        found = await pods.reached(check, family)
                        assert found == check.expected(), (name, family)
                        count += 1
    assert count >= 6
    await api.become(Step())


def listed() -> str:
    return subprocess.run(("nft", "list", "tables"), check=True, capture_output=True, text=True).stdout


DNS_ONLY = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
TO_DNS = policy("dns", pods=A, egress=[{"to": [DNS_ONLY], "ports": [port(53, "UDP")]}])


async def test_the_node_answers_names_where_kube_dns_may_be_asked(dual: PodNetwork, pods: Pods) -> None:
    """A rule for kube-dns' pods lets the node's name server through, at its port and no other."""
    await Api(dual, pods).become(Step([TO_DNS]))
    gateways = {4: dual.settings.gateway, 6: dual.settings.gateway6}
    for family, gateway in gateways.items():
        assert await asked(pods, "x/a", family, gateway, 53) == ["x/a"]
        assert await asked(pods, "x/a", family, gateway, 5353) == []
        assert await asked(pods, "x/b", family, gateway, 5353) == ["x/b"]


async def asked(pods: Pods, source: str, family: int, address: str, number: int) -> list[str]:
    """Who is heard on the node when the pod sends something there; the node itself is heard last."""
    net = socket.AF_INET if family == 4 else socket.AF_INET6
    with socket.socket(net, socket.SOCK_DGRAM) as heard:
        heard.bind((address, number))

        def send_both() -> None:
            host = os.open(f"/proc/{os.getpid()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            within(pods.attachments[source], lambda: send(source))
            namespaces.move_to(host)
            os.close(host)
            send("last")

        def send(text: str) -> None:
            with socket.socket(net, socket.SOCK_DGRAM) as sender:
                sender.sendto(text.encode(), (address, number))

        await run_in_fresh_thread(send_both)
        heard.settimeout(5)
        found = []
        while (said := heard.recv(99).decode()) != "last":
            found.append(said)
        return found


async def test_a_change_ends_connections_that_it_does_not_allow(dual: PodNetwork, pods: Pods) -> None:
    """What was open goes on as long as it is allowed, is cut when it no longer is, and resumes when it is again."""
    api = Api(dual, pods)
    await api.become(Step([policy("in", pods=A, ingress=[{"from": [{"podSelector": A}, peers(pod="b")]}])]))
    listening = pods.listening["x/a", 4, "TCP", 80]
    client = await run_in_fresh_thread(lambda: connected(pods, "x/b", (pods.attachments["x/a"].ip, 80)))
    server = listening.accept()[0]
    with client, server:
        server.settimeout(5)
        client.send(b"one")
        assert server.recv(9) == b"one"
        await api.become(Step([DENY_INGRESS]))
        client.send(b"two")
        assert not (await pods.reached(Check(), 4))["x/b", "x/a"]  # by then it would have come
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(9)
        server.settimeout(5)
        await api.become(Step())
        assert server.recv(9) == b"two"


def connected(pods: Pods, source: str, place: tuple[str, int]) -> socket.socket:
    found: list[socket.socket] = []
    within(pods.attachments[source], lambda: found.append(socket.create_connection(place, timeout=60)))
    return found[0]
