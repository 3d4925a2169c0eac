"""Host firewalls that are opened for pods, addresses that are lent to them, and names of links."""

from pathlib import Path

import pytest

from sampan.node.network import firewall
from sampan.node.network.leases import Leases, NoAddressLeft
from sampan.node.network.settings import NetworkSettings

SETTINGS = NetworkSettings(
    "c", "n", "sampan0n1", "10.244.0.0/24", "10.244.0.0/16", "10.96.0.0/16", Path("/nowhere"), "sampan-0-1"
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
    with (tmp_path / "leases.json").open("a") as file:
        file.write('\n{"next": 9, "po')  # an agent was killed
    leases = Leases(tmp_path / "leases.json", settings.network)
    assert leases.take("b") == "10.1.0.3"
    assert [leases.take(uid) for uid in "de"] == ["10.1.0.5", "10.1.0.6"]
    assert leases.take("f") == "10.1.0.2"
    with pytest.raises(NoAddressLeft):
        leases.take("g")


def test_the_record_of_leases_stays_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often pods come and go; and nothing is forgotten when it is written anew."""
    monkeypatch.setattr("sampan.node.network.leases._MOST_LINES", 20)
    path = tmp_path / "leases.json"
    leases = Leases(path, SETTINGS.network)
    kept = leases.take("kept")
    for number in range(100):
        leases.take(f"pod-{number}")
        leases.give_back(f"pod-{number}")
    assert len(path.read_text().splitlines()) <= 22
    assert Leases(path, SETTINGS.network).items() == {"kept": kept}


def test_link_names_fit_the_kernel() -> None:
    """At most 15 characters, told at once."""
    with pytest.raises(ValueError, match="too long"):
        NetworkSettings("c", "n", "a-long-bridge1", "10.1.0.0/24", "10.1.0.0/16", "10.2.0.0/16", Path("/x"), "t")
    assert SETTINGS.link_name("10.244.0.5") == "sampan0n1p5"
