"""A patch whose result says to be of another version of its kind is read in that one, and becomes what the path serves."""

from typing import Any

import pytest

from tests.server.conftest import Api
from tests.server.custom import WIDGETS, crd, establish, version, widget

Tree = dict[str, Any]
HPA = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def metric(per_cent: int) -> Tree:
    target = {"type": "Utilization", "averageUtilization": per_cent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def both(tree: Tree) -> list[tuple[str, Any]]:
    """A merge patch of the top, and the JSON patch that does the same."""
    steps = [{"op": "add", "path": f"/{name}", "value": value} for name, value in tree.items()]
    return [("merge", tree), ("json", steps)]


async def autoscaler(api: Api) -> Tree:
    spec = {"scaleTargetRef": TARGET, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
    made = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": spec,
    }
    return await api.create(HPA.format("v1"), made)


@pytest.mark.parametrize("at", [0, 1], ids=["merge", "json"])
async def test_a_built_in_kind(api: Api, at: int) -> None:
    """The fields of the other version are understood, those of the path's are unknown in it; the answer is the path's."""
    await autoscaler(api)
    spec = {"scaleTargetRef": TARGET, "maxReplicas": 7, "metrics": [metric(66)]}
    kind, patch = both({"apiVersion": "autoscaling/v2", "spec": spec | {"targetCPUUtilizationPercentage": None}})[at]
    answer = await api.patch(f"{HPA.format('v1')}/web", patch, kind)
    assert answer.status == 200, answer.body
    assert answer.tree["apiVersion"] == "autoscaling/v1"
    assert (answer.tree["spec"]["maxReplicas"], answer.tree["spec"]["targetCPUUtilizationPercentage"]) == (7, 66)
    assert (await api.get(f"{HPA.format('v2')}/web"))["spec"]["metrics"] == [metric(66)]


async def test_what_the_other_version_does_not_know(api: Api) -> None:
    """Such fields are gone, or refused where they must be known; its defaults count."""
    await autoscaler(api)
    path, patch = f"{HPA.format('v1')}/web", {"apiVersion": "autoscaling/v2"}
    answer = await api.patch(f"{path}?fieldValidation=Strict", patch)
    assert answer.status == 422, answer.body
    assert 'unknown field "spec.targetCPUUtilizationPercentage"' in answer.tree["message"]
    answer = await api.patch(path, patch)
    assert answer.status == 200, answer.body
    assert "unknown field" in answer.headers["warning"]
    assert answer.tree["spec"]["targetCPUUtilizationPercentage"] == 80


async def test_an_event_by_its_other_name(api: Api) -> None:
    """Both groups' events are one kind."""
    about = {"kind": "Pod", "name": "p", "namespace": "default"}
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": about, "message": "m"}
    await api.create("/api/v1/namespaces/default/events", event)
    patch = {
        "apiVersion": "events.k8s.io/v1",
        "note": "told",
        "regarding": about,
        "message": None,
        "involvedObject": None,
    }
    answer = await api.patch("/api/v1/namespaces/default/events/e", patch)
    assert answer.status == 200, answer.body
    assert (answer.tree["apiVersion"], answer.tree["message"], answer.tree["involvedObject"]) == ("v1", "told", about)


async def widgets(api: Api) -> None:
    text = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string", "default": "B"}}}
    versions = [version("v1", OPEN, storage=True), version("v2", text), version("v3", OPEN, served=False)]
    await establish(api, crd(versions=versions))
    await api.create(WIDGETS, widget("w", c="1"))


async def test_a_custom_kind(api: Api) -> None:
    """The other version's schema prunes and sets defaults; it is converted, and stays of its path's version."""
    await widgets(api)
    for kind, patch in both({"apiVersion": "example.com/v2", "a": "x"}):
        answer = await api.patch(f"{WIDGETS}/w", patch, kind)
        assert answer.status == 200, answer.body
        got = {name: value for name, value in answer.tree.items() if name not in ("metadata", "kind")}
        assert got == {"apiVersion": "example.com/v1", "a": "x", "b": "B"}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("example.com/v9", "request to convert CR from an invalid group/version: example.com/v9"),
        (
            "other.example/v1",
            'other.example/v1, Kind=Widget is unstructured and is not suitable for converting to "example.com/v1"',
        ),
        ("v1", '/v1, Kind=Widget is unstructured and is not suitable for converting to "example.com/v1"'),
        ("a/b/c", "unexpected GroupVersion string: a/b/c"),
        (1, "json: cannot unmarshal number into Go struct field .apiVersion of type string"),
    ],
)
async def test_a_version_that_is_none(api: Api, given: Any, why: str) -> None:
    """422 about the patch."""
    await widgets(api)
    for kind, patch in both({"apiVersion": given}):
        answer = await api.patch(f"{WIDGETS}/w", patch, kind)
        assert (answer.status, answer.tree["reason"]) == (422, "Invalid"), answer.body
        assert answer.tree["message"].endswith(why)


async def test_an_apply_is_of_its_paths_version(api: Api) -> None:
    """400 with upstream's words."""
    await autoscaler(api)
    for said, shown in (("autoscaling/v2", "autoscaling/v2"), (None, "")):
        config = {"apiVersion": said, "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}}
        answer = await api.send(
            "PATCH", f"{HPA.format('v1')}/web?fieldManager=m", config, content_type="application/apply-patch+yaml"
        )
        assert (answer.status, answer.tree["reason"]) == (400, "BadRequest")
        assert answer.tree["message"] == (
            f"Incorrect version specified in apply patch. Specified patch version: {shown}, expected: autoscaling/v1"
        )
