"""The watch cache's items and changes: what is made once for all who look."""

from typing import Any

import orjson
import pytest

from sampan.meta.apply import fieldset
from sampan.server import cache
from sampan.server.cache import Change, Item, encode
from sampan.store.protocol import Event

OBJECT: dict[str, Any] = {
    "kind": "ConfigMap",
    "apiVersion": "v1",
    "metadata": {"name": "a", "namespace": "d"},
    "data": {"x": "1"},
}


@pytest.mark.parametrize("is_decoded", [False, True])
def test_a_deletion_shows_the_last_state_at_its_own_revision(*, is_decoded: bool) -> None:
    """Made once for all watchers, in both forms; the state before stays as it was."""
    stored = encode(OBJECT)
    before = Item("d/a", 3, stored, orjson.loads(stored) if is_decoded else None)
    change = Change(7, None, before)
    shown = change.last()
    assert change.last() is shown
    for item, revision in ((shown, "7"), (before, "3")):
        assert item.tree == {**OBJECT, "metadata": {**OBJECT["metadata"], "resourceVersion": revision}}
        assert orjson.loads(item.wire) == item.tree


def test_objects_that_are_owned_alike_share_what_says_so() -> None:
    """The field sets of managedFields are one tree for all that say the same, and show what is stored."""
    fields = {"f:data": {".": {}, "f:x": {}}}
    entry = {
        "manager": "kubectl",
        "operation": "Update",
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    obj = {**OBJECT, "metadata": {"name": "a", "namespace": "d", "managedFields": [entry]}}
    stored = encode(obj)
    shown = [Item(f"d/{n}", n, stored).tree["metadata"]["managedFields"][0]["fieldsV1"] for n in (1, 2)]
    assert shown == [fields] * 2
    assert shown[0] is shown[1]
    other = Item("d/4", 4, stored.replace(b"f:x", b"f:y")).tree["metadata"]["managedFields"][0]["fieldsV1"]
    assert other == {"f:data": {".": {}, "f:y": {}}}


def test_what_says_so_at_length_is_not_kept() -> None:
    """A ConfigMap of a megabyte of keys leaves nothing when it is gone."""
    fields = {"f:data": {f"f:{'x' * fieldset.MAX_SHARED_BYTES}": {}}}
    entry = {"manager": "kubectl", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields}
    stored = encode({**OBJECT, "metadata": {"name": "a", "namespace": "d", "managedFields": [entry]}})
    shown = Item("d/a", 3, stored).tree["metadata"]["managedFields"][0]["fieldsV1"]
    assert shown == fields
    assert not any(kept is shown for kept in fieldset._SHARED.values())
    assert not any(len(said) > fieldset.MAX_SHARED_BYTES for said in fieldset._SHARED)


def test_an_answer_is_not_kept() -> None:
    """The bytes for clients are made of the stored ones each time: an item that was read is no larger."""
    item = Item("d/a", 3, encode(OBJECT))
    assert orjson.loads(item.wire) == {**OBJECT, "metadata": {**OBJECT["metadata"], "resourceVersion": "3"}}
    assert item.wire is not item.wire


def test_who_fails_at_a_change_keeps_nobody_from_it(caplog: pytest.LogCaptureFixture) -> None:
    """The others hear of it, the object is there, and the log tells which change it was."""
    heard: list[int] = []

    def fail(change: Change) -> None:
        raise KeyError("type")

    kept = cache.KindCache("/registry/core/configmaps/")
    kept.listen(fail)
    kept.listen(lambda change: heard.append(change.revision))
    kept.apply(Event(key="/registry/core/configmaps/d/a", revision=3, value=encode(OBJECT), previous=None))
    assert heard == [3]
    assert kept.get("d/a") is not None
    (told,) = caplog.records
    assert told.getMessage().startswith("configmaps d/a at 3 was not taken in")
    assert told.exc_info
