"""Events of the same object at the same instant are all written."""

import sys
from pathlib import Path

import pytest

from sampan.client.api import Client
from sampan.control import event_writing
from sampan.meta import status
from sampan.meta.status import ApiError
from sampan.web.message import Request

sys.path.insert(0, str(Path(__file__).parent))
from fake_api import FakeApi  # noqa: E402

EVENTS = "/api/v1/namespaces/default/events"


def event(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"}, "count": 1}


@pytest.mark.parametrize(("name", "second"), [("p.18a0ff", "p.18a100"), ("digest", event_writing.following("digest"))])
async def test_a_name_that_is_taken_gives_way_to_the_next(name: str, second: str) -> None:
    """Each event has its own object, and who wrote it learns its name."""
    api = FakeApi()
    told = event(name)
    assert [await event_writing.create(Client(api, "test"), told) for _ in range(2)] == [name, second]
    assert {path.rpartition("/")[2] for path in api.objects} == {name, second}
    assert told == event(name)


async def test_another_refusal_stands() -> None:
    """Only a name that is taken is a reason to try another."""
    api = FakeApi()
    asked = 0

    def refuse(request: Request) -> ApiError:
        nonlocal asked
        asked += 1
        return status.forbidden("", "events", "p.1", "no")

    api.refuse = refuse
    with pytest.raises(ApiError, match="no"):
        await event_writing.create(Client(api, "test"), event("p.1"))
    assert asked == 1
