"""Load as a user who may little: 500 role bindings, every request on the record, a webhook asked for each pod.

The webhook is a server of the benchmark's own, in a process of its own, that allows everything at once.

    python -m benchmarks.table.restricted KEYS
"""

import asyncio
import base64
import contextlib
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import uvloop
from aiohttp import web

from benchmarks.table.bare import JSON, bare
from benchmarks.table.client import (
    PODS,
    Client,
    Run,
    connect,
    in_turn,
    make_namespace,
    pod,
    spread,
    teach,
    token,
)
from benchmarks.table.cluster import Cluster, cluster
from benchmarks.table.requests import PLAIN, rate
from benchmarks.table.rows import Figure

BINDINGS = 500
POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"
ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces/bench"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


async def measure(short: bool) -> AsyncIterator[Figure]:
    count = 200 if short else 500
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "server.yaml"
        policy.write_text(POLICY)
        with cluster(*PLAIN, "--server-config", str(policy)) as made:
            async with restricted(made) as (ours, other):

                async def create(client: Client, number: int) -> Run:
                    return await spread(client, count, 32, lambda n: client.send("POST", PODS, pod(f"p-{number}-{n}")))

                async def get(client: Client, _: int) -> Run:
                    return await spread(client, 4 * count, 16, lambda n: client.send("GET", f"{PODS}/first"))

                yield rate("restricted-get", await in_turn(ours, other, get), ours)
                yield rate("restricted-create", await in_turn(ours, other, create), ours)
            lines = sum(1 for path in made.data.rglob("audit*.log") for _ in path.open())
            if lines < 3 * 5 * count:
                raise RuntimeError(f"the audit log has {lines} lines")


@contextlib.asynccontextmanager
async def restricted(made: Cluster) -> AsyncIterator[tuple[Client, Client]]:
    """Clients of the cluster, as that user, and of a bare server."""
    async with contextlib.AsyncExitStack() as stack:
        address, pid = stack.enter_context(bare(made.keys))
        hook = stack.enter_context(webhook(made.keys))
        admin = await stack.enter_async_context(connect(made.keys, made.address, []))
        ours = await stack.enter_async_context(connect(made.keys, made.address, made.processes(), is_admin=False))
        other = await stack.enter_async_context(connect(made.keys, address, [pid], is_admin=False))
        await make_namespace(admin, "bench")
        ours.token = other.token = await token(admin, "worker")
        await bind(admin)
        await register(admin, hook, made.keys)
        await ours.send("POST", PODS, pod("first"))
        first = await ours.send("GET", f"{PODS}/first")
        await other.send("PUT", f"{PODS}/first", first)
        await teach(other, first, "first")
        yield ours, other


async def bind(admin: Client) -> None:
    """BINDINGS roles of the user's own, of which only the last lets it work with pods."""
    subject = {"kind": "ServiceAccount", "name": "worker", "namespace": "bench"}

    async def one(n: int) -> None:
        resources = ["pods"] if n == BINDINGS - 1 else [f"things-{n}"]
        rule = {"apiGroups": [""], "resources": resources, "verbs": ["get", "list", "watch", "create"]}
        name = f"r{n:03d}"
        await admin.send("POST", f"{ROLES}/roles", {"metadata": {"name": name}, "rules": [rule]})
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
        await admin.send("POST", f"{ROLES}/rolebindings", binding)

    await spread(admin, BINDINGS, 16, one)


async def register(admin: Client, address: str, keys: Path) -> None:
    """The webhook is asked about new pods."""
    authority = base64.b64encode((keys / "ca.crt").read_bytes()).decode()
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    hook = {
        "name": "pods.bench.example.com",
        "clientConfig": {"url": address, "caBundle": authority},
        "rules": [rule],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail",
    }
    await admin.send("POST", WEBHOOKS, {"metadata": {"name": "bench"}, "webhooks": [hook]})


@contextlib.contextmanager
def webhook(keys: Path) -> Iterator[str]:
    """The webhook's process; yields its address."""
    command = (sys.executable, "-m", "benchmarks.table.restricted", str(keys))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield f"https://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            process.terminate()


async def allow(request: web.BaseRequest) -> web.StreamResponse:
    asked = orjson.loads(b"".join([chunk async for chunk in request.content.iter_any()]))
    response = {"uid": asked["request"]["uid"], "allowed": True}
    answer = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    return web.Response(body=orjson.dumps(answer), content_type=JSON)


async def serve(keys: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(keys / "apiserver.crt", keys / "apiserver.key")
    server = web.Server(allow, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=tls)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
