"""Claims: whose an address is when the statuses of two pods name it, as when one has just ended and one has just begun.

The pod that was made later has it.
"""

from collections.abc import Iterable

from sampan.node.network.policies.pods import Key, Seen


class Claims:
    """Every pod's addresses, and to whom each of them belongs."""

    def __init__(self) -> None:
        self._pods: dict[Key, Seen] = {}
        self._claimants: dict[str, set[Key]] = {}

    def put(self, key: Key, pod: Seen | None) -> Iterable[Key]:
        """Takes note of a pod, or that it is gone; returns the pods that may be others to policies now, itself among them."""
        if self._pods.get(key) == pod:
            return ()
        old = self._pods.pop(key, None)
        affected = {key}
        for address in old.addresses if old is not None else ():
            left = self._claimants[address]
            left.discard(key)
            affected |= left
            if not left:
                del self._claimants[address]
        if pod is not None:
            self._pods[key] = pod
            for address in pod.addresses:
                claimants = self._claimants.setdefault(address, set())
                affected |= claimants
                claimants.add(key)
        return sorted(affected)

    def get(self, key: Key) -> Seen | None:
        """The pod with the addresses that are its own; None if none is."""
        pod = self._pods.get(key)
        if pod is None:
            return None
        own = tuple(address for address in pod.addresses if self._owner(address) == key)
        if own == pod.addresses:
            return pod
        return Seen(key, pod.rank, pod.labels, own, pod.ports, pod.is_here) if own else None

    def _owner(self, address: str) -> Key:
        claimants = self._claimants[address]
        return max(claimants, key=lambda key: (self._pods[key].rank, key))
