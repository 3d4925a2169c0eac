"""What is over is freed at once: refused requests leave no circle of objects that waits for the garbage collector.

That looks seldom at what is old, so a circle for each request is megabytes for minutes, such as of an error that a variable
of the frame holds in which it was raised.
"""

import gc
from typing import Any

import pytest

from sampan.meta.status import ApiError
from sampan.server import pipeline
from sampan.server.watching import Subscription
from sampan.web.message import Peer, Request
from tests.server.conftest import ADMIN, Api, config_map

NAMESPACES, MAPS = "/api/v1/namespaces", "/api/v1/namespaces/{}/configmaps"
REFUSED: tuple[tuple[int, tuple[Any, ...]], ...] = (
    (403, ("POST", MAPS.format("going"), config_map("b"))),
    (404, ("POST", MAPS.format("missing"), config_map("b"))),
    (409, ("POST", MAPS.format("default"), config_map("there"))),
    (422, ("POST", MAPS.format("default"), config_map("Not A Name"))),
    (400, ("PUT", f"{MAPS.format('default')}/there", config_map("other"))),
    (415, ("PATCH", f"{MAPS.format('default')}/there", b"{")),
    (404, ("GET", f"{MAPS.format('default')}/nope")),
    (403, ("DELETE", f"{NAMESPACES}/default")),
    (404, ("DELETE", f"{MAPS.format('default')}/nope")),
    (400, ("GET", f"{MAPS.format('default')}?resourceVersion=x")),
    (403, ("GET", MAPS.format("default"), b"", Peer("nobody", ()))),
)


def alive() -> list[str]:
    """What the errors say that there are in this process."""
    return sorted(str(each) for each in gc.get_objects() if type(each) is ApiError)


def streams() -> int:
    """How many watches this process knows."""
    return sum(type(each) is Subscription for each in gc.get_objects())


async def test_a_refusal_leaves_no_garbage(api: Api) -> None:
    """The error that tells of it is freed with the request."""
    await api.create(NAMESPACES, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "going"}})
    await api.create(MAPS.format("going"), config_map("a"))
    await api.delete(f"{NAMESPACES}/going")
    await api.create(MAPS.format("default"), config_map("there"))
    gc.collect()
    gc.disable()
    try:
        before = alive()
        for code, request in REFUSED:
            assert (await api.send(*request)).status == code
        assert alive() == before
    finally:
        gc.enable()


async def test_a_watch_that_ended_leaves_no_garbage(api: Api) -> None:
    """Nor does its stream wait for the collector."""
    request = Request("GET", MAPS.format("default"), (("watch", "1"),), {}, b"")
    request.peer = ADMIN
    gc.collect()
    gc.disable()
    try:
        before = streams()
        answer = await api.app.handle(request)
        stream: Any = answer.body
        assert streams() == before + 1
        await stream.aclose()
        del answer, stream
        assert streams() == before
    finally:
        gc.enable()


async def test_paths_are_remembered_in_turn(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of so many at most; for one more only the oldest is forgotten."""
    monkeypatch.setattr(pipeline, "MAX_KNOWN", 20)
    paths = [f"{MAPS.format('default')}/asked-{number}" for number in range(50)]
    known = api.app._pipeline._known
    for path in paths:
        assert (await api.send("GET", path)).status == 404
        assert len(known) <= 20
    assert [path for _, path in known] == paths[-20:]
