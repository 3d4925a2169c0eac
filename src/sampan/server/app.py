"""The API server: one function from Request to Response.

Who is it (authn), may they (authz), what is asked (a verb on a kind's collection, object or
subresource), then reads, watches, writes, deletes or a subresource's own handler. HTTP and the
in-process transport call the same `handle`.
"""

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.kinds.feature_gates import Gates
from sampan.kinds.flowcontrol.flow_schema import FLOWSCHEMA
from sampan.kinds.flowcontrol.priority_level_configuration import PRIORITYLEVELCONFIGURATION
from sampan.kinds.kind import Kind
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.meta import objects, status
from sampan.meta.wire import json
from sampan.server import codec, custom, documents, guards, health, resource_metrics, routes, server_metrics
from sampan.server.admission import plugins
from sampan.server.admission.admission_metrics import AdmissionMetrics
from sampan.server.admission.chain import Chain
from sampan.server.aggregation import aggregator
from sampan.server.aggregation.aggregator import Aggregator
from sampan.server.aggregation.extension import Identity
from sampan.server.audit.log import Sink
from sampan.server.authz.authorizer import Authorizer
from sampan.server.cache import Cache
from sampan.server.call import Call
from sampan.server.component_statuses import ComponentStatuses
from sampan.server.config import ServerConfig
from sampan.server.deletes import Deletes
from sampan.server.event_expiry import EventExpiry
from sampan.server.freshness import Freshness
from sampan.server.front_proxy import Settings as FrontProxySettings
from sampan.server.keeper import Keeper
from sampan.server.metered_store import MeteredStore
from sampan.server.metrics import Metrics
from sampan.server.outbound import Credentials, Outbound
from sampan.server.patching import Patching
from sampan.server.pipeline import Passage, Pipeline
from sampan.server.reads import Reads
from sampan.server.refusals import on_error
from sampan.server.registry import ANY_REVISION, Registry, check_identity
from sampan.server.request_info import RequestInfo
from sampan.server.resource_metrics import ResourceMetrics
from sampan.server.reviews import Reviews
from sampan.server.served import Served
from sampan.server.subresources.binding import BindingHandler
from sampan.server.subresources.eviction import EvictionHandler
from sampan.server.subresources.finalize import FinalizeHandler
from sampan.server.subresources.own_part import OwnPartHandler
from sampan.server.subresources.proxy import ProxyHandler
from sampan.server.subresources.scale import ScaleHandler
from sampan.server.subresources.streams import NearLogs, NodeDialer, Streams
from sampan.server.subresources.token import TokenHandler
from sampan.server.tokens import Grant, Tokens
from sampan.server.versions import Versions
from sampan.server.watch_metrics import WatchMetrics
from sampan.server.watching import Watching
from sampan.store.protocol import Store
from sampan.web.message import Request, Response

LOG = logging.getLogger(__name__)
__all__ = ["App", "Parts", "on_error"]

MAX_LABEL = 63
START_STEPS = ("rbac/bootstrap-roles", "priority-and-fairness-config-producer", "bootstrap-controller")

Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What an App is made of. `token_key` is the private key (PEM) of service account tokens, `retired_keys` those
    that signed before. `audit` is where the lines of the audit log go. `gates` are the open ones of those that `kinds`
    are made for. `is_shared`: other servers may be on the store, which has events go by itself.
    """

    store: Store
    kinds: Sequence[Kind]
    clock: Clock
    ids: Ids
    tasks: Tasks
    token_key: bytes
    service_cidr: str
    version: str
    dialer: NodeDialer | None = None
    near_logs: NearLogs | None = None
    config: ServerConfig = field(default_factory=ServerConfig)
    retired_keys: tuple[bytes, ...] = ()
    front_proxy: FrontProxySettings | None = None
    audit: Sink | None = None
    outbound: Outbound | None = None
    agent: Credentials | None = None
    aggregation: Identity | None = None
    gates: Gates = frozenset()
    is_shared: bool = False


class App:
    """`await start()` before the first request."""

    def __init__(self, parts: Parts) -> None:
        self.metrics = Metrics()
        self._metered = MeteredStore(parts.store, self.metrics, parts.clock)
        server_metrics.stored_bytes(self.metrics, self._metered.size_bytes)
        self._parts = parts = dataclasses.replace(parts, store=guards.store(self._metered, parts.config))
        self.gates = parts.gates
        self.served = Served(parts.kinds)
        self.served.replace("metrics", resource_metrics.KINDS)
        self.versions = Versions()
        self.cache = Cache(parts.store, parts.kinds, parts.tasks)
        self.registry = Registry(self.cache, parts.ids, self.versions)
        self.tokens = self._tokens = Tokens(parts.token_key, retired=parts.retired_keys)
        self._authorizer = Authorizer(self.registry)
        outside = guards.Outside(parts.clock, parts.outbound, parts.front_proxy, parts.audit)
        identities = (self._tokens, self.registry, self._authorizer)
        self._guards = guards.build(parts.config, outside, identities, self.metrics)
        self.flow, self.counts = self._guards.flow, self._guards.counts
        self._guards.authenticator.accounts.legacy.handle = self.handle
        self._pipeline = Pipeline(self._guards, self._serve, parts.clock, parts.ids)
        tools = self._tools()
        self.admission = Chain(plugins.plugins(tools), tools.metrics)
        self.registry.admit_with(self.admission)
        self._freshness = Freshness(self.cache, parts.store, parts.tasks, is_shared=parts.is_shared)
        self._reads = Reads(self.cache, parts.store, parts.token_key, self.versions)
        self._watching = Watching(self.cache, parts.ids, parts.clock.now, self.versions)
        self._deletes = Deletes(self.registry, self._reads)
        self._patching = Patching(self.registry, self.served, self._guards.access)
        self._reviews = Reviews(self._guards.authenticator, self._authorizer, self.registry)
        self.aggregator = Aggregator(
            aggregator.Parts(
                self.registry, self.cache, self.served, self.handle, parts.outbound, parts.aggregation, parts.clock,
                parts.tasks,
            )
        )  # fmt: skip
        self._documents = documents.Documents(self.served, self._tokens, self.aggregator)
        self._definitions = custom.Definitions(
            custom.Parts(
                self.cache, parts.store, self.registry, self.served, parts.clock, parts.ids, parts.tasks, parts.outbound
            )
        )
        self.keeper = Keeper(self.cache, parts.clock, parts.tasks)
        self.event_expiry = EventExpiry(self.cache, parts.store, parts.clock)
        self.health = health.Health()
        self.health.add("etcd", self._store_failure)
        self.health.add("informer-sync", self._sync_failure, only_ready=True)
        self.health.expect(*START_STEPS)
        self.components = ComponentStatuses(parts.store)
        self._subresources = self._handlers(parts)
        figures = ResourceMetrics(self.registry, (parts.dialer, parts.near_logs), parts.clock)
        self._unstored: dict[str, Handler] = {
            "Binding": BindingHandler(self.registry).post,
            "ComponentStatus": self.components.handle,
            **{kind.name: figures.handle for kind in resource_metrics.KINDS},
        }
        self._check_handlers()
        self._count()

    def _tools(self) -> plugins.Tools:
        parts = self._parts
        return plugins.Tools(
            self._authorizer,
            self.served,
            self.versions,
            parts.clock.now,
            parts.service_cidr,
            parts.ids,
            AdmissionMetrics(self.metrics, parts.clock.monotonic),
            parts.outbound,
            parts.config.admission,
        )

    async def start(self, before: "App | None" = None) -> None:
        """Fills the cache from the store, or from the server that ran on it until now."""
        if before is None:
            await self.cache.start()
        else:
            self.cache.continue_from(before.cache)
        self._authorizer.start(self.cache, None if before is None else before._authorizer)
        self._guards.flow.start(self.cache, (FLOWSCHEMA, PRIORITYLEVELCONFIGURATION), self._size)
        self._definitions.start()
        self.served.listen(lambda: self._watching.end_unserved(self.served))
        self.aggregator.start()
        if not self._parts.is_shared:
            self.event_expiry.start()
            self._parts.tasks.spawn(self.event_expiry.run(), "event expiry")

    async def close(self) -> None:
        """Ends all watches, and the record."""
        if self._guards.audit is not None:
            self._guards.audit.close()
        self._definitions.close()
        self._watching.close()

    def serve_at(self, host: str, port: int) -> None:
        """Where clients are told to find it."""
        self._documents.serve_at(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    def now(self) -> float:
        """The time in unix seconds."""
        return self._parts.clock.now()

    @property
    def is_recorded(self) -> bool:
        """Whether a log is kept of what is asked."""
        return self._guards.audit is not None

    async def handle(self, request: Request) -> Response:
        """Never raises for what a caller did wrong: that is a Status."""
        return await self._pipeline.handle(request)

    async def rewrite(self) -> None:
        """Brings what is stored to the encryption that is configured now."""
        if self._parts.config.encryption is not None:
            changed = await guards.rewrite(self._parts.store)
            LOG.info("the encryption of %d stored objects is brought up to date", changed)

    def legacy_token(self, account: dict[str, Any], secret: dict[str, Any]) -> str:
        """The token that a Secret of type kubernetes.io/service-account-token holds for its account."""
        grant = Grant(
            objects.namespace(account), objects.name(account), objects.uid(account), (), 0, "",
            secret_name=objects.name(secret),
        )  # fmt: skip
        return self._tokens.issue_legacy(grant)

    async def _serve(self, passage: Passage) -> Response:
        """Answers a request that may be served."""
        theirs = await self.aggregator.route(passage.request, passage.user)
        if theirs is not None:
            return theirs
        if not passage.info.is_resource:
            return await self._plain(passage.request, passage.info)
        return await self._dispatch(self._call(passage))

    def _count(self) -> None:
        """What /metrics tells beside what the parts count themselves."""
        self.counts.knows, self.counts.is_deprecated = self._knows, self._is_deprecated
        server_metrics.build(self.metrics, health.version(self._parts.version))
        server_metrics.features(self.metrics, self.gates)
        self._watching.counts = WatchMetrics(self.metrics)
        server_metrics.aggregation(self.metrics, self.cache, self.aggregator.failures)
        server_metrics.storage(self.metrics, self.cache)
        server_metrics.long_running(self.metrics, self._watching.open, self.counts.long)
        server_metrics.audit(self.metrics, self._guards.audit)
        server_metrics.flow(self.metrics, self._guards.flow)

    def _knows(self, info: RequestInfo) -> bool:
        """Whether there is what the request names: metrics keep no names that callers make up."""
        if not info.is_resource:
            return True
        kind = self.served.find(info.group, info.version, info.resource)
        if kind is None:
            short = max(len(info.resource), len(info.subresource)) <= MAX_LABEL
            return short and self.aggregator.serves(info.group, info.version)
        return not info.subresource or kind.subresource(info.subresource) is not None

    def _is_deprecated(self, group: str, version: str, resource: str) -> bool:
        kind = self.served.find(group, version, resource)
        return kind is not None and bool(kind.deprecation)

    def _size(self, info: RequestInfo) -> int:
        """How many objects there are of the resource that is asked for."""
        kind = self.served.find(info.group, info.version, info.resource)
        return 0 if kind is None or kind.not_stored else len(self.cache.of(kind).items)

    # Documents and health

    async def _plain(self, request: Request, info: RequestInfo) -> Response:
        root = "/" + request.path.strip("/").partition("/")[0]
        if request.method != "GET" and routes.is_read_only(request.path, self.served):
            found = request.path.rstrip("/") == "/version" or await self._documents.answer(request) is not None
            raise status.method_not_allowed() if found else status.no_such_path()
        if root in health.PATHS:
            return await self.health.answer(request)
        if request.path in ("/metrics", "/metrics/slis"):
            told = self.metrics if request.path == "/metrics" else self.health.metrics
            text, media = told.text(request.headers.get("accept", ""))
            return Response(200, text, content_type=media)
        if request.path.rstrip("/") == "/version":
            return Response(200, json.encode(health.version(self._parts.version)))
        answer = await self._documents.answer(request)
        if answer is None:
            raise routes.astray(request.path, self.served)
        return answer

    async def _store_failure(self) -> str:
        """A store of our own is judged by its last writes, one that others write to as well also by a question."""
        return self._metered.failure or await self._freshness.failure()

    async def _sync_failure(self) -> str:
        return "" if self.cache.revision else "not synced"

    # Resources

    def _call(self, passage: Passage) -> Call:
        info = passage.info
        kind = self.served.find(info.group, info.version, info.resource)
        if kind is None or not routes.is_placed(kind, info):
            raise routes.misplaced(kind, info, self.served)
        subresource = kind.subresource(info.subresource) if info.subresource else None
        if (info.subresource and subresource is None) or (info.below and info.subresource != "proxy"):
            raise status.not_found(kind.group, kind.plural, info.name) if kind.custom else status.no_such_path()
        verbs = subresource.verbs if subresource else kind.verbs
        if info.verb not in verbs and info.subresource != "proxy":  # whose handler knows more methods
            if kind.custom:
                raise status.method_not_supported(kind.group, kind.plural, info.verb)
            raise status.method_not_allowed()
        if passage.request.method != "GET" and info.subresource != "proxy":
            routes.check_method(kind, info, passage.request.method)
        now, warnings = self._parts.clock.now(), [kind.deprecation] if kind.deprecation else []
        return Call(passage.request, info, passage.user, kind, subresource, now, warnings, audit=passage.notes)

    async def _dispatch(self, call: Call) -> Response:
        if self._parts.is_shared:
            await self._freshness.of(call)
        if call.sub and call.sub != "status":
            return await self._subresources[call.sub](call)
        if call.request.method != "GET":
            codec.negotiate(call.request.headers.get("accept", ""), call.kind)  # a 406 comes before any write
            if call.request.query:
                call.check_options()
        if call.kind.not_stored:
            return await self._unstored.get(call.kind.name, self._reviews.handle)(call)
        match call.info.verb:
            case "get":
                return await self._reads.get(call)
            case "list":
                return await self._reads.list(call)
            case "watch":
                return await self._watching.watch(call)
            case "create":
                item = await self.registry.create(call, await codec.body(call))
                return await codec.answer(call, item, 201)
            case "update":
                return await self._update(call)
            case "patch":
                item, created = await self._patching.patch(call)
                return await codec.answer(call, item, 201 if created else 200)
            case "delete":
                return await self._deletes.delete(call)
            case "deletecollection":
                return await self._deletes.delete_collection(call)
            case verb:
                raise status.method_not_supported(call.kind.group, call.kind.plural, verb)

    async def _update(self, call: Call) -> Response:
        found = self.registry.get(call.kind, call.namespace, call.name)
        body = await codec.replacement(call, None if found is None or call.kind.is_satellite else found.tree)
        if found is None:
            return await self._replace_nothing(call, body)
        if not call.kind.unconditional and objects.resource_version(body) in ("", ANY_REVISION):
            raise status.no_version(call.kind.group, call.kind.plural, call.name)
        return await codec.answer(call, await self.registry.replace(call, body))

    async def _replace_nothing(self, call: Call, body: dict[str, Any]) -> Response:
        """What is not there is made of the replacement, where the kind has it so. Raises ApiError 404, or 409 for a uid."""
        check_identity(call, body["metadata"])
        if call.sub or not call.kind.put_creates:
            raise call.not_found()
        if uid := body["metadata"].get("uid"):
            raise self.registry.is_another(call, uid, "")
        self._guards.access.authorize_birth(call.user, call.info)
        new = objects.copy(body)
        new["metadata"].pop("resourceVersion", None)
        return await codec.answer(call, await self.registry.create(call, new), 201)

    def _handlers(self, parts: Parts) -> dict[str, Handler]:
        streams = Streams(self.registry, parts.dialer, parts.near_logs)
        own_part = OwnPartHandler(self.registry, self._reads, self._patching)
        return {
            "scale": ScaleHandler(self.registry, self.served).handle,
            "binding": BindingHandler(self.registry).handle,
            "eviction": EvictionHandler(self.registry).handle,
            "finalize": FinalizeHandler(self.registry).handle,
            "ephemeralcontainers": own_part.handle,
            "resize": own_part.handle,
            "approval": own_part.handle,
            "token": TokenHandler(self.registry, self._tokens, parts.ids, self._authorizer).handle,
            "log": streams.log,
            "exec": streams.exec,
            "attach": streams.attach,
            "portforward": streams.port_forward,
            "proxy": ProxyHandler(self.registry, parts.outbound, parts.agent, self._guards.access.check).handle,
        }

    def _check_handlers(self) -> None:
        """A kind that declares what nobody serves is a mistake of ours: fail at once."""
        for kind in self._parts.kinds:
            for subresource in kind.subresources:
                if subresource.name != "status" and subresource.name not in self._subresources:
                    raise ValueError(f"{kind.resource} declares {subresource.name}, which has no handler")
