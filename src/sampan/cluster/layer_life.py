"""The life of one layer at work: its definitions and objects applied, its controllers run, its service served.

What the API refuses is tried again; a service that fails is started again. Neither ends the process.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from sampan.client.api import Client
from sampan.client.transport import TransportError
from sampan.cluster import layers
from sampan.control import scales
from sampan.control.election import Candidate, Terms
from sampan.control.leading import Leading, Work
from sampan.control.runner import Runner
from sampan.control.worker import Fetch
from sampan.kinds.apiextensions import crd_spec
from sampan.kinds.apiextensions.custom_resource_definition import CUSTOMRESOURCEDEFINITION
from sampan.kinds.builtin import KINDS
from sampan.kinds.kind import Kind, Object
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.meta import objects
from sampan.meta.status import ApiError
from sampan.platform import definitions
from sampan.platform.layer import Around, Layer, Listen, Service

LOG = logging.getLogger(__name__)

ESTABLISHED_SECONDS = 0.1
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 1.0, 60.0
LONG_SECONDS = 300.0
STEADY_SECONDS = 1.0
"""A service that goes on for so long has begun well."""
_BUILT_IN = {(kind.api_version, kind.name): kind for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Means:
    """What a layer works with. `candidate` is how we are called where several may work for it, "" where we are alone."""

    clock: Clock
    ids: Ids
    fetch: Fetch | None = None
    candidate: str = ""
    terms: Terms = field(default_factory=Terms)
    directory: Path | None = None
    address: str = "127.0.0.1"
    listen: Listen | None = None


class LayerLife:
    """`start` returns at once; `wait_ready` when everything is applied, and the controllers run or somebody else's do."""

    def __init__(self, layer: Layer, client: Client, means: Means) -> None:
        self.layer = layer
        self.runner: Runner | None = None
        self.tasks = Tasks(f"layer {layer.name}")
        self.is_ready = False
        self.on_state: Callable[[str], None] | None = None
        self._client = client
        self._means = means
        self._leading: Leading | None = None
        self._is_coming_back = False
        self._ready = asyncio.Event()

    def start(self, before: "LayerLife | None" = None) -> None:
        """Goes on where another one was `before`, on a copy of its store."""
        self.tasks.spawn(self._live(before), "start")

    async def wait_ready(self) -> None:
        await self._ready.wait()

    async def stop(self, *, is_coming_back: bool = False) -> None:
        """In peace. What was applied stays; and so may what serves without us, where nobody else can take our place."""
        self._is_coming_back = is_coming_back and self._leading is None
        if self._leading is not None:
            await self._leading.stop()
        elif self.runner is not None:
            await self.runner.stop()
        await self.tasks.close()

    def kill(self) -> None:
        """At this instant."""
        if self._leading is not None:
            self._leading.kill()
        elif self.runner is not None:
            self.runner.kill()
        self.tasks.kill()

    async def _live(self, before: "LayerLife | None") -> None:
        if before is None or not before.is_ready:
            before = None
            await self._again(self._apply, "what it needs")
        means = self._means
        if means.candidate:
            me = Candidate(means.candidate, layers.lease(self.layer.name), means.terms)
            named = layers.manager(self.layer.name)
            self._leading = Leading(self._client, me, means.clock, self.tasks, named)
            self._leading.start(self._term)
            await self._leading.wait_settled()
        else:
            await self._work(self.tasks, self._client, before.runner if before is not None else None)
        self.is_ready = True
        self._ready.set()
        self._tell(layers.READY)

    def _tell(self, state: str) -> None:
        if self.on_state is not None:
            self.on_state(state)

    def _term(self, tasks: Tasks) -> Work:
        leading = self._leading
        assert leading is not None  # whose term it is
        client = Client(leading.fenced(self._client.transport), self._client.user_agent)

        async def stop() -> None:
            if self.runner is not None:
                await self.runner.stop()

        def kill() -> None:
            if self.runner is not None:
                self.runner.kill()

        return Work(lambda: self._work(tasks, client), stop, kill)

    async def _work(self, tasks: Tasks, client: Client, before: Runner | None = None) -> None:
        means, layer = self._means, self.layer
        self.runner = Runner(client, layer.controllers, means.clock, means.ids, tasks)
        self.runner.fetch = means.fetch
        await self.runner.start(before)
        await self.runner.wait_synced()
        if layer.service is not None:
            place = means.directory, means.address
            around = Around(
                client, means.clock, means.ids, tasks, *place,
                fetch=means.fetch, listen=means.listen, is_coming_back=lambda: self._is_coming_back,
            )  # fmt: skip
            tasks.spawn(self._serve(layer.service, around), "service", critical=False)

    async def _serve(self, service: Service, around: Around) -> None:
        """Each time with tasks of its own, which end with it; their failure is its own."""
        seconds = FIRST_RETRY_SECONDS
        while True:
            began, tasks = around.clock.monotonic(), Tasks(f"service of {self.layer.name}")
            serving = around.tasks.spawn(service(replace(around, tasks=tasks)), "serving", critical=False)
            failing = around.tasks.spawn(tasks.wait(), "parts of the service", critical=False)
            try:
                both = (serving, failing)
                done, _ = await asyncio.wait(both, timeout=STEADY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    self._tell(layers.READY)
                    done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                reason = next((task.exception() for task in done if not task.cancelled()), None)
            finally:
                serving.cancel()
                failing.cancel()
                await asyncio.gather(serving, failing, return_exceptions=True)
                await tasks.close()
            if not serving.cancelled() and serving.exception() is None:
                return
            LOG.warning("the service of the layer %s ended; it is started again: %s", self.layer.name, reason)
            self._tell(f"its service ended: {reason}")
            seconds = FIRST_RETRY_SECONDS if around.clock.monotonic() - began > LONG_SECONDS else seconds
            await around.clock.sleep(seconds)
            seconds = min(seconds * 2, LAST_RETRY_SECONDS)

    # What it needs

    async def _again(self, what: Callable[[], Awaitable[None]], told: str) -> None:
        seconds = FIRST_RETRY_SECONDS
        while True:
            try:
                await what()
            except (ApiError, TransportError, LookupError) as error:
                LOG.warning("the layer %s cannot have %s yet: %s", self.layer.name, told, error)
                self._tell(f"it cannot have {told} yet: {error}")
            else:
                return
            await self._means.clock.sleep(seconds)
            seconds = min(seconds * 2, LAST_RETRY_SECONDS)

    async def _apply(self) -> None:
        for definition in self.layer.definitions:
            await self._define(definition)
        for definition in self.layer.definitions:
            await self._wait_established(objects.name(definition))
        own = {kind.name: kind for kind in map(definitions.kind, self.layer.definitions)}
        for obj in self.layer.objects:
            kind = await self._kind(obj, own)
            await self._client.apply(kind, obj, manager=layers.manager(self.layer.name), force=True)

    async def _define(self, definition: Object) -> None:
        """A definition that somebody else brought stays as it is."""
        found = await self._definition(objects.name(definition))
        manager = layers.manager(self.layer.name)
        fields = found["metadata"].get("managedFields") or () if found is not None else ()
        if found is None or any(entry.get("manager") == manager for entry in fields):
            await self._client.apply(CUSTOMRESOURCEDEFINITION, definition, manager=manager, force=True)

    async def _wait_established(self, name: str) -> None:
        while True:
            found = await self._definition(name)
            if found is not None and crd_spec.is_established(found):
                return
            await self._means.clock.sleep(ESTABLISHED_SECONDS)

    async def _definition(self, name: str) -> Object | None:
        try:
            return await self._client.get(CUSTOMRESOURCEDEFINITION, name)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def _kind(self, obj: Object, own: dict[str, Kind]) -> Kind:
        found = _BUILT_IN.get((obj["apiVersion"], obj["kind"])) or own.get(obj["kind"])
        if found is not None:
            return found
        plural = await scales.resource(self._client, obj["apiVersion"], obj["kind"])
        if plural is None:
            raise LookupError(f"no kind {obj['kind']} in {obj['apiVersion']}")
        group, _, version = obj["apiVersion"].rpartition("/")
        return Kind(group=group, versions=(version,), name=obj["kind"], plural=plural)
