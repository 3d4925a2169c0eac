"""The API server: one function from Request to Response.

Who is it (authn), may they (authz), what is asked (a verb on a kind's collection, object or
subresource), then reads, watches, writes, deletes or a subresource's own handler. HTTP and the
in-process transport call the same `handle`.
"""

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.kinds.kind import Kind
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.meta import status
from sampan.meta.wire import json
from sampan.server import authn, codec, documents, health, request_info
from sampan.server.admission import plugins
from sampan.server.admission.chain import Chain
from sampan.server.authz.authorizer import Authorizer
from sampan.server.authz.decision import Attributes, message
from sampan.server.cache import Cache
from sampan.server.call import Call
from sampan.server.deletes import Deletes
from sampan.server.identity import User
from sampan.server.patching import Patching
from sampan.server.reads import Reads
from sampan.server.registry import Registry
from sampan.server.request_info import RequestInfo
from sampan.server.reviews import Reviews
from sampan.server.served import Served
from sampan.server.subresources import later
from sampan.server.subresources.binding import BindingHandler
from sampan.server.subresources.eviction import EvictionHandler
from sampan.server.subresources.finalize import FinalizeHandler
from sampan.server.subresources.scale import ScaleHandler
from sampan.server.subresources.streams import NodeDialer, Streams
from sampan.server.subresources.token import TokenHandler
from sampan.server.tokens import Tokens
from sampan.server.versions import Versions
from sampan.server.watching import Watching
from sampan.store.protocol import Store, StoreError
from sampan.web.message import BodyBroken, BodyTooLarge, Request, Response

LOG = logging.getLogger(__name__)
MAX_READS = 400
MAX_WRITES = 200
MAX_BODY_BYTES = 3 * 1024 * 1024
_STREAMS = (("", "pods", "exec"), ("", "pods", "attach"), ("", "pods", "portforward"))

Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What an App is made of. `token_key` is the private key (PEM) of service account tokens."""

    store: Store
    kinds: Sequence[Kind]
    clock: Clock
    ids: Ids
    tasks: Tasks
    token_key: bytes
    service_cidr: str
    version: str
    dialer: NodeDialer | None = None


class App:
    """`await start()` before the first request."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.served = Served(parts.kinds)
        self.versions = Versions()
        self.cache = Cache(parts.store, parts.kinds, parts.tasks)
        self.registry = Registry(self.cache, parts.store, parts.ids, self.versions)
        self._tokens = Tokens(parts.token_key)
        self._authenticator = authn.Authenticator(self._tokens, self.registry, parts.clock.now)
        self._authorizer = Authorizer(self.registry)
        self.registry.admit_with(Chain(plugins.plugins(self._tools())))
        self._reads = Reads(self.cache, parts.store, parts.token_key, self.versions)
        self._watching = Watching(self.cache, parts.ids, parts.clock.now, self.versions)
        self._deletes = Deletes(self.registry)
        self._patching = Patching(self.registry)
        self._reviews = Reviews(self._authenticator, self._authorizer)
        self._documents = documents.Documents(self.served, self._tokens)
        self.health = health.Health()
        self._subresources = self._handlers(parts)
        self._busy = {True: 0, False: 0}
        self._check_handlers()

    def _tools(self) -> plugins.Tools:
        parts = self._parts
        return plugins.Tools(self._authorizer, self.served, self.versions, parts.clock.now, parts.service_cidr)

    async def start(self) -> None:
        """Fills the cache from the store."""
        await self.cache.start()
        self._authorizer.start(self.cache)

    async def close(self) -> None:
        """Ends all watches."""
        self._watching.close()

    async def handle(self, request: Request) -> Response:
        """Never raises for what a caller did wrong: that is a Status."""
        try:
            info = request_info.parse(request)
            user = self._identify(request)
            self._authorize(user, info)
            if not info.is_resource:
                return self._plain(request, info)
            return await self._resource(request, info, user)
        except status.ApiError as error:
            return refuse(error, request)
        except StoreError as error:
            LOG.warning("the store refused: %s", error)
            return refuse(status.unavailable(f"the store could not do it: {error}"), request)

    # Who, and may they

    def _identify(self, request: Request) -> User:
        user = self._authenticator.user(request)
        wanted = authn.impersonated(request)
        if wanted is None:
            return user
        for attributes in impersonations(wanted):
            self._check(user, attributes)
        return wanted.user

    def _authorize(self, user: User, info: RequestInfo) -> None:
        if authn.is_master(user):
            return
        self._check(user, attributes_of(info))
        if info.verb == "get" and (info.group, info.resource, info.subresource) in _STREAMS:
            # A GET that becomes a WebSocket does the same as a POST, and reading is not enough for it.
            self._check(user, dataclasses.replace(attributes_of(info), verb="create"))

    def _check(self, user: User, attributes: Attributes) -> None:
        decision = self._authorizer.authorize(user, attributes)
        if decision.allowed:
            return
        if not attributes.is_resource:
            raise status.failure(403, "Forbidden", message(user, attributes, decision), {})
        raise status.failure(
            403,
            "Forbidden",
            message(user, attributes, decision),
            {
                k: v
                for k, v in (("name", attributes.name), ("group", attributes.group), ("kind", attributes.resource))
                if v
            },
        )

    # Documents and health

    def _plain(self, request: Request, info: RequestInfo) -> Response:
        root = "/" + request.path.strip("/").partition("/")[0]
        if request.method not in ("GET", "HEAD"):
            raise status.no_such_path()
        if root in health.PATHS:
            return self.health.answer(request)
        if request.path.rstrip("/") == "/version":
            return Response(200, json.encode(health.version(self._parts.version)))
        answer = self._documents.answer(request)
        if answer is None:
            raise status.no_such_path()
        return answer

    # Resources

    async def _resource(self, request: Request, info: RequestInfo, user: User) -> Response:
        call = self._call(request, info, user)
        is_write = request.method not in ("GET", "HEAD")
        is_long = info.verb == "watch" or info.subresource in ("log", "exec", "attach")
        if is_long:
            return await self._dispatch(call)
        limit = MAX_WRITES if is_write else MAX_READS
        if self._busy[is_write] >= limit and not authn.is_master(user):
            raise status.too_many_requests("Too many requests, please try again later.")
        self._busy[is_write] += 1
        try:
            return await self._dispatch(call)
        finally:
            self._busy[is_write] -= 1

    def _call(self, request: Request, info: RequestInfo, user: User) -> Call:
        kind = self.served.find(info.group, info.version, info.resource)
        if kind is None or not _is_placed(kind, info):
            raise status.no_such_path()
        subresource = kind.subresource(info.subresource) if info.subresource else None
        if (info.subresource and subresource is None) or info.below:
            raise later.refusal(info)
        verbs = subresource.verbs if subresource else kind.verbs
        if info.verb not in verbs:
            raise status.method_not_supported(kind.group, kind.plural, info.verb)
        return Call(request, info, user, kind, subresource, self._parts.clock.now())

    async def _dispatch(self, call: Call) -> Response:
        if call.sub and call.sub != "status":
            return await self._subresources[call.sub](call)
        if call.request.method != "GET":
            codec.negotiate(call.request.headers.get("accept", ""), call.kind)  # a 406 comes before any write
        if call.kind.not_stored:
            return await self._reviews.handle(call)
        match call.info.verb:
            case "get":
                return await self._reads.get(call)
            case "list":
                return await self._reads.list(call)
            case "watch":
                return await self._watching.watch(call)
            case "create":
                item = await self.registry.create(call, codec.body_tree(call))
                return codec.respond(call, item, 201)
            case "update":
                return await self._update(call)
            case "patch":
                item, created = await self._patching.patch(call)
                return codec.respond(call, item, 201 if created else 200)
            case "delete":
                return await self._deletes.delete(call)
            case "deletecollection":
                return await self._deletes.delete_collection(call)
            case verb:
                raise status.method_not_supported(call.kind.group, call.kind.plural, verb)

    async def _update(self, call: Call) -> Response:
        body = codec.body_tree(call)
        body.setdefault("metadata", {})

        async def change(item: Any) -> Any:
            return json.decode(json.encode(body))

        return codec.respond(call, await self.registry.update(call, change))

    def _handlers(self, parts: Parts) -> dict[str, Handler]:
        streams = Streams(self.registry, parts.dialer)
        return {
            "scale": ScaleHandler(self.registry).handle,
            "binding": BindingHandler(self.registry).handle,
            "eviction": EvictionHandler(self._deletes).handle,
            "finalize": FinalizeHandler(self.registry).handle,
            "token": TokenHandler(self.registry, self._tokens, parts.ids).handle,
            "log": streams.log,
            "exec": streams.exec,
            "attach": streams.attach,
        }

    def _check_handlers(self) -> None:
        """A kind that declares what nobody serves is a mistake of ours: fail at once."""
        for kind in self._parts.kinds:
            for subresource in kind.subresources:
                if subresource.name != "status" and subresource.name not in self._subresources:
                    raise ValueError(f"{kind.resource} declares {subresource.name}, which has no handler")


def attributes_of(info: RequestInfo) -> Attributes:
    """What a request asks, as the authorizer takes it."""
    if not info.is_resource:
        return Attributes(verb=info.verb, path=info.path, is_resource=False)
    return Attributes(
        verb=info.verb,
        group=info.group,
        resource=info.resource,
        subresource=info.subresource,
        namespace=info.namespace,
        name=info.name,
        fields=info.fields,
    )


def impersonations(wanted: authn.Impersonation) -> list[Attributes]:
    """What a caller must be allowed to do in order to act as this user, in each group asked for by name."""
    user = wanted.user
    account = user.name.split(":")
    if user.name.startswith(authn.SERVICE_ACCOUNT_PREFIX) and len(account) == 4:
        asked = [Attributes(verb="impersonate", resource="serviceaccounts", namespace=account[2], name=account[3])]
    else:
        asked = [Attributes(verb="impersonate", resource="users", name=user.name)]
    asked += [Attributes(verb="impersonate", resource="groups", name=group) for group in wanted.groups]
    group = "authentication.k8s.io"
    if user.uid:
        asked.append(Attributes(verb="impersonate", group=group, resource="uids", name=user.uid))
    for key, values in user.extra.items():
        asked += [
            Attributes(verb="impersonate", group=group, resource="userextras", subresource=key, name=value)
            for value in values
        ]
    return asked


def refuse(error: status.ApiError, request: Request) -> Response:
    """A refusal as the client reads it."""
    accept = request.headers.get("accept", "")
    form = codec.Form(codec.PROTOBUF) if accept.startswith(codec.PROTOBUF) else codec.Form()
    return Response(error.code, codec.encode(error.status, form), dict(error.headers), form.media)


def on_error(request: Request, error: BaseException) -> Response:
    """What a listener answers when a body is too large, or when we fail."""
    if isinstance(error, BodyTooLarge):
        return refuse(status.too_large(MAX_BODY_BYTES), request)
    if isinstance(error, BodyBroken):
        return refuse(status.bad_request("the request's body could not be read"), request)
    LOG.error("%s %s failed", request.method, request.path, exc_info=error)
    return refuse(status.internal("the server failed; its log has the story"), request)


def _is_placed(kind: Kind, info: RequestInfo) -> bool:
    """Whether the path has a namespace where the kind needs one; all namespaces can be read at once.

    A Namespace's own path carries its name in the place of the namespace, so that rights in it apply.
    """
    if kind.namespaced:
        return bool(info.namespace) or (info.verb in ("list", "watch") and not info.subresource)
    return not info.namespace or (info.resource == "namespaces" and info.namespace == info.name)
