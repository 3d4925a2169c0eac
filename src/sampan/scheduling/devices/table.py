"""Table: what a search has put on it so far, on top of what the ledger says is taken. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sampan.meta.quantity import Quantity
from sampan.scheduling.devices import amounts
from sampan.scheduling.devices.ledger import Ledger
from sampan.scheduling.devices.pools import Device, DeviceId, Pool, PoolId
from sampan.scheduling.devices.wishes import Constraint, Problem, Wish

Amounts = Mapping[str, Quantity]


@dataclass(frozen=True, slots=True, eq=False)
class Pick:
    """A device for a wish, the `rank` of which is its place among the alternatives of its request (None: it is none).

    `consumed` is what is taken of the capacities of a device that others may have too; None when they may not.
    """

    wish: Wish
    device: Device
    rank: int | None
    consumed: Amounts | None


class Candidate(NamedTuple):
    """A device, and its pool."""

    pool: Pool
    device: Device


class Table:
    """The picks of each claim. What is taken is given back in the opposite order."""

    def __init__(self, problem: Problem, ledger: Ledger) -> None:
        self._ledger = ledger
        self._constraints = [[(each, list[Any]()) for each in claim.constraints] for claim in problem.claims]
        self._picks: list[list[Pick]] = [[] for _ in problem.claims]
        self._holders: dict[DeviceId, list[int]] = {}  # the claims
        self._viewers: dict[DeviceId, list[int]] = {}  # the same for administration
        self._consumed: dict[tuple[DeviceId, str], int] = {}
        self._spent: dict[tuple[PoolId, tuple[str, str]], int] = {}

    @property
    def picks(self) -> tuple[tuple[Pick, ...], ...]:
        """Those of each claim."""
        return tuple(tuple(each) for each in self._picks)

    def size(self, claim: int) -> int:
        """How many a claim has."""
        return len(self._picks[claim])

    def is_free(self, wish: Wish, claim: int, device: Device) -> bool:
        """Whether nobody else has the device, or the wish does not mind."""
        holders, viewers = self._holders.get(device.id), self._viewers.get(device.id)
        if wish.is_admin:
            return claim not in (holders or ()) and claim not in (viewers or ())
        return device.is_shared or not (holders or viewers or self._ledger.is_taken(device.id))

    def amounts(self, wish: Wish, device: Device) -> Amounts | None:
        """What the wish takes of a shared device; None of one that it has alone, or that does not give it so."""
        if wish.is_admin or not device.is_shared:
            return None
        return amounts.consumed(wish.requests(device.driver), device.capacity)

    def is_fit(self, pick: Pick, candidate: Candidate) -> bool:
        """Whether the device gives what is wanted, and nothing keeps it away."""
        wish = pick.wish
        return self._gives(pick) and self._has_counters(candidate, wish) and wish.puts_up_with(pick.device)

    def take(self, pick: Pick, claim: int, candidate: Candidate) -> None:
        """Puts it on the table."""
        wish, device = pick.wish, pick.device
        for constraint, values in self._constraints[claim]:
            if constraint.concerns(wish):
                values.append(constraint.value(device))
        self._count(candidate, wish, 1)
        for name, amount in (pick.consumed or {}).items():
            self._consumed[device.id, name] = self._consumed.get((device.id, name), 0) + amount.nanos
        self._those(wish).setdefault(device.id, []).append(claim)
        self._picks[claim].append(pick)

    def give_back(self, claim: int, candidate: Candidate) -> None:
        """Takes the last one of the claim from the table."""
        pick = self._picks[claim].pop()
        self._those(pick.wish)[pick.device.id].pop()
        for name, amount in (pick.consumed or {}).items():
            self._consumed[pick.device.id, name] -= amount.nanos
        self._count(candidate, pick.wish, -1)
        for constraint, values in self._constraints[claim]:
            if constraint.concerns(pick.wish):
                values.pop()

    def satisfies(self, wish: Wish, claim: int, device: Device) -> bool:
        """Whether the claim's constraints allow one more device."""
        return all(
            _allows(constraint, values, device)
            for constraint, values in self._constraints[claim]
            if constraint.concerns(wish)
        )

    def _those(self, wish: Wish) -> dict[DeviceId, list[int]]:
        return self._viewers if wish.is_admin else self._holders

    def _gives(self, pick: Pick) -> bool:
        """Whether the device has the capacities that are wanted, and enough of them is left."""
        wish, device = pick.wish, pick.device
        if pick.consumed is None:
            needs = wish.requests(device.driver)
            if device.is_shared and not wish.is_admin:
                return False
            return not needs or amounts.consumed(needs, device.capacity) is not None
        for name, amount in pick.consumed.items():
            most = amounts.value(device.capacity[name])
            used = self._ledger.consumed(device.id, name) + self._consumed.get((device.id, name), 0)
            if used + amount.nanos > most:
                return False
        return True

    def _has_counters(self, candidate: Candidate, wish: Wish) -> bool:
        pool, device = candidate
        if not device.counters or not self._is_first(device, wish):
            return True
        spent = self._ledger.spent(pool)
        return all(
            spent.get(counter, 0) + self._spent.get((pool.id, counter), 0) + nanos <= pool.counters[counter]
            for counter, nanos in device.counters.items()
        )

    def _is_first(self, device: Device, wish: Wish) -> bool:
        """Whether the device would not be in use without this: a device uses its counters once."""
        return not wish.is_admin and not self._holders.get(device.id) and not self._ledger.is_used(device.id)

    def _count(self, candidate: Candidate, wish: Wish, sign: int) -> None:
        pool, device = candidate
        if device.counters and self._is_first(device, wish):
            for counter, nanos in device.counters.items():
                key = (pool.id, counter)
                self._spent[key] = self._spent.get(key, 0) + sign * nanos


def _allows(constraint: Constraint, values: list[Any], device: Device) -> bool:
    value = constraint.value(device)
    if value is None:
        return False
    return value not in values if constraint.is_distinct else not values or value == values[0]
