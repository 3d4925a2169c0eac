"""Service rules as text: what is in them, and the smallest change from one state to the next."""

from pathlib import Path
from typing import Any

import pytest

from sampan.node.network import firewall, rules
from sampan.node.network.leases import Leases, NoAddressLeft
from sampan.node.network.settings import NetworkSettings

SETTINGS = NetworkSettings(
    "c", "n", "sampan0n1", "10.244.0.0/24", "10.244.0.0/16", "10.96.0.0/16", Path("/nowhere"), "sampan-0-1"
)


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    return {"metadata": {"name": name, "namespace": "d"}, "spec": {"clusterIP": "10.96.0.9", "ports": ports, **spec}}


def endpoint_slice(*endpoints: dict[str, Any], name: str = "web", **more: Any) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": name}
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    return {
        "metadata": {"name": f"{name}-1", "namespace": "d", "labels": labels},
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": list(endpoints),
        **more,
    }


def endpoint(ip: str, **conditions: bool) -> dict[str, Any]:
    return {"addresses": [ip], "conditions": conditions}


def only_rule(*args: Any) -> str:
    found = rules.rules(*args)
    assert len(found.chains) == 1
    return next(iter(found.chains.values()))


def test_one_endpoint_needs_no_choice() -> None:
    """A plain translation."""
    slices = [endpoint_slice(endpoint("10.244.0.5", ready=True))]
    assert only_rule([service()], slices) == "meta l4proto tcp dnat ip to 10.244.0.5:8080"
    assert list(rules.rules([service()], slices).entries) == ["10.96.0.9 . tcp . 80"]


def test_several_are_picked_at_random_or_by_client() -> None:
    """In a fixed order, over all slices, each once."""
    slices = [endpoint_slice(endpoint("10.244.0.6"), endpoint("10.244.0.5")), endpoint_slice(endpoint("10.244.0.5"))]
    choices = "{ 0 : 10.244.0.5 . 8080, 1 : 10.244.0.6 . 8080 }"
    assert only_rule([service()], slices) == f"meta l4proto tcp dnat ip to numgen random mod 2 map {choices}"
    sticky = service(sessionAffinity="ClientIP")
    assert only_rule([sticky], slices) == f"meta l4proto tcp dnat ip to jhash ip saddr mod 2 map {choices}"


def test_ready_endpoints_come_before_terminating_ones() -> None:
    """Those that still serve are better than none; those that do not are not."""
    ready = endpoint("10.244.0.5", ready=True)
    leaving = endpoint("10.244.0.6", ready=False, serving=True, terminating=True)
    broken = endpoint("10.244.0.7", ready=False, serving=False, terminating=False)
    assert "10.244.0.5:8080" in only_rule([service()], [endpoint_slice(ready, leaving, broken)])
    assert "10.244.0.6:8080" in only_rule([service()], [endpoint_slice(leaving, broken)])
    assert rules.rules([service()], [endpoint_slice(broken)]) == rules.Rules()


@pytest.mark.parametrize(
    ("kind", "slices"),
    [
        (service(clusterIP="None"), [endpoint_slice(endpoint("10.244.0.5"))]),
        (service(type="ExternalName"), [endpoint_slice(endpoint("10.244.0.5"))]),
        (service(), []),
        (service(), [endpoint_slice(endpoint("10.244.0.5"), name="other")]),
        (service(), [endpoint_slice(endpoint("fd00::5"), addressType="IPv6")]),
        (service(), [endpoint_slice(endpoint("10.244.0.5"), ports=[{"name": "x", "port": 1, "protocol": "TCP"}])]),
    ],
)
def test_what_leads_nowhere_has_no_rules(kind: dict[str, Any], slices: list[dict[str, Any]]) -> None:
    """Headless, external, without endpoints, another's, IPv6, another port."""
    assert rules.rules([kind], slices) == rules.Rules()


def test_only_what_changed_is_changed() -> None:
    """One chain flushed and filled; nothing for nothing; all gone for none."""
    old = rules.rules([service()], [endpoint_slice(endpoint("10.244.0.5"))])
    new = rules.rules([service()], [endpoint_slice(endpoint("10.244.0.6"))])
    chain = next(iter(new.chains))
    assert rules.change(SETTINGS, old, old) == ""
    assert rules.change(SETTINGS, old, new) == (
        f"flush chain ip sampan-0-1-services {chain}\n"
        f"add rule ip sampan-0-1-services {chain} meta l4proto tcp dnat ip to 10.244.0.6:8080\n"
        "delete element ip sampan-0-1-services hairpins { 10.244.0.5 . 10.244.0.5 }\n"
        "add element ip sampan-0-1-services hairpins { 10.244.0.6 . 10.244.0.6 }\n"
    )
    assert rules.change(SETTINGS, new, rules.Rules()) == (
        "delete element ip sampan-0-1-services services { 10.96.0.9 . tcp . 80 }\n"
        f"flush chain ip sampan-0-1-services {chain}\n"
        f"delete chain ip sampan-0-1-services {chain}\n"
        "delete element ip sampan-0-1-services hairpins { 10.244.0.6 . 10.244.0.6 }\n"
    )


def test_host_firewalls_that_drop_are_opened_and_closed_again() -> None:
    """Only chains of input and forward that drop; only rules that bear our mark are deleted."""
    listing = [
        {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": "drop"}},
        {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "hook": "input", "policy": "accept"}},
        {"chain": {"family": "ip", "table": "filter", "name": "DOCKER"}},
    ]
    chains = firewall.dropping_chains(listing)
    assert chains == [("ip", "filter", "FORWARD")]
    assert firewall.openings(SETTINGS, chains).splitlines() == [
        'insert rule ip filter FORWARD iifname "sampan0n1p*" accept comment "sampan c/n"',
        'insert rule ip filter FORWARD oifname "sampan0n1p*" accept comment "sampan c/n"',
    ]
    found = [
        {"rule": {"family": "ip", "table": "filter", "chain": "FORWARD", "handle": 7, "comment": "sampan c/n"}},
        {"rule": {"family": "ip", "table": "filter", "chain": "FORWARD", "handle": 8, "comment": "sampan c/n2"}},
    ]
    assert firewall.closings(SETTINGS, found) == "delete rule ip filter FORWARD handle 7"


def test_an_address_that_was_given_back_is_used_last(tmp_path: Path) -> None:
    """Also after a restart; when all are held, it says so."""
    settings = NetworkSettings("c", "n", "b1", "10.1.0.0/29", "10.1.0.0/16", "10.2.0.0/16", tmp_path, "t")
    leases = Leases(tmp_path / "leases.json", settings.network)
    assert [leases.take(uid) for uid in "abc"] == ["10.1.0.2", "10.1.0.3", "10.1.0.4"]
    leases.give_back("a")
    leases = Leases(tmp_path / "leases.json", settings.network)
    assert leases.take("b") == "10.1.0.3"
    assert [leases.take(uid) for uid in "de"] == ["10.1.0.5", "10.1.0.6"]
    assert leases.take("f") == "10.1.0.2"
    with pytest.raises(NoAddressLeft):
        leases.take("g")


def test_link_names_fit_the_kernel() -> None:
    """At most 15 characters, told at once."""
    with pytest.raises(ValueError, match="too long"):
        NetworkSettings("c", "n", "a-long-bridge1", "10.1.0.0/24", "10.1.0.0/16", "10.2.0.0/16", Path("/x"), "t")
    assert SETTINGS.link_name("10.244.0.5") == "sampan0n1p5"
