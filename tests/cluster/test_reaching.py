"""Which API server a joined machine's commands talk to: one that is ready, of all that the cluster told of."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sampan.cli import asking, node
from sampan.cli.main import CommandError
from sampan.client.api import Listing
from sampan.cluster import key_files, reaching
from sampan.cluster.settings import Settings
from sampan.kinds.discovery.endpoint_slice import SERVICE_NAME_LABEL
from sampan.web import certificates
from sampan.web.certificates import Subject
from sampan.web.listener import Address, Listener, server_context
from sampan.web.message import Request, Response
from tests.ports import free_port


class Server:
    """As much of an API server as says whether it is ready."""

    def __init__(self) -> None:
        self.status, self.asked, self.port = 200, 0, 0
        self.status_of_nobody = 200

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def answer(self, request: Request) -> Response:
        assert request.path == "/readyz"
        self.asked += 1
        return Response(self.status if request.peer.common_name == "n" else self.status_of_nobody, b"ok")


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    now = time.time()
    (tmp_path / "pki").mkdir()
    authority = certificates.new_authority("ca", now)
    authority.save(tmp_path / "pki", key_files.AUTHORITY)
    certificates.issue(authority, Subject("n"), now).save(tmp_path / "pki", key_files.node("n"))
    hosts = ("kubernetes", "127.0.0.1")
    certificates.issue(authority, Subject("api", hosts=hosts), now).save(tmp_path / "pki", "api")
    return tmp_path / "pki"


@pytest.fixture
async def both(pki: Path) -> AsyncIterator[tuple[Server, Server]]:
    context = server_context(*(str(pki / name) for name in ("api.crt", "api.key", "ca.crt")))
    async with contextlib.AsyncExitStack() as stack:
        made = Server(), Server()
        for server in made:
            listener = Listener(server.answer, lambda request, error: Response(500), context)
            server.port = await listener.listen(Address("127.0.0.1", 0))
            stack.push_async_callback(listener.close)
        yield made


def joined(directory: Path, server: str) -> Settings:
    return Settings("node-n", directory, joined_to=server, joined_as="n")


async def used(cluster: Settings) -> str:
    return (await asyncio.to_thread(reaching.access, cluster.path("kubeconfig"))).server


async def test_one_that_is_ready(tmp_path: Path, both: tuple[Server, Server]) -> None:
    """The one that it joined by, else the next; where none is, the first one, which says why."""
    first, second = both
    cluster = joined(tmp_path, first.url)
    reaching.write_kubeconfig(cluster, (first.url, second.url))
    assert await used(cluster) == first.url and second.asked == 0
    first.status = 500
    assert await used(cluster) == second.url
    second.status = 503
    assert await used(cluster) == first.url
    second.status = 200
    gone = joined(tmp_path, f"https://127.0.0.1:{free_port()}")
    reaching.write_kubeconfig(gone, (second.url,))
    assert await used(gone) == second.url


async def test_where_nobody_is_refused(tmp_path: Path, both: tuple[Server, Server]) -> None:
    """A server is asked as the node, so it says how it is also where it tells others nothing."""
    first, second = both
    first.status_of_nobody = second.status_of_nobody = 401
    reaching.write_kubeconfig(joined(tmp_path, first.url), (second.url,))
    first.status = 500
    assert await used(joined(tmp_path, first.url)) == second.url
    second.status = 403
    assert await used(joined(tmp_path, first.url)) == second.url


async def test_one_alone_is_not_asked(tmp_path: Path, both: tuple[Server, Server]) -> None:
    """Nor are other contexts looked at in a kubeconfig that is the user's own."""
    first, second = both
    cluster = joined(tmp_path, first.url)
    reaching.write_kubeconfig(cluster)
    first.status = 500
    assert await used(cluster) == first.url
    reaching.write_kubeconfig(cluster, (second.url,))
    document = yaml.safe_load(cluster.path("kubeconfig").read_text())
    document["contexts"].append({"name": "mine", "context": document["contexts"][0]["context"]})
    cluster.path("kubeconfig").write_text(yaml.safe_dump({**document, "current-context": "mine"}))
    assert await used(cluster) == first.url
    assert first.asked == second.asked == 0


def change(document: Any, what: str) -> None:
    """Makes a kubeconfig with the contexts joined and joined-2 one that nobody of us has written."""
    context, place = document["contexts"][1], document["clusters"][1]["cluster"]
    match what:
        case "name":
            context["name"] = document["clusters"][1]["name"] = context["context"]["cluster"] = "joined-prod"
        case "user":
            document["users"].append({"name": "other", "user": {"token": "t"}})
            context["context"]["user"] = "other"
        case "authority":
            del place["certificate-authority"]
        case "cluster":
            document["clusters"][1]["name"] = context["context"]["cluster"] = "prod"
        case "no mapping":
            document["contexts"][1:] = ["joined-2", None, {"name": "joined-3", "context": "joined-3"}]


@pytest.mark.parametrize("what", ["name", "user", "authority", "cluster", "no mapping"])
async def test_what_is_not_our_own(tmp_path: Path, both: tuple[Server, Server], what: str) -> None:
    """A context that was not written for another server of the same cluster is never used instead of the current one."""
    first, second = both
    cluster = joined(tmp_path, first.url)
    reaching.write_kubeconfig(cluster, (second.url,))
    document = yaml.safe_load(cluster.path("kubeconfig").read_text())
    change(document, what)
    cluster.path("kubeconfig").write_text(yaml.safe_dump(document))
    first.status = 500
    assert await used(cluster) == first.url
    assert first.asked == second.asked == 0


@pytest.mark.parametrize("text", ["contexts: [x]\ncurrent-context: joined", "[]", "contexts: 1", "x"])
def test_what_is_no_kubeconfig(tmp_path: Path, text: str) -> None:
    """Is said in a line."""
    (tmp_path / "kubeconfig").write_text(text)
    with pytest.raises(CommandError, match="can't be used"):
        asking.access(tmp_path / "kubeconfig")


def slice_of(port: int, *addresses: str) -> dict[str, Any]:
    name = "kubernetes" if port == 6443 else f"kubernetes-{port}"
    metadata = {"name": name, "namespace": "default", "labels": {SERVICE_NAME_LABEL: "kubernetes"}}
    endpoints = [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": port}]}


def test_whose_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's owner's, though root's agent writes it; a link there leads nobody's file away."""
    cluster, given = joined(tmp_path, "https://192.0.2.7:6443"), []
    monkeypatch.setattr(reaching.os, "chown", lambda path, *owner, **how: given.append((path, owner, how)))
    reaching.note(cluster, ["https://192.0.2.8:6443"])
    owner = tmp_path.stat().st_uid, tmp_path.stat().st_gid
    assert given == [(cluster.path("kubeconfig"), owner, {"follow_symlinks": False})]


def test_what_is_noted(tmp_path: Path, pki: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """All that the cluster tells of, each by the name that its certificate has; if nobody answers, what is noted stays."""
    cluster = joined(tmp_path, "https://192.0.2.7:6443")
    reaching.write_kubeconfig(cluster)

    class Api:
        async def list(self, kind: Any, namespace: str) -> Listing:
            assert (kind.plural, namespace) == ("endpointslices", "default")
            return Listing((slice_of(6443, "192.0.2.7", "192.0.2.8"), slice_of(6444, "192.0.2.7")), "1")

    monkeypatch.setattr(node, "_ask", lambda kubeconfig, question: asyncio.run(question(Api())))
    node._note_servers(cluster)
    written = cluster.path("kubeconfig").read_text()
    clusters = {each["name"]: each["cluster"] for each in yaml.safe_load(written)["clusters"]}
    assert clusters.pop("joined")["server"] == "https://192.0.2.7:6443"
    assert sorted(clusters) == ["joined-2", "joined-3"]
    assert {each["server"] for each in clusters.values()} == {"https://192.0.2.8:6443", "https://192.0.2.7:6444"}
    assert {each["tls-server-name"] for each in clusters.values()} == {"kubernetes"}
    assert len(yaml.safe_load(written)["contexts"]) == 3

    def refuse(kubeconfig: Path, question: Any) -> None:
        raise node.CommandError("the API does not answer")

    monkeypatch.setattr(node, "_ask", refuse)
    node._note_servers(cluster)
    assert cluster.path("kubeconfig").read_text() == written and "does not answer" in capsys.readouterr().out
