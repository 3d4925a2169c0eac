"""The scale door of custom resources whose objects say nothing, or nonsense, about replicas."""

from typing import Any

from tests.server.conftest import Answer, Api
from tests.server.custom import WIDGETS, crd, establish, widget

SCALE = f"{WIDGETS}/w/scale"
PATHS = {
    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".status.selector",
}  # fmt: skip
Tree = dict[str, Any]


async def scalable(api: Api, spec: Tree) -> None:
    await establish(api, crd(version={"subresources": {"scale": PATHS, "status": {}}}))
    await api.create(WIDGETS, widget("w", spec))


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.tree["message"]


async def test_what_is_not_said_cannot_be_read_and_can_be_written(api: Api) -> None:
    """Without replicas there is no Scale to read; one that says how many is written all the same."""
    await scalable(api, {})
    missing = 'Internal error occurred: the spec replicas field ".spec.replicas" does not exist'
    assert told(await api.send("GET", SCALE)) == (500, missing)
    empty = 'the spec replicas field ".spec.replicas" cannot be empty'
    assert told(await api.patch(SCALE, {"metadata": {"labels": {"a": "b"}}})) == (400, empty)
    scaled = await api.patch(SCALE, {"spec": {"replicas": 3}})
    assert (scaled.status, scaled.tree["spec"], scaled.tree["status"]) == (200, {"replicas": 3}, {"replicas": 0})
    assert (await api.get(f"{WIDGETS}/w"))["metadata"]["generation"] == 2


async def test_replicas_are_judged_as_the_objects(api: Api) -> None:
    """A count that is none is the object's fault, not the Scale's."""
    await scalable(api, {"replicas": 1})
    refused = await api.patch(SCALE, {"spec": {"replicas": -3}})
    why = 'Widget.example.com "w" is invalid: .spec.replicas: Invalid value: -3: should be a non-negative integer'
    assert told(refused) == (422, why)


async def test_a_count_that_is_no_number_is_shown(api: Api) -> None:
    """As clients know it, with its type."""
    await scalable(api, {"replicas": 1})
    for value, shown in (
        ([True, None], "[true <nil>] is of the type []interface {}"),
        (True, "true is of the type bool"),
    ):
        refused = await api.patch(f"{WIDGETS}/w", {"spec": {"replicas": value}})
        assert told(refused)[0] == 422
        assert f".spec.replicas accessor error: {shown}, expected int64" in told(refused)[1]


async def test_a_status_tells_the_count_and_the_selector(api: Api) -> None:
    """The status's own door fills them in, and counts as no change of the object."""
    await scalable(api, {"replicas": 1})
    await api.patch(f"{WIDGETS}/w/status", {"status": {"replicas": 1, "selector": "a=b"}})
    assert (await api.get(SCALE))["status"] == {"replicas": 1, "selector": "a=b"}
    assert (await api.get(f"{WIDGETS}/w"))["metadata"]["generation"] == 1
