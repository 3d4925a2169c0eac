"""Other firewalls of the host: which of their chains stop pods, that these are opened, and what is said when they can't be."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sampan.node.network import firewall, nft
from tests.node.network import lab
from tests.node.network.inside import run


def test_chains_that_end_in_a_refusal_are_opened_too() -> None:
    """firewalld's and those that iptables wrote; not where it depends on something, is not last, or is in our tables."""
    refusals: list[list[dict[str, Any]]] = [
        [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}],
        [{"counter": {"packets": 0, "bytes": 0}}, {"log": {"prefix": "x"}}, {"drop": None}],
        [{"counter": {"packets": 0, "bytes": 0}}, {"xt": {"type": "target", "name": "REJECT"}}],
    ]
    match = {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth9"}}
    others: list[list[dict[str, Any]]] = [[match, {"drop": None}], [{"jump": {"target": "x"}}], [{"accept": None}], []]
    assert [_dropping(rule) for rule in refusals] == [[("inet", "firewalld", "last")]] * 3
    assert [_dropping(rule) for rule in others] == [[]] * 4
    assert _dropping(refusals[0], others[2]) == []
    chain = {"family": "ip", "table": "t", "name": "c", "hook": "input", "policy": "accept", "type": "filter"}
    listing = [{"chain": chain}, {"chain": {**chain, "hook": "prerouting"}}, {"chain": {**chain, "table": "ours"}}]
    assert firewall.base_chains(listing, ("ours",)) == [("ip", "t", "c")]


def _dropping(*rules: list[dict[str, Any]]) -> list[firewall.Chain]:
    place = {"family": "inet", "table": "firewalld"}
    chain = {**place, "name": "last", "hook": "forward", "policy": "accept", "type": "filter"}
    return firewall.dropping_chains(
        [{"chain": chain}, *({"rule": {**place, "chain": "last", "handle": 1, "expr": list(r)}} for r in rules)]
    )


FIREWALLD = """table inet firewalld { %s;
  chain filter_INPUT {
    type filter hook input priority filter + 10; policy accept;
    ct state { established, related } accept;
    iifname { lo, eth0 } accept;
    reject with icmpx admin-prohibited;
  };
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept;
    reject with icmpx admin-prohibited;
  };
}
"""


@pytest.mark.root
async def test_pods_get_past_a_firewall_that_rejects_at_the_end(tmp_path: Path) -> None:
    """To each other, to the node and out; and its table is afterwards as it was."""
    async with lab.lab(tmp_path) as here:
        await nft.apply(FIREWALLD % "")
        before = await nft.query("list", "table", "inet", "firewalld")
        await here.pod("one")
        await here.pod("two")
        with here.server("two"), here.server("node", 8081), here.server("outside", 8082):
            asked = (here.pods["two"].ip, 8080), (lab.NODE_IP, 8081), (lab.OUTSIDE_IP, 8082)
            for _ in range(2):  # an agent that starts again
                await here.network.setup()
                answers = [here.ask("one", *where) for where in asked]
                assert [answer.split()[0] for answer in answers] == ["two", "node", "outside"]
        await here.network.teardown()
        assert await nft.query("list", "table", "inet", "firewalld") == before


@pytest.mark.root
async def test_a_firewall_that_lets_nobody_in_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With what to do, and the node's own network is there all the same; another's chain is opened nevertheless."""
    async with lab.lab(tmp_path) as here:
        await nft.apply("table ip a { chain c { type filter hook forward priority 0; policy drop; }; }\n")
        pipe = asyncio.subprocess.PIPE
        owner = await asyncio.create_subprocess_exec("nft", "-i", stdin=pipe, stdout=pipe)
        assert owner.stdin is not None
        assert owner.stdout is not None
        try:
            owner.stdin.write((FIREWALLD % "flags owner").replace("\n", " ").encode() + b"\nlist chains\n")
            while b"filter_FORWARD" not in await asyncio.wait_for(owner.stdout.readline(), 60):
                pass
            await here.network.setup()
        finally:
            owner.stdin.close()
            await owner.wait()
        assert "chain filter_FORWARD of nft table inet firewalld stops pods and can't be opened" in caplog.text
        assert (
            "firewall-cmd --permanent --zone=trusted --add-source=10.244.0.0/16 --add-source=fd00:10:244::/64"
            " && firewall-cmd --reload"
        ) in caplog.text
        assert '"lab0n1p*" accept comment "sampan lab/n1"' in await run("nft", "list", "table", "ip", "a", pod=None)


def test_the_mend_for_iptables() -> None:
    """Both ways, in each family by the program that is for it."""
    assert firewall.remedy_by_iptables(("10.0.0.0/8", "fd00::/8"), "iptables-legacy") == (
        "iptables-legacy -I FORWARD -s 10.0.0.0/8 -j ACCEPT && iptables-legacy -I FORWARD -d 10.0.0.0/8 -j ACCEPT"
        " && ip6tables-legacy -I FORWARD -s fd00::/8 -j ACCEPT && ip6tables-legacy -I FORWARD -d fd00::/8 -j ACCEPT"
    )
