"""Applies an application's objects through the API, and waits until they are up; takes them away again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sampan.client.api import Client
from sampan.cluster.apps import objects, ownership, rollout
from sampan.cluster.apps.objects import Application, Object
from sampan.cluster.apps.ownership import FOREIGN, MOVED, OTHER_SOURCE, OWN, UNMARKED
from sampan.cluster.apps.rollout import State
from sampan.kinds.apps.deployment import DEPLOYMENT
from sampan.kinds.batch.job import JOB
from sampan.kinds.builtin import KINDS
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.pod import POD
from sampan.kinds.core.secret import SECRET
from sampan.kinds.core.service import SERVICE
from sampan.kinds.kind import Kind
from sampan.kit.clock import Clock
from sampan.meta.status import ApiError

MANAGER = "sampan-deploy"
LOOK_SECONDS = 0.25
ADDRESS_SECONDS = 10.0
PRUNED = (SERVICE, DEPLOYMENT, JOB, CONFIGMAP, SECRET)
"""What an application may be made of, but for its claims: first what leads to it, last what it reads."""
_BY_TYPE = {(kind.api_version, kind.name): kind for kind in KINDS}


def _is_applied(found: Object) -> bool:
    """Whether we have, and not somebody with another tool who was given the objects, or has deleted it already."""
    fields = found["metadata"].get("managedFields") or ()
    return any(entry.get("manager") == MANAGER for entry in fields) and not found["metadata"].get("deletionTimestamp")


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
    takes_over: bool = False
    """Whether what the application has from another source is this one's from now on: changed, removed and pruned with it."""
    _said: set[str] = field(default_factory=set)

    async def apply(self, waves: Sequence[Sequence[Object]]) -> list[str]:
        """Wave by wave, each up before the next; returns the addresses. Raises ApiError, DeployError.

        Nothing is changed when one of them is there already and another's.
        """
        for obj in (obj for wave in waves for obj in wave):
            await self._refuse_others(obj)
        services = []
        for wave in waves:
            applied = [await self._applied(obj) for obj in wave]
            for obj in applied:
                await self._wait(obj)
            services += [obj for obj in applied if obj["kind"] == SERVICE.name]
        return [address for service in services for address in await self._addresses(service)]

    async def remove(self, waves: Sequence[Sequence[Object]]) -> None:
        """Deletes what was applied, the last first, and waits until it is gone. What is not there is left alone.

        So is what is there by the same name, but another's, also of the application from another source. Claims stay.
        Raises ApiError, DeployError.
        """
        for wave in reversed(waves):
            for obj in reversed(wave):
                if obj["kind"] not in ("Namespace", "PersistentVolumeClaim") and await self._deleted(obj):
                    self.say(f"{_title(obj)} removed")

    async def prune(self, app: Application, waves: Sequence[Sequence[Object]]) -> None:
        """Deletes what was applied for the application before and is not among these any more. Claims stay.

        Only what bears its labels, comes from the same source and has been applied by us is taken for its own. What may
        be its own is named, and left to the user. Raises ApiError.
        """
        wanted = {(obj["kind"], _key(obj)) for wave in waves for obj in wave}
        marks = objects.marks(app)
        labels = ",".join(f"{name}={value}" for name, value in marks["labels"].items())
        for kind in PRUNED:
            for found in (await self.client.list(kind, app.namespace, labels=labels)).items:
                if (kind.name, _key(found)) not in wanted and _is_applied(found):
                    await self._prune(kind, found, ownership.relation(found, marks))

    async def _prune(self, kind: Kind, found: Object, how: str) -> None:
        """What may not go is said, and is no reason to fail: the application is up."""
        title = _title({**found, "kind": kind.name})
        if how != OWN and not self.takes_over:
            if how in (MOVED, UNMARKED):
                whence = "was deployed from another folder" if how == MOVED else "bears no mark of where it is from"
                self._say_once(f"{title} stays, though nothing asks for it: it {whence}; --take-over removes it")
            return
        try:
            await self.client.delete(kind, _key(found), propagation="Background", uid=found["metadata"]["uid"])
        except ApiError as error:
            if error.code != 404:
                self.say(f"{title} stays, though nothing asks for it: {error}")
        else:
            self.say(f"{title} removed: nothing asks for it any more")

    async def _deleted(self, obj: Object) -> bool:
        """Whether it was there. A Job may have another name now, as it is named by what it runs."""
        began = self.clock.monotonic()
        if obj["kind"] == JOB.name:
            labels = obj["metadata"]["labels"]
            wanted = ",".join(f"{name}={labels[name]}" for name in (objects.NAME, objects.INSTANCE))
            jobs = (await self.client.list(JOB, obj["metadata"]["namespace"], labels=wanted)).items
            mine = [job for job in jobs if self._may_go({**job, "kind": JOB.name}, obj)]
            for job in mine:
                await self.client.delete(JOB, _key(job), propagation="Background")
            return bool(mine)
        found = await self._found(obj)
        if found is None:
            return False
        if not self._may_go({**found, "kind": obj["kind"]}, obj):
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

    def _may_go(self, found: Object, obj: Object) -> bool:
        """Whether it is the application's own from this source; says whose it is if not."""
        how = ownership.relation(found, obj["metadata"])
        if how in (OWN, UNMARKED) or (self.takes_over and how != FOREIGN):
            return True
        more = "" if how == FOREIGN else "; --take-over removes it"
        self.say(f"{_title(found)} is left alone: it is {ownership.owner(found, how)}{more}")
        return False

    async def _refuse_others(self, obj: Object) -> None:
        """Namespaces are anybody's. Raises ApiError, DeployError."""
        present = None if obj["kind"] == "Namespace" else await self._found(obj)
        how = OWN if present is None else ownership.relation(present, obj["metadata"])
        if present is None or how in (OWN, UNMARKED) or (self.takes_over and how != FOREIGN):
            return
        whose = f"{_title(obj)} is there already, and is {ownership.owner(present, how)}"
        if how == MOVED:
            self._say_once(
                f"{whose}: it is this one's from now on; give it a name (--app) if it is another application"
            )
            return
        more = ", or have it with --take-over" if how == OTHER_SOURCE else ""
        raise DeployError(f"{whose}: choose another --app or --namespace{more}")

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.say(text)

    async def _applied(self, obj: Object) -> Object:
        await self._refuse_others(obj)
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
            self._say_once(f"{_title(obj)}: {trouble}")
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
