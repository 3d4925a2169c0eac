"""APIServices: our own, and those of an extension API server that really runs behind a Service."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from sampan.kinds.apiregistration.api_service import APISERVICE
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kit.clock import SystemClock
from sampan.meta import conditions
from sampan.server.cache import Change
from sampan.web import certificates
from sampan.web.certificates import Subject
from sampan.web.listener import server_context
from sampan.web.message import Peer
from tests.server.backend import Asked, Backend, own_address
from tests.server.conftest import ADMIN, Api, Https

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
NAME = "v1alpha1.wardle.example.com"
GROUP = "/apis/wardle.example.com"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
Tree = dict[str, Any]

RESOURCES: Tree = {
    "kind": "APIResourceList", "groupVersion": "wardle.example.com/v1alpha1", "resources": [
        {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder", "verbs": ["get", "list"]},
        {"name": "flunders/status", "singularName": "", "namespaced": True, "kind": "Flunder", "verbs": ["get"]},
    ],
}  # fmt: skip
META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
V2 = {
    "swagger": "2.0",
    "paths": {
        f"{GROUP}/v1alpha1/flunders": {
            "get": {"responses": {"200": {"schema": {"$ref": "#/definitions/com.example.wardle.Flunder"}}}}
        },
        "/version": {"get": {}},
    },
    "definitions": {
        "com.example.wardle.Flunder": {"type": "object", "properties": {"meta": {"$ref": f"#/definitions/{META}"}}},
        META: {"type": "object", "description": "another one"},
        "unused": {"type": "object"},
    },
}
V3 = {"paths": {"apis/wardle.example.com/v1alpha1": {"serverRelativeURL": "/openapi/v3/apis/wardle?hash=AA"}}}
DOCUMENTS = {
    "/apis": {"kind": "APIGroupList", "groups": []},
    f"{GROUP}/v1alpha1": RESOURCES,
    "/openapi/v2": V2,
    "/openapi/v3": V3,
    "/openapi/v3/apis/wardle.example.com/v1alpha1": {"openapi": "3.0.0"},
}


async def serve(asked: Asked) -> web.StreamResponse:
    path = asked.target.partition("?")[0]
    if path in DOCUMENTS:
        return web.json_response(DOCUMENTS[path])
    if path.endswith("/redirect"):
        return web.Response(status=307, headers={"Location": "https://169.254.169.254/"})
    if asked.headers.get("upgrade") == "websocket":
        sockets = web.WebSocketResponse()
        await sockets.prepare(asked.raw)
        await sockets.send_str("hello")
        return sockets
    return web.json_response({"kind": "Flunder", "path": path, "query": asked.raw.query_string})


class Extension:
    """An extension API server with its Service, endpoints and certificate."""

    def __init__(self, api: Api, backend: Backend, ca: bytes) -> None:
        self.api, self.backend, self.ca = api, backend, ca

    async def expose(self, ready: bool = True) -> None:
        ports = [{"name": "https", "port": 443, "targetPort": self.backend.port}]
        service = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "api"}, "spec": {"ports": ports}}
        await self.api.create("/api/v1/namespaces/default/services", service)
        slice_ = {
            "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
            "metadata": {"name": "api-1", "labels": {"kubernetes.io/service-name": "api"}},
            "ports": [{"name": "https", "port": self.backend.port}],
            "endpoints": [{"addresses": [self.backend.host], "conditions": {"ready": ready}}],
        }  # fmt: skip
        await self.api.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice_)

    def service(self, **spec: Any) -> Tree:
        wanted = {
            "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
            "service": {"namespace": "default", "name": "api"}, "caBundle": base64.b64encode(self.ca).decode(),
        }  # fmt: skip
        metadata = {"name": NAME}
        return {
            "kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1", "metadata": metadata,
            "spec": {**wanted, **spec},
        }  # fmt: skip

    async def start(self) -> None:
        """Exposed, registered, and found to be available."""
        await self.expose()
        await self.api.create(SERVICES, self.service())
        await said(self.api, "True", "Passed")


@pytest.fixture
async def extension(api: Api, tmp_path: Path) -> AsyncIterator[Extension]:
    now = SystemClock().now()
    directory = tmp_path / "extension"
    authority = certificates.new_authority("extension-ca", now)
    authority.save(directory, "ca")
    certificates.issue(authority, Subject("api", hosts=("api.default.svc",)), now).save(directory, "server")
    identity = api.app._parts.aggregation
    assert identity is not None
    (directory / "front.crt").write_bytes(identity.authority)
    tls = server_context(*(str(directory / name) for name in ("server.crt", "server.key", "front.crt")))
    backend = Backend(serve, own_address())
    await backend.start(tls)
    yield Extension(api, backend, (directory / "ca.crt").read_bytes())
    await backend.close()


async def said(api: Api, status: str, reason: str) -> Tree:
    """The Available condition, as soon as it says this."""

    def says(tree: Tree) -> bool:
        condition = conditions.get(tree, "Available") or {}
        return (condition.get("status"), condition.get("reason")) == (status, reason)

    tree = await seen(api, APISERVICE, NAME, says)
    return conditions.get(tree, "Available") or {}


async def seen(api: Api, kind: Any, key: str, holds: Callable[[Tree], bool]) -> Tree:
    """The object, as soon as this holds."""
    cache, come = api.app.cache.of(kind), asyncio.get_running_loop().create_future()

    def look(change: Change) -> None:
        if change.item is not None and change.item.key == key and holds(change.item.tree) and not come.done():
            come.set_result(change.item.tree)

    item = cache.get(key)
    if item is not None and holds(item.tree):
        return item.tree
    cache.listen(look)
    try:
        async with asyncio.timeout(60):
            tree: Tree = await come
            return tree
    finally:
        cache.unlisten(look)


async def told(api: Api, extension: Extension) -> None:
    """Returns when the extension server was asked for its documents, and they are joined."""
    async with asyncio.timeout(60):
        while not api.app.aggregator.has_openapi:
            changed = asyncio.Event()
            api.app.aggregator.listen(changed.set)
            if not api.app.aggregator.has_openapi:
                await changed.wait()


# What is served here


async def test_local_services(api: Api) -> None:
    """Each group and version that is served here has an APIService, available from the start."""
    services = {item["metadata"]["name"]: item for item in (await api.get(SERVICES))["items"]}
    assert {"v1.", "v1.apps", "v2.autoscaling", "v1.rbac.authorization.k8s.io"} <= set(services)
    assert "v1.apiregistration.k8s.io" not in services
    apps = services["v1.apps"]
    assert apps["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
    assert apps["spec"] == {"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15}
    (condition,) = apps["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("True", "Local")
    table = await api.get(f"{SERVICES}/v1.apps", accept="application/json;as=Table;g=meta.k8s.io;v=v1")
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Service", "Available", "Age"]
    assert table["rows"][0]["cells"][:3] == ["v1.apps", "Local", "True"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"version": "v2"}, 'must be `spec.version+"."+spec.group`: "v2.wardle.example.com"'),
        (
            {"groupPriorityMinimum": 0},
            "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
        ),
        ({"versionPriority": 1001}, "spec.versionPriority: Invalid value: 1001: must be positive and less than 1000"),
        (
            {"service": None, "caBundle": "YQ=="},
            'spec.caBundle: Invalid value: "1 bytes": local APIServices may not have',
        ),
        ({"service": {"name": "x"}}, "spec.service.namespace: Required value"),
        ({"caBundle": "YQ==", "insecureSkipTLSVerify": True}, "may not be true if caBundle is present"),
    ],
)
async def test_validation(api: Api, spec: Tree, message: str) -> None:
    """What cannot work is refused in the reference server's words."""
    base = {
        "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
        "service": {"namespace": "default", "name": "api"},
    }  # fmt: skip
    service = {"kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1", "metadata": {"name": NAME}}
    answer = await api.send("POST", SERVICES, {**service, "spec": {**base, **spec}})
    assert answer.status == 422
    assert message in answer.tree["message"]


async def test_config_map_is_kept(api: Api) -> None:
    """Extension servers find how to know our callers and us, and what is changed there is mended."""
    path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    data = (await api.get(path))["data"]
    assert data["requestheader-username-headers"] == '["X-Remote-User"]'
    assert data["requestheader-allowed-names"] == '["front-proxy-client"]'
    assert data["requestheader-client-ca-file"].startswith("-----BEGIN CERTIFICATE-----")
    await api.delete(path)
    key = "kube-system/extension-apiserver-authentication"
    await seen(api, CONFIGMAP, key, lambda tree: tree["data"] == data)
    await api.patch(path, {"data": {"client-ca-file": "other", "extra": "kept"}})
    await seen(api, CONFIGMAP, key, lambda tree: tree["data"] == {**data, "extra": "kept"})


# Availability


async def test_availability(api: Api, extension: Extension) -> None:
    """28: the condition says what is missing, in turn, and at last that all checks passed."""
    await api.create(SERVICES, extension.service())
    condition = await said(api, "False", "ServiceNotFound")
    assert condition["message"] == 'service/api in "default" is not present'
    answer = await api.send("GET", f"{GROUP}/v1alpha1/namespaces/default/flunders")
    assert (answer.status, answer.body) == (503, b"service unavailable\n")
    await extension.expose(ready=False)
    condition = await said(api, "False", "MissingEndpoints")
    assert condition["message"].endswith('have no addresses with port name "https"')
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/api-1"
    endpoints = [{"addresses": [extension.backend.host], "conditions": {"ready": True}}]
    await api.patch(path, {"endpoints": endpoints})
    condition = await said(api, "True", "Passed")
    assert condition["message"] == "all checks passed"
    await api.delete(path)
    await said(api, "False", "EndpointsNotFound")


async def test_failed_discovery(api: Api, extension: Extension) -> None:
    """A server that does not serve the group is not available, and the condition says why."""
    await extension.expose()
    service = extension.service(group="other.example.com")
    service["metadata"]["name"] = "v1alpha1.other.example.com"
    await api.create(SERVICES, service)
    tree = await seen(
        api, APISERVICE, "v1alpha1.other.example.com", lambda tree: conditions.get(tree, "Available") is not None
    )
    condition = conditions.get(tree, "Available") or {}
    # The backend answers every path, so that it passes; one that nobody listens on does not.
    assert condition["reason"] == "Passed"
    await extension.backend.close()
    await api.patch(f"{SERVICES}/v1alpha1.other.example.com", {"spec": {"versionPriority": 9}})
    tree = await seen(
        api,
        APISERVICE,
        "v1alpha1.other.example.com",
        lambda tree: (conditions.get(tree, "Available") or {}).get("reason") == "FailedDiscoveryCheck",
    )
    url = f"https://{extension.backend.host}:{extension.backend.port}/apis/other.example.com/v1alpha1"
    message = (conditions.get(tree, "Available") or {})["message"]
    assert message.startswith(f'failing or missing response from {url}: Get "{url}": dial tcp ')


# Proxying


async def test_request_reaches_the_server(api: Api, extension: Extension) -> None:
    """28: path, query, body and identity arrive; what the caller claims to be does not."""
    await extension.start()
    path = f"{GROUP}/v1alpha1/namespaces/default/flunders"
    answer = await api.send("POST", f"{path}?dryRun=All", b'{"a":1}', x_remote_user="evil", x_remote_group="evil")
    assert answer.tree == {"kind": "Flunder", "path": path, "query": "dryRun=All"}
    asked = next(asked for asked in extension.backend.asked if "flunders" in asked.target)
    assert (asked.method, asked.body) == ("POST", b'{"a":1}')
    assert asked.headers["x-remote-user"] == "kubernetes-admin"
    assert asked.raw.headers.getall("X-Remote-Group") == ["system:masters", "system:authenticated"]
    assert "authorization" not in asked.headers
    assert asked.certificate is not None
    assert ((("commonName", "front-proxy-client"),),) == asked.certificate["subject"]


async def test_rights_come_first(api: Api, extension: Extension) -> None:
    """I11: who may not, is refused by us; the extension server hears nothing."""
    await extension.start()
    answer = await api.send("GET", f"{GROUP}/v1alpha1/namespaces/default/flunders", peer=Peer("jane"))
    assert answer.status == 403
    assert 'cannot list resource "flunders" in API group "wardle.example.com"' in answer.tree["message"]
    assert not [asked for asked in extension.backend.asked if "flunders" in asked.target]


async def test_redirect_refused(api: Api, extension: Extension) -> None:
    """2022-3172: a redirect of the extension server goes nowhere."""
    await extension.start()
    answer = await api.send("GET", f"{GROUP}/v1alpha1/redirect")
    assert answer.status == 502
    assert answer.body == b"the backend attempted to redirect this request, which is not permitted"


async def test_wrong_certificate(api: Api, extension: Extension) -> None:
    """A server that is not the one with our trust gets no request of a caller."""
    await extension.expose()
    other = certificates.new_authority("other", SystemClock().now()).certificate
    await api.create(SERVICES, extension.service(caBundle=base64.b64encode(other).decode()))
    await said(api, "True", "Passed")
    answer = await api.send("GET", f"{GROUP}/v1alpha1/namespaces/default/flunders")
    assert answer.status == 503
    text = b"error trying to reach service: tls: failed to verify certificate: x509: certificate signed by"
    assert answer.body.startswith(text)
    await api.patch(f"{SERVICES}/{NAME}", {"spec": {"caBundle": None, "insecureSkipTLSVerify": True}})
    assert (await api.send("GET", f"{GROUP}/v1alpha1/namespaces/default/flunders")).status == 200


async def test_encoded_slash_refused(api: Api, extension: Extension) -> None:
    """2019-11247: a path that the next server would read otherwise than we did is not passed on."""
    if not isinstance(api.door, Https):
        pytest.skip("about bytes on the wire")
    await extension.start()
    reader, writer = await api.door.connect(ADMIN)
    writer.write(f"GET {GROUP}/v1alpha1/namespaces/default/flunders/a%2fstatus HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 404")
    assert not [asked for asked in extension.backend.asked if "flunders" in asked.target]
    writer.close()


async def test_upgrade(api: Api, extension: Extension) -> None:
    """A WebSocket to the extension server passes."""
    if not isinstance(api.door, Https):
        pytest.skip("an upgrade needs a connection")
    await extension.start()
    url = f"https://127.0.0.1:{await api.door.port()}{GROUP}/v1alpha1/ws"
    async with api.door.session(ADMIN).ws_connect(url) as sockets:
        assert await sockets.receive_str() == "hello"
    asked = next(asked for asked in extension.backend.asked if asked.target.endswith("/ws"))
    assert asked.headers["x-remote-user"] == "kubernetes-admin"


# Documents


async def test_discovery_joined(api: Api, extension: Extension) -> None:
    """24, 28: the group is found by plain and aggregated discovery, in its place, with its resources."""
    await extension.start()
    await told(api, extension)
    names = [entry["name"] for entry in (await api.get("/apis"))["groups"]]
    assert names[0] == "apiregistration.k8s.io"
    assert names.index("wardle.example.com") > names.index("flowcontrol.apiserver.k8s.io")
    assert (await api.get(GROUP))["preferredVersion"]["version"] == "v1alpha1"
    assert await api.get(f"{GROUP}/v1alpha1") == RESOURCES
    found = await api.get("/apis", accept=AGGREGATED)
    (item,) = [item for item in found["items"] if item["metadata"]["name"] == "wardle.example.com"]
    (version,) = item["versions"]
    assert version["freshness"] == "Current"
    (resource,) = version["resources"]
    assert (resource["resource"], resource["scope"]) == ("flunders", "Namespaced")
    assert [s["subresource"] for s in resource["subresources"]] == ["status"]


async def test_stale_discovery(api: Api, extension: Extension) -> None:
    """A server that is gone is still listed, as stale, with what it said last."""
    await extension.start()
    await told(api, extension)
    await api.delete("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/api-1")
    await said(api, "False", "EndpointsNotFound")
    found = await api.get("/apis", accept=AGGREGATED)
    (item,) = [item for item in found["items"] if item["metadata"]["name"] == "wardle.example.com"]
    assert item["versions"][0]["freshness"] == "Stale"
    assert item["versions"][0]["resources"]
    await api.delete(f"{SERVICES}/{NAME}")
    assert (await api.send("GET", GROUP)).status == 404
    assert "wardle" not in str(await api.get("/apis", accept=AGGREGATED))


async def test_openapi_joined(api: Api, extension: Extension) -> None:
    """Its schemas are in both OpenAPI documents; a definition that means something else gets another name."""
    before = await api.send("GET", "/openapi/v2")
    await extension.start()
    await told(api, extension)
    answer = await api.send("GET", "/openapi/v2")
    assert answer.headers["etag"] != before.headers["etag"]
    document = answer.tree
    assert f"{GROUP}/v1alpha1/flunders" in document["paths"]
    assert "/version" not in document["paths"] or "/version" in before.tree["paths"]
    flunder = document["definitions"]["com.example.wardle.Flunder"]
    assert flunder["properties"]["meta"] == {"$ref": f"#/definitions/{META}_v2"}
    assert document["definitions"][f"{META}_v2"]["description"] == "another one"
    assert "unused" not in document["definitions"]
    paths = (await api.get("/openapi/v3"))["paths"]
    assert paths["apis/wardle.example.com/v1alpha1"] == V3["paths"]["apis/wardle.example.com/v1alpha1"]
    assert await api.get("/openapi/v3/apis/wardle.example.com/v1alpha1") == {"openapi": "3.0.0"}
    assert orjson.loads(before.body)["definitions"].keys() < document["definitions"].keys()
