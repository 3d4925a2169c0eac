"""What is read of an object of any kind by its scale, and what if no more may be read of it."""

import logging
from typing import Any

import pytest

from sampan.client.api import Client
from sampan.control import scales
from sampan.control.plan import AskScale
from sampan.meta import status

ROOT = "/apis/example.com/v1"
QUESTION = AskScale(f"{ROOT[6:]}", "Fleet", ("shop", "web"), with_deletion=True)
DELETING = {"metadata": {"name": "web", "deletionTimestamp": "2026-01-01T00:00:00Z"}}


class FakeClient(Client):
    """A kind with scales; the object itself is answered with `whole`."""

    def __init__(self, whole: dict[str, Any] | Exception) -> None:
        self.whole = whole

    def metadata_only(self) -> "FakeClient":
        return self

    async def call(self, method: str, path: str, *_: Any, **__: Any) -> Any:
        if path == ROOT:
            return {"resources": [{"name": "fleets", "kind": "Fleet"}, {"name": "fleets/scale", "kind": "Scale"}]}
        if path.endswith("/scale"):
            return {"metadata": {"name": "web"}, "spec": {"replicas": 2}}
        if isinstance(self.whole, Exception):
            raise self.whole
        return self.whole


async def test_whether_it_is_being_deleted() -> None:
    """Stands in the object, and is put into the Scale."""
    scale = await scales.read(FakeClient(DELETING), QUESTION)
    assert isinstance(scale, dict)
    assert (scale["metadata"], scale["spec"]) == (DELETING["metadata"], {"replicas": 2})


async def test_where_only_the_scale_may_be_read(caplog: pytest.LogCaptureFixture) -> None:
    """It counts as one that stays, which is said once."""
    scales._tell_unread.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            scale = await scales.read(FakeClient(status.failure(403, "Forbidden", "no")), QUESTION)
            assert isinstance(scale, dict)
            assert "deletionTimestamp" not in scale["metadata"]
    assert [record.getMessage() for record in caplog.records] == [
        "fleets in version example.com/v1 may not be read (get), only their scales: "
        "one that is being deleted counts until it is gone"
    ]
