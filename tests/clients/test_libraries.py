"""Client libraries that nobody here wrote, unmodified: kubernetes, kubernetes-asyncio, lightkube, kr8s."""

import asyncio
import threading
from typing import Any

import pytest

from tests.clients.conftest import IDLE, Cluster, needs_root

pytestmark = [needs_root, pytest.mark.root, pytest.mark.filterwarnings("default")]

TEMPLATE = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "web", "image": "busybox:1.36", "command": ["sh", "-c", IDLE]}],
    },
}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": TEMPLATE},
}
DEFINITION: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "lamps.libraries.example.com"},
    "spec": {
        "group": "libraries.example.com",
        "scope": "Namespaced",
        "names": {"plural": "lamps", "singular": "lamp", "kind": "Lamp"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def test_kubernetes(cluster: Cluster, ns: str) -> None:
    """The official client: typed objects, watches, patches, exec, and the dynamic client on a custom resource."""
    from kubernetes import client, config, dynamic, stream, watch

    api = config.new_client_from_config(str(cluster.kubeconfig))
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    seen: list[tuple[str, str]] = []

    def follow() -> None:
        watcher = watch.Watch()
        for event in watcher.stream(core.list_namespaced_pod, ns, timeout_seconds=60):
            pod = event["object"]
            seen.append((event["type"], pod.status.phase))
            if pod.status.phase == "Running":
                watcher.stop()

    thread = threading.Thread(target=follow)
    thread.start()
    apps.create_namespaced_deployment(ns, DEPLOYMENT)
    thread.join(60)
    assert ("ADDED", "Pending") in seen
    assert seen[-1][1] == "Running"
    apps.patch_namespaced_deployment_scale("web", ns, {"spec": {"replicas": 2}})
    assert apps.read_namespaced_deployment("web", ns).spec.replicas == 2
    pod = next(p for p in core.list_namespaced_pod(ns).items if p.status.phase == "Running")
    said = stream.stream(
        core.connect_get_namespaced_pod_exec, pod.metadata.name, ns, command=["echo", "hi"], stdout=True, stderr=True,
        stdin=False, tty=False,
    )  # fmt: skip
    assert said == "hi\n"
    client.ApiextensionsV1Api(api).create_custom_resource_definition(DEFINITION)
    try:
        cluster.kubectl("wait", "--for=condition=Established", "crd/lamps.libraries.example.com", "--timeout=60s")
        lamps = dynamic.DynamicClient(api).resources.get(api_version="libraries.example.com/v1", kind="Lamp")
        lamps.create(
            {"apiVersion": "libraries.example.com/v1", "kind": "Lamp", "metadata": {"name": "l"}, "spec": {"on": True}},
            namespace=ns,
        )
        lamps.patch(name="l", namespace=ns, body={"spec": {"on": False}}, content_type="application/merge-patch+json")
        assert lamps.get(name="l", namespace=ns).spec.on is False
        assert [item.metadata.name for item in lamps.get(namespace=ns).items] == ["l"]
        lamps.delete(name="l", namespace=ns)
    finally:
        client.ApiextensionsV1Api(api).delete_custom_resource_definition("lamps.libraries.example.com")
    with pytest.raises(client.ApiException, match='configmaps \\\\"none\\\\" not found'):
        core.read_namespaced_config_map("none", ns)


def test_kubernetes_asyncio(cluster: Cluster, ns: str) -> None:
    """Watches and writes in one event loop."""
    from kubernetes_asyncio import client, config, watch

    async def story() -> list[str]:
        settings = client.Configuration()
        await config.load_kube_config(str(cluster.kubeconfig), client_configuration=settings)
        async with client.ApiClient(settings) as api:
            core = client.CoreV1Api(api)

            async def follow() -> list[str]:
                found = []
                async with watch.Watch() as watcher:
                    selector = {"label_selector": "from=asyncio", "timeout_seconds": 60}
                    async for event in watcher.stream(core.list_namespaced_config_map, ns, **selector):
                        found.append(event["type"])
                        if event["type"] == "DELETED":
                            return found
                return found

            following = asyncio.ensure_future(follow())
            labels = {"labels": {"from": "asyncio"}}
            await core.create_namespaced_config_map(ns, {"metadata": {"name": "a", **labels}, "data": {"x": "1"}})
            await core.patch_namespaced_config_map("a", ns, {"data": {"x": "2"}})
            read = await core.read_namespaced_config_map("a", ns)
            assert read.data == {"x": "2"}
            await core.delete_namespaced_config_map("a", ns)
            return await following

    seen = asyncio.run(story())
    assert seen[-1] == "DELETED"


def test_lightkube(cluster: Cluster, ns: str) -> None:
    """Typed and generic resources, server-side apply, and its wait."""
    import lightkube
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.apps_v1 import Deployment
    from lightkube.resources.core_v1 import ConfigMap

    client = lightkube.Client(lightkube.KubeConfig.from_file(str(cluster.kubeconfig)), namespace=ns, field_manager="lk")
    client.apply(ConfigMap(metadata=ObjectMeta(name="c", namespace=ns), data={"k": "v"}))
    client.apply(ConfigMap(metadata=ObjectMeta(name="c", namespace=ns), data={"k": "w"}))
    found = client.get(ConfigMap, "c", namespace=ns)
    assert found.data == {"k": "w"}
    assert found.metadata.managedFields[0].manager == "lk"
    client.create(Deployment.from_dict(DEPLOYMENT), namespace=ns)
    client.wait(Deployment, "web", for_conditions=["Available"], namespace=ns)
    assert [d.metadata.name for d in client.list(Deployment, namespace=ns)] == ["web"]
    client.delete(Deployment, "web", namespace=ns)


def test_kr8s(cluster: Cluster, ns: str) -> None:
    """Discovery, objects, scaling, waiting and execution."""
    import kr8s
    from kr8s.objects import Deployment

    api = kr8s.api(kubeconfig=str(cluster.kubeconfig), namespace=ns)
    assert api.version()["minor"] == "36"
    deployment = Deployment({**DEPLOYMENT, "metadata": {"name": "web", "namespace": ns}}, api=api)
    deployment.create()
    deployment.wait("condition=Available", timeout=60)
    deployment.scale(2)
    deployment.refresh()
    assert deployment.replicas == 2
    pods = list(api.get("pods", namespace=ns, label_selector={"app": "web"}))
    pods[0].wait("condition=Ready", timeout=60)
    assert pods[0].exec(["echo", "hi"]).stdout == b"hi\n"
    deployment.annotate({"seen": "yes"})
    deployment.delete()
