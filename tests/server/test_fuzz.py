"""Random requests against every route: always an answer, never a failure of ours, a Status for every no."""

import asyncio
import functools
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.kinds.builtin import KINDS
from sampan.kinds.kind import Kind
from sampan.kit.clock import SystemClock
from sampan.kit.ids import SeededIds
from sampan.kit.tasks import Tasks
from sampan.meta import schema
from sampan.server import bootstrap
from sampan.server.app import App, Parts
from sampan.store.memory import MemoryStore
from sampan.web import certificates
from sampan.web.message import Peer, Request
from tests import thorough

ADMIN = Peer("admin", ("system:masters",))
PEERS = (ADMIN, ADMIN, ADMIN, Peer(), Peer("system:node:n1", ("system:nodes",)), Peer("jane"))
CAN_NOT = {501, 503, 504}
QUIET = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=400 if thorough.IS else 150,
    suppress_health_check=list(HealthCheck),
)
Tree = dict[str, Any]


class Clock(SystemClock):
    """Time stands still."""

    def now(self) -> float:
        return 1_767_225_600.0


class Server:
    """An App on a loop of its own, driven from synchronous tests."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.tasks = Tasks("fuzz")
        self.loop.run_until_complete(self._start())

    async def _start(self) -> None:
        key = certificates.new_signing_key()
        self.app = App(
            Parts(
                store=MemoryStore(), kinds=KINDS, clock=Clock(), ids=SeededIds(1), tasks=self.tasks, token_key=key,
                service_cidr="10.96.0.0/16", version="test",
            )
        )  # fmt: skip
        await self.app.start()
        await bootstrap.ensure(self.app, bootstrap.Endpoints("10.96.0.1", "10.244.0.1", 6443))
        account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}
        path = "/api/v1/namespaces/default/serviceaccounts"
        headers = {"content-type": "application/json"}
        await self.app.handle(Request("POST", path, (), headers, orjson.dumps(account), ADMIN))

    def ask(self, request: Request) -> tuple[int, bytes]:
        return self.loop.run_until_complete(self._ask(request))

    async def _ask(self, request: Request) -> tuple[int, bytes]:
        response = await asyncio.wait_for(self.app.handle(request), 60)
        body = response.body
        for value in (*response.headers.values(), response.content_type):
            assert "\n" not in value
            assert "\r" not in value
            assert "\0" not in value
            value.encode()
        if isinstance(body, dict):
            return response.status, orjson.dumps(body)
        if not isinstance(body, bytes):
            close = getattr(body, "aclose", None)
            await close()
            return response.status, b""
        return response.status, body

    def close(self) -> None:
        self.loop.run_until_complete(self.app.close())
        self.loop.run_until_complete(self.tasks.close())
        self.loop.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def check(server: Server, request: Request) -> None:
    """The property of every test here."""
    code, body = server.ask(request)
    assert code < 500 or code in CAN_NOT, (request, body)
    if code >= 400 and not request.path.startswith(("/healthz", "/livez", "/readyz")):
        assert b"Status" in body or (code, body) == (404, b"404 page not found\n"), (request, body)
        if body.startswith(b"{"):
            tree = orjson.loads(body)
            assert (tree["kind"], tree["code"]) == ("Status", code), request


# What a client may send

TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from(
        ["", "a", "..", ".", "a/b", "*", "default", "x" * 254, "\0", "é", "A", "-", "1e400", "=", "!", ",", "(", "~1"]
    ),
)
NUMBERS = st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)
NAMES = st.one_of(st.sampled_from(["default", "system:node", "kubernetes", "view", "x"]), TEXTS)
QUERY_KEYS = (
    "watch", "limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector",
    "timeoutSeconds", "allowWatchBookmarks", "sendInitialEvents", "dryRun", "fieldManager", "fieldValidation", "force",
    "gracePeriodSeconds", "propagationPolicy", "orphanDependents", "includeObject", "command", "container", "tailLines",
    "sinceSeconds", "sinceTime", "verbose", "exclude", "pretty",
)  # fmt: skip
QUERY_VALUES = st.one_of(
    TEXTS,
    st.sampled_from(
        ["true", "1", "0", "-1", "9" * 30, "All", "Strict", "Exact", "NotOlderThan", "a=b", "a in (b,c)", "!a", "a!=b",
         "metadata.name=a", "metadata.name!=a", "spec.nodeName=n1", "status.phase=Running", "Background", "Object", "None"]
    ),
)  # fmt: skip
QUERIES = st.lists(st.tuples(st.sampled_from(QUERY_KEYS), QUERY_VALUES), max_size=4).map(tuple)
MEDIA = (
    "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/json-patch+json",
    "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml",
    "application/cbor", "text/plain", "", ";;;", "application/json; charset=utf-8",
)  # fmt: skip
ACCEPTS = (
    "", "*/*", "application/json", "application/vnd.kubernetes.protobuf", "application/yaml", "text/html", ";", ",",
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v9;g=x",
    "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,*/*",
)  # fmt: skip
HEADERS = st.fixed_dictionaries(
    {"content-type": st.sampled_from(MEDIA), "accept": st.sampled_from(ACCEPTS)},
    optional={
        "authorization": st.one_of(TEXTS, TEXTS.map("Bearer {}".format)),
        "impersonate-user": NAMES,
        "impersonate-group": TEXTS,
        "impersonate-uid": TEXTS,
        "user-agent": TEXTS,
        "sec-websocket-protocol": TEXTS.map("base64url.bearer.authorization.k8s.io.{}".format),
        "if-none-match": TEXTS,
        "upgrade": st.sampled_from(["websocket", "SPDY/3.1"]),
    },
)
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"])
BODIES = st.one_of(
    TREES.map(orjson.dumps),
    st.binary(max_size=40),
    st.binary(max_size=40).map(b"k8s\0".__add__),
    st.sampled_from(
        [b"", b"{", b"[]", b"null", b"- a\n- b", b"a: &a [*a]", b"a: !!python/object:os.system x", b"\xff\xfe"]
    ),
)


@st.composite
def paths(draw: st.DrawFn) -> tuple[str, Kind]:
    """A path of a route: collection, object or subresource, with or without a namespace."""
    kind = draw(st.sampled_from(KINDS))
    root = f"/apis/{kind.group}/{draw(st.sampled_from(kind.versions))}" if kind.group else "/api/v1"
    space = f"/namespaces/{draw(NAMES)}" if draw(st.booleans()) else ""
    parts = [root + space, kind.plural]
    if draw(st.booleans()):
        parts.append(draw(NAMES))
        if draw(st.booleans()):
            names = [s.name for s in kind.subresources] + ["status", "nothing"]
            parts.append(draw(st.sampled_from(names)))
    if draw(st.integers(0, 9)) == 0:
        parts.append(draw(TEXTS))
    return "/".join(parts), kind


def shaped(type: schema.Type, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that mostly fit a type of the schema, so that they come past decoding."""
    if depth > 5:
        return SCALARS
    by_kind: dict[str, st.SearchStrategy[Any]] = {
        "string": st.one_of(
            TEXTS, st.sampled_from(["Always", "ClusterIP", "TCP", "10.0.0.1", "2026-01-01T00:00:00Z", "1Gi"])
        ),
        "integer": st.one_of(st.integers(-3, 3), st.sampled_from([2**31, 2**63 - 1, -(2**63)])),
        "number": NUMBERS,
        "boolean": st.booleans(),
        "int-or-string": st.one_of(st.integers(-3, 70000), st.sampled_from(["25%", "a", "-1%", "101%", ""])),
        "quantity": st.sampled_from(["1", "1Gi", "-1", "1e400", "1n", "abc", "9" * 400, "", 5, 1.5, "0.1m", "1E", "١"]),
        "time": st.sampled_from(["2026-01-01T00:00:00Z", "", "x", "9999-12-31T23:59:59+14:00", "0000-00-00T00:00:00Z"]),
    }
    if type.kind == "object":
        return st.deferred(lambda: _object(type, depth))
    if type.kind == "array":
        return st.deferred(lambda: st.lists(shaped(type.items, depth + 1), max_size=2))
    if type.kind == "map":
        return st.deferred(lambda: st.dictionaries(TEXTS, shaped(type.items, depth + 1), max_size=2))
    fitting = by_kind.get(type.kind, TREES)
    return st.one_of(fitting, fitting, fitting, st.none())


@st.composite
def _object(draw: st.DrawFn, type: schema.Type, depth: int) -> Tree:
    names = sorted(type.fields)
    if not names:
        return {}
    required = [name for name in type.required if name in type.fields]
    chosen = [*required, *draw(st.lists(st.sampled_from(names), max_size=3, unique=True))]
    return {name: draw(shaped(type.fields[name], depth + 1)) for name in dict.fromkeys(chosen)}


@QUIET
@given(paths(), METHODS, QUERIES, HEADERS, BODIES, st.sampled_from(PEERS))
def test_any_request_on_any_route(
    server: Server, path: tuple[str, Kind], method: str, query: Any, headers: Tree, body: bytes, peer: Peer
) -> None:
    check(server, Request(method, path[0], query, headers, body, peer))


@QUIET
@given(st.lists(TEXTS, max_size=6), METHODS, QUERIES, HEADERS, st.sampled_from(PEERS))
def test_any_path(server: Server, parts: list[str], method: str, query: Any, headers: Tree, peer: Peer) -> None:
    check(server, Request(method, "/" + "/".join(parts), query, headers, b"", peer))


@QUIET
@given(paths(), st.data())
def test_objects_of_the_right_shape(server: Server, path: tuple[str, Kind], data: st.DataObject) -> None:
    """Bodies that fit the schema reach defaults, admission, validation and the store."""
    kind = path[1]
    tree = data.draw(shaped(schema.definition(kind.schema))) if kind.schema else {}
    name = data.draw(st.sampled_from(["x", "y"]))
    tree = {**(tree if isinstance(tree, dict) else {}), "kind": kind.name, "apiVersion": kind.api_version}
    metadata = tree.get("metadata")
    tree["metadata"] = {**(metadata if isinstance(metadata, dict) and data.draw(st.booleans()) else {}), "name": name}
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else "/api/v1"
    collection = f"{root}/namespaces/default/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    body = orjson.dumps(tree)
    for method, where, media in (
        ("POST", collection, "application/json"),
        ("PUT", f"{collection}/{name}", "application/json"),
        ("PUT", f"{collection}/{name}/status", "application/json"),
        ("PATCH", f"{collection}/{name}", data.draw(st.sampled_from(MEDIA[4:7]))),
        ("GET", f"{collection}/{name}", "application/json"),
    ):
        headers = {"content-type": media, "accept": data.draw(st.sampled_from(ACCEPTS))}
        check(server, Request(method, where, (("fieldManager", "fuzz"),), headers, body, ADMIN))


_TEMPLATE: Tree = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {
        "containers": [
            {
                "name": "c", "image": "busybox", "ports": [{"containerPort": 80, "name": "http"}],
                "env": [{"name": "A", "value": "b"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
                "livenessProbe": {"httpGet": {"port": "http", "path": "/"}, "periodSeconds": 3},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}], "securityContext": {"runAsUser": 1},
            }
        ],
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "configMap": {"name": "m", "items": [{"key": "a", "path": "b"}]}}],
        "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "x", "labelSelector": {}}]}},
    },
}  # fmt: skip
_SELECTOR = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
GOOD: tuple[tuple[str, Tree], ...] = (
    ("/api/v1/namespaces/default/pods", {"kind": "Pod", "apiVersion": "v1", "spec": _TEMPLATE["spec"]}),
    (
        "/apis/apps/v1/namespaces/default/deployments",
        {
            "kind": "Deployment", "apiVersion": "apps/v1",
            "spec": {
                "replicas": 1, "selector": _SELECTOR, "template": _TEMPLATE,
                "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            },
        },
    ),
    (
        "/api/v1/namespaces/default/services",
        {"kind": "Service", "apiVersion": "v1", "spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": "http"}]}},
    ),
    (
        "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
        {
            "kind": "Role", "apiVersion": "rbac.authorization.k8s.io/v1",
            "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}],
        },
    ),
    (
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        {
            "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}], "ports": [{"port": 80, "name": "a"}],
        },
    ),
)  # fmt: skip


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a tree."""
    steps = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(found for key, value in steps for found in places(value, (*path, key)))]


@QUIET
@given(st.sampled_from(GOOD), st.data())
def test_good_objects_with_something_wrong(server: Server, good: tuple[str, Tree], data: st.DataObject) -> None:
    """One or two values of a valid object are replaced: what is let in is also shown, changed and deleted."""
    where, sample = good
    tree = orjson.loads(orjson.dumps({**sample, "metadata": {"name": "w", "labels": {"a": "b"}, "annotations": {}}}))
    for path in data.draw(st.lists(st.sampled_from([p for p in places(tree) if p]), max_size=2)):
        try:
            holder = functools.reduce(lambda inner, step: inner[step], path[:-1], tree)
            holder[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # the first replacement took this place away
        if isinstance(holder, dict | list):
            holder[path[-1]] = data.draw(TREES)
    body = orjson.dumps(tree)
    headers = {"content-type": "application/json"}
    for method, target in (("POST", where), ("PUT", f"{where}/w"), ("PUT", f"{where}/w/status")):
        check(server, Request(method, target, (), headers, body, ADMIN))
    table = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    check(server, Request("GET", f"{where}/w", (("includeObject", "Object"),), table, b"", ADMIN))
    check(server, Request("GET", f"{where}/w", (), {"accept": "application/vnd.kubernetes.protobuf"}, b"", ADMIN))
    check(server, Request("DELETE", f"{where}/w", (("gracePeriodSeconds", "0"),), {}, b"", ADMIN))


@st.composite
def json_patches(draw: st.DrawFn) -> bytes:
    pointers = st.one_of(
        st.sampled_from(
            ["/data", "/data/a", "/metadata", "/metadata/labels", "/metadata/name", "", "/", "/data/-", "/kind"]
        ),
        TEXTS.map("/data/{}".format),
    )
    operation = st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]), "path": pointers},
        optional={"value": TREES, "from": pointers},
    )
    return orjson.dumps(draw(st.lists(operation, max_size=4)))


@QUIET
@given(
    st.one_of(
        st.tuples(st.just(MEDIA[3]), json_patches()),
        st.tuples(
            st.sampled_from(MEDIA[4:7]),
            st.dictionaries(st.sampled_from(["data", "metadata", "kind", "spec"]), TREES).map(orjson.dumps),
        ),
    ),
    st.sampled_from(["configmaps/patched", "services/kubernetes", "serviceaccounts/default"]),
)
def test_patches(server: Server, patch: tuple[str, bytes], target: str) -> None:
    """Any patch of any type on objects that are there."""
    made = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "patched"}, "data": {"a": "b"}}
    path = "/api/v1/namespaces/default/configmaps"
    server.ask(Request("POST", path, (), {"content-type": "application/json"}, orjson.dumps(made), ADMIN))
    where = f"/api/v1/namespaces/default/{target}"
    check(server, Request("PATCH", where, (("fieldManager", "fuzz"),), {"content-type": patch[0]}, patch[1], ADMIN))


REVIEWS = [kind for kind in KINDS if kind.not_stored]


@QUIET
@given(st.sampled_from(REVIEWS), st.data())
def test_reviews(server: Server, kind: Kind, data: st.DataObject) -> None:
    """Questions of any shape."""
    fields = schema.definition(kind.schema).fields
    spec = data.draw(shaped(fields["spec"])) if "spec" in fields else {}
    space = "/namespaces/default" if kind.namespaced else ""
    root = f"/apis/{kind.group}/{kind.version}{space}/{kind.plural}"
    body = orjson.dumps({"kind": kind.name, "apiVersion": kind.api_version, "spec": spec})
    check(server, Request("POST", root, (), {"content-type": "application/json"}, body, ADMIN))
