"""Search: which devices that a node reaches fulfil the claims of a pod, together. Pure.

Devices are tried one after the other for one request after the other, and taken back when it goes no further; the
first full solution counts. The search can be left at any time and gone on with. What cannot make a difference is not
tried: other orders of the devices of one request, and devices that are just like one that was tried in vain.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sampan.scheduling.devices import selecting
from sampan.scheduling.devices.pools import DeviceId, Reach
from sampan.scheduling.devices.selecting import SelectorError
from sampan.scheduling.devices.table import Candidate, Pick, Table
from sampan.scheduling.devices.wishes import MAX_ALTERNATIVES, MAX_DEVICES, Problem, Wish, mark

T = TypeVar("T")

MAX_WORK = 250_000
ASKING = 30
"""How much more work a selector is than a look."""
PIECE = 2_000
TIMED_OUT = "timed out trying to allocate devices"
INVALID = "invalid resource pools were encountered"
NOT_ALL = "cannot allocate all claims"


@dataclass(frozen=True, slots=True)
class Answer:
    """The devices of each claim; without them the reason why there are none, or the error that ended the search."""

    picks: tuple[tuple[Pick, ...], ...] | None = None
    reason: str = ""
    error: str = ""

    @property
    def score(self) -> int:
        """The more, the sooner the chosen alternatives were named."""
        chosen = {(at, pick.wish.name): pick.rank for at, picks in enumerate(self.picks or ()) for pick in picks}
        return sum(MAX_ALTERNATIVES - rank for rank in chosen.values() if rank is not None)


@dataclass(frozen=True, slots=True)
class _At:
    """What is to be found next: a device of a request of a claim, from the candidate `start` on."""

    claim: int = 0
    request: int = 0
    rank: int = -1
    device: int = 0
    start: int = 0


_Frame = Iterator[_At | None]
_Asking = Generator[None, None, T]
_DONE = _At(claim=-1)


class Search:
    """For one node. `advance` until `answer` is there."""

    def __init__(self, problem: Problem, reaches: Sequence[Reach], table: Table) -> None:
        self._problem, self._reaches, self._table = problem, reaches, table
        self._all: dict[int, tuple[Candidate, ...]] = {}
        self._likes: dict[DeviceId, Any] = {}
        self._is_particular = any(wish.is_admin or wish.is_all for wish in problem.wishes())
        self._frames: list[_Frame] = [self._first()]
        self._work = 0
        self.answer: Answer | None = None

    def advance(self, work: int = MAX_WORK) -> bool:
        """Does so much more; says whether it is over."""
        limit = self._work + work
        while self.answer is None and self._work < limit:
            try:
                self._step()
            except SelectorError as error:
                self.answer = Answer(error=str(error))
            except _Impossible as why:
                self.answer = Answer(error=str(why))
            if self.answer is None and self._work > MAX_WORK:
                self.answer = Answer(reason=TIMED_OUT)
        return self.answer is not None

    def _step(self) -> None:
        self._work += 1
        if not self._frames:
            is_invalid = any(reach.pool.fault for reach in self._reaches)
            self.answer = Answer(reason=INVALID if is_invalid else NOT_ALL)
            return
        frame = self._frames[-1]
        following = next(frame, _DONE)
        if following is _DONE:
            self._frames.pop()
        elif following is not None:
            if following.claim == len(self._problem.claims):
                self.answer = Answer(picks=self._table.picks)
            else:
                self._frames.append(self._choices(following))

    def _first(self) -> _Frame:
        """Sees to it that the claims can be fulfilled at all. Raises _Impossible, SelectorError."""
        for at, claim in enumerate(self._problem.claims):
            fewest = 0
            for request in claim.requests:
                for wish in request:
                    if wish.is_all:
                        yield from self._gather(wish)
                fewest += min(self._count(wish) for wish in request)
            if fewest > MAX_DEVICES:
                text = f"number of requested devices {fewest} exceeds the claim limit of {MAX_DEVICES}"
                raise _Impossible(f"claim {mark(at)}: {text}")
        yield _At()

    def _gather(self, wish: Wish) -> _Asking[None]:
        """What "all devices" are."""
        found: list[Candidate] = []
        for reach in self._reaches:
            is_bad = "updated" if not reach.pool.is_complete else "invalid" if reach.pool.fault else ""
            if is_bad:
                doing = "being updated" if is_bad == "updated" else "invalid"
                what = f"resource pool {'/'.join(reach.pool.id)} is currently {doing}"
                raise _Impossible(f"{wish.label}: asks for all devices, but {what}")
            for device in reach.devices:
                candidate = Candidate(reach.pool, device)
                if (yield from self._matches(wish, candidate)):
                    found.append(candidate)
        self._all[wish.index] = tuple(found)

    def _count(self, wish: Wish) -> int:
        return len(self._all[wish.index]) if wish.is_all else wish.count

    def _matches(self, wish: Wish, candidate: Candidate) -> _Asking[bool]:
        """Yields when something else may be done first; its result is whether the selectors mean the device."""
        self._work += 1
        if not selecting.is_asked(wish, candidate.device):
            self._work += ASKING
            yield None
        return selecting.matches(wish, candidate.device)

    def _choices(self, at: _At) -> _Frame:
        claim = self._problem.claims[at.claim]
        if at.request == len(claim.requests):
            yield _At(at.claim + 1)
            return
        request = claim.requests[at.request]
        if at.rank < 0:
            for rank in range(len(request)):
                yield _At(at.claim, at.request, rank)
            return
        wish = request[at.rank]
        if wish.is_all and not self._all[wish.index]:
            return
        if at.device == self._count(wish):
            yield _At(at.claim, at.request + 1)
            return
        left = self._count(wish) - at.device
        if self._table.size(at.claim) + left > MAX_DEVICES:
            return
        yield from self._devices(at, wish, at.rank if wish.name != wish.request else None)

    def _devices(self, at: _At, wish: Wish, rank: int | None) -> _Frame:
        """Takes one device after the other, and gives each back when it is asked for the next."""
        table, failed = self._table, set[Any]()
        for index, candidate in self._candidates(at, wish):
            device = candidate.device
            self._work += 1
            if not table.is_free(wish, at.claim, device):
                continue
            if not wish.is_all and not (yield from self._matches(wish, candidate)):
                continue
            if failed and (yield from self._like(candidate)) in failed:
                continue
            pick = Pick(wish, device, rank, table.amounts(wish, device))
            if not table.is_fit(pick, candidate):
                continue
            if not table.satisfies(wish, at.claim, device):
                if wish.is_all:
                    why = "because a claim constraint would not be satisfied"
                    raise _Impossible(f"{wish.label}: cannot add device {'/'.join(device.id)} {why}")
                continue
            table.take(pick, at.claim, candidate)
            yield _At(at.claim, at.request, at.rank, at.device + 1, index if device.is_shared else index + 1)
            table.give_back(at.claim, candidate)
            if (like := (yield from self._like(candidate))) is not None:
                failed.add(like)

    def _like(self, candidate: Candidate) -> _Asking[Any]:
        """The same for devices of which one will do when another does; None when that is not known."""
        device = candidate.device
        if self._is_particular or device.is_shared:
            return None
        if device.id not in self._likes:
            suits: dict[int, bool] = {}
            try:
                for wish in self._problem.wishes():
                    suits[wish.index] = (yield from self._matches(wish, candidate)) and wish.puts_up_with(device)
            except SelectorError:
                self._likes[device.id] = None
            else:
                self._likes[device.id] = (tuple(suits.values()), *self._nature(candidate))
        return self._likes[device.id]

    def _nature(self, candidate: Candidate) -> tuple[Any, ...]:
        """What else than selectors can make a difference between devices."""
        device = candidate.device
        capacity = repr(sorted(device.capacity.items())) if any(w.capacity for w in self._problem.wishes()) else ""
        counters = (candidate.pool.id, *sorted(device.counters.items())) if device.counters else ()
        constraints = (each for claim in self._problem.claims for each in claim.constraints)
        return capacity, counters, tuple(each.value(device) for each in constraints)

    def _candidates(self, at: _At, wish: Wish) -> Iterator[tuple[int, Candidate]]:
        if wish.is_all:
            yield at.device, self._all[wish.index][at.device]
            return
        index = 0
        for reach in self._reaches:
            if not reach.pool.is_usable:
                continue
            if index + len(reach.devices) > at.start:
                for offset, device in enumerate(reach.devices):
                    if index + offset >= at.start:
                        yield index + offset, Candidate(reach.pool, device)
            index += len(reach.devices)


class _Impossible(Exception):
    """Something about the claims that no other choice would change."""
