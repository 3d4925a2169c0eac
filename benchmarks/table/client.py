"""The client of all measurements: the same for our server and the bare one. One process, TLS, JSON, a bearer token."""

import asyncio
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from benchmarks.table.bare import ANSWER, JSON, NAME
from benchmarks.table.cluster import cpu_seconds

Tree = dict[str, Any]
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
CORE = "/api/v1"
NAMESPACE = f"{CORE}/namespaces/bench"
PODS = f"{NAMESPACE}/pods"
ROUNDS = 3


class Client:
    """Requests to one server. `pids` are the processes whose time counts as the server's."""

    def __init__(self, session: aiohttp.ClientSession, address: str, pids: list[int]) -> None:
        self.session, self.address, self.pids = session, address, pids
        self.token = ""

    async def send(self, method: str, path: str, body: Tree | bytes | None = None, media: str = JSON) -> bytes:
        """The answer's body. RuntimeError for anything but success."""
        data = orjson.dumps(body) if isinstance(body, dict) else body
        headers = (
            {"Content-Type": media, "Authorization": f"Bearer {self.token}"} if self.token else {"Content-Type": media}
        )
        async with self.session.request(method, self.address + path, data=data, headers=headers) as answer:
            found = await answer.read()
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status} {found[:400]!r}")
            return found

    async def get(self, path: str) -> Tree:
        found: Tree = orjson.loads(await self.send("GET", path))
        return found

    def cpu_seconds(self) -> float:
        return sum(map(cpu_seconds, self.pids))


@dataclass(slots=True)
class Run:
    """What one round of requests took."""

    count: int
    seconds: float
    cpu_seconds: float
    late_ms: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.cpu_seconds / self.count


@asynccontextmanager
async def connect(keys: Path, address: str, pids: list[int], *, is_admin: bool = True) -> AsyncIterator[Client]:
    """A client with the administrator's certificate, unless it is to show a token alone."""
    tls = ssl.create_default_context(cafile=str(keys / "ca.crt"))
    if is_admin:
        tls.load_cert_chain(keys / "admin.crt", keys / "admin.key")
    headers = {"Accept-Encoding": "identity", "Accept": JSON}
    connector = aiohttp.TCPConnector(ssl=tls, limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
        yield Client(session, address, pids)


async def spread(client: Client, count: int, workers: int, act: Callable[[int], Awaitable[object]]) -> Run:
    """`act` of each number, by so many at a time."""
    numbers, late = iter(range(count)), []

    async def work() -> None:
        for number in numbers:
            began = time.perf_counter()
            await act(number)
            late.append(1000 * (time.perf_counter() - began))

    cpu, began = client.cpu_seconds(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(workers)))
    return Run(count, time.perf_counter() - began, client.cpu_seconds() - cpu, sorted(late))


Round = Callable[[Client, int], Awaitable[Run]]


async def in_turn(ours: Client, bare: Client, act: Round, rounds: int = ROUNDS) -> tuple[list[Run], list[Run]]:
    """Rounds against both servers in turn, so that both meet the same machine."""
    mine, theirs = [], []
    for number in range(rounds):
        mine.append(await act(ours, number))
        theirs.append(await act(bare, number))
    return mine, theirs


def middle(runs: list[Run]) -> float:
    """The median rate."""
    return statistics.median(run.per_second for run in runs)


def cpu_ms(runs: list[Run]) -> float:
    """Of one operation, the median."""
    return statistics.median(run.cpu_ms for run in runs)


def slowest(runs: list[Run]) -> float:
    """The slowest hundredth of all, in ms."""
    late = sorted(each for run in runs for each in run.late_ms)
    return late[int(len(late) * 0.99)]


async def teach(bare: Client, answer: bytes, name: str) -> None:
    """The bare server answers writes as ours answered one, each with its own name."""
    await bare.send("PUT", ANSWER, answer.replace(name.encode(), NAME))


async def token(admin: Client, account: str) -> str:
    """A token of a service account of the namespace, which is made."""
    metadata = {"name": account}
    accounts = f"{NAMESPACE}/serviceaccounts"
    await admin.send("POST", accounts, {"metadata": metadata})
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 36000}}
    answer = orjson.loads(await admin.send("POST", f"{accounts}/{account}/token", asked))
    return str(answer["status"]["token"])


async def administrator(admin: Client, namespace: str = "bench") -> str:
    """The namespace, and a token of an account in it that may do everything, by RBAC."""
    await make_namespace(admin, namespace)
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"kind": "ServiceAccount", "name": "bench", "namespace": namespace}
    binding = {"metadata": {"name": "bench"}, "roleRef": role, "subjects": [subject]}
    await admin.send("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    return await token(admin, "bench")


async def make_namespace(admin: Client, name: str) -> None:
    """With its default account, without which no pod is admitted."""
    await admin.send("POST", f"{CORE}/namespaces", {"metadata": {"name": name}})
    for _ in range(200):
        if (await admin.get(f"{CORE}/namespaces/{name}/serviceaccounts"))["items"]:
            return
        await asyncio.sleep(0.05)
    raise RuntimeError(f"namespace {name} got no service account")


def pod(name: str, **spec: Any) -> Tree:
    """A pod of an ordinary size, as a client sends it; nobody schedules it unless `spec` says so."""
    resources = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}}
    container = {
        "name": "main",
        "image": "nginx:1.27",
        "args": ["nginx", "-g", "daemon off;"],
        "env": [{"name": f"SETTING_{n}", "value": "on"} for n in range(6)],
        "ports": [{"containerPort": 80}],
        "resources": resources,
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    }
    labels = {"app": "bench", "pod-template-hash": "5d8f7c9b6"}
    metadata = {"name": name, "labels": labels, "annotations": {"bench.example.com/note": "n" * 60}}
    volumes = [{"name": "scratch", "emptyDir": {}}]
    rest = {"volumes": volumes, "automountServiceAccountToken": False, "schedulerName": "none", **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **rest}}


def config_map(name: str, value: str = "v" * 200) -> Tree:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": value}}


def check_complete(found: Tree) -> None:
    """RuntimeError for a pod that lacks what a real server fills in: figures of such pods would not count."""
    metadata, spec = found["metadata"], found["spec"]
    filled = {
        "metadata.managedFields": metadata.get("managedFields"),
        "metadata.uid": metadata.get("uid"),
        "spec.dnsPolicy": spec.get("dnsPolicy"),
        "spec.terminationGracePeriodSeconds": spec.get("terminationGracePeriodSeconds"),
        "spec.tolerations": spec.get("tolerations"),
        "spec.containers[0].terminationMessagePath": spec["containers"][0].get("terminationMessagePath"),
        "spec.containers[0].imagePullPolicy": spec["containers"][0].get("imagePullPolicy"),
        "status.qosClass": found.get("status", {}).get("qosClass"),
        "status.phase": found.get("status", {}).get("phase"),
    }
    missing = [path for path, value in filled.items() if not value]
    if missing:
        raise RuntimeError(f"the pods are not complete objects: {', '.join(missing)} is missing")
