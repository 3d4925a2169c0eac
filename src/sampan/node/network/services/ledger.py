"""Ledger: what each Service claims, what the kernel has, and the commands that lead from one to the other.

It remembers by service, so that a change of one costs what that service costs. What two services claim is the one's
who was there first.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from typing import TypeVar

from sampan.node.network.services import chains, table
from sampan.node.network.services.elements import Element, elements, hairpins
from sampan.node.network.services.frontends import Claims, Frontend, Rank, Target
from sampan.node.network.settings import NetworkSettings

Owner = tuple[str, str]
T = TypeVar("T", bound=Hashable)

_TOGETHER = 1000
"""How many elements a command adds."""


@dataclass(frozen=True, slots=True)
class Change:
    """Commands, and what is different once they are carried out: targets, users of shared elements and of chains."""

    text: str
    targets: Mapping[Frontend, Target | None]
    shared: Mapping[Element, int]
    chains: Mapping[str, int]
    is_whole: bool = False


class Ledger:
    """One node's. `put` what services claim; then carry out `change` (or `whole`), and `took` says that it was."""

    def __init__(self, settings: NetworkSettings) -> None:
        self._settings = settings
        self._claims: dict[Owner, Claims] = {}
        self._claimants: dict[Frontend, dict[Owner, Rank]] = {}
        self._touched: dict[Frontend, None] = {}
        self._has: dict[Frontend, Target] = {}
        self._shared: Counter[Element] = Counter()
        self._chains: Counter[str] = Counter()

    def put(self, owner: Owner, claims: Claims) -> None:
        """All that a service claims from now on."""
        before = self._claims.pop(owner, {})
        if claims:
            self._claims[owner] = claims
        for frontend in before.keys() - claims.keys():
            claimants = self._claimants[frontend]
            del claimants[owner]
            if not claimants:
                del self._claimants[frontend]
        for frontend, (rank, _) in claims.items():
            self._claimants.setdefault(frontend, {})[owner] = rank
        self._touched |= dict.fromkeys(f for f in before | claims if before.get(f) != claims.get(f))

    def owners(self) -> list[Owner]:
        """Services that claim something."""
        return list(self._claims)

    def target(self, frontend: Frontend) -> Target | None:
        """Where a frontend is to lead."""
        claimants = self._claimants.get(frontend)
        if claimants is None:
            return None
        winner = min(claimants, key=claimants.__getitem__) if len(claimants) > 1 else next(iter(claimants))
        return self._claims[winner][frontend][1]

    def change(self) -> Change:
        """From what the kernel has to what is claimed; no text when that is the same."""
        targets = {f: target for f in self._touched if (target := self.target(f)) != self._has.get(f)}
        old = {f: self._has[f] for f in targets if f in self._has}
        new = {f: target for f, target in targets.items() if target is not None}
        shared, used = _users(new, hairpins), _users(new, self._chains_of)
        shared.subtract(_users(old, hairpins))
        used.subtract(_users(old, self._chains_of))
        gone, fresh = self._elements(old), self._elements(new)
        fresh |= {e for e, count in shared.items() if count > 0 and not self._shared[e]}
        gone |= {e for e, count in shared.items() if count < 0 and not self._shared[e] + count}
        name = self._settings.services_table
        lines = [
            *_commands("delete", name, sorted(gone - fresh)),
            *_adding(name, self._rules(new), [c for c, count in used.items() if count > 0 and not self._chains[c]]),
            *_commands("add", name, sorted(fresh - gone)),
            *_deleting(name, [c for c, count in used.items() if count < 0 and not self._chains[c] + count]),
        ]
        return Change("".join(lines), targets, shared, used)

    def whole(self, clients: Iterable[Element] = ()) -> Change:
        """The whole table, in place of whatever was there; `clients` are what was known of them, for `memory`."""
        new = {f: target for f in self._claimants if (target := self.target(f)) is not None}
        shared, used = _users(new, hairpins), _users(new, self._chains_of)
        name = self._settings.services_table
        lines = [
            table.base(self._settings),
            *_adding(name, self._rules(new), list(used)),
            *_commands("add", name, sorted(self._elements(new) | shared.keys())),
            *_commands("add", name, clients),
        ]
        return Change("".join(lines), new, shared, used, is_whole=True)

    def took(self, change: Change) -> None:
        """The commands are carried out."""
        if change.is_whole:
            self._has, self._shared, self._chains = {}, Counter(), Counter()
        for frontend, target in change.targets.items():
            if target is None:
                self._has.pop(frontend, None)
            else:
                self._has[frontend] = target
        _add_to(self._shared, change.shared)
        _add_to(self._chains, change.chains)
        self._touched = {}

    def _elements(self, targets: Mapping[Frontend, Target]) -> set[Element]:
        return {e for frontend, target in targets.items() for e in elements(frontend, target, self._settings)}

    def _chains_of(self, frontend: Frontend, target: Target) -> Iterable[str]:
        return self._rules_of(frontend, target)

    def _rules_of(self, frontend: Frontend, target: Target) -> dict[str, tuple[str, ...]]:
        shape = chains.shape(frontend, target)
        return dict(chains.chains(shape, self._settings)) if shape else {}

    def _rules(self, targets: Mapping[Frontend, Target]) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for frontend, target in targets.items():
            found |= self._rules_of(frontend, target)
        return found


def _users(targets: Mapping[Frontend, Target], of: Callable[[Frontend, Target], Iterable[T]]) -> Counter[T]:
    return Counter(used for frontend, target in targets.items() for used in of(frontend, target))


def _add_to(counter: Counter[T], delta: Mapping[T, int]) -> None:
    for used, count in delta.items():
        counter[used] += count
        if not counter[used]:
            del counter[used]


def _adding(table: str, rules: Mapping[str, tuple[str, ...]], names: Iterable[str]) -> Iterator[str]:
    """Chains with their rules; all chains first, as they lead to one another."""
    wanted = sorted(names)
    yield from (f"add chain inet {table} {name}\n" for name in wanted)
    yield from (f"add rule inet {table} {name} {rule}\n" for name in wanted for rule in rules[name])


def _deleting(table: str, names: Iterable[str]) -> Iterator[str]:
    gone = sorted(names)
    yield from (f"flush chain inet {table} {name}\n" for name in gone)
    yield from (f"delete chain inet {table} {name}\n" for name in gone)


def _commands(verb: str, table: str, wanted: Iterable[Element]) -> Iterator[str]:
    """Elements of one map or set together."""
    for holder, found in groupby(wanted, key=attrgetter("holder")):
        while some := list(islice(found, _TOGETHER)):
            texts = (f"{e.key} : {e.value}" if e.value and verb == "add" else e.key for e in some)
            yield f"{verb} element inet {table} {holder} {{ {', '.join(texts)} }}\n"
