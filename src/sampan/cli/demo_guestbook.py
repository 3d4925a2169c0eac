"""A guestbook in real containers, and its page."""

import argparse
import asyncio
import urllib.error
import urllib.request
from time import monotonic
from typing import Any

import yaml

from sampan.cli import demo_parts
from sampan.cli.main import CommandError
from sampan.cluster.settings import Settings

IMAGE = "guestbook:v1"
NAMESPACE = "default"
WAIT_SECONDS = 60.0


def show(arguments: argparse.Namespace) -> int:
    """Raises CommandError."""
    course = demo_parts.Course()
    print("1. a cluster")
    cluster = demo_parts.cluster(arguments)
    source = demo_parts.example("guestbook")
    print("2. the guestbook's image, made from this machine's Python")
    course.say(demo_parts.image(cluster, IMAGE, sorted(source.glob("*.py"))))
    print("3. the guestbook: a frontend of three replicas and a back end")
    documents = list(yaml.safe_load_all((source / "guestbook.yaml").read_text()))
    address = asyncio.run(_deploy(cluster, documents, course.say))
    url = f"http://{address}/"
    print("4. its page, through the Service")
    page = _page(url)
    course.say(f"fetched {url} ({len(page)} bytes)")
    print("\n" + page.strip() + "\n")
    print(_next_steps(cluster, url))
    return 0


async def _deploy(cluster: Settings, documents: list[Any], say: Any) -> str:
    """Applies the manifest's documents and waits until it is available; returns the frontend Service's address."""
    from sampan.client.api import Client
    from sampan.client.http import HttpTransport
    from sampan.client.kubeconfig import load
    from sampan.client.transport import TransportError
    from sampan.kinds.apps.deployment import DEPLOYMENT
    from sampan.kinds.builtin import KINDS
    from sampan.kinds.core.service import SERVICE
    from sampan.meta import objects
    from sampan.meta.status import ApiError

    by_type = {(kind.api_version, kind.name): kind for kind in KINDS}
    transport = HttpTransport(load(cluster.path("kubeconfig")))
    client = Client(transport, "sampan-demo")
    try:
        for document in documents:
            document["metadata"].setdefault("namespace", NAMESPACE)
            kind = by_type[document["apiVersion"], document["kind"]]
            await client.apply(kind, document, manager="sampan-demo", force=True)
            say(f"{kind.name.lower()} {objects.name(document)} applied")
        async with asyncio.timeout(WAIT_SECONDS):
            for document in documents:
                if document["kind"] == DEPLOYMENT.name:
                    await _wait_available(client, objects.name(document))
                    say(f"deployment {objects.name(document)} available")
        service = await client.get(SERVICE, "guestbook", NAMESPACE)
    except (TransportError, ApiError) as error:
        raise CommandError(f"the guestbook could not be applied: {error}; see: sampan logs") from error
    except TimeoutError as error:
        raise CommandError(
            f"the guestbook was not available after {WAIT_SECONDS:.0f} s; see: kubectl get pods, kubectl get events"
        ) from error
    finally:
        await transport.close()
    return str(service["spec"]["clusterIP"])


async def _wait_available(client: Any, name: str) -> None:
    from sampan.kinds.apps.deployment import DEPLOYMENT

    def is_available(deployment: dict[str, Any]) -> bool:
        state = deployment.get("status", {})
        seen = state.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 1)
        wanted = deployment["spec"]["replicas"]
        return bool(seen and state.get("availableReplicas", 0) >= wanted and state.get("updatedReplicas", 0) >= wanted)

    async for event in client.watch(DEPLOYMENT, NAMESPACE, fields=f"metadata.name={name}"):
        if is_available(event.object):
            return


def _page(url: str) -> str:
    """The page. The Service's rules may be a moment behind the pods: a refused connection is tried again."""
    import time

    deadline = monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError) as error:
            if monotonic() > deadline:
                raise CommandError(f"{url} does not answer: {error}") from error
            time.sleep(0.1)


def _next_steps(cluster: Settings, url: str) -> str:
    context = demo_parts.context_option(cluster)
    return "\n".join(
        [
            f"The guestbook answers at {url}",
            "Try next:",
            f"  curl -d text=hello {url}  &&  curl {url}",
            f"  kubectl{context} get pods -o wide",
            f"  kubectl{context} scale deployment guestbook --replicas=5",
            f"  kubectl{context} logs -l tier=frontend --tail=5",
            f"  kubectl{context} delete pod -l tier=frontend      # they come back",
            f"  sampan down{demo_parts.name_option(cluster)}                                # and nothing is left",
        ]
    )
