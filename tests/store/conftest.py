"""The stores under test: every promise in this folder is kept by each of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.store.memory import MemoryStore
from sampan.store.protocol import Store
from sampan.store.sqlite import SqliteStore
from tests import thorough
from tests.store.etcd import Etcd, Members, program

STORES = ["memory", "sqlite", "etcd"]
THREE = [pytest.param("three etcds", marks=pytest.mark.slow)]  # what is theirs alone is in test_etcd_members.py


@pytest.fixture(params=STORES + (THREE if thorough.IS else []))
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if "etcd" in request.param:
        program()
        pytest.importorskip("grpc")
        from sampan.store.etcd import EtcdStore

        etcd = Members(tmp_path) if request.param == "three etcds" else Etcd(tmp_path)
        etcd.start()
        try:
            made: Store = await EtcdStore.open(etcd.url)
            yield made
            await made.close()
        finally:
            etcd.stop()
        return
    made = MemoryStore() if request.param == "memory" else SqliteStore.open(tmp_path / "state.db")
    yield made
    await made.close()
