"""A controller with a planted race: every queue (a ConfigMap with the label app=queue) has one worker pod.

It does what many first controllers do: it looks into its cache whether the pod is there, and creates it if not.
"""

import asyncio


async def run(program):
    queues, pods = program.kind("configmaps"), program.kind("pods")
    changed = asyncio.Queue()
    workers = {}  # the cache: names of pods by queue, as the watch tells

    def pod_changed(type, pod):
        known = workers.setdefault(pod["metadata"]["labels"]["queue"], set())
        (known.discard if type == "DELETED" else known.add)(pod["metadata"]["name"])

    def queue_changed(type, queue):
        changed.put_nowait(queue["metadata"]["name"])

    async def reconcile():
        while True:
            queue = await changed.get()
            if not workers.get(queue):
                await program.client.create(pods, worker(queue))

    async with asyncio.TaskGroup() as group:
        group.create_task(await follow(program.client, pods, "app=worker", pod_changed))
        group.create_task(await follow(program.client, queues, "app=queue", queue_changed))
        group.create_task(reconcile())


async def follow(client, kind, labels, tell):
    """Tells what is there now; returns what tells of every change from then on."""
    listed = await client.list(kind, "default", labels=labels)
    for obj in listed.items:
        tell("ADDED", obj)

    async def watch():
        async for event in client.watch(kind, "default", labels=labels, resource_version=listed.resource_version):
            tell(event.type, event.object)

    return watch()


def worker(queue):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{queue}-",
            "namespace": "default",
            "labels": {"app": "worker", "queue": queue},
        },
        "spec": {"containers": [{"name": "worker", "image": "worker:1"}]},
    }
