"""Services as rules: where packets go, what of it the kernel is told, and that changes lead to what the whole says."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sampan.node.network.services import flows, health
from sampan.node.network.services.endpoints import SERVICE_NAME
from sampan.node.network.services.flows import Flow
from sampan.node.network.services.frontends import Claims, Frontend, Target, claims
from sampan.node.network.services.here import Here
from sampan.node.network.services.ledger import Ledger
from sampan.node.network.settings import NetworkSettings

CASES = yaml.safe_load((Path(__file__).parents[2] / "cases/node/services.yaml").read_text())
SETTINGS = NetworkSettings(
    *("c", "n1", "sampan0n1", "10.244.0.0/24", "10.244.0.0/16", "10.96.0.0/16", Path("/nowhere"), "sampan-0-1"),
    pod_cidr6="fd00:10:244::/120",
    cluster_pod_cidr6="fd00:10:244::/64",
    service_cidr6="fd00:10:96::/112",
    node_ip="192.0.2.1",
    uplink="eth0",
    load_balancer_cidr="10.32.0.0/24",
    dns_ip="10.96.0.10",
)
HERE = Here(SETTINGS, zone="a", reserved=frozenset({10250, 6443}))
Object = dict[str, Any]


def service(name: str = "web", *, labels: Any = None, ingress: Any = (), **spec: Any) -> Object:
    whole = {"clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": 80}], **spec}
    status = {"loadBalancer": {"ingress": list(ingress)}}
    return {"metadata": {"name": name, "namespace": "d", "labels": labels or {}}, "spec": whole, "status": status}


def slices(endpoints: list[Object], port: Any = None, name: str = "web") -> list[Object]:
    """One of each family; the port is as the service has it, but 8080."""
    made = []
    for family, mark in (("IPv4", "."), ("IPv6", ":")):
        there = [
            {
                "addresses": [e["ip"]],
                "nodeName": e.get("node", "n1"),
                "conditions": e.get("conditions", {"ready": True}),
            }
            | ({"hints": e["hints"]} if "hints" in e else {})
            for e in endpoints
            if (":" in e["ip"] and "goto" not in e["ip"]) == (mark == ":")
        ]
        metadata = {"name": f"{name}-{family}", "namespace": "d", "labels": {SERVICE_NAME: name}}
        ports = [port or {"name": "http", "port": 8080, "protocol": "TCP"}]
        made.append({"metadata": metadata, "addressType": family, "ports": ports, "endpoints": there})
    return made


def told(found: Claims) -> dict[str, str]:
    return {f"{f.protocol} {f.address or f.family}:{f.port}": _target(target) for f, (_, target) in found.items()}


def _target(target: Target) -> str:
    words = [e.address if e.port != 53 else f"{e.address}:53" for e in target.cluster]
    words += ["masqueraded"] if target.is_masqueraded and target.cluster else []
    words += [f"for {target.sticky_seconds}s"] if target.sticky_seconds else []
    words += [f"from {' '.join(target.allowed)}"] if target.allowed is not None else []
    if target.local is not None:
        words += ["|", *(e.address for e in target.local)]
    return " ".join([*words, *([target.refusal] if target.refusal else [])])


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["promise"]))
def test_where_packets_go(case: Any) -> None:
    made = service(labels=case.get("labels"), ingress=case.get("ingress", ()), **case.get("service", {}))
    assert told(claims(made, slices(case.get("endpoints", []), case.get("offered")), HERE)) == case["then"]


class Kernel:
    """As much of nft as is used here: refuses what the kernel would refuse."""

    def __init__(self) -> None:
        self.holders: dict[str, dict[str, str]] = {}
        self.chains: dict[str, list[str]] = {}

    def run(self, text: str) -> None:
        """A transaction."""
        head, _, tail = text.rpartition("\n}\n")
        if head:
            self._replace(head)
        for line in tail.splitlines():
            verb, what, _, _, rest = line.split(" ", 4)
            getattr(self, f"_{verb}_{what}")(rest)
        for rule in [rule for rules in self.chains.values() for rule in rules]:
            for name in re.findall(r"goto ([\w-]+)", rule):
                assert name in self.chains
        for holder in self.holders.values():
            assert all(value.removeprefix("goto ") in self.chains for value in holder.values() if value[:4] == "goto")

    def _replace(self, text: str) -> None:
        self.holders = {name: {} for name in re.findall(r"^  (?:map|set) ([\w-]+) ", text, re.MULTILINE)}
        self.chains = {name: [] for name in re.findall(r"^  chain ([\w-]+) ", text, re.MULTILINE)}

    def _add_chain(self, name: str) -> None:
        assert name not in self.chains
        self.chains[name] = []

    def _add_rule(self, rest: str) -> None:
        name, rule = rest.split(" ", 1)
        assert all(holder in self.holders for holder in re.findall(r"@([\w-]+)", rule))
        self.chains[name].append(rule)

    def _flush_chain(self, name: str) -> None:
        self.chains[name].clear()

    def _delete_chain(self, name: str) -> None:
        assert not self.chains.pop(name)

    def _add_element(self, rest: str) -> None:
        name, elements = rest.split(" ", 1)
        for element in elements.strip("{ }").split(", "):
            key, _, value = element.partition(" : ")
            assert key not in self.holders[name]
            self.holders[name][key] = value

    def _delete_element(self, rest: str) -> None:
        name, elements = rest.split(" ", 1)
        for key in elements.strip("{ }").split(", "):
            del self.holders[name][key]

    def leads(self, key: str, kind: str, chain: str) -> Iterator[set[str]]:
        """All endpoints that each way through a chain may lead to."""
        for rule in self.chains[chain]:
            for name in re.findall(r"goto ([\w-]+)$", rule):
                yield from self.leads(key, kind, name)
            if chosen := re.search(r"numgen random mod (\d+) offset (\d+)", rule):
                count, offset = int(chosen[1]), int(chosen[2])
                marks = [f"{key} . {offset + i:#x}" for i in range(count)]
                if chain.startswith("stay"):
                    marks = [f"{key} . {self.holders[f'picks{kind}'][mark]}" for mark in marks]
                yield {self.holders[f"endpoints{kind}"][mark] for mark in marks}


ADDRESSES = ["10.244.0.5", "10.244.0.6", "10.244.1.7", "fd00:10:244::5", "fd00:10:244::6", "127.0.0.1", "10.96.0.9"]
some_endpoints = st.lists(
    st.fixed_dictionaries(
        {
            "ip": st.sampled_from(ADDRESSES),
            "node": st.sampled_from(["n1", "n2"]),
            "conditions": st.fixed_dictionaries(
                {"ready": st.booleans(), "serving": st.booleans(), "terminating": st.booleans()}
            ),
        }
    ),
    max_size=5,
)
some_services = st.builds(
    lambda name, spec, ingress, made: service(name, ingress=ingress, **spec) | {"made": made},
    st.sampled_from(["a", "b", "c"]),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]),
            "clusterIPs": st.sampled_from([["10.96.0.9"], ["10.96.0.9", "fd00:10:96::9"], ["None"], ["fd00:10:96::8"]]),
            "ports": st.lists(
                st.fixed_dictionaries(
                    {
                        "name": st.just("http"),
                        "port": st.sampled_from([80, 81]),
                        "nodePort": st.sampled_from([0, 30080]),
                        "protocol": st.sampled_from(["TCP", "UDP"]),
                    }
                ),
                max_size=2,
            ),
            "externalIPs": st.lists(st.sampled_from(["203.0.113.5", "192.0.2.1", "127.0.0.1", "x"]), max_size=2),
            "externalTrafficPolicy": st.sampled_from(["Local", "Cluster"]),
            "internalTrafficPolicy": st.sampled_from(["Local", "Cluster"]),
            "sessionAffinity": st.sampled_from(["None", "ClientIP"]),
            "loadBalancerSourceRanges": st.lists(
                st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"]), max_size=3
            ),
        }
    ),
    st.lists(st.sampled_from([{"ip": "10.32.0.1"}, {"ip": "203.0.113.5"}, {"ip": "fd00:32::1"}]), max_size=2),
    st.booleans(),
)


@given(st.lists(st.tuples(some_services, some_endpoints), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_changes_lead_to_what_the_whole_says(steps: list[tuple[Object, list[Object]]]) -> None:
    """Whatever comes and goes, also what two services claim; and each frontend leads to its endpoints and no others."""
    ledger, kernel = Ledger(SETTINGS), Kernel()
    first = ledger.whole()
    kernel.run(first.text)
    ledger.took(first)
    known: dict[str, Claims] = {}
    for made, endpoints in steps:
        name = made["metadata"]["name"]
        port = {"name": "http", "port": 8080, "protocol": "TCP"}
        known[name] = claims(made, slices(endpoints, port, name), HERE) if made["made"] else {}
        ledger.put(("d", name), known[name])
        change = ledger.change()
        kernel.run(change.text)
        ledger.took(change)
        assert ledger.change().text == ""
        anew, fresh = Ledger(SETTINGS), Kernel()
        for owner, claimed in known.items():
            anew.put(("d", owner), claimed)
        fresh.run(anew.whole().text)
        assert (kernel.holders, kernel.chains) == (fresh.holders, fresh.chains)
        for frontend in {frontend for claimed in known.values() for frontend in claimed}:
            target = ledger.target(frontend)
            assert target is not None
            _check(kernel, frontend, target)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@given(st.lists(st.tuples(some_services, some_endpoints), min_size=3, max_size=8))
@settings(max_examples=25, deadline=None, phases=[Phase.generate])  # each is dear
def test_the_kernel_agrees(steps: list[tuple[Object, list[Object]]]) -> None:
    """It takes each change, and has in the end what it has from the whole."""
    ledger = Ledger(SETTINGS)
    texts = [ledger.whole().text]
    ledger.took(ledger.whole())
    for made, endpoints in steps:
        name = made["metadata"]["name"]
        ledger.put(("d", name), claims(made, slices(endpoints, name=name), HERE) if made["made"] else {})
        change = ledger.change()
        ledger.took(change)
        texts.append(change.text)
    assert _listed(texts) == _listed([ledger.whole().text])


def _listed(texts: list[str]) -> list[str]:
    """What the kernel has after these transactions."""
    script = f"for n in $(seq {len(texts)}); do IFS= read -r -d $'\\001' text; nft -f - <<< \"$text\" || exit 1; done"
    command = ["unshare", "-n", "bash", "-c", f"{script}; nft -j list ruleset"]
    given = "".join(f"{text}\1" for text in texts)
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, input=given, text=True).stdout)
    found = []
    for item in listed["nftables"]:
        for about in item.values():
            about.pop("handle", None)
            about["elem"] = sorted(map(str, about.get("elem", ())))
        found.append(str(item))
    return sorted(found)


def _check(kernel: Kernel, frontend: Frontend, target: Target) -> None:
    kind = f"{'' if frontend.address else '-node'}{frontend.family}"
    key = " . ".join([*filter(None, [frontend.address]), frontend.protocol, str(frontend.port)])
    verdict = kernel.holders[f"services{kind}"].get(key, "")
    ways = list(kernel.leads(key, kind, verdict.removeprefix("goto "))) if verdict else []
    pools = [{f"{e.address} . {e.port}" for e in pool} for pool in (target.cluster, target.local or ())]
    expected = [pools[0]] * (2 if target.local is not None else 1) + [pools[1]] if target.cluster else []
    assert ways == [pool for pool in expected if pool]
    assert kernel.holders[f"refused{kind}"].get(key, "") == target.refusal


def test_a_change_of_one_service_is_small() -> None:
    """Only what differs is said: an endpoint, or its number and what that makes of the chains."""
    ledger = Ledger(SETTINGS)
    for n in range(50):
        ledger.put(("d", f"s{n}"), claims(service(clusterIP=f"10.96.1.{n}"), slices([{"ip": "10.244.0.5"}]), HERE))
    ledger.took(ledger.whole())
    ledger.put(("d", "s7"), claims(service(clusterIP="10.96.1.7"), slices([{"ip": "10.244.0.6"}]), HERE))
    table = "inet sampan-0-1-services"
    assert ledger.change().text.splitlines() == [
        f"delete element {table} endpoints4 {{ 10.96.1.7 . tcp . 80 . 0x2000 }}",
        f"add element {table} endpoints4 {{ 10.96.1.7 . tcp . 80 . 0x2000 : 10.244.0.6 . 8080 }}",
        f"add element {table} hairpins4 {{ 10.244.0.6 . 10.244.0.6 }}",
    ]
    ledger.took(ledger.change())
    ledger.put(("d", "s7"), {})
    assert ledger.change().text.splitlines() == [
        f"delete element {table} endpoints4 {{ 10.96.1.7 . tcp . 80 . 0x2000 }}",
        f"delete element {table} hairpins4 {{ 10.244.0.6 . 10.244.0.6 }}",
        f"delete element {table} services4 {{ 10.96.1.7 . tcp . 80 }}",
    ]


def test_what_two_claim_is_the_ones_who_was_first() -> None:
    """Its cluster address before another's external one; the older service's; and the other's when that one goes."""
    ledger = Ledger(SETTINGS)
    for name, ip, since in (
        ("old", "10.244.0.5", "2026-01-01T00:00:00Z"),
        ("new", "10.244.0.6", "2026-01-02T00:00:00Z"),
    ):
        made = service(name, clusterIP=f"10.96.0.{len(since) + int(ip[-1])}", externalIPs=["203.0.113.5"])
        made["metadata"]["creationTimestamp"] = since
        ledger.put(("d", name), claims(made, slices([{"ip": ip}], name=name), HERE))
    contested = Frontend(4, "203.0.113.5", "tcp", 80)
    for gone, left in (("", "10.244.0.5"), ("old", "10.244.0.6"), ("new", "")):
        ledger.put(("d", gone), {})
        target = ledger.target(contested)
        assert (target.cluster[0].address if target else "") == left


def test_ten_thousand_ports_are_one_service() -> None:
    """They need no more chains than one."""
    ledger = Ledger(SETTINGS)
    ports = [{"name": "http", "port": n} for n in range(1, 10001)]
    ledger.put(("d", "web"), claims(service(ports=ports), slices([{"ip": "10.244.0.5"}]), HERE))
    kernel = Kernel()
    kernel.run(ledger.whole().text)
    assert len(kernel.holders["services4"]) == len(kernel.holders["endpoints4"]) == 10000
    assert len([name for name in kernel.chains if name.startswith("pick")]) == 1


def test_health_is_answered_as_load_balancers_expect() -> None:
    """By the number of ready endpoints here, counted by address."""
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}
    here = [{"ip": "10.244.0.5"}, {"ip": "10.244.0.5"}, {"ip": "10.244.0.6", "conditions": {"ready": False}}]
    check = health.check(service(**spec), slices([*here, {"ip": "10.244.1.5", "node": "n2"}]), HERE)
    assert check == (32000, "d", "web", 1)
    status, headers, body = health.answer(check, is_healthy=True)
    assert status == 200
    assert headers["X-Load-Balancing-Endpoint-Weight"] == "1"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert body.decode() == (
        '{\n\t"service": {\n\t\t"namespace": "d",\n\t\t"name": "web"\n\t},'
        '\n\t"localEndpoints": 1,\n\t"serviceProxyHealthy": true\n}'
    )
    assert (
        health.answer(check, is_healthy=False)[0]
        == health.answer(check._replace(endpoints=0), is_healthy=True)[0]
        == 503
    )
    assert health.check(service(**(spec | {"externalTrafficPolicy": "Cluster"})), [], HERE) is None


def test_connections_to_former_endpoints_are_forgotten() -> None:
    """Of datagrams, to addresses and ports that have changed; others are left alone."""
    ports = [{"name": "http", "port": 53, "nodePort": 30053, "protocol": "UDP"}]
    made = claims(
        service(type="NodePort", ports=ports), slices([{"ip": "10.244.0.5"}], {**ports[0], "port": 5353}), HERE
    )
    found = flows.stale(made, lambda frontend: made[frontend][1], HERE.own)
    assert found is not None
    place, now, former = ("10.96.0.9", 53), ("10.244.0.5", 5353), ("10.244.0.6", 5353)
    assert found.has(Flow(place, former))
    assert found.has(Flow(place, place))
    assert not found.has(Flow(place, now))
    assert found.has(Flow(("192.0.2.1", 30053), former))
    assert found.has(Flow(("192.0.2.1", 30053), ("192.0.2.1", 30053)))
    assert not found.has(Flow(("192.0.2.1", 30053), now))
    assert not found.has(Flow(("198.51.100.1", 30053), ("198.51.100.1", 30053)))
    assert not found.has(Flow(("10.96.0.8", 53), former))
    assert flows.stale([Frontend(4, "10.96.0.9", "tcp", 80)], lambda _: None, HERE.own) is None
