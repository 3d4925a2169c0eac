"""An index says the same as a search through all objects, in order, whatever changes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.client.index import BUILT_IN, Index, Terms, of_object

NAMES = ("a", "b", "c", "d")
UIDS = ("u1", "u2")
LABELS = st.dictionaries(st.sampled_from(("app", "tier")), st.sampled_from(("x", "y")), max_size=2)
OWNERS = st.lists(st.fixed_dictionaries({"uid": st.sampled_from(UIDS), "controller": st.booleans()}), max_size=2)
CHANGE = st.tuples(st.sampled_from(NAMES), st.sampled_from(("n", "m")), st.none() | st.tuples(LABELS, OWNERS))
TERMS = {
    **BUILT_IN,
    "app": of_object(lambda obj: [obj["metadata"]["labels"]["app"]] if "app" in obj["metadata"]["labels"] else []),
}
Key = tuple[str, str]


def expected(terms: Terms, objects: dict[Key, Any], term: str) -> list[Key]:
    return sorted(key for key, obj in objects.items() if term in list(terms.of(key, terms.part(obj))))


@given(st.lists(CHANGE, max_size=30), st.integers(0, 30))
def test_it_says_what_a_search_would(changes: list[Any], asked_from: int) -> None:
    """From whenever on it is asked, and a copy of it too; the copy does not follow what comes after."""
    indexes = {name: Index(terms) for name, terms in TERMS.items()}
    objects: dict[Key, Any] = {}
    for number, (name, namespace, made) in enumerate(changes):
        key, old = (namespace, name), objects.pop((namespace, name), None)
        new = {"metadata": {"labels": made[0], "ownerReferences": made[1]}} if made is not None else None
        if new is not None:
            objects[key] = new
        if old is None and new is None:
            continue
        for index in indexes.values():
            index.put(key, old, new)
        if number >= asked_from:
            check(indexes, objects)
    check(indexes, objects)
    check({name: index.copy() for name, index in indexes.items()}, objects)


def check(indexes: dict[str, Index], objects: dict[Key, Any]) -> None:
    for name, index in indexes.items():
        for term in ("", "n", "m", *UIDS, "x", "y", "n/app=x", "m/tier=y"):
            wanted = expected(TERMS[name], objects, term)
            assert index.under(term) == wanted
            assert index.count(term) == len(wanted)
            assert all(index.has(term, key) == (key in wanted) for key in objects)


def test_a_copy_is_on_its_own() -> None:
    """What is put into one is not in the other."""
    index = Index(BUILT_IN["all"])
    index.put(("n", "a"), None, {})
    assert index.under("") == [("n", "a")]
    copied = index.copy()
    copied.put(("n", "b"), None, {})
    assert index.under("") == [("n", "a")]
    assert copied.under("") == [("n", "a"), ("n", "b")]


def test_what_has_no_terms_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """An object of which they can't be made is under none, until it is another one; the others stay."""
    index = Index(of_object(lambda obj: [obj["kind"]["name"]]))
    good, bad, better = {"kind": {"name": "x"}}, {"kind": {}}, {"kind": {"name": "y"}}
    index.put(("", "good"), None, good)
    index.put(("", "a"), None, good)
    index.put(("", "a"), good, bad)
    assert index.under("x") == [("", "good")]
    assert len([r for r in caplog.records if r.exc_info]) == 1
    index.put(("", "a"), bad, better)
    assert index.copy().under("y") == index.under("y") == [("", "a")]
    index.put(("", "a"), better, bad)
    index.put(("", "a"), bad, None)
    assert not index.has_any("y")
