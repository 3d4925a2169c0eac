"""Claims come and go, and so do slices and nodes' labels: what is remembered is what a fresh look finds."""

from collections.abc import Mapping
from typing import Any

import stock
from hypothesis import given, settings
from hypothesis import strategies as st
from stock import Stock

from sampan.meta import quantity
from sampan.scheduling.devices import results, wishes
from sampan.scheduling.devices.answers import Answers
from sampan.scheduling.devices.search import Search
from sampan.scheduling.devices.table import Table

Tree = dict[str, Any]

EAST = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["east"]}]}]}
EACH = {"perDeviceNodeSelection": True}
PLACES: list[Tree] = [{"nodeName": "a"}, {"nodeName": "b"}, {"allNodes": True}, {"nodeSelector": EAST}, EACH]
OWN_PLACES: list[Tree] = [{"nodeName": "a"}, {"allNodes": True}, {"nodeName": "b"}, {"nodeSelector": EAST}]
COUNTERS: Tree = {"sharedCounters": {"card": {"memory": "4"}}}
LISTS: list[list[Any]] = [
    ["d0"],
    ["d0", "d1"],
    [{"name": "n", "allowMultipleAllocations": True, "capacity": {"m": 3}}],
    [{"name": f"c{at}", "consumesCounters": {"card": {"memory": str(at + 1)}}} for at in range(3)],
]
SPECS: list[Tree] = [
    {"requests": {"r": {}}},
    {"requests": {"r": {"count": 2}}},
    {"requests": {"r": [{"count": 3}, {"capacity": {"m": 2}}]}},
    {"requests": {"r": {"allocationMode": "All"}}},
]
SLICE = st.tuples(
    st.integers(0, 2), st.sampled_from(PLACES), st.sampled_from([*LISTS, None]), st.integers(1, 2), st.integers(1, 2)
)
STEP = st.one_of(
    st.tuples(st.just("slice"), st.sampled_from("pq"), SLICE),
    st.tuples(st.just("unslice"), st.integers(0, 2), st.none()),
    st.tuples(st.just("take"), st.sampled_from("ab"), st.integers(0, len(SPECS) - 1)),
    st.tuples(st.just("give"), st.integers(0, 3), st.none()),
    st.tuples(st.just("label"), st.sampled_from("ab"), st.sampled_from(["east", "west"])),
)


class Around:
    """One stock with its answers, and what was taken from it."""

    def __init__(self) -> None:
        self.stock = Stock({})
        self.answers = Answers(self.stock.catalogue, self.stock.ledger)
        self.slices: dict[int, Tree] = {}
        self.taken: dict[str, list[Tree]] = {}
        self.labels: dict[str, Mapping[str, str]] = {"a": {}, "b": {}}
        self.number = 0

    def slice(self, pool: str, given: Any) -> None:
        at, place, devices, size, generation = given
        if place is EACH and devices is not None:
            named = [each if isinstance(each, dict) else {"name": each} for each in devices]
            devices = [each | own for each, own in zip(named, OWN_PLACES, strict=False)]
        body = COUNTERS if devices is None else {"devices": devices}
        [made] = stock.slices([{"pool": pool, "count": size, "generation": generation, **place, **body}])
        made = {**made, "metadata": {"name": f"s{at}"}}
        self.unslice(at)
        self.slices[at] = made
        self.stock.catalogue.put(made)

    def unslice(self, at: int) -> None:
        if (before := self.slices.pop(at, None)) is not None:
            self.stock.catalogue.remove(before)

    def take(self, node: str, spec: int) -> None:
        problem = self.answers.problem([stock.spec(SPECS[spec])], self.stock.classes.get)
        answer = self.answers.ask(problem, node, self.labels[node])
        if answer.picks is None:
            return
        self.number += 1
        made = results.allocation(problem.claims[0], answer.picks[0], node, lambda: f"id-{self.number}")
        self.taken[f"c{self.number}"] = made["devices"]["results"]
        self.stock.ledger.set(f"c{self.number}", made["devices"]["results"])

    def give(self, at: int) -> None:
        for uid in [*self.taken][at : at + 1]:
            del self.taken[uid]
            self.stock.ledger.set(uid, ())

    def check(self) -> None:
        """Nothing is taken twice, and what is remembered is true."""
        whole: list[Any] = []
        shares: dict[Any, int] = {}
        for result in (each for entry in self.taken.values() for each in entry):
            device = (result["pool"], result["device"])
            if "shareID" in result:
                shares[device] = shares.get(device, 0) + quantity.to_int(result["consumedCapacity"]["m"])
            else:
                whole.append(device)
        assert len(whole) == len(set(whole))
        assert all(amount <= 3 for amount in shares.values())
        fresh = Stock({})
        for each in self.slices.values():
            fresh.catalogue.put(each)
        for uid, entry in self.taken.items():
            fresh.ledger.set(uid, entry)
        for node in "ab":
            for spec in SPECS:
                problem = self.answers.problem([stock.spec(spec)], self.stock.classes.get)
                known = self.answers.ask(problem, node, self.labels[node])
                other = wishes.problem([stock.spec(spec)], fresh.classes.get)
                search = Search(other, fresh.catalogue.reach(node, self.labels[node]), Table(other, fresh.ledger))
                search.advance()
                assert search.answer is not None
                assert _brief(known) == _brief(search.answer)


def _brief(answer: Any) -> Any:
    if answer.picks is None:
        return answer.reason, answer.error
    return [[(pick.wish.name, pick.device.id, pick.consumed) for pick in picks] for picks in answer.picks]


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=14))
def test_what_is_remembered_is_true(steps: list[Any]) -> None:
    """After every step."""
    around = Around()
    for what, one, other in steps:
        match what:
            case "label":
                around.labels[one] = {"zone": other}
            case "unslice" | "give":
                getattr(around, what)(one)
            case _:
                getattr(around, what)(one, other)
        around.check()
