"""Applies an application's objects through the API, and waits until they are up; takes them away again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sampan.client.api import Client
from sampan.cluster.apps import objects, rollout
from sampan.cluster.apps.objects import Object
from sampan.cluster.apps.rollout import State
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.batch.job import JOB
from sampan.kinds.builtin import KINDS
from sampan.kinds.core.pod import POD
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Kind
from sampan.kit.clock import Clock
from sampan.meta.status import ApiError

MANAGER = "sampan-deploy"
LOOK_SECONDS = 0.25
ADDRESS_SECONDS = 10.0
_BY_TYPE = {(kind.api_version, kind.name): kind for kind in KINDS}


def _is_ours(found: Object, obj: Object) -> bool:
    """Whether what is there is the application's, so that it may be changed and deleted. Namespaces are anybody's."""
    have, want = found["metadata"].get("labels") or {}, obj["metadata"].get("labels") or {}
    return obj["kind"] == "Namespace" or all(
        have.get(name) == want.get(name) for name in (objects.INSTANCE, objects.MANAGED_BY)
    )


def _owner(found: Object) -> str:
    labels = found["metadata"].get("labels") or {}
    if labels.get(objects.MANAGED_BY) == "sampan" and labels.get(objects.INSTANCE):
        return f"that of the application {labels[objects.INSTANCE]}"
    return "not made by sampan deploy"


class DeployError(Exception):
    """It is not up: which object, and why."""


@dataclass(slots=True)
class Deploying:
    """One application on its way. `say` is told what happens."""

    client: Client
    clock: Clock
    say: Callable[[str], None]
    timeout_seconds: float = 300.0
    has_balancers: bool = True
    """Whether the addresses of load balancers are reached from here; else the nodes' ports are."""
    _said: set[str] = field(default_factory=set)

    async def apply(self, waves: Sequence[Sequence[Object]]) -> list[str]:
        """Wave by wave, each up before the next; returns the addresses. Raises ApiError, DeployError."""
        services = []
        for wave in waves:
            applied = [await self._applied(obj) for obj in wave]
            for obj in applied:
                await self._wait(obj)
            services += [obj for obj in applied if obj["kind"] == SERVICE.name]
        return [address for service in services for address in await self._addresses(service)]

    async def remove(self, waves: Sequence[Sequence[Object]]) -> None:
        """Deletes what was applied, the last first, and waits until it is gone. What is not there is left alone.

        So is what is there by the same name, but is not the application's. Claims stay. Raises ApiError, DeployError.
        """
        for wave in reversed(waves):
            for obj in reversed(wave):
                if obj["kind"] not in ("Namespace", "PersistentVolumeClaim") and await self._deleted(obj):
                    self.say(f"{_title(obj)} removed")

    async def _deleted(self, obj: Object) -> bool:
        """Whether it was there. A Job may have another name now, as it is named by what it runs."""
        began = self.clock.monotonic()
        if obj["kind"] == JOB.name:
            labels = obj["metadata"]["labels"]
            wanted = ",".join(f"{name}={labels[name]}" for name in (objects.NAME, objects.INSTANCE))
            jobs = (await self.client.list(JOB, obj["metadata"]["namespace"], labels=wanted)).items
            for job in jobs:
                await self.client.delete(JOB, _key(job), propagation="Background")
            return bool(jobs)
        found = await self._found(obj)
        if found is None:
            return False
        if not _is_ours(found, obj):
            self.say(f"{_title(obj)} is left alone: it is {_owner(found)}")
            return False
        await self.client.delete(_kind(obj), _key(obj), propagation="Background")
        namespace, name = _key(obj)
        while self.clock.monotonic() - began < self.timeout_seconds:
            try:
                await self.client.get(_kind(obj), name, namespace)
            except ApiError as error:
                if error.code == 404:
                    return True
                raise
            await self.clock.sleep(LOOK_SECONDS)
        raise DeployError(f"{_title(obj)}: it is not gone after {self.timeout_seconds:.0f} s")

    async def _found(self, obj: Object) -> Object | None:
        namespace, name = _key(obj)
        try:
            return await self.client.get(_kind(obj), name, namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def _applied(self, obj: Object) -> Object:
        present = await self._found(obj)
        if present is not None and not _is_ours(present, obj):
            raise DeployError(
                f"{_title(obj)} is there already, and is {_owner(present)}: choose another --app or --namespace"
            )
        try:
            found = await self.client.apply(_kind(obj), obj, manager=MANAGER, force=True)
        except ApiError as error:
            raise DeployError(f"{_title(obj)}: {error}") from error
        self.say(f"{_title(obj)} applied")
        return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], **found}

    async def _wait(self, obj: Object) -> None:
        judge = {DEPLOYMENT.name: rollout.of_deployment, JOB.name: rollout.of_job}.get(obj["kind"])
        if judge is None:
            return
        began, shown = self.clock.monotonic(), ""
        state = judge(obj)
        while not state.is_done:
            await self.clock.sleep(LOOK_SECONDS)
            found = await self.client.get(_kind(obj), obj["metadata"]["name"], obj["metadata"]["namespace"])
            state = judge(found)
            if state.text != shown:
                shown = state.text
                self.say(f"{_title(obj)}: {shown}")
            await self._check(obj, state, self.clock.monotonic() - began)

    async def _check(self, obj: Object, state: State, seconds: float) -> None:
        """Says what keeps it from being up. Raises DeployError when it won't be."""
        if state.is_done or (seconds < 1.0 and not state.failure):
            return
        meta = obj["metadata"]
        template = obj["spec"]["template"]
        labels = template["metadata"]["labels"]
        wanted = ",".join(f"{name}={labels[name]}" for name in (objects.NAME, objects.INSTANCE))
        found = (await self.client.list(POD, meta["namespace"], labels=wanted)).items
        pods = [pod for pod in found if rollout.is_current(pod, template)]
        troubles = rollout.troubles(pods)
        for trouble in troubles:
            if trouble not in self._said:
                self._said.add(trouble)
                self.say(f"{_title(obj)}: {trouble}")
        failure = rollout.hopeless(pods) or state.failure
        if not failure and seconds > self.timeout_seconds:
            failure = "; ".join([f"not up after {self.timeout_seconds:.0f} s: {state.text}", *troubles])
        if failure:
            raise DeployError(f"{_title(obj)}: {failure}")

    async def _addresses(self, service: Object) -> list[str]:
        """Waits a while for the balancer, and takes the node's port if there is none."""
        if service["spec"].get("type") != "LoadBalancer":
            return []
        if not self.has_balancers:
            return rollout.addresses({**service, "status": {}})
        began = self.clock.monotonic()
        found = service
        while not found.get("status", {}).get("loadBalancer", {}).get("ingress"):
            if self.clock.monotonic() - began > ADDRESS_SECONDS:
                break
            await self.clock.sleep(LOOK_SECONDS)
            found = await self.client.get(SERVICE, service["metadata"]["name"], service["metadata"]["namespace"])
        return rollout.addresses(found)


def _kind(obj: Object) -> Kind:
    return _BY_TYPE[obj["apiVersion"], obj["kind"]]


def _key(obj: Object) -> tuple[str, str]:
    return str(obj["metadata"].get("namespace", "")), str(obj["metadata"]["name"])


def _title(obj: Object) -> str:
    return f"{obj['kind'].lower()} {obj['metadata']['name']}"
