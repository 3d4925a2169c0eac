"""A layer's rules as a webhook: many at once, caches that are behind, and callers who are not the cluster."""

import asyncio
from typing import Any

import orjson
import pytest

from sampan.client.api import Client
from sampan.cluster import layer_rights, layers
from sampan.cluster.layer_webhook import Webhook
from sampan.control.plan import Ask, Key
from sampan.control.view import Snapshot, View
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.kind import Kind
from sampan.kit.clock import SystemClock
from sampan.meta import status
from sampan.platform import rights
from sampan.platform.protection import budget_review
from sampan.platform.review import Attempt, Refusal, Review, Reviewer
from sampan.web.message import Request, Response
from tests.platform.protection import world

Tree = dict[str, Any]
MAX = 3


class FakeClient(Client):
    """Answers with what it holds, each time after others had their turn; a budget of another version is refused."""

    def __init__(self, *held: Tree) -> None:
        self.held = {world_key(obj): obj for obj in held}
        self.always_late = False
        self.rights: list[Tree] | None = None
        """What it may do; None: all."""

    def _check(self, kind: Kind, verb: str, subresource: str = "") -> None:
        asked = rights.rule(kind.group, ("/".join(filter(None, (kind.plural, subresource))),), (verb,))
        if self.rights is not None and not any(rights.covers(one, asked) for one in self.rights):
            raise status.failure(403, "Forbidden", f"cannot {verb} {kind.plural}")

    async def get(self, kind: Kind, name: str, namespace: str = "", **_: Any) -> Tree:
        await asyncio.sleep(0)
        self._check(kind, "get")
        found = self.held.get((namespace, name))
        if found is None:
            raise status.not_found(kind.group, kind.plural, name)
        return found

    async def update(self, kind: Kind, obj: Tree, subresource: str = "", **_: Any) -> Tree:
        await asyncio.sleep(0)
        self._check(kind, "update", subresource)
        held = self.held[world_key(obj)]
        version = held["metadata"]["resourceVersion"]
        if self.always_late or obj["metadata"]["resourceVersion"] != version:
            raise status.conflict(kind.group, kind.plural, obj["metadata"]["name"])
        written = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(int(version) + 1)}}
        self.held[world_key(obj)] = written
        return written


def world_key(obj: Tree) -> Key:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _counting(attempt: Attempt, view: View) -> Review:
    asked = Ask(CONFIGMAP, ("default", "limits"))
    if view.answer(asked) is not None:
        return Review(ask=(asked,))
    count = view.memory.get("count", 0) + 1
    return Review(Refusal("too many") if count > MAX else None, memory={"count": count})


def _hook(reviewer: Reviewer, client: Client, *cached: Tree) -> Webhook:
    of = {kind.resource: Snapshot([o for o in cached if o["kind"] == kind.name]) for kind in reviewer.reads}
    return Webhook((reviewer,), client, of, SystemClock())


def _request(hook: Webhook, name: str, pod: Tree) -> Request:
    asked = {
        "uid": "u", "operation": "DELETE", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"}, "namespace": "shop",
        "name": pod["metadata"]["name"], "userInfo": {"username": "bob"}, "oldObject": pod,
    }  # fmt: skip
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}
    return Request("POST", f"/{hook.secret}/{name}", body=orjson.dumps(review))


def _answer(response: Response) -> Tree:
    assert isinstance(response.body, bytes)
    answer: Tree = orjson.loads(response.body)["response"]
    return answer


async def test_of_many_at_once_each_counts() -> None:
    """What the rule remembers is not what it was before the answers came."""
    hook = _hook(Reviewer("counting", (), _counting), FakeClient())
    calls = (hook.handle(_request(hook, "counting", world.pod(f"p{i}"))) for i in range(20))
    assert sum(_answer(response)["allowed"] for response in await asyncio.gather(*calls)) == MAX


async def test_a_budget_is_asked_for_when_the_cache_is_behind() -> None:
    """What the cluster holds decides, and not what the cache still shows."""
    pod, old = world.pod("a"), world.budget(unavailableAllowed=1)
    for left in (0, 1):
        now = world.budget(unavailableAllowed=left)
        client = FakeClient({**now, "metadata": {**now["metadata"], "resourceVersion": "8"}})
        hook = _hook(budget_review.REVIEWER, client, pod, old)
        answer = _answer(await hook.handle(_request(hook, budget_review.REVIEWER.name, pod)))
        assert answer["allowed"] == (left == 1)
        assert client.held["shop", "web"]["status"]["unavailableAllowed"] == 0


async def test_who_always_comes_too_late_is_refused() -> None:
    """An answer that failed would let the write pass."""
    pod, budget = world.pod("a"), world.budget(unavailableAllowed=1)
    client = FakeClient(budget)
    client.always_late = True
    hook = _hook(budget_review.REVIEWER, client, pod, budget)
    answer = _answer(await hook.handle(_request(hook, budget_review.REVIEWER.name, pod)))
    assert (answer["allowed"], answer["status"]["code"]) == (False, 429)


async def test_of_many_disruptions_at_once_the_budget_bears_one() -> None:
    """With the rights that the layer has beside a cluster and no others: who comes too late reads it again."""
    pods, budget = [world.pod(f"p{i}") for i in range(10)], world.budget(unavailableAllowed=1)
    client = FakeClient(budget)
    client.rights = layer_rights.everywhere(layers.load("protection"))
    hook = _hook(budget_review.REVIEWER, client, *pods, budget)
    calls = (hook.handle(_request(hook, budget_review.REVIEWER.name, pod)) for pod in pods)
    answers = [_answer(response) for response in await asyncio.gather(*calls)]
    assert sum(answer["allowed"] for answer in answers) == 1
    assert {answer["status"]["code"] for answer in answers if not answer["allowed"]} == {403}
    assert client.held["shop", "web"]["status"]["unavailableAllowed"] == 0


@pytest.mark.parametrize("verbs", [(), ("update",)])
async def test_what_cannot_be_counted_is_refused(verbs: tuple[str, ...]) -> None:
    """It would be one more than the budget bears, and nobody would know of it."""
    pod, old = world.pod("a"), world.budget(unavailableAllowed=1)
    client = FakeClient({**old, "metadata": {**old["metadata"], "resourceVersion": "8"}})
    of = budget_review.PODUNAVAILABLEBUDGET
    client.rights = [rights.rule(of.group, (f"{of.plural}/status",), verbs)]
    hook = _hook(budget_review.REVIEWER, client, pod, old)
    answer = _answer(await hook.handle(_request(hook, budget_review.REVIEWER.name, pod)))
    assert not answer["allowed"]
    assert answer["status"]["code"] == 500
    assert answer["status"]["message"].startswith("what this takes can't be written down: cannot ")


async def test_only_the_cluster_is_answered() -> None:
    """Who doesn't know the path changes nothing, and what is no review is told so."""
    hook = _hook(Reviewer("counting", (), _counting), FakeClient())
    other = _hook(Reviewer("counting", (), _counting), FakeClient())
    known = _request(hook, "counting", world.pod("a"))
    for path in ("/counting", f"/{other.secret}/counting", f"/{hook.secret}/none"):
        assert (await hook.handle(Request("POST", path, body=known.body))).status == 404
    for body in (b"", b"[]", b"{}", b'{"request": 5}', b'{"apiVersion": "v1", "request": {"uid": "1", "kind": 3}}'):
        assert (await hook.handle(Request("POST", known.path, body=body))).status == 400
    assert _answer(await hook.handle(known))["allowed"]
