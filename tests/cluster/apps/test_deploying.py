"""Deploying beside what others have made: nothing of theirs is taken over or taken away."""

import asyncio
from typing import Any

import pytest

from sampan.cluster.apps import objects
from sampan.cluster.apps.deploying import DeployError, Deploying
from sampan.cluster.apps.objects import INSTANCE, MANAGED_BY, Application
from sampan.kinds.batch.job import JOB
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kit.clock import SystemClock
from sampan.meta import status
from sampan.testing import Cluster

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


def test_what_is_asked_for_no_more_goes() -> None:
    """With a line for each; claims stay, and so does what others have made, whatever its labels say."""
    said: list[str] = []
    shop = Application("shop", "default")
    kept, settings, old = (objects.config_map(shop, name, {"a": "b"}) for name in ("kept", "settings", "old"))
    word, data = objects.secret(shop, "word", {"a": "b"}), objects.claim(shop, "data", "1Gi")
    service = objects.workload(shop, objects.Workload("web", {"image": "i"}))[1]
    theirs = {**settings, "metadata": {**settings["metadata"], "name": "theirs"}}
    other = objects.config_map(Application("blog", "default"), "blog", {"a": "b"})
    with Cluster() as cluster:
        work = Deploying(cluster.client, cluster.sim.clock, said.append)
        cluster.run(work.apply([[kept, settings, old, word, data], [service]]))
        cluster.run(work.apply([[other]]))
        cluster.apply(theirs)
        held = {"metadata": {"finalizers": ["example.com/held"]}}
        cluster.run(cluster.client.patch(CONFIGMAP, ("default", "old"), held))
        said.clear()
        for _ in range(2):
            cluster.run(work.prune(shop, [[kept]]))
        listed = cluster.run(cluster.client.list(CONFIGMAP, "default")).items
    assert said == [
        f"{what} removed: nothing asks for it any more"
        for what in ("service web", "configmap old", "configmap settings", "secret word")
    ]
    names = {obj["metadata"]["name"] for obj in listed}
    assert names - {"kube-root-ca.crt"} == {"kept", "old", "theirs", "blog"}


def made(source: str, *names: str, folder: str = "", app: str = "shop") -> tuple[Application, list[Tree]]:
    """An application of ConfigMaps."""
    own = Application(app, "default", source, folder)
    return own, [objects.config_map(own, name, {"from": source + folder}) for name in names]


class Shop:
    """A cluster to deploy to, and what was said meanwhile."""

    def __init__(self, cluster: Cluster) -> None:
        self.said: list[str] = []
        self._cluster = cluster

    def deploy(self, one: tuple[Application, list[Tree]], *, takes_over: bool = False) -> None:
        """As the command does it."""
        work = self._work(takes_over)
        self._cluster.run(work.apply([one[1]]))
        self._cluster.run(work.prune(one[0], [one[1]]))

    def remove(self, one: tuple[Application, list[Tree]], *, takes_over: bool = False) -> None:
        """As the command does it."""
        work = self._work(takes_over)
        self._cluster.run(work.remove([one[1]]))
        self._cluster.run(work.prune(one[0], [one[1]]))

    @property
    def there(self) -> dict[str, str]:
        """What there is, and where it is from."""
        found = self._cluster.run(self._cluster.client.list(CONFIGMAP, "default")).items
        return {obj["metadata"]["name"]: obj["data"]["from"] for obj in found if "from" in obj["data"]}

    def _work(self, takes_over: bool) -> Deploying:
        self.said.clear()
        return Deploying(self._cluster.client, self._cluster.sim.clock, self.said.append, takes_over=takes_over)


def test_two_compose_files_of_one_folder_stand_beside_each_other() -> None:
    """Neither deploying nor removing one takes away what the other has made, without a word of it."""
    one, other = made("compose.yaml", "web", folder="f"), made("compose.monitoring.yaml", "mon", folder="f")
    with Cluster() as cluster:
        shop = Shop(cluster)
        shop.deploy(one)
        shop.deploy(other)
        assert set(shop.there) == {"web", "mon"} and shop.said == ["configmap mon applied"]
        shop.remove(other)
        assert set(shop.there) == {"web"} and shop.said == ["configmap mon removed"]


def test_another_source_takes_over_only_when_asked_to() -> None:
    """Until then nothing is changed, also what would not collide; then all of it is the new one's."""
    one, other = made("compose.yaml", "web", "old"), made("image shop", "new", "web")
    with Cluster() as cluster:
        shop = Shop(cluster)
        shop.deploy(one)
        whose = "that of the application shop, deployed from compose.yaml"
        more = "choose another --app or --namespace, or have it with --take-over"
        with pytest.raises(DeployError, match=f"^configmap web is there already, and is {whose}: {more}$"):
            shop.deploy(other)
        shop.remove(other)
        assert shop.there == {"web": "compose.yaml", "old": "compose.yaml"}
        assert shop.said == [f"configmap web is left alone: it is {whose}; --take-over removes it"]
        shop.deploy(other, takes_over=True)
        assert shop.there == {"web": "image shop", "new": "image shop"}
        shop.remove(one, takes_over=True)
        assert shop.there == {}


def test_a_folder_that_was_moved_or_is_another_of_its_name() -> None:
    """Nobody can know: what it has is changed with a warning, and what it has not is named and stays."""
    here, there = made("compose.yaml", "web", "old", folder="a"), made("compose.yaml", "web", folder="b")
    with Cluster() as cluster:
        shop = Shop(cluster)
        shop.deploy(here)
        shop.remove(there)
        assert set(shop.there) == {"web", "old"}
        shop.deploy(there)
        assert shop.there == {"web": "compose.yamlb", "old": "compose.yamla"}
        warning, _, stays = shop.said
        assert warning.startswith(
            "configmap web is there already, and is that of the application shop, deployed from a"
        )
        assert stays.startswith("configmap old stays, though nothing asks for it: it was deployed from another folder")
        shop.deploy(there, takes_over=True)
        assert set(shop.there) == {"web"}


def test_an_application_with_a_name_comes_from_any_folder() -> None:
    """As from CI, with a checkout in another place each time: it is the same one, and pruned."""
    with Cluster() as cluster:
        shop = Shop(cluster)
        shop.deploy(made("compose.yaml", "web", "old", folder="a"))
        shop.deploy(made("compose.yaml", "web"))
        assert shop.said == ["configmap web applied", "configmap old removed: nothing asks for it any more"]


def test_what_bears_no_mark_is_adopted_but_not_pruned() -> None:
    """Nobody knows which source it is from; what is applied bears the mark from then on."""
    with Cluster() as cluster:
        shop = Shop(cluster)
        shop.deploy(made("", "web", "old"))
        shop.deploy(made("compose.yaml", "web"))
        assert shop.there == {"web": "compose.yaml", "old": ""}
        assert [line.partition(" stays, ")[0] for line in shop.said] == ["configmap web applied", "configmap old"]
        shop.deploy(made("compose.yaml"))
        assert shop.there == {"old": ""}


def test_jobs_of_another_source_stay() -> None:
    """They are found by their labels, as their names change; those of another source are not among them."""
    what = objects.Workload("web", {"image": "i"}, is_job=True)
    (job,) = objects.workload(Application("shop", "default", "compose.yaml"), what)
    (asked,) = objects.workload(Application("shop", "default", "compose.test.yaml"), what)
    with Cluster() as cluster:
        shop = Shop(cluster)
        cluster.apply(job)
        shop.remove((Application("shop", "default", "compose.test.yaml"), [asked]))
        assert len(cluster.run(cluster.client.list(JOB, "default")).items) == 1
