"""The search against every way there is to give devices to claims, tried one by one, in small worlds."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import stock
from hypothesis import event, given, settings
from hypothesis import strategies as st
from stock import Stock

Tree = dict[str, Any]
Pick = tuple[int, str, Tree, str]  # claim, request, wish, device

DEVICES = 4
ATTRIBUTES = st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 1))
SELECTORS = ("true", 'device.attributes["gpu.example.com"].?x.orValue(0) == 1')
TAINTS = st.sampled_from([(), (), ("None",), ("NoSchedule",), ("NoExecute",)])
DEVICE = st.fixed_dictionaries(
    {"attributes": ATTRIBUTES, "capacity": st.integers(0, 3), "is_shared": st.booleans(), "taints": TAINTS},
    optional={"counters": st.integers(1, 3)},
)
WANTED = {"selector": st.sampled_from(SELECTORS), "is_tolerant": st.booleans(), "count": st.integers(1, 2)}
AMOUNTS = {"capacity": st.integers(0, 3), "is_all": st.just(True)}
ALTERNATIVE = st.fixed_dictionaries(WANTED, optional=AMOUNTS)
WISH = st.fixed_dictionaries(WANTED, optional=AMOUNTS | {"is_admin": st.just(True)})
REQUEST = st.one_of(WISH, st.lists(ALTERNATIVE, min_size=1, max_size=2))
CLAIM = st.fixed_dictionaries(
    {"requests": st.lists(REQUEST, min_size=1, max_size=2)},
    optional={"same": st.sampled_from(["x", "y"]), "distinct": st.sampled_from(["x", "y"])},
)
TAKEN = st.lists(st.tuples(st.integers(0, DEVICES - 1), st.integers(0, 2)), max_size=2)


@dataclass(frozen=True)
class World:
    """Devices by name, with how much of their counters there is; what is taken; the claims."""

    devices: Sequence[Tree]
    counters: int
    taken: Sequence[tuple[int, int]]
    claims: Sequence[Tree]

    def named(self) -> dict[str, Tree]:
        return {f"d{at}": device for at, device in enumerate(self.devices)}

    def held(self) -> dict[str, list[int]]:
        """What others have of each device; a whole one has one holder."""
        found: dict[str, list[int]] = {}
        for at, amount in self.taken:
            name = f"d{at % len(self.devices)}"
            if self.named()[name]["is_shared"] or name not in found:
                found.setdefault(name, []).append(amount)
        return found


@st.composite
def worlds(draw: st.DrawFn) -> World:
    devices = draw(st.lists(DEVICE, min_size=1, max_size=DEVICES))
    return World(devices, draw(st.integers(0, 5)), draw(TAKEN), draw(st.lists(CLAIM, min_size=1, max_size=2)))


def _stock(world: World) -> Stock:
    devices = []
    for name, device in world.named().items():
        made: Tree = {"name": name, "attributes": device["attributes"], "capacity": {"m": device["capacity"]}}
        made["taints"] = [{"key": "t", "effect": effect} for effect in device["taints"]]
        if device["is_shared"]:
            made["allowMultipleAllocations"] = True
        if "counters" in device:
            made["consumesCounters"] = {"set": {"n": device["counters"]}}
        devices.append(made)
    parts = [{"count": 2, "devices": devices}, {"count": 2, "sharedCounters": {"set": {"n": world.counters}}}]
    taken: dict[str, list[Any]] = {}
    for name, amounts in world.held().items():
        for at, amount in enumerate(amounts):
            share = {"device": name, "shareID": f"i{at}", "consumedCapacity": {"m": str(amount)}}
            taken[f"{name}-{at}"] = [share if world.named()[name]["is_shared"] else name]
    return Stock({"slices": parts, "taken": taken})


def _wish(wish: Tree) -> Tree:
    made: Tree = {"selectors": [wish["selector"]]}
    made |= {"allocationMode": "All"} if wish.get("is_all") else {"count": wish["count"]}
    made |= {"tolerations": [{"operator": "Exists"}]} if wish["is_tolerant"] else {}
    made |= {"capacity": {"m": wish["capacity"]}} if "capacity" in wish else {}
    return made | ({"adminAccess": True} if wish.get("is_admin") else {})


def _spec(claim: Tree) -> Tree:
    requests = {
        f"r{at}": [_wish(each) for each in request] if isinstance(request, list) else _wish(request)
        for at, request in enumerate(claim["requests"])
    }
    constraints = [{"matchAttribute": f"{stock.DRIVER}/{claim['same']}"}] if "same" in claim else []
    constraints += [{"distinctAttribute": f"{stock.DRIVER}/{claim['distinct']}"}] if "distinct" in claim else []
    return stock.spec({"requests": requests, "constraints": constraints})


def _selected(world: World, wish: Tree) -> list[str]:
    everything = world.named().items()
    return [n for n, d in everything if wish["selector"] == "true" or d["attributes"].get("x") == 1]


def _ways(world: World) -> Iterator[list[Pick]]:
    """Every way to choose alternatives and devices that selectors mean, good or not."""
    places: list[list[list[Pick]]] = []
    for at, claim in enumerate(world.claims):
        for number, request in enumerate(claim["requests"]):
            found = []
            for rank, wish in enumerate(request if isinstance(request, list) else [request]):
                name = f"r{number}/a{rank}" if isinstance(request, list) else f"r{number}"
                selected = _selected(world, wish)
                rows: Any = product(selected, repeat=wish["count"])
                if wish.get("is_all"):
                    rows = [tuple(selected)] if selected else []
                found += [[(at, name, wish, device) for device in row] for row in rows]
            places.append(found)
    for parts in product(*places):
        yield [pick for part in parts for pick in part]


def _is_good(world: World, picks: Sequence[Pick]) -> bool:
    """Whether nobody gets what another one has, nothing is used up twice, and every rule is kept."""
    named, held = world.named(), world.held()
    taken = [pick for pick in picks if not pick[2].get("is_admin")]
    seen = [pick for pick in picks if pick[2].get("is_admin")]
    if any(not _suits(named[name], wish) for _, _, wish, name in picks):
        return False
    whole = Counter(name for *_, name in taken if not named[name]["is_shared"])
    if any(n > 1 or name in held for name, n in whole.items()):
        return False
    for claim, _, _, name in seen:
        others = picks if not named[name]["is_shared"] else seen
        if sum(1 for other, *_, device in others if (other, device) == (claim, name)) > 1:
            return False
    for name, device in named.items():
        amounts = [wish.get("capacity", device["capacity"]) for _, _, wish, other in taken if other == name]
        if device["is_shared"] and amounts and sum(amounts) + sum(held.get(name, ())) > device["capacity"]:
            return False
    used = {name for *_, name in taken} | set(held)
    new = {name for *_, name in taken if "counters" in named[name]} - set(held)
    if new and sum(named[name].get("counters", 0) for name in used) > world.counters:
        return False
    return all(_keeps(world, at, claim, picks) for at, claim in enumerate(world.claims))


def _suits(device: Tree, wish: Tree) -> bool:
    if not wish["is_tolerant"] and any(effect != "None" for effect in device["taints"]):
        return False
    return wish.get("capacity", 0) <= device["capacity"]


def _keeps(world: World, at: int, claim: Tree, picks: Sequence[Pick]) -> bool:
    for rule in ("same", "distinct"):
        if rule in claim:
            values = [world.named()[name]["attributes"].get(claim[rule]) for other, *_, name in picks if other == at]
            if None in values or len(set(values)) != (1 if rule == "same" else len(values)):
                return False
    return True


def _without_order(world: World) -> bool:
    """Whether what one may have does not depend on who is asked first."""
    wishes = [w for c in world.claims for r in c["requests"] for w in (r if isinstance(r, list) else [r])]
    return not any(wish.get("is_admin") for wish in wishes)


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_what_can_be_had_is_found(world: World) -> None:
    """Whenever there is a good way, one is found, and what is found is good."""
    allocations, why = _stock(world).allocate([_spec(claim) for claim in world.claims])
    if allocations is None:
        event("none")
        is_rule = "constraint would not be satisfied" in why  # all devices against a rule: an error, whatever else
        if not is_rule and _without_order(world):
            assert not any(_is_good(world, picks) for picks in _ways(world)), why
        return
    event("found")
    picks = [
        (at, result["request"], _of(world.claims[at], result["request"]), result["device"])
        for at, allocation in enumerate(allocations)
        for result in allocation["devices"]["results"]
    ]
    assert _is_good(world, picks)
    shares = [r["shareID"] for a in allocations for r in a["devices"]["results"] if "shareID" in r]
    assert len(set(shares)) == len(shares)


def _of(claim: Tree, name: str) -> Tree:
    request = claim["requests"][int(name[1])]
    wish: Tree = request[int(name[-1])] if isinstance(request, list) else request
    return wish
