"""What is known about pods of one sort is made once, and found again while there is room."""

import pytest
from making import Field, node, of, pod

from sampan.scheduling import cycle, memory
from sampan.scheduling.ranking import Ranking, Survey


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is made anew."""
    found: list[str] = []
    for name, kind in (("Survey", Survey), ("Ranking", Ranking)):
        monkeypatch.setattr(memory, name, lambda *given, name=name, kind=kind: found.append(name) or kind(*given))
    return found


def place(field: Field, name: str, sort: int) -> None:
    """One more pod of the sort, with an owner of its own sort."""
    asked = pod(name, {"cpu": f"{sort + 1}m"}, owner=f"owner-{sort}")
    where = cycle.decide(of(asked), field.snapshot).node
    assert where
    field.place(where, asked)


def test_pods_of_many_sorts_in_turn(field: Field, made: list[str]) -> None:
    """The second pod of each of 200 owners finds all that was made for the first."""
    field.add(*(node(f"n{n}", cpu="64", pods="500") for n in range(3)))
    for sort in range(200):
        place(field, f"first-{sort}", sort)
    assert (made.count("Survey"), made.count("Ranking")) == (200, 200)
    made.clear()
    for sort in range(200):
        place(field, f"second-{sort}", sort)
    assert not made


def test_what_was_not_used_for_longest_goes_first(
    field: Field, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that there is room for, the one that was used since stays."""
    monkeypatch.setattr(memory, "MOST", 2)
    field.add(node("a", cpu="64", pods="500"))
    for number, sort in enumerate((0, 1, 0, 2, 0)):
        place(field, f"p{number}", sort)
    assert made.count("Ranking") == 3
    kept = memory.of(field.snapshot)
    assert len(kept._rankings) == len(kept._keys) == 2


def test_what_was_known_of_controllers_that_are_gone_is_forgotten(field: Field) -> None:
    """However many come and go, no more is kept than of some that are there."""
    field.add(*(node(f"n{n}", cpu="64", pods="500") for n in range(3)))
    kept = memory.of(field.snapshot)
    for sort in range(300):
        place(field, f"p-{sort}", sort)
        if sort >= 5:
            field.snapshot.displace(f"uid-p-{sort - 5}")
        sizes = [len(each) for each in (kept._rankings, kept._keys, kept._known, kept._surveys)]
        assert max(*sizes, len(field.snapshot.tallies)) <= 40


def test_the_terms_of_a_pod_that_waits_for_room_are_kept(field: Field) -> None:
    """While others come and go, it is still known that it wants no such neighbours."""
    field.add(*(node(f"n{n}", cpu="64", pods="500") for n in range(3)))
    selector = {"matchLabels": {"app": "web"}}
    terms = [{"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"}]
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    field.snapshot.nominate(of(pod("waits", {"cpu": "1"}, affinity=affinity)), "n0")
    assert len(field.snapshot.tallies.bearing) == 1
    for sort in range(100):
        place(field, f"p-{sort}", sort)
        field.snapshot.displace(f"uid-p-{sort}")
    assert len(field.snapshot.tallies.bearing) == 1
