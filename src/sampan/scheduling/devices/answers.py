"""Answers: what was found out about problems on nodes, as long as it holds. Pure.

Pods of one template ask the same, and what one of them gets changes the answer for few nodes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.control.steps import run
from sampan.scheduling.devices import wishes
from sampan.scheduling.devices.ledger import Ledger
from sampan.scheduling.devices.pools import Catalogue, Reach
from sampan.scheduling.devices.search import PIECE, Answer, Search
from sampan.scheduling.devices.table import Table
from sampan.scheduling.devices.wishes import FindClass, Problem
from sampan.scheduling.steps import Steps

MAX_PROBLEMS = 64
MAX_VIEWS = 1024

Tree = Mapping[str, Any]


@dataclass(slots=True)
class _Known:
    """An answer, and what there was when it was given."""

    reaches: tuple[Reach, ...]
    versions: tuple[int, ...]
    answer: Answer


class Answers:
    """Those about everything in the catalogue that the ledger does not say is taken."""

    def __init__(self, catalogue: Catalogue, ledger: Ledger) -> None:
        self._catalogue, self._ledger = catalogue, ledger
        self._problems: dict[bytes, tuple[Problem, dict[str, _Known]]] = {}
        self._views: dict[tuple[bytes, int], _Known] = {}  # by problem and by what nodes see: many see the same

    def problem(self, specs: Sequence[Tree], find: FindClass) -> Problem:
        """That of claims with these specs; the same one again for what asks the same."""
        key = wishes.key(specs, find)
        found = self._problems.get(key)
        if found is None:
            while len(self._problems) >= MAX_PROBLEMS:
                del self._problems[next(iter(self._problems))]
            found = self._problems[key] = (wishes.problem(specs, find), {})
        return found[0]

    def ask(self, problem: Problem, name: str, labels: Mapping[str, str]) -> Answer:
        """The answer for a node."""
        return run(self.steps(problem, name, labels))

    def steps(self, problem: Problem, name: str, labels: Mapping[str, str]) -> Steps[Answer]:
        """The same, with a step after each piece of a search."""
        reaches = self._catalogue.reach(name, labels)
        versions = tuple(self._ledger.version(each.pool.id) for each in reaches)
        known = self._problems.setdefault(problem.key, (problem, {}))[1]
        view = (problem.key, id(reaches))
        for found in (known.get(name), self._views.get(view)):
            if found is not None and found.reaches is reaches and found.versions == versions:
                known[name] = found
                return found.answer
        search, is_over = Search(problem, reaches, Table(problem, self._ledger)), False
        while not is_over:
            is_over = search.advance(PIECE)
            yield
        assert search.answer is not None
        if versions == tuple(self._ledger.version(each.pool.id) for each in reaches):
            if len(self._views) >= MAX_VIEWS:
                self._views.clear()
            known[name] = self._views[view] = _Known(reaches, versions, search.answer)
        return search.answer
