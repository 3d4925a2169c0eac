"""Client libraries that nobody here wrote, unmodified, under virtual time: sync ones in the test's own thread too."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.testing.bridged import DEPLOYMENT, Bridged, bridged

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Kubernetes version:UserWarning")]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Bridged]:
    with bridged(tmp_path) as made:
        yield made


def test_kubernetes(cluster: Bridged) -> None:
    """The official client blocks the test's thread, and the cluster goes on while it waits."""
    from kubernetes import client, config, watch

    with cluster.virtual_time() as virtual, config.new_client_from_config(str(cluster.kubeconfig)) as api:
        core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
        apps.create_namespaced_deployment("default", DEPLOYMENT)
        began = virtual.time()
        for event in watch.Watch().stream(apps.list_namespaced_deployment, "default", timeout_seconds=600):
            if event["object"].status.available_replicas:
                break
        assert virtual.time() - began == pytest.approx(30, abs=2)
        began = virtual.time()
        assert list(watch.Watch().stream(core.list_namespaced_secret, "default", timeout_seconds=600)) == []
        assert virtual.time() - began == pytest.approx(600, abs=1)


def test_kubernetes_in_a_thread(cluster: Bridged) -> None:
    """A polling operator in a thread of its own: time.sleep there is virtual, and the test's thread waits for it."""
    from kubernetes import client, config

    seen: list[int] = []

    def operate() -> None:
        with config.new_client_from_config(str(cluster.kubeconfig)) as api:
            core = client.CoreV1Api(api)
            deadline = time.monotonic() + 3600
            while time.monotonic() < deadline:
                seen.append(len(core.list_namespaced_config_map("default").items))
                time.sleep(60)

    with cluster.virtual_time() as virtual:
        thread = threading.Thread(target=operate)
        thread.start()
        virtual.advance(150)
        assert len(seen) == 3
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "namespace": "default"}}
        cluster.sim.create(body)
        virtual.advance(60)
        assert seen[-1] == seen[0] + 1
        thread.join()
        assert virtual.time() == pytest.approx(3600, abs=5)
    assert len(seen) == 60


def test_kubernetes_asyncio(cluster: Bridged) -> None:
    """Watches and writes in the event loop of the test, where a day's sleep is a moment."""
    from kubernetes_asyncio import client, config, watch

    async def story() -> list[str]:
        settings = client.Configuration()
        await config.load_kube_config(str(cluster.kubeconfig), client_configuration=settings)
        async with client.ApiClient(settings) as api:
            core = client.CoreV1Api(api)
            seen: list[str] = []

            async def follow() -> None:
                selector = {"label_selector": "from=asyncio", "timeout_seconds": 200_000}
                async with watch.Watch() as watcher:
                    async for event in watcher.stream(core.list_namespaced_config_map, "default", **selector):
                        seen.append(event["type"])
                        if seen[-1] == "DELETED":
                            return

            following = asyncio.ensure_future(follow())
            labels = {"labels": {"from": "asyncio"}}
            await core.create_namespaced_config_map("default", {"metadata": {"name": "a", **labels}})
            await asyncio.sleep(86400)
            assert seen == ["ADDED"]
            await core.delete_namespaced_config_map("a", "default")
            await following
            return seen

    with cluster.virtual_time() as virtual:
        began = virtual.time()
        assert asyncio.run(story()) == ["ADDED", "DELETED"]
        assert virtual.time() - began == pytest.approx(86400, abs=5)


def test_lightkube(cluster: Bridged) -> None:
    """httpx, blocking: apply, wait for a condition, list."""
    import lightkube
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.apps_v1 import Deployment
    from lightkube.resources.core_v1 import ConfigMap

    with cluster.virtual_time():
        settings = lightkube.KubeConfig.from_file(str(cluster.kubeconfig))
        client = lightkube.Client(settings, namespace="default", field_manager="lk")
        client.apply(ConfigMap(metadata=ObjectMeta(name="c", namespace="default"), data={"k": "v"}))
        client.create(Deployment.from_dict(DEPLOYMENT), namespace="default")
        client.wait(Deployment, "web", for_conditions=["Available"], namespace="default")
        assert [d.metadata.name for d in client.list(Deployment, namespace="default")] == ["web"]
        client._client._client.close()  # it offers no way


def test_kr8s(cluster: Bridged) -> None:
    """Its sync face, which runs an event loop in a thread: objects, waits, deletion."""
    import kr8s
    from kr8s.objects import Deployment

    with cluster.virtual_time() as virtual:
        api = kr8s.api(kubeconfig=str(cluster.kubeconfig), namespace="default")
        assert api.version()["minor"] == "36"
        deployment = Deployment(DEPLOYMENT, api=api)
        deployment.create()
        deployment.wait("condition=Available", timeout=60)
        deployment.scale(2)
        began = virtual.time()
        with pytest.raises(TimeoutError):
            deployment.wait("condition=Never", timeout=900)
        assert virtual.time() - began == pytest.approx(900, abs=10)
        assert len(list(api.get("pods", namespace="default", label_selector={"app": "web"}))) == 2
        deployment.delete()


def test_kr8s_async(cluster: Bridged) -> None:
    """Its async face, in the test's own loop."""
    import kr8s.asyncio
    from kr8s.asyncio.objects import Deployment

    async def story() -> Any:
        api = await kr8s.asyncio.api(kubeconfig=str(cluster.kubeconfig), namespace="default")
        deployment = await Deployment(DEPLOYMENT, api=api)
        await deployment.create()
        await deployment.wait("condition=Available", timeout=100)
        return [pod.name async for pod in api.get("pods", namespace="default")]

    with cluster.virtual_time():
        assert len(asyncio.run(story())) == 1


def test_kubectl(cluster: Bridged) -> None:
    """A process outside lives in real time, which virtual time follows as long as the test waits for it."""
    kubectl = [str(Path(sys.executable).parent / "kubectl"), "--kubeconfig", str(cluster.kubeconfig)]
    soon = {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "minReadySeconds": 1}}
    status = [*kubectl, "rollout", "status", "deployment/web", "--timeout=60s"]

    def wait() -> None:
        done = subprocess.run(status, capture_output=True, text=True, timeout=120, check=False)
        assert "successfully rolled out" in done.stdout, done.stderr

    cluster.sim.create(soon)
    wait()
    cluster.sim.patch(cluster.kind("apps/v1", "Deployment"), "web", "default", {"spec": {"replicas": 2}})
    with cluster.virtual_time():
        wait()
