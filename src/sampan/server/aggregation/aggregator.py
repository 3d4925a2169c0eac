"""The aggregation layer: groups and versions that other servers serve, as if they were ours.

`route` takes a request that is theirs; `extend` joins what they say about themselves to our documents.
In the background: our own APIServices, the availability of theirs, and what they tell.

https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import orjson

from sampan.kinds.apiregistration import api_service
from sampan.kinds.apiregistration.api_service import APISERVICE
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.service import SERVICE
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE, SERVICE_NAME_LABEL
from sampan.kinds.kind import Kind
from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.meta import objects, status
from sampan.server import aside
from sampan.server.aggregation import (
    authentication_config,
    availability,
    documents,
    extension,
    priorities,
    registration,
)
from sampan.server.aggregation.documents import Told
from sampan.server.aggregation.extension import Extensions, Identity
from sampan.server.cache import Cache, Change, Item
from sampan.server.identity import LOOPBACK, MASTERS_GROUP, User
from sampan.server.outbound import Outbound, OutboundError
from sampan.server.served import Served
from sampan.server.service_target import Objects
from sampan.web.message import Peer, Request, Response

LOG = logging.getLogger(__name__)
CHECK_SECONDS = 5.0
DOCUMENT_SECONDS = 10.0
AGAIN_SECONDS = 30.0
TOGETHER = 64
KIND_WEIGHT = 16  # as much work as so many bytes of an object
FIRST_WAIT_SECONDS = 0.25
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
_CONFIG_MAP_KEY = f"{authentication_config.NAMESPACE}/{authentication_config.NAME}"
_PEER = Peer(LOOPBACK.name, (MASTERS_GROUP,))

Tree = dict[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Parts:
    """What an Aggregator is made of. `send` is the server's own front door; `identity` None in simulation."""

    objects: Objects
    cache: Cache
    served: Served
    send: Callable[[Request], Awaitable[Response]]
    outbound: Outbound | None
    identity: Identity | None
    clock: Clock
    tasks: Tasks


class Aggregator:
    """`start()` once the cache is filled; `await register()` when writes are possible."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._extensions = Extensions(parts.objects, parts.outbound, parts.identity)
        self._remote: dict[Key, Tree] = {}
        self._told: dict[Key, Told] = {}
        self._changed = asyncio.Event()
        self._registered = False
        self._listeners: list[Callable[[], None]] = []
        self.failures: Counter[Key] = Counter()  # by name and reason, how often one could no longer be used

    def start(self) -> None:
        """Follows what decides about extension servers."""
        cache = self._parts.cache
        for item in cache.of(APISERVICE).range():
            try:
                self._note(item.tree)
            except Exception:
                LOG.exception("the API service %s is left out", item.key)
        cache.of(APISERVICE).listen(self._saw)
        cache.of(SERVICE).listen(self._saw_service)
        cache.of(ENDPOINTSLICE).listen(self._saw_slice)
        cache.of(CONFIGMAP).listen(self._saw_config_map)
        self._parts.served.listen(self._changed.set)
        self._parts.tasks.spawn(self._run(), "aggregation")
        self._parts.tasks.spawn(self._look_again(), "aggregation rounds")

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls it when the joined documents are not what they were."""
        self._listeners.append(listener)

    async def register(self) -> None:
        """Makes and corrects the APIServices of what is served here, and the ConfigMap for extension servers."""
        await self._keep_services(starting=True)
        await self._keep_config_map()
        self._registered = True

    def resume(self) -> None:
        """They are there already."""
        self._registered = True

    # Requests

    def serves(self, group: str, version: str) -> bool:
        """Whether an extension server has this group version."""
        return (group, version) in self._remote

    async def route(self, request: Request, user: User) -> Response | None:
        """The answer of the extension server whose request this is; None when it is ours."""
        if not self._remote:
            return None
        parts = request.path.split("/")
        if parts[:3] == ["", "openapi", "v3"]:
            parts = ["", *parts[3:]]
        if len(parts) < 4 or parts[1] != "apis":
            return None
        service = self._remote.get((parts[2], parts[3]))
        if service is None:
            return None
        if not extension.is_decodable(request):
            raise status.no_such_path()
        if not api_service.is_available(service):
            return extension.plain(503, "service unavailable")
        return await self._extensions.proxy(service, request, user)

    @overload
    def extend(self, path: str, tree: Tree, *, aggregated: bool = False) -> Tree: ...

    @overload
    def extend(self, path: str, tree: Tree | None) -> Tree | None: ...

    def extend(self, path: str, tree: Tree | None, *, aggregated: bool = False) -> Tree | None:
        """Our own document at `path` with what extension servers add to it; None when nobody has one."""
        told = dict(self._told)  # for whoever makes documents aside
        if not told:
            return tree
        name = path.removeprefix("/apis/")
        if path.startswith("/apis/") and "/" not in name and any(key[0] == name for key in told):
            return documents.group(tree, name, told)
        if tree is None:
            return None
        match path:
            case "/apis":
                return documents.aggregated(tree, told) if aggregated else documents.groups(tree, told)
            case "/openapi/v3":
                return documents.v3_index(tree, told)
            case "/openapi/v2":
                return documents.v2(tree, told)
        return tree

    @property
    def has_openapi(self) -> bool:
        """Whether an extension server adds anything to the OpenAPI v2 document."""
        return any(told.v2 for told in tuple(self._told.values()))

    # Background

    def _saw(self, change: Change) -> None:
        if change.item is not None:
            self._note(change.item.tree)
        elif change.previous is not None:
            self._forget(priorities.service_key(change.previous.tree))
        self._changed.set()

    def _note(self, service: Tree) -> None:
        key = priorities.service_key(service)
        if not api_service.spec(service).get("service"):
            self._forget(key)
            return
        self._remote[key] = service
        told = self._told.get(key, Told(service))
        self._tell(key, replace(told, service=service, is_fresh=told.is_fresh and api_service.is_available(service)))

    def _forget(self, key: Key) -> None:
        self._remote.pop(key, None)
        if self._told.pop(key, None) is not None:
            self._publish()

    def _tell(self, key: Key, told: Told) -> None:
        if self._told.get(key) != told:
            self._told[key] = told
            self._publish()

    def _publish(self) -> None:
        for listener in tuple(self._listeners):
            listener()

    def _saw_service(self, change: Change) -> None:
        if self._remote:
            self._touch(*change.last().key.split("/"))

    def _saw_slice(self, change: Change) -> None:
        if self._remote:
            item = change.last()
            self._touch(item.key.partition("/")[0], item.labels.get(SERVICE_NAME_LABEL, ""))

    def _touch(self, namespace: str, name: str) -> None:
        """A Service, or what is behind it, is not what it was."""
        for service in self._remote.values():
            where = service["spec"]["service"]
            if (where.get("namespace"), where.get("name")) == (namespace, name):
                self._changed.set()
                return

    def _saw_config_map(self, change: Change) -> None:
        if self._registered and change.last().key == _CONFIG_MAP_KEY:
            self._changed.set()

    async def _run(self) -> None:
        """Looks at everything after each change, and at extension servers that fail again and again."""
        wait = FIRST_WAIT_SECONDS
        while True:
            is_well = all(api_service.is_available(service) for service in self._remote.values())
            wait = AGAIN_SECONDS if is_well else min(wait * 2, AGAIN_SECONDS)
            try:
                async with asyncio.timeout(None if is_well else wait):
                    await self._changed.wait()
                    wait = FIRST_WAIT_SECONDS
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                await self._look()
            except (status.ApiError, OutboundError) as error:
                LOG.warning("aggregation: %s", error)
            except Exception:
                LOG.exception("aggregation")

    async def _look_again(self) -> None:
        """Every half minute at those of others, as long as there are any."""
        while True:
            await self._parts.clock.pulse(AGAIN_SECONDS)
            if self._remote:
                self._changed.set()

    async def _look(self) -> None:
        if self._registered:
            await self._keep_services(starting=False)
            await self._keep_config_map()
        services = [item.tree for item in self._parts.cache.of(APISERVICE).range()]
        await asyncio.gather(*(self._check_one(service) for service in services if _is_due(service)))

    async def _check_one(self, service: Tree) -> None:
        try:
            await self._check(service)
        except (status.ApiError, OutboundError):
            raise
        except Exception:  # our fault, but the others are looked at all the same
            LOG.exception("%s can't be checked", objects.name(service))

    async def _check(self, service: Tree) -> None:
        """Says on the APIService whether its server can be used, and asks one that can what it serves."""
        said = availability.verdict(self._parts.objects, service)
        if said == availability.PASSED:
            message = await self._extensions.check(service, CHECK_SECONDS)
            said = availability.failed(message) if message else said
        if said == availability.PASSED:  # who sees that it can be used finds its resources in discovery
            await self._ask(service, self._ask_resources)
        changed = availability.with_verdict(service, said, self._parts.clock.now())
        if changed is not None:
            if api_service.is_available(service) and not api_service.is_available(changed):
                self.failures[objects.name(service), said[1]] += 1
            await self._write("PUT", APISERVICE.path("", objects.name(service), "status"), changed)
        if said == availability.PASSED:
            await self._ask(service, self._ask_documents)

    async def _ask(self, service: Tree, ask: Callable[[Tree], Awaitable[Tree]]) -> None:
        """Keeps what the server tells of itself."""
        key = priorities.service_key(service)
        try:
            answers = await ask(service)
        except (status.ApiError, OutboundError) as error:
            LOG.warning("%s did not tell what it serves: %s", objects.name(service), error)
            return
        if key in self._remote:
            told = self._told.get(key, Told(self._remote[key]))
            self._tell(key, replace(told, service=self._remote[key], **answers))

    async def _ask_resources(self, service: Tree) -> Tree:
        return {"resources": await self._resources(service), "is_fresh": True}

    async def _ask_documents(self, service: Tree) -> Tree:
        v3 = (await self._document(service, "/openapi/v3")).get("paths") or {}
        return {"v3": v3, "v2": await self._document(service, "/openapi/v2")}

    async def _resources(self, service: Tree) -> list[Tree]:
        group, version = priorities.service_key(service)
        document = await self._document(service, "/apis", accept=DISCOVERY)
        if document.get("kind") == "APIGroupDiscoveryList":
            found = documents.of_discovery(document, group, version)
            if found is not None:
                return found
        return documents.of_list(await self._document(service, f"/apis/{group}/{version}"), group, version)

    async def _document(self, service: Tree, path: str, accept: str = "application/json") -> Tree:
        """A JSON document of the server; empty when it has none."""
        answer = await self._extensions.ask(service, path, {"accept": accept}, DOCUMENT_SECONDS)
        if answer.status != 200 or not isinstance(answer.body, bytes):
            return {}
        try:
            tree = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            return {}
        return tree if isinstance(tree, dict) else {}

    # What the server keeps

    async def _keep_services(self, *, starting: bool) -> None:
        items, kinds = self._parts.cache.of(APISERVICE).range(), self._parts.served.all()
        size = KIND_WEIGHT * (len(items) + len(kinds))
        todo = await aside.run(_to_do, items, kinds, starting, size=size)
        for start in range(0, len(todo), TOGETHER):
            await asyncio.gather(*(self._keep_service(*one) for one in todo[start : start + TOGETHER]))

    async def _keep_service(self, what: str, service: Tree) -> None:
        if what == "create":
            await self._write("POST", APISERVICE.path(), service)
            return
        path = APISERVICE.path("", objects.name(service))
        await (self._write("DELETE", path, {}) if what == "delete" else self._write("PUT", path, service))

    async def _keep_config_map(self) -> None:
        if self._parts.identity is None:
            return
        wanted = authentication_config.config_map(self._parts.identity)
        namespace, name = authentication_config.NAMESPACE, authentication_config.NAME
        item = self._parts.objects.get(CONFIGMAP, namespace, name)
        if item is None:
            await self._write("POST", CONFIGMAP.path(namespace), wanted)
        elif {**(item.tree.get("data") or {}), **wanted["data"]} != item.tree.get("data"):
            changed = {**item.copy(), "data": {**(item.tree.get("data") or {}), **wanted["data"]}}
            await self._write("PUT", CONFIGMAP.path(namespace, name), changed)

    async def _write(self, method: str, path: str, body: Tree) -> None:
        """Through the front door. What somebody else did meanwhile is seen as a change, and looked at again."""
        response = await self._parts.send(Request(method, path, (), {"user-agent": "sampan-apiserver"}, body, _PEER))
        if response.status >= 400 and response.status not in (404, 409):
            LOG.warning("%s %s: %r", method, path, response.body)


def _to_do(items: Sequence[Item], kinds: Sequence[Kind], starting: bool) -> list[tuple[str, Tree]]:
    """What is to be done so that every group and version that we serve has its APIService."""
    live = {objects.name(item.tree): item.tree for item in items}
    return list(registration.changes(live, registration.wanted(kinds), starting=starting))


def _is_due(service: Tree) -> bool:
    """Remote ones always; local ones only until they say so."""
    if api_service.spec(service).get("service"):
        return True
    conditions = (service.get("status") or {}).get("conditions") or ()
    return not any(c.get("type") == api_service.AVAILABLE and c.get("reason") == "Local" for c in conditions)
