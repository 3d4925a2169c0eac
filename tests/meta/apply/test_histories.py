"""Any history of applies and updates: what is said is there, what is owned is there, and saying it twice changes nothing."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sampan.meta import schema
from sampan.meta.apply import managed

Tree = dict[str, Any]
ITEM = {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "n": {"type": "integer"}}}
SPEC: Tree = {
    "text": {"type": "string"},
    "whole": {"type": "array", "x-kubernetes-list-type": "atomic", "items": {"type": "string"}},
    "names": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
    "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": ITEM},
    "map": {"type": "object", "additionalProperties": {"type": "array", "x-kubernetes-list-type": "set", "items": {}}},
    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
}
SPEC |= {"inner": {"type": "object", "properties": dict(SPEC)}}
TYPE = schema.Type.from_crd({"type": "object", "properties": {"spec": {"type": "object", "properties": SPEC}}})

LETTERS = st.sampled_from("xyz")
# An empty list is nobody's, and goes with the last item that was owned in it, said or not, as upstream.
SET = st.lists(LETTERS, unique=True, min_size=1, max_size=3)
MEMBERS = st.lists(
    st.fixed_dictionaries({"k": LETTERS}, optional={"n": st.integers(0, 2)}), unique_by=lambda item: item["k"], min_size=1
)  # fmt: skip
FREE = st.recursive(
    LETTERS | st.just([]), lambda below: st.dictionaries(LETTERS, below, max_size=2) | st.lists(below, max_size=1), max_leaves=4
)  # fmt: skip
FIELDS: Any = {
    "text": LETTERS,
    "whole": st.lists(LETTERS, max_size=2),
    "names": SET,
    "items": MEMBERS,
    "map": st.dictionaries(LETTERS, SET, max_size=2),
    "free": st.dictionaries(LETTERS, FREE, max_size=2),
}
CONFIGS = st.fixed_dictionaries({}, optional={**FIELDS, "inner": st.fixed_dictionaries({}, optional=FIELDS)})
STEPS = st.lists(st.tuples(st.sampled_from(["a", "b", "update"]), CONFIGS), min_size=1, max_size=6)


def named(spec: Tree) -> Tree:
    return {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "it"}, "spec": spec}


def by(manager: str, now: int) -> managed.Write:
    return managed.Write(manager, "Update" if manager == "update" else "Apply", "example.com/v1", "", float(now))


def after(live: Tree | None, manager: str, spec: Tree, now: int) -> Tree:
    """The object after one write more; an apply is forced."""
    obj, write = named(spec), by(manager, now)
    if write.operation == "Apply":
        return managed.apply(live, obj, write, TYPE, force=True)
    if live is not None:
        obj["metadata"]["managedFields"] = live["metadata"]["managedFields"]
    obj["metadata"]["managedFields"] = managed.track(obj, live, write, TYPE)
    return obj


def says(obj: Any, config: Any) -> bool:
    """Whether all that the configuration says is there: more names and items may be."""
    if isinstance(config, dict):
        return isinstance(obj, dict) and all(name in obj and says(obj[name], value) for name, value in config.items())
    if isinstance(config, list):
        return isinstance(obj, list) and all(any(says(other, item) for other in obj) for item in config)
    return bool(obj == config)


def missing(obj: Any, fields: Tree, path: str = "") -> list[str]:
    """What a field set speaks of and the object has not."""
    found = []
    for element, below in fields.items():
        if element == ".":
            continue
        said = element[2:] if element.startswith("f:") else json.loads(element[2:])
        if element.startswith("f:"):
            there = [obj[said]] if isinstance(obj, dict) and said in obj else []
        elif element.startswith("k:"):
            there = [item for item in obj if says(item, said)] if isinstance(obj, list) else []
        else:
            there = [said] if isinstance(obj, list) and said in obj else []
        found += missing(there[0], below, path + element) if there else [path + element]
    return found


@given(STEPS)
def test_what_is_said_and_what_is_owned_is_there(steps: list[tuple[str, Tree]]) -> None:
    """After each of any writes."""
    live: Tree | None = None
    for now, (manager, spec) in enumerate(steps):
        live = after(live, manager, spec, now)
        assert says(live, {"spec": spec}), live
        for entry in live["metadata"]["managedFields"]:
            assert not missing(live, entry["fieldsV1"]), (entry, live["spec"])
        if manager != "update" and live["metadata"]["managedFields"]:
            assert after(live, manager, spec, now + 1) == live


def test_what_replaces_a_map_takes_its_fields_from_their_owners() -> None:
    """Where the schema does not say what is there: a text in the place of a map leaves nobody with the map's fields."""
    first = after(None, "a", {"free": {"x": {"y": "z"}, "y": "z"}}, 0)
    second = after(first, "b", {"free": {"x": "z"}}, 1)
    owned = {entry["manager"]: entry["fieldsV1"] for entry in second["metadata"]["managedFields"]}
    assert owned == {"a": {"f:spec": {"f:free": {"f:y": {}}}}, "b": {"f:spec": {"f:free": {"f:x": {}}}}}


def test_an_empty_list_stays_where_an_empty_map_was_before() -> None:
    """Nobody owns an empty list; the parent that its manager owned as an empty map was taken out with it."""
    first = after(None, "a", {"text": "x", "inner": {}}, 0)
    second = after(first, "a", {"text": "x", "inner": {"items": []}}, 1)
    assert second["spec"] == {"text": "x", "inner": {"items": []}}
