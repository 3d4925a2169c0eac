"""The API while the disk of its store is full."""

import pytest

from sampan.store.room import Room
from tests.server.conftest import Api, config_map

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.mark.parametrize("api", ["in-process-sqlite"], indirect=True)
async def test_nothing_new_is_made_and_the_rest_goes_on(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Creations are answered with 507 and the reason; reads, changes and deletions work; then all does again."""
    await api.create(MAPS, config_map("a", x="1"))
    monkeypatch.setattr(Room, "keep", lambda room: None)
    room = api.app._parts.store._inner._writer._room  # type: ignore[attr-defined]
    room.is_short = True
    refused = await api.send("POST", MAPS, config_map("b"))
    assert refused.status == 507
    assert refused.tree["reason"] == "InsufficientStorage"
    assert refused.tree["message"].startswith("no space is left where the store is: nothing new can be created")
    changed = await api.patch(f"{MAPS}/a", {"data": {"x": "2"}})
    assert (changed.status, changed.tree["data"]) == (200, {"x": "2"})
    assert (await api.get(f"{MAPS}/a"))["data"] == {"x": "2"}
    assert (await api.delete(f"{MAPS}/a")).status == 200
    room.is_short = False
    await api.create(MAPS, config_map("b"))
