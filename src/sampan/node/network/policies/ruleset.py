"""Ruleset: what the policies' table holds, and the smallest transaction from what the kernel has to that.

Whoever changes it says what should be; that something was changed there and back is noticed here, and costs the kernel
nothing. The chains that hang in the kernel's hooks are always the same: one for what pods send, one for what pods get,
one for what they send to the node itself. A verdict map leads from a pod's address to the chain for its policies. They
stand after the translation of service addresses and before that of senders. Each packet in the direction in which a
connection was opened is judged by what is allowed now, so that a change also ends connections; answers pass.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

MAPS = {"egress4": "ipv4_addr", "egress6": "ipv6_addr", "ingress4": "ipv4_addr", "ingress6": "ipv6_addr"}
SELVES = {4: "self4", 6: "self6"}
DNS = {4: "dns4", 6: "dns6"}
ADDRESS = {4: "ipv4_addr", 6: "ipv6_addr"}

_FIXED_SETS = {
    SELVES[4]: "ipv4_addr . ipv4_addr",
    SELVES[6]: "ipv6_addr . ipv6_addr",
    DNS[4]: "ipv4_addr",
    DNS[6]: "ipv6_addr",
}
_PASSING = """    ct state related accept
    ct direction reply accept
    ip saddr . ip daddr @self4 accept
    ip6 saddr . ip6 daddr @self6 accept
"""
_HOOKS = f"""  chain egress {{
    type filter hook forward priority filter + 1; policy accept;
{_PASSING}    ip saddr vmap @egress4
    ip6 saddr vmap @egress6
  }}
  chain ingress {{
    type filter hook forward priority filter + 2; policy accept;
{_PASSING}    ip daddr vmap @ingress4
    ip6 daddr vmap @ingress6
  }}
  chain node {{
    type filter hook input priority filter + 1; policy accept;
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit }} accept
{_PASSING}    ip saddr vmap @egress4
    ip6 saddr vmap @egress6
  }}
"""


class Rule(Protocol):
    """What a chain is made of."""

    def text(self) -> str:
        """As nft reads it."""
        ...


class Ruleset:
    """The table's chains, sets and maps. `chains`, `sets` (by name, the elements) and `maps` are for reading only."""

    def __init__(self) -> None:
        self.chains: dict[str, tuple[Rule, ...]] = {}
        self.sets: dict[str, Counter[str]] = {name: Counter() for name in _FIXED_SETS}
        self.maps: dict[str, dict[str, str]] = {name: {} for name in MAPS}
        self._types = dict(_FIXED_SETS)
        self._old_chains: dict[str, tuple[Rule, ...] | None] = {}
        self._old_sets: dict[str, bool] = {}
        self._old_elements: dict[str, dict[str, bool]] = {}
        self._old_verdicts: dict[tuple[str, str], str | None] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no pod is isolated."""
        return not self.chains

    @property
    def is_changed(self) -> bool:
        """Whether the kernel may have something else."""
        return bool(self._old_chains or self._old_sets or self._old_elements or self._old_verdicts)

    def put_chain(self, name: str, rules: tuple[Rule, ...]) -> None:
        """The chain is made of these rules."""
        old = self.chains.get(name)
        if old != rules:
            self._old_chains.setdefault(name, old)
            self.chains[name] = rules

    def drop_chain(self, name: str) -> None:
        """No rule leads there any more."""
        self._old_chains.setdefault(name, self.chains.pop(name))

    def put_set(self, name: str, type: str) -> None:
        """There is a set of this type."""
        if name not in self.sets:
            self._old_sets.setdefault(name, False)
            self.sets[name], self._types[name] = Counter(), type

    def drop_set(self, name: str) -> None:
        """No rule asks it any more."""
        elements = self.sets.pop(name)
        self._old_sets.setdefault(name, True)
        old = self._old_elements.setdefault(name, {})
        for element in elements:
            old.setdefault(element, True)

    def add(self, name: str, element: str) -> None:
        """One more reason for the element to be in the set."""
        elements = self.sets[name]
        elements[element] += 1
        if elements[element] == 1:
            self._old_elements.setdefault(name, {}).setdefault(element, False)

    def remove(self, name: str, element: str) -> None:
        """One reason less."""
        elements = self.sets[name]
        elements[element] -= 1
        if not elements[element]:
            del elements[element]
            self._old_elements.setdefault(name, {}).setdefault(element, True)

    def point(self, name: str, address: str, chain: str | None) -> None:
        """The map leads from the address to the chain, or nowhere."""
        verdicts = self.maps[name]
        self._old_verdicts.setdefault((name, address), verdicts.get(address))
        if chain is None:
            verdicts.pop(address, None)
        else:
            verdicts[address] = chain

    def settle(self) -> None:
        """The kernel has it all."""
        for old in (self._old_chains, self._old_sets, self._old_elements, self._old_verdicts):
            old.clear()

    def whole(self, table: str) -> str:
        """One transaction that puts all of it in place of whatever was there."""
        parts = [f"table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n"]
        parts += [f"  set {name} {{\n    type {self._types[name]}\n  }}\n" for name in sorted(self.sets)]
        parts += [f"  map {name} {{\n    type {type} : verdict\n  }}\n" for name, type in MAPS.items()]
        for name, rules in sorted(self.chains.items()):
            parts += [f"  chain {name} {{\n", *(f"    {rule.text()}\n" for rule in rules), "  }\n"]
        parts += [_HOOKS, "}\n"]
        parts += [_element("add", table, name, self.sets[name]) for name in sorted(self.sets)]
        parts += [_element("add", table, name, _verdicts(verdicts)) for name, verdicts in self.maps.items()]
        return "".join(parts)

    def change(self, table: str) -> str:
        """One transaction from what was there when it was last settled; nothing when that is the same."""
        chains = {n: rules for n, rules in self._old_chains.items() if rules != self.chains.get(n)}
        gone = sorted(name for name in chains if name not in self.chains)
        fresh_sets = sorted(name for name, was_there in self._old_sets.items() if not was_there and name in self.sets)
        gone_sets = sorted(name for name, was_there in self._old_sets.items() if was_there and name not in self.sets)
        lines = [f"add set inet {table} {name} {{ type {self._types[name]}; }}\n" for name in fresh_sets]
        lines += [f"add chain inet {table} {n}\n" for n, rules in sorted(chains.items()) if rules is None]
        lines += self._changed_elements(table, {*fresh_sets, *gone_sets})
        lines += [f"flush chain inet {table} {n}\n" for n, rules in sorted(chains.items()) if rules and n not in gone]
        for name in sorted(chains.keys() - gone):
            lines += [f"add rule inet {table} {name} {rule.text()}\n" for rule in self.chains[name]]
        lines += self._changed_verdicts(table)
        lines += [f"flush chain inet {table} {name}\n" for name in gone]
        lines += [f"delete chain inet {table} {name}\n" for name in gone]
        lines += [f"delete set inet {table} {name}\n" for name in gone_sets]
        return "".join(lines)

    def _changed_elements(self, table: str, whole: set[str]) -> list[str]:
        lines = [_element("add", table, name, self.sets[name]) for name in sorted(whole & self.sets.keys())]
        for name, old in sorted(self._old_elements.items()):
            if name in whole or name not in self.sets:
                continue
            now = self.sets[name]
            lines.append(_element("delete", table, name, (e for e, was_in in old.items() if was_in and e not in now)))
            lines.append(_element("add", table, name, (e for e, was_in in old.items() if not was_in and e in now)))
        return lines

    def _changed_verdicts(self, table: str) -> list[str]:
        lines = []
        for name, now in self.maps.items():
            old = {address: chain for (of, address), chain in self._old_verdicts.items() if of == name}
            changed = {address: chain for address, chain in old.items() if chain != now.get(address)}
            lines.append(_element("delete", table, name, (a for a, chain in changed.items() if chain is not None)))
            lines.append(_element("add", table, name, _verdicts({a: now[a] for a in changed if a in now})))
        return lines


def _verdicts(verdicts: Mapping[str, str]) -> list[str]:
    return [f"{address} : goto {chain}" for address, chain in verdicts.items()]


def _element(verb: str, table: str, name: str, elements: Iterable[str]) -> str:
    listed = ", ".join(sorted(elements))
    return f"{verb} element inet {table} {name} {{ {listed} }}\n" if listed else ""
