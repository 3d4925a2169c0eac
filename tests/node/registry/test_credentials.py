"""Whose credentials a pull is made with, and who may use the image afterwards."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from sampan.kinds.core.service_account import SERVICEACCOUNT
from sampan.kit.clock import SystemClock
from sampan.kit.tasks import Tasks
from sampan.meta.status import not_found
from sampan.node import outsiders
from sampan.node.credential_providers import Providers
from sampan.node.images.store import ImageStore
from sampan.node.kubelet_fields import KubeletConfigError
from sampan.node.pull_credentials import DEFAULT, Policy, PullCredentials
from sampan.node.pull_records import PullRecords
from sampan.node.registry import config, credential_plugins
from sampan.node.registry_puller import RegistryPuller
from tests.node.registry.serving import Shelf, serving

pytestmark = pytest.mark.root

Object = dict[str, Any]

PROGRAM = """#!/usr/bin/python3
import json, os, signal, sys
asked = json.load(sys.stdin)
with open(os.environ["LOG"], "a") as log:
    log.write(json.dumps({"args": sys.argv[1:], **asked}) + "\\n")
if sys.argv[1:] == ["hang"]:
    signal.pause()
if sys.argv[1:] == ["fail"]:
    sys.exit("no way")
login = {"username": "someone", "password": asked.get("serviceAccountAnnotations", {}).get("word", "word")}
answer = {"apiVersion": asked["apiVersion"], "kind": "CredentialProviderResponse", "auth": {"*.0.0.1:" + os.environ["PORT"]: login}}
print(json.dumps({**answer, "cacheKeyType": os.environ["KEY"], **json.loads(os.environ.get("MORE", "{}"))}))
"""


class FakeApi:
    """Service accounts, and tokens for them."""

    def __init__(self) -> None:
        self.accounts: dict[str, Object] = {}
        self.requests: list[Object] = []

    async def get(self, kind: Any, name: str, namespace: str) -> Object:
        assert kind is SERVICEACCOUNT
        if name not in self.accounts:
            raise not_found("", "serviceaccounts", name)
        return self.accounts[name]

    async def create_subresource(self, kind: Any, key: tuple[str, str], name: str, body: Object) -> Object:
        self.requests.append(body["spec"])
        return {"status": {"token": f"token-{len(self.requests)}"}}


class Machine:
    """One node's images, with a registry that wants a login."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address, self.api = folder, address, FakeApi()
        self.store = ImageStore(folder / "images")
        self.tasks = Tasks("test")
        self.records = PullRecords(folder / "pulls", SystemClock())
        self.puller = RegistryPuller(self.store, lambda: config.NONE, SystemClock(), self.tasks)
        self.puller.credentials = PullCredentials(self.records, is_loaded=self.store.is_loaded)

    @property
    def name(self) -> str:
        return f"{self.address}/team/app:v1"

    def ask(self, *providers: Object, policy: Policy = DEFAULT) -> None:
        """Has the programs asked."""
        file = self.folder / "credential-providers.yaml"
        file.write_text(yaml.safe_dump(listed(*providers)))
        programs = self.folder / "credential-providers"
        programs.mkdir(exist_ok=True)
        for provider in providers:
            (programs / provider["name"]).write_text(PROGRAM)
            (programs / provider["name"]).chmod(0o755)
        plugins = credential_plugins.load([str(file)])
        assert plugins is not None
        client: Any = self.api
        asking = Providers(plugins, client, SystemClock())
        self.puller.credentials = PullCredentials(self.records, asking, policy, self.store.is_loaded)

    def provider(self, name: str = "login", key: str = "Registry", *args: str, **more: Any) -> Object:
        env = {"LOG": str(self.folder / "asked"), "KEY": key, "PORT": self.address.partition(":")[2]}
        return {
            "name": name,
            "matchImages": [f"127.0.*.1:{env['PORT']}/team"],
            "defaultCacheDuration": "1h",
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "args": list(args),
            "env": [{"name": k, "value": v} for k, v in {**env, **more.pop("env", {})}.items()],
            **more,
        }

    def asked(self) -> list[Object]:
        file = self.folder / "asked"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    async def pull(self, *secrets: Object, pod: Object | None = None, name: str = "") -> str:
        return await self.puller.pull(pod or made_pod("p"), {"image": name or self.name}, (0, 1), secrets)

    async def may(self, *secrets: Object, pod: Object | None = None, name: str = "") -> bool:
        async def given() -> Sequence[Object]:
            return secrets

        image = self.store.resolve(name or self.name)
        assert image is not None
        return await self.puller.credentials.may_use(pod or made_pod("q"), name or self.name, image.id, given)

    def secret(self, name: str, word: str = "word") -> Object:
        logins = {"auths": {self.address: {"username": "someone", "password": word}}}
        data = {".dockerconfigjson": base64.b64encode(json.dumps(logins).encode()).decode()}
        return {"metadata": {"namespace": "default", "name": name, "uid": f"uid-{name}"}, "data": data}


def listed(*providers: Object) -> Object:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1",
        "kind": "CredentialProviderConfig",
        "providers": list(providers),
    }


def made_pod(name: str, account: str = "") -> Object:
    spec = {"serviceAccountName": account} if account else {}
    return {"metadata": {"namespace": "default", "name": name, "uid": f"uid-{name}"}, "spec": spec}


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    shelf = Shelf(users={"someone": "word"})
    shelf.add("v1")
    async with serving(shelf) as address:
        made = Machine(tmp_path, address)
        yield made
        await made.tasks.close()


async def test_a_program_gives_the_login(machine: Machine) -> None:
    """It is asked once for a registry; what fails beside it is passed over; nobody else's images are its business."""
    assert "401" in await machine.pull() or "denied" in await machine.pull()
    other = machine.provider("other") | {"matchImages": ["*.example.com", "127.0.0.1", f"{machine.address}/else"]}
    machine.ask(machine.provider("broken", "Registry", "fail"), other, machine.provider())
    assert await machine.pull() == ""
    wanted = {"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest"}
    image = machine.name.removesuffix(":v1")
    assert machine.asked() == [{"args": args, **wanted, "image": image} for args in (["fail"], [])]
    assert "not found" in await machine.pull(name=f"{image}2:v9")
    assert [each["args"] for each in machine.asked()[2:]] == [["fail"]]
    assert await machine.may()  # the node's own credentials: for every pod


@pytest.mark.parametrize(
    ("key", "more", "calls"),
    [
        ("Image", {}, 2),
        ("Registry", {}, 1),
        ("Global", {}, 1),
        ("Global", {"cacheDuration": "0s"}, 3),
        ("Nonsense", {}, 3),
        ("Global", {"apiVersion": "credentialprovider.kubelet.k8s.io/v1beta1"}, 3),
    ],
)
async def test_how_long_and_for_what_an_answer_counts(
    machine: Machine, key: str, more: dict[str, str], calls: int
) -> None:
    """For an image, a registry or everything; answers that make no sense give nothing."""
    machine.ask(machine.provider("login", key, env={"MORE": json.dumps(more)}))
    said = [await machine.pull(name=f"{machine.address}/team/{name}:v1") for name in ("app", "app", "app2")]
    is_good = key != "Nonsense" and "apiVersion" not in more
    assert [not text for text in said] == [is_good] * 3
    assert len(machine.asked()) == calls


@pytest.mark.parametrize(
    "more", [{"auth": ["x"]}, {"auth": {"*": "x"}}, {"cacheKeyType": ["Global"]}, {"cacheDuration": {"s": 1}}]
)
async def test_garbage_gives_nothing(machine: Machine, more: Object) -> None:
    """The next program's login does."""
    machine.ask(machine.provider("odd", env={"MORE": json.dumps(more)}), machine.provider())
    assert await machine.pull() == ""
    assert len(machine.asked()) == 2


async def test_a_program_that_hangs(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is given up after its time; it is not asked twice at once, and who pulls can be broken off meanwhile."""
    ask = outsiders.ask

    async def impatient(command: Sequence[str], seconds: float, *more: Any) -> outsiders.Answer:
        return await ask(command, 1.0 if "hang" in command else seconds, *more)

    monkeypatch.setattr(outsiders, "ask", impatient)
    machine.ask(machine.provider("slow", "Registry", "hang"), machine.provider())
    given_up = asyncio.ensure_future(machine.pull())
    both = asyncio.gather(machine.pull(), machine.pull(name=machine.name))
    async with asyncio.timeout(60):
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait({given_up})
        assert given_up.cancelled()
        assert await both == ["", ""]
    assert [each["args"] for each in machine.asked()] in ([["hang"], []], [[]])  # it may not even have come to that


async def test_credentials_of_a_service_account(machine: Machine) -> None:
    """The program gets the pod's token and some annotations; another account asks the registry for itself."""
    token = {
        "serviceAccountTokenAudience": "here",
        "cacheType": "ServiceAccount",
        "requireServiceAccount": True,
        "requiredServiceAccountAnnotationKeys": ["word"],
        "optionalServiceAccountAnnotationKeys": ["note"],
    }
    machine.ask(machine.provider(tokenAttributes=token))
    for name, marks in (("good", {"word": "word", "x": "y"}), ("bad", {"word": "wrong", "note": "n"}), ("plain", {})):
        meta = {"namespace": "default", "name": name, "uid": f"uid-{name}", "annotations": marks}
        machine.api.accounts[name] = {"metadata": meta}
    assert await machine.pull(pod=made_pod("p", "good")) == ""
    assert machine.asked()[0]["serviceAccountToken"] == "token-1"
    assert machine.asked()[0]["serviceAccountAnnotations"] == {"word": "word"}
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "uid-p"}
    assert machine.api.requests[0]["audiences"] == ["here"]
    assert machine.api.requests[0]["boundObjectRef"] == bound
    assert [await machine.may(pod=made_pod("q", name)) for name in ("good", "bad", "plain", "lost", "")] == [
        True,
        False,
        False,
        False,
        False,
    ]
    assert [each["serviceAccountAnnotations"].get("note") for each in machine.asked()] == [None, "n"]


async def test_who_may_use_what_a_secret_got(machine: Machine) -> None:
    """Who has the same secret, its content, or shows the registry his own; also after a restart."""
    mine, other = machine.secret("mine"), machine.secret("other", "wrong")
    assert await machine.pull(mine) == ""
    copy = machine.secret("copy")
    assert [await machine.may(*each) for each in ((), (mine,), (other,), (copy,))] == [False, True, False, True]
    assert await machine.may(machine.secret("mine", "changed"))  # the same secret with new content
    assert await machine.may(machine.secret("new", "changed"))  # which is remembered
    machine.puller.credentials = PullCredentials(PullRecords(machine.folder / "pulls", SystemClock()))
    assert [await machine.may(*each) for each in ((), (copy,))] == [False, True]
    assert "denied" in await machine.pull()
    assert await machine.pull(machine.secret("third")) == ""
    assert await machine.may(machine.secret("third", "x"))
    assert not await machine.may(mine, name=machine.store.resolve(machine.name).id)  # type: ignore[union-attr]
    (record,) = (machine.folder / "pulls" / "image_pulled").iterdir()
    assert "word" not in record.read_text()
    assert not list((machine.folder / "pulls" / "image_pulling").iterdir())


async def test_what_is_free_is_for_everybody(machine: Machine) -> None:
    """An image that was pulled without a login, loaded by hand, or found here."""
    mine = machine.secret("mine")
    assert await machine.pull(mine) == ""
    (machine.folder / "root").mkdir()
    loaded = machine.store.import_rootfs(machine.folder / "root", "mine:v1")
    machine.records.add(loaded.id, "docker.io/library/other", {"nodePodsAccessible": True})
    assert await machine.may(name="mine:v1")
    open_shelf = Shelf()
    open_shelf.add("v2")
    async with serving(open_shelf) as address:
        assert await machine.pull(name=f"{address}/a:v2") == ""
        assert await machine.may(name=f"{address}/a:v2")
    machine.puller.credentials.forget(machine.store.resolve(machine.name).id)  # type: ignore[union-attr]
    assert await machine.may()


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy("NeverVerify"), [True, True]),
        (DEFAULT, [False, True]),
        (Policy("NeverVerifyAllowlistedImages", ("docker.io/library/mine",)), [False, True]),
        (Policy("NeverVerifyAllowlistedImages", ("docker.io/library/*",)), [False, True]),
        (Policy("NeverVerifyAllowlistedImages", ("docker.io/lib/*", "docker.io/library/min")), [False, False]),
        (Policy("AlwaysVerify"), [False, False]),
    ],
)
async def test_policies(machine: Machine, policy: Policy, expected: list[bool]) -> None:
    """For an image that was pulled with a secret, and for one that was loaded by hand."""
    machine.puller.credentials = PullCredentials(machine.records, None, policy, machine.store.is_loaded)
    assert await machine.pull(machine.secret("mine")) == ""
    (machine.folder / "root").mkdir()
    machine.store.import_rootfs(machine.folder / "root", "mine:v1")
    assert [await machine.may(), await machine.may(name="mine:v1")] == expected


async def test_an_agent_that_dies_before_the_pull_is_written_down(machine: Machine) -> None:
    """Its image isn't taken for one that was found here; records of images that are gone go."""
    machine.records.begin(machine.name)
    machine.records.add("sha256:gone", "x", {"nodePodsAccessible": True})
    await machine.puller._pulls.pull(machine.name, [config.Login("someone", "word")])
    assert not await machine.may()
    again = PullRecords(machine.folder / "pulls", SystemClock())
    again.settle(machine.store.resolve, machine.store.list)
    machine.puller.credentials = PullCredentials(again)
    assert not again.is_pulling(machine.name)
    assert not await machine.may()
    assert again.find("sha256:gone") is None
    assert await machine.pull(machine.secret("mine")) == ""
    assert await machine.may(machine.secret("mine"))


async def test_pods_that_share_a_pull_are_each_remembered(machine: Machine) -> None:
    """With secrets of the same content."""
    said = await asyncio.gather(*(machine.pull(machine.secret(name)) for name in "ab"))
    assert said == ["", ""]
    assert [await machine.may(machine.secret(name, "changed")) for name in "abc"] == [True, True, True]
    (record,) = (machine.folder / "pulls" / "image_pulled").iterdir()
    assert {each["name"] for each in entries(record)} >= {"a", "b"}


def entries(record: Path) -> list[Object]:
    (mapping,) = json.loads(record.read_text())["credentialMapping"].values()
    found: list[Object] = mapping["kubernetesSecrets"]
    return found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "a/b"}, "providers[0].name: must be a plain file name"),
        ({"apiVersion": "v2"}, "providers[0].apiVersion: must be one of "),
        ({"matchImages": []}, "providers[0].matchImages: at least 1 item"),
        ({"matchImages": ["https://a"]}, "providers[0].matchImages: match image is invalid: https://a"),
        ({"defaultCacheDuration": None}, "providers[0].defaultCacheDuration: must be set"),
        ({"defaultCacheDuration": "-1s"}, "providers[0].defaultCacheDuration: "),
        ({"tokens": {}}, "providers[0].tokens"),
        ({"tokenAttributes": {"cacheType": "Token"}}, "providers[0].tokenAttributes.serviceAccountTokenAudience: "),
    ],
)
def test_files_that_are_refused(change: Object, said: str) -> None:
    """With the place of the mistake."""
    good = {
        "name": "login",
        "matchImages": ["*.example.com"],
        "defaultCacheDuration": "1m",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
    }
    assert len(credential_plugins.parse(listed(good))) == 1
    with pytest.raises(KubeletConfigError) as error:
        credential_plugins.parse(listed({**good, **change}))
    assert said in str(error.value)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    """Is said at the start."""
    file = tmp_path / "credential-providers.yaml"
    assert credential_plugins.load([str(file)]) is None
    provider = {
        "name": "login",
        "matchImages": ["a"],
        "defaultCacheDuration": "1m",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
    }
    file.write_text(yaml.safe_dump(listed(provider)))
    with pytest.raises(KubeletConfigError, match="credential-providers/login did not exist"):
        credential_plugins.load([str(file)])
