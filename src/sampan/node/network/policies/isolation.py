"""Isolation: which policies the node's own pods are under, and the chains that follow from it.

Pods under the same policies share a chain, which leads to one chain for each of these policies and drops what none of them
lets through. A policy that none of the node's pods is under costs its kernel nothing.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass

from sampan.node.network.policies import chains, ruleset
from sampan.node.network.policies.chains import Drop, Jump, Translation
from sampan.node.network.policies.members import Members, Selection
from sampan.node.network.policies.pods import Key, Seen
from sampan.node.network.policies.policy import DIRECTIONS, Policy
from sampan.node.network.policies.ruleset import Ruleset


@dataclass(frozen=True, slots=True)
class _Group:
    """The policies that some pods are under, in one direction."""

    direction: str
    policies: tuple[Key, ...]

    @property
    def chain(self) -> str:
        digest = hashlib.sha256(repr(self.policies).encode()).hexdigest()[:12]
        return f"{self.direction}-of-{digest}"


class Isolation:
    """Policies and pods of this node, by namespace."""

    def __init__(self, rules: Ruleset, members: Members, translation: Translation) -> None:
        self._ruleset, self._members, self._translation = rules, members, translation
        self._policies: dict[Key, Policy] = {}
        self._pods: dict[str, dict[Key, Seen]] = {}
        self._under: dict[Key, set[Key]] = {}
        self._by_namespace: dict[str, set[Key]] = {}
        self._placed: dict[tuple[Key, str], tuple[_Group, tuple[str, ...]]] = {}
        self._groups: Counter[_Group] = Counter()
        self._uses: Counter[tuple[str, Key]] = Counter()
        self._asked: dict[tuple[str, Key], list[Selection]] = {}

    def put_policy(self, key: Key, policy: Policy | None) -> None:
        """The policy is as it is now, or gone."""
        old = self._policies.get(key)
        if old == policy:
            return
        named = self._by_namespace.setdefault(key[0], set())
        if policy is None:
            del self._policies[key]
            named.discard(key)
        else:
            self._policies[key] = policy
            named.add(key)
        for pod in list(self._pods.get(key[0], {}).values()):
            under = self._under[pod.key]
            if policy is not None and policy.pods.matches(pod.labels):
                under.add(key)
            elif key in under:
                under.discard(key)
            else:
                continue
            self._place(pod)
        self._write([use for use in self._uses if use[1] == key])

    def put_pod(self, key: Key, pod: Seen | None) -> None:
        """A pod of this node is as it is now, or gone."""
        pods = self._pods.setdefault(key[0], {})
        pods.pop(key, None)
        if pod is None:
            self._under.pop(key, None)
            for direction in DIRECTIONS:
                self._move(key, direction, None, ())
            return
        pods[key] = pod
        named = self._by_namespace.get(key[0], ())
        self._under[key] = {name for name in named if self._policies[name].pods.matches(pod.labels)}
        self._place(pod)

    def write_again(self) -> None:
        """The chains of all policies, whose translation may be another now."""
        self._write(list(self._uses))

    def _place(self, pod: Seen) -> None:
        """Leads the pod's addresses to the chains of the policies that it is under."""
        under = sorted(self._under[pod.key])
        for direction in DIRECTIONS:
            policies = tuple(key for key in under if self._policy_rules(key, direction) is not None)
            self._move(pod.key, direction, _Group(direction, policies) if policies else None, pod.addresses)

    def _policy_rules(self, key: Key, direction: str) -> object:
        policy = self._policies.get(key)
        return None if policy is None else policy.rules(direction)

    def _move(self, key: Key, direction: str, group: _Group | None, addresses: tuple[str, ...]) -> None:
        old = self._placed.pop((key, direction), None)
        new = (group, addresses) if group is not None else None
        if new is not None:
            self._placed[key, direction] = new
        if old == new:
            return
        if new is not None:
            self._hold(new[0])
            for address in addresses:
                self._ruleset.add(ruleset.SELVES[_family(address)], f"{address} . {address}")
        if old is not None:
            for address in old[1]:
                self._ruleset.remove(ruleset.SELVES[_family(address)], f"{address} . {address}")
                if new is None or address not in addresses:
                    self._ruleset.point(f"{direction}{_family(address)}", address, None)
        if new is not None:
            for address in addresses:
                self._ruleset.point(f"{direction}{_family(address)}", address, new[0].chain)
        if old is not None:
            self._let_go(old[0])

    def _hold(self, group: _Group) -> None:
        self._groups[group] += 1
        if self._groups[group] > 1:
            return
        for key in group.policies:
            use = group.direction, key
            self._uses[use] += 1
            if self._uses[use] == 1:
                self._write([use])
        jumps = (Jump(_chain(group.direction, key)) for key in group.policies)
        self._ruleset.put_chain(group.chain, (*jumps, Drop()))

    def _let_go(self, group: _Group) -> None:
        self._groups[group] -= 1
        if self._groups[group]:
            return
        del self._groups[group]
        self._ruleset.drop_chain(group.chain)
        for key in group.policies:
            use = group.direction, key
            self._uses[use] -= 1
            if not self._uses[use]:
                del self._uses[use]
                self._ruleset.drop_chain(_chain(*use))
                self._ask(use, [])

    def _write(self, uses: list[tuple[str, Key]]) -> None:
        """The chains of these policies as they are to be, and the sets that they ask."""
        for direction, key in uses:
            policy = self._policies[key]
            self._ask((direction, key), chains.selections(policy, direction))
            self._ruleset.put_chain(_chain(direction, key), self._translation.lines(policy, direction))

    def _ask(self, use: tuple[str, Key], selections: list[Selection]) -> None:
        old = self._asked.pop(use, [])
        if selections:
            self._asked[use] = selections
        for selection in selections:
            self._members.use(selection)
        for selection in old:
            self._members.drop(selection)


def _chain(direction: str, key: Key) -> str:
    """The chain of one policy; nft's names are limited to 128 bytes."""
    digest = hashlib.sha256("/".join(key).encode()).hexdigest()[:8]
    return f"{direction}-{digest}-{key[1][:60].rstrip('-.')}"


def _family(address: str) -> int:
    return 6 if ":" in address else 4
