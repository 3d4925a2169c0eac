"""The bridge: a simulated cluster as an HTTPS server, in real time."""

import asyncio
import contextlib
import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from sampan.cluster.simulated import SimulatedCluster
from sampan.testing.bridge import Bridge
from tests.testing.bridged import Bridged, bridged

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Bridged]:
    with bridged(tmp_path) as made:
        yield made


def trust(cluster: Bridged, directory: Path, *, is_admin: bool = True) -> ssl.SSLContext:
    """What a client makes of the kubeconfig."""
    import base64

    config = yaml.safe_load(cluster.kubeconfig.read_text())
    authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    if is_admin:
        user = config["users"][0]["user"]
        pair = directory / "pair.pem"
        pair.write_bytes(b"".join(base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key")))
        context.load_cert_chain(pair)
    return context


def call(cluster: Bridged, context: ssl.SSLContext, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(cluster.bridge.url + path, None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    return urllib.request.urlopen(request, context=context, timeout=20)


def config_map(name: str, size: int = 1) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": "x" * size}}


def test_the_administrator_is_known(cluster: Bridged, tmp_path: Path) -> None:
    """The kubeconfig's certificate is that of the administrator; without one nobody reads anything."""
    maps = "/api/v1/namespaces/default/configmaps"
    with call(cluster, trust(cluster, tmp_path), maps, config_map("one")) as answer:
        assert answer.status == 201
    assert cluster.get("v1", "ConfigMap", "one")["data"] == {"text": "x"}
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        call(cluster, trust(cluster, tmp_path, is_admin=False), maps)
    refused.value.close()


def test_a_watch_is_a_stream(cluster: Bridged, tmp_path: Path) -> None:
    """Each event comes as it happens, those of the test's own thread too, and large ones whole."""
    context = trust(cluster, tmp_path)
    fields = "fieldSelector=metadata.name%3Dsome"
    with call(cluster, context, f"/api/v1/namespaces/default/configmaps?watch=true&{fields}") as stream:
        cluster.sim.create({**config_map("some"), "metadata": {"name": "some", "namespace": "default"}})
        assert json.loads(stream.readline())["type"] == "ADDED"
        kind = cluster.kind("v1", "ConfigMap")
        for number in range(20):
            cluster.sim.patch(kind, "some", "default", {"data": {"text": str(number) * 200_000}})
        seen = [json.loads(stream.readline())["object"]["data"]["text"][0] for _ in range(20)]
        assert seen == [str(number)[0] for number in range(20)]
        cluster.bridge.close()
        with contextlib.suppress(OSError):
            assert stream.readline() == b""


def test_what_a_client_leaves_is_let_go(cluster: Bridged, tmp_path: Path) -> None:
    """A watch whose client is gone ends with the next event."""
    context = trust(cluster, tmp_path)
    with call(cluster, context, "/api/v1/namespaces/default/configmaps?watch=true"):
        assert len(cluster.bridge._open) == 1
    for number in range(50):
        if not cluster.bridge._open:
            break
        body = config_map(f"c{number}", 100_000)
        call(cluster, context, "/api/v1/namespaces/default/configmaps", body).close()
    assert not cluster.bridge._open


def test_virtual_time_follows_real_time(cluster: Bridged, tmp_path: Path) -> None:
    """While somebody waits for a real second the cluster lives through one."""
    began = cluster.sim.time
    path = "/api/v1/namespaces/default/secrets?watch=true&timeoutSeconds=1"
    with call(cluster, trust(cluster, tmp_path), path) as stream:
        assert stream.read() == b""
    assert 1 <= cluster.sim.time - began < 20


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Neither a thread nor a listening socket, whatever was under way."""
    before = set(threading.enumerate())
    with SimulatedCluster() as sim:
        bridge = Bridge(sim)
        bridge.start()
        url = bridge.url
        bridge.close()
        assert set(threading.enumerate()) == before
        with pytest.raises(urllib.error.URLError, match="refused"):
            urllib.request.urlopen(url, timeout=5)
        bridge.close()  # twice is no harm


def test_a_failure_of_ours_is_answered(cluster: Bridged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the server is a Status of 500 and not a hang."""

    async def fail(request: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(cluster.sim.app, "handle", fail)
    with pytest.raises(urllib.error.HTTPError, match="500") as failed:
        call(cluster, trust(cluster, tmp_path), "/version")
    with failed.value as answer:
        assert json.load(answer)["kind"] == "Status"


def test_a_watch_over_a_websocket(cluster: Bridged, tmp_path: Path) -> None:
    """Each event is a message here too."""
    context, maps = trust(cluster, tmp_path), "/api/v1/namespaces/default/configmaps"
    query = "?watch=true&fieldSelector=metadata.name%3Done"

    async def watch() -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(cluster.bridge.url + maps + query, ssl=context, origin="https://x") as sockets,
        ):
            await asyncio.to_thread(call, cluster, context, maps, config_map("one"))
            return await sockets.receive_json()

    assert asyncio.run(watch())["type"] == "ADDED"
