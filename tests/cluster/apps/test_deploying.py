"""Deploying beside what others have made: nothing of theirs is taken over or taken away."""

import asyncio
from typing import Any

import pytest

from sampan.cluster.apps.deploying import DeployError, Deploying
from sampan.cluster.apps.objects import INSTANCE, MANAGED_BY
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kit.clock import SystemClock
from sampan.meta import status

Tree = dict[str, Any]


class Api:
    """What there is, by (namespace, name); all of one kind."""

    def __init__(self, *found: Tree) -> None:
        self.found = {(obj["metadata"]["namespace"], obj["metadata"]["name"]): obj for obj in found}

    async def get(self, kind: object, name: str, namespace: str) -> Tree:
        if (namespace, name) not in self.found:
            raise status.not_found("", CONFIGMAP.plural, name)
        return self.found[namespace, name]

    async def apply(self, kind: object, obj: Tree, **terms: object) -> Tree:
        self.found[obj["metadata"]["namespace"], obj["metadata"]["name"]] = obj
        return obj

    async def delete(self, kind: object, key: tuple[str, str], **terms: object) -> None:
        del self.found[key]


def of(app: str, **labels: str) -> Tree:
    labels = {INSTANCE: app, MANAGED_BY: "sampan", **labels} if app else labels
    metadata = {"name": "db", "namespace": "default", "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


@pytest.mark.parametrize(
    ("present", "why"),
    [
        (of("shop"), "that of the application shop"),
        (of(""), "not made by sampan deploy"),
        (of("", **{INSTANCE: "blog"}), "not made by sampan deploy"),
    ],
)
def test_what_others_have_made_stays(present: Tree, why: str) -> None:
    """It is neither changed nor deleted, and it is said whose it is."""
    said: list[str] = []
    api = Api(present)
    work = Deploying(api, SystemClock(), said.append)  # type: ignore[arg-type]
    with pytest.raises(DeployError, match=f"db is there already, and is {why}: choose another --app or --namespace"):
        asyncio.run(work.apply([[of("blog")]]))
    asyncio.run(work.remove([[of("blog")]]))
    assert [line.partition(" is ")[2] for line in said] == [f"left alone: it is {why}"]
    assert list(api.found.values()) == [present]


def test_what_is_the_application_s_own_is_changed_and_goes() -> None:
    """Again and again."""
    said: list[str] = []
    api = Api()
    work = Deploying(api, SystemClock(), said.append)  # type: ignore[arg-type]
    for _ in range(2):
        asyncio.run(work.apply([[of("blog")]]))
    asyncio.run(work.remove([[of("blog")]]))
    asyncio.run(work.remove([[of("blog")]]))
    assert not api.found
    assert [line.rpartition(" ")[2] for line in said] == ["applied", "applied", "removed"]
