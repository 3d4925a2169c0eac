"""Short ways to write devices, classes and claims, and to ask for an allocation."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

from sampan.kit.frozen import freeze
from sampan.scheduling.devices import results, wishes
from sampan.scheduling.devices.ledger import Ledger
from sampan.scheduling.devices.pools import Catalogue
from sampan.scheduling.devices.search import Answer, Search
from sampan.scheduling.devices.table import Table

Tree = dict[str, Any]
DRIVER = "gpu.example.com"


def attribute(value: Any) -> Tree:
    """Of the type that the value has; a text that starts with v is a version."""
    if isinstance(value, bool):
        return {"bool": value}
    if isinstance(value, int):
        return {"int": value}
    return {"version": value[1:]} if value[:1] == "v" and value[1:2].isdigit() else {"string": value}


def device(given: Any) -> Tree:
    """A device by its name, or as a document has it: attributes and capacity as plain values."""
    if isinstance(given, str):
        return {"name": given}
    made = dict(given)
    if "attributes" in made:
        made["attributes"] = {name: attribute(value) for name, value in made["attributes"].items()}
    if "capacity" in made:
        amounts = made["capacity"].items()
        made["capacity"] = {n: dict(v) if isinstance(v, Mapping) else {"value": str(v)} for n, v in amounts}
    if "consumesCounters" in made:
        made["consumesCounters"] = counters(made["consumesCounters"], "counterSet")
    return made


def counters(sets: Mapping[str, Mapping[str, Any]], field: str) -> list[Tree]:
    """Sets of counters by name."""
    return [{field: name, "counters": {n: {"value": str(v)} for n, v in has.items()}} for name, has in sets.items()]


def slices(given: Iterable[Any]) -> list[Tree]:
    """ResourceSlices; `count` and `generation` of their pools are 1 unless they say otherwise."""
    numbers = count()
    made = []
    for each in given:
        spec = {k: v for k, v in each.items() if k not in ("pool", "generation", "count", "devices", "sharedCounters")}
        pool = {"name": each.get("pool", "p"), "generation": each.get("generation", 1)}
        spec |= {"pool": pool | {"resourceSliceCount": each.get("count", 1)}, "driver": each.get("driver", DRIVER)}
        if "devices" in each:
            spec["devices"] = [device(d) for d in each["devices"]]
        if "sharedCounters" in each:
            spec["sharedCounters"] = counters(each["sharedCounters"], "name")
        if not any(place in spec for place in ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")):
            spec["nodeName"] = "n"
        made.append(freeze({"metadata": {"name": f"s{next(numbers)}"}, "spec": spec}))
    return made


def _cel(expressions: Sequence[str]) -> list[Tree]:
    return [{"cel": {"expression": each}} for each in expressions]


def device_class(name: str, given: Mapping[str, Any]) -> Tree:
    """A DeviceClass; its selectors are plain expressions."""
    spec = {**given, "selectors": _cel(given.get("selectors", ()))}
    made: Tree = freeze({"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "1"}, "spec": spec})
    return made


def _wish(given: Mapping[str, Any]) -> Tree:
    made = {"deviceClassName": "gpu", "allocationMode": "ExactCount", **given}
    if made["allocationMode"] == "ExactCount":
        made.setdefault("count", 1)
    if "selectors" in made:
        made["selectors"] = _cel(made["selectors"])
    if "capacity" in made:
        made["capacity"] = {"requests": {name: str(value) for name, value in made["capacity"].items()}}
    return made


def spec(given: Mapping[str, Any]) -> Tree:
    """A claim's spec: `requests` by name, each one wish or a list of alternatives; constraints and config."""
    requests = []
    for name, each in given["requests"].items():
        if isinstance(each, list):
            named = [{"name": f"a{at}", **_wish(wish)} for at, wish in enumerate(each)]
            requests.append({"name": name, "firstAvailable": named})
        else:
            requests.append({"name": name, "exactly": _wish(each or {})})
    rest = {part: given[part] for part in ("constraints", "config") if part in given}
    made: Tree = freeze({"devices": {"requests": requests, **rest}})
    return made


class Stock:
    """All there is: slices, classes, and what is taken."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.catalogue, self.ledger = Catalogue(), Ledger()
        for each in slices(given.get("slices", ())):
            self.catalogue.put(each)
        classes = given.get("classes") or {"gpu": {}}
        self.classes = {name: device_class(name, each or {}) for name, each in classes.items()}
        for uid, taken in (given.get("taken") or {}).items():
            base = {"request": "r", "driver": DRIVER, "pool": "p"}
            self.ledger.set(uid, [base | (t if isinstance(t, dict) else {"device": t}) for t in taken])

    def ask(self, specs: Sequence[Tree], node: str = "n", labels: Mapping[str, str] | None = None) -> Answer:
        """What the search says about these claims on a node."""
        return self.search(specs, node, labels)[1]

    def search(
        self, specs: Sequence[Tree], node: str = "n", labels: Mapping[str, str] | None = None
    ) -> tuple[wishes.Problem, Answer]:
        """The same, with the problem."""
        problem = wishes.problem(specs, self.classes.get)
        search = Search(problem, self.catalogue.reach(node, labels or {}), Table(problem, self.ledger))
        while not search.advance(100):
            pass
        assert search.answer is not None
        return problem, search.answer

    def allocate(
        self, specs: Sequence[Tree], node: str = "n", labels: Mapping[str, str] | None = None
    ) -> tuple[list[Tree] | None, str]:
        """The allocation of each claim, or why there is none."""
        problem, answer = self.search(specs, node, labels)
        if answer.picks is None:
            said = answer.error or answer.reason
            return None, wishes.named(said, [f"default/c{at}" for at in range(len(specs))])
        numbers = count(1)
        pairs = zip(problem.claims, answer.picks, strict=True)
        return [results.allocation(claim, picks, node, lambda: f"id-{next(numbers)}") for claim, picks in pairs], ""
