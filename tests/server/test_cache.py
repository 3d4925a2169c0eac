"""The watch cache's items and changes: what is made once for all who look."""

from typing import Any

import orjson
import pytest

from sampan.server.cache import Change, Item, encode

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
