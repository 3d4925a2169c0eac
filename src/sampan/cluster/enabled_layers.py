"""The layers that a control plane works for: those that are enabled in its cluster, from the moment that they are.

Nothing is loaded, and nothing runs, while none is.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sampan.client.api import Client
from sampan.client.transport import Transport, TransportError
from sampan.cluster import fetching, layers
from sampan.cluster.simulated_outbound import SimulatedOutbound
from sampan.cluster.wiring import Surroundings
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.kind import Object
from sampan.meta.status import ApiError
from sampan.server.admission import terminating_definition
from sampan.server.app import App
from sampan.server.cache import Change, Item
from sampan.server.outbound import Outbound
from sampan.web.message import Peer

if TYPE_CHECKING:
    from sampan.cluster.layer_judges import Judge
    from sampan.cluster.layer_life import LayerLife, Means

LOG = logging.getLogger(__name__)

AGAIN_SECONDS = 10.0
_KEY = f"{layers.NAMESPACE}/{layers.CONFIG}"


def _data(item: Item | None) -> Object:
    """What the ConfigMap says; nothing of any other."""
    return item.tree.get("data") or {} if item is not None and item.key == _KEY else {}


class EnabledLayers:
    """`judge` when the server's cache is full and nobody is answered yet; `start` when controllers may run."""

    def __init__(
        self, app: App, around: Surroundings, door: Callable[[Peer], Transport], outbound: Outbound | None
    ) -> None:
        self._app = app
        self._around = around
        self._door = door
        self._outbound = outbound
        self._lives: dict[str, LayerLife] = {}
        self._judges: dict[str, list[Judge]] = {}
        self._changed = asyncio.Event()
        self._states: dict[str, str] = {}
        self._before: Mapping[str, LayerLife] = {}

    def judge(self) -> None:
        """The rules of what is enabled hold from now on, and those of what is not no longer."""
        wanted = self._wanted()
        for name in [name for name in self._judges if name not in wanted]:
            self._app.admission.remove(self._judges.pop(name))
        for name in wanted:
            if name not in self._judges:
                try:
                    self._appoint(name)
                except Exception:
                    LOG.exception("the rules of the layer %s can't be begun", name)

    def start(self, before: "EnabledLayers | None" = None) -> None:
        """Follows what is enabled from now on. It goes on where another one was `before`, on a copy of its store."""
        self._before = dict(before._lives) if before is not None else {}
        cache = self._app.cache.of(CONFIGMAP)

        def changed(change: Change) -> None:
            before, after = (_data(item) for item in (change.previous, change.item))
            if before != after:  # and not only what we tell of them
                self._changed.set()

        cache.listen(changed)
        if cache.get(_KEY) is not None:
            self._changed.set()
        self._around.tasks.spawn(self._follow(), "layers")

    def is_enabled(self, name: str) -> bool:
        """Whether the cluster wants the layer."""
        return name in self._wanted()

    def is_ready(self, name: str) -> bool:
        """Whether all of the layer is at work."""
        return name in self._lives and self._lives[name].is_ready

    async def stop(self) -> None:
        """In peace. They are still enabled, and so go on when the control plane is back."""
        for life in self._lives.values():
            await life.stop(is_coming_back=True)

    def kill(self) -> None:
        """At this instant."""
        for life in self._lives.values():
            life.kill()

    def _wanted(self) -> list[str]:
        found = self._app.cache.of(CONFIGMAP).get(_KEY)
        return layers.enabled(found.tree if found is not None else None)

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self.judge()
            wanted = self._wanted()
            for name in [name for name in self._lives if name not in wanted]:
                LOG.info("the layer %s is disabled", name)
                self._states.pop(name, None)
                await self._lives.pop(name).stop()
            for name in wanted:
                if name not in self._lives:
                    try:
                        self._begin(name)
                    except Exception:
                        LOG.exception("the layer %s can't be begun", name)
            self._before = {}

    def _appoint(self, name: str) -> None:
        from sampan.cluster.layer_judges import Judge

        judges = self._judges[name] = [Judge(reviewer, self._app.served) for reviewer in layers.load(name).reviewers]
        self._app.admission.insert(judges, before=terminating_definition)

    def _begin(self, name: str) -> None:
        from sampan.cluster.layer_life import LayerLife

        layer = layers.load(name)
        LOG.info("the layer %s is enabled", name)
        manager = layers.manager(name)
        identity = Peer(f"system:{manager}", ("system:masters",))
        client = Client(self._door(identity), manager, watch=self._around.watch)
        life = self._lives[name] = LayerLife(layer, client, self._means())
        life.on_state = lambda state: self._note(name, client, state)
        self._around.tasks.spawn(self._mind(name, life), f"layer {name}")
        life.start(self._before.get(name))

    async def _mind(self, name: str, life: "LayerLife") -> None:
        """One that fails is begun anew a little later, and nobody else is the worse for it; its rules hold meanwhile."""
        try:
            await life.tasks.wait()
        except Exception as error:
            LOG.exception("the layer %s failed", name)
            if life.on_state is not None:
                life.on_state(f"it failed: {error}")
            if self._lives.get(name) is life:
                await self._lives.pop(name).stop()
            await self._around.clock.sleep(AGAIN_SECONDS)
            self._changed.set()

    def _note(self, name: str, client: Client, state: str) -> None:
        """People are told how the layer is, once for each change."""
        if self._states.get(name) != state:
            self._states[name] = state
            self._around.tasks.spawn(self._tell(name, client), f"state of {name}", critical=False)

    async def _tell(self, name: str, client: Client) -> None:
        if name in self._wanted():
            try:
                await layers.tell(client, name, self._states[name])
            except (ApiError, TransportError) as error:
                LOG.warning("how the layer %s is could not be written down: %s", name, error)

    def _means(self) -> "Means":
        from sampan.cluster.layer_life import Means

        around = self._around
        fetch = fetching.Fetching(self._outbound, self._app.registry) if self._outbound is not None else None
        listen = self._outbound.serve_host if isinstance(self._outbound, SimulatedOutbound) else None
        return Means(
            around.clock, around.ids, fetch, around.candidate, around.terms, around.directory, around.address, listen
        )  # fmt: skip
