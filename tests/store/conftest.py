"""The stores under test: every promise in this folder is kept by each of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.store.memory import MemoryStore
from sampan.store.protocol import Store
from sampan.store.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore.open(tmp_path / "state.db")
    yield made
    await made.close()
