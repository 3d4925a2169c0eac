"""Members: the addresses of the pods that peers of rules mean, kept true pod by pod.

A selection is a peer, or what a peer's pods call one of their ports; it has a set of the table in each family for as
long as a rule needs it, however many rules do. A pod's coming and going changes elements of these sets, and nothing else.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from sampan.node.network.policies import ruleset
from sampan.node.network.policies.pods import Key, Seen
from sampan.node.network.policies.policy import Peer
from sampan.node.network.policies.ruleset import Ruleset


@dataclass(frozen=True, slots=True)
class Selection:
    """The addresses of a peer's pods; with a port's (protocol, name), what `address . protocol . number` is called so."""

    peer: Peer
    port: tuple[str, str] | None = None

    def set_name(self, family: int) -> str:
        """The table's set of it."""
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:12]
        return f"{'ports' if self.port else 'pods'}-{digest}-{family}"


class Members:
    """Who is meant by the selections that are in use."""

    def __init__(self, rules: Ruleset, families: tuple[int, ...]) -> None:
        self._ruleset, self._families = rules, families
        self._labels: dict[str, Mapping[str, str]] = {}
        self._pods: dict[str, dict[Key, Seen]] = {}
        self._users: Counter[Selection] = Counter()
        self._names: dict[Selection, dict[int, str]] = {}
        self._candidates: dict[str, dict[Selection, None]] = {}

    def put_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """The namespace has these labels, or is gone."""
        before = self._candidates.get(name, {})
        if labels is None:
            self._labels.pop(name, None)
        else:
            self._labels[name] = labels
        after = self._candidates[name] = {selection: None for selection in self._users if self._takes(selection, name)}
        pods = list(self._pods.get(name, {}).values())
        for selection in before.keys() - after.keys():
            self._each(selection, pods, self._ruleset.remove)
        for selection in after.keys() - before.keys():
            self._each(selection, pods, self._ruleset.add)

    def put_pod(self, key: Key, pod: Seen | None) -> None:
        """A pod is as it is now, or gone."""
        namespace = key[0]
        pods = self._pods.setdefault(namespace, {})
        candidates = self._candidates_in(namespace)
        old = pods.pop(key, None)
        if pod is not None:
            pods[key] = pod
        for selection in candidates:
            if pod is not None:
                self._each(selection, [pod], self._ruleset.add)
            if old is not None:
                self._each(selection, [old], self._ruleset.remove)

    def use(self, selection: Selection) -> None:
        """One more rule asks it."""
        self._users[selection] += 1
        if self._users[selection] > 1:
            return
        self._names[selection] = {family: selection.set_name(family) for family in self._families}
        for family, name in self._names[selection].items():
            type = ruleset.ADDRESS[family]
            self._ruleset.put_set(name, f"{type} . inet_proto . inet_service" if selection.port else type)
        for namespace in self._namespaces(selection.peer):
            if self._takes(selection, namespace):
                self._candidates_in(namespace)[selection] = None
                self._each(selection, self._pods.get(namespace, {}).values(), self._ruleset.add)

    def drop(self, selection: Selection) -> None:
        """One rule less."""
        self._users[selection] -= 1
        if self._users[selection]:
            return
        del self._users[selection]
        for name in self._names.pop(selection).values():
            self._ruleset.drop_set(name)
        for namespace in self._namespaces(selection.peer):
            self._candidates.get(namespace, {}).pop(selection, None)

    def _namespaces(self, peer: Peer) -> list[str]:
        return [peer.namespace] if peer.namespace else list(self._labels)

    def _candidates_in(self, namespace: str) -> dict[Selection, None]:
        """The selections that pods of the namespace can be in."""
        found = self._candidates.get(namespace)
        if found is None:
            found = {selection: None for selection in self._users if self._takes(selection, namespace)}
            self._candidates[namespace] = found
        return found

    def _takes(self, selection: Selection, namespace: str) -> bool:
        """A namespace that isn't known has no labels to be selected by, not even by the selector of all."""
        if not selection.peer.namespace and namespace not in self._labels:
            return False
        return selection.peer.takes_namespace(namespace, self._labels.get(namespace, {}))

    def _each(self, selection: Selection, pods: Iterable[Seen], do: Callable[[str, str], None]) -> None:
        for pod in pods:
            if selection.peer.pods.matches(pod.labels):
                for family, name in self._names[selection].items():
                    for element in _elements(selection, pod, family):
                        do(name, element)


def _elements(selection: Selection, pod: Seen, family: int) -> Iterator[str]:
    for address in pod.of_family(family):
        if selection.port is None:
            if not pod.is_of_node:
                yield address
        else:
            for protocol, name, number in pod.ports:
                if (protocol, name) == selection.port:
                    yield f"{address} . {protocol.lower()} . {number}"
