"""pods/proxy, services/proxy and nodes/proxy, against a real server behind them."""

import asyncio
import io
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sampan.kit.clock import SystemClock
from sampan.meta import status
from sampan.server.admission.chain import CONNECT, Attributes, Chain
from sampan.web import certificates
from sampan.web.certificates import Subject
from sampan.web.listener import server_context
from sampan.web.message import Peer
from tests.server.backend import Asked, Backend, own_address
from tests.server.conftest import ADMIN, Answer, Api, Https, pod

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
NAMESPACE = "/api/v1/namespaces/default"
PAGE = (
    b'<html><!-- a --><a href="/x/?a=1&amp;b=2" class=k>t&eacute;</a><img src="rel.png"><a href="http://else.where/x">'
)
Tree = dict[str, Any]


async def serve(asked: Asked) -> web.StreamResponse:
    """What the tests ask for by path."""
    path = asked.target.partition("?")[0]
    if path == "/redirect":
        return web.Response(status=302, headers={"Location": "/elsewhere?x=1"})
    if path == "/away":
        return web.Response(status=302, headers={"Location": "http://169.254.169.254/secret"})
    if path == "/itself":
        return web.Response(status=302, headers={"Location": f"http://{asked.headers['host']}/elsewhere"})
    if path == "/page":
        return web.Response(body=PAGE, content_type="text/html", headers={"Access-Control-Allow-Origin": "*"})
    if path == "/packed":
        packed = zlib.compressobj(wbits=31)
        body = packed.compress(PAGE) + packed.flush()
        return web.Response(body=body, content_type="text/html", headers={"Content-Encoding": "gzip"})
    if path == "/cookies":
        answer = web.Response(text="x")
        answer.set_cookie("a", "1")
        answer.set_cookie("b", "2")
        return answer
    if path == "/teapot":
        return web.Response(status=418, text="short and stout")
    if asked.headers.get("upgrade") == "websocket":
        return await echo(asked)
    return web.json_response({"Method": asked.method})


async def echo(asked: Asked) -> web.StreamResponse:
    sockets = web.WebSocketResponse()
    await sockets.prepare(asked.raw)
    async for message in sockets:
        await sockets.send_str(f"echo {message.data}")
    return sockets


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    made = Backend(serve, own_address())
    await made.start()
    yield made
    await made.close()


async def run_pod(api: Api, address: str, name: str = "web", ports: Any = ()) -> None:
    """A pod that has this address."""
    made = pod(name)
    if ports:
        made["spec"]["containers"][0]["ports"] = ports
    await api.create(f"{NAMESPACE}/pods", made)
    told = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    answer = await api.patch(f"{NAMESPACE}/pods/{name}/status", {"status": told})
    assert answer.status == 200, answer.body


async def expose(api: Api, backend: Backend, *, target: Tree | None = None) -> None:
    """A Service `web` whose endpoint is the pod `web`: port 80 is `http`, 81 is `other`."""
    ports = [{"name": "http", "port": 80, "targetPort": backend.port}, {"name": "other", "port": 81}]
    service = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "web"}, "spec": {"ports": ports}}
    await api.create(f"{NAMESPACE}/services", service)
    endpoint: Tree = {"addresses": [backend.host], "conditions": {"ready": True}}
    if target is not None:
        endpoint["targetRef"] = target
    slice_ = {
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "ports": [{"name": "http", "port": backend.port}], "endpoints": [endpoint],
    }  # fmt: skip
    await api.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice_)


THE_POD = {"kind": "Pod", "name": "web", "namespace": "default"}


@pytest.mark.parametrize("method", METHODS)
async def test_methods(api: Api, backend: Backend, method: str) -> None:
    """217, 218: every method reaches the pod and the service, with and without a path."""
    await run_pod(api, backend.host)
    await expose(api, backend, target=THE_POD)
    for base in (f"pods/web:{backend.port}", "services/http:web:http", "services/web:80"):
        for tail in ("/proxy/", "/proxy/some/path"):
            answer = await api.send(
                method, f"{NAMESPACE}/{base}{tail}?method={method}", b"x" if method == "POST" else b""
            )
            assert answer.status == 200, answer.body
            if method != "HEAD":
                assert answer.tree == {"Method": method}
            assert backend.asked[-1].method == method
            assert backend.asked[-1].target == f"{tail.removeprefix('/proxy')}?method={method}"


async def test_what_is_passed(api: Api, backend: Backend) -> None:
    """The body and headers pass; credentials and headers of the caller's own connection do not."""
    await run_pod(api, backend.host)
    answer = await api.send(
        "POST", f"{NAMESPACE}/pods/web:{backend.port}/proxy/a", b"payload",
        x_test="1", x_remote_user="evil", x_remote_extra_a="b", cookie="c=d", keep_alive="timeout=5",
    )  # fmt: skip
    assert answer.status == 200
    asked = backend.asked[0]
    assert asked.body == b"payload"
    assert (asked.headers["x-test"], asked.headers["cookie"]) == ("1", "c=d")
    assert asked.headers["x-forwarded-uri"] == f"{NAMESPACE}/pods/web:{backend.port}/proxy/a"
    assert not {"x-remote-user", "x-remote-extra-a", "keep-alive", "authorization"} & set(asked.headers)


async def test_long_bodies(api: Api, backend: Backend) -> None:
    """What is for somebody else may be longer than what is for this server, with and without a length; the rest not."""
    if not isinstance(api.door, Https):
        pytest.skip("about bytes on the wire")
    await run_pod(api, backend.host)
    session, at = api.door.session(ADMIN), f"https://127.0.0.1:{await api.door.port()}{NAMESPACE}"
    payload = bytes(range(256)) * 16384

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(payload), 1_000_000):
            yield payload[start : start + 1_000_000]

    for body, length in ((io.BytesIO(payload), str(len(payload))), (pieces(), None), (b"x", "1")):
        async with session.put(f"{at}/pods/web:{backend.port}/proxy/upload", data=body) as answer:
            assert answer.status == 200
        assert backend.asked[-1].headers.get("content-length") == length
        assert backend.asked[-1].body == (b"x" if body == b"x" else payload)
    async with session.post(f"{at}/pods", data=io.BytesIO(payload)) as answer:
        assert answer.status == 413
    async with session.post(f"{at}/pods/nobody:80/proxy/upload", data=io.BytesIO(payload)) as answer:
        assert answer.status == 404


async def test_a_body_passes_as_it_comes(api: Api) -> None:
    """Both talk at the same time: the answer begins before the body has ended."""
    if not isinstance(api.door, Https):
        pytest.skip("about bytes on the wire")
    answered = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"one")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nuno\r\n")
        await reader.readuntil(b"two")
        writer.write(b"3\r\ndos\r\n0\r\n\r\n")

    async def body() -> AsyncIterator[bytes]:
        yield b"one"
        await answered.wait()
        yield b"two"

    server = await asyncio.start_server(talk, own_address(), 0)
    host, port = server.sockets[0].getsockname()[:2]
    await run_pod(api, host)
    url = f"https://127.0.0.1:{await api.door.port()}{NAMESPACE}/pods/web:{port}/proxy/talk"
    async with asyncio.timeout(60), api.door.session(ADMIN).post(url, data=body()) as answer:
        assert await answer.content.readexactly(3) == b"uno"
        answered.set()
        assert await answer.content.read() == b"dos"
    server.close()


async def test_slash_is_added(api: Api, backend: Backend) -> None:
    """217: GET and HEAD of /proxy are sent to /proxy/ with 301; other methods reach the root."""
    await run_pod(api, backend.host)
    path = f"{NAMESPACE}/pods/web:{backend.port}/proxy"
    for method in ("GET", "HEAD"):
        answer = await send_once(api, f"{path}?method={method}", method)
        assert (answer.status, answer.headers["location"]) == (301, f"{path}/?method={method}")
    assert (await api.send("POST", path)).status == 200
    assert backend.asked[-1].target == "/"


async def test_default_port(api: Api, backend: Backend) -> None:
    """219: without a port the pod's first declared one is meant."""
    await run_pod(api, backend.host, ports=[{"containerPort": backend.port}])
    assert (await api.send("GET", f"{NAMESPACE}/pods/web/proxy/")).status == 200


async def test_redirect_passed_back(api: Api, backend: Backend) -> None:
    """2018-1002102: a redirect is handed to the client, rewritten when it stays on the server, never followed."""
    await run_pod(api, backend.host)
    base = f"{NAMESPACE}/pods/web:{backend.port}/proxy"
    answer = await send_once(api, f"{base}/redirect")
    assert (answer.status, answer.headers["location"]) == (302, f"{base}/elsewhere?x=1")
    answer = await send_once(api, f"{base}/away")
    assert (answer.status, answer.headers["location"]) == (302, "http://169.254.169.254/secret")
    assert len(backend.asked) == 2
    if isinstance(api.door, Https):
        host = f"127.0.0.1:{await api.door.port()}"
        assert (await send_once(api, f"{base}/itself")).headers["location"] == f"http://{host}{base}/elsewhere"


async def send_once(api: Api, path: str, method: str = "GET") -> Answer:
    """Without following redirects."""
    if not isinstance(api.door, Https):
        return await api.send(method, path)
    session = api.door.session(ADMIN)
    url = f"https://127.0.0.1:{await api.door.port()}{path}"
    async with session.request(method, url, allow_redirects=False) as answer:
        headers = {k.lower(): v for k, v in answer.headers.items()}
        return Answer(answer.status, await answer.read(), headers)


@pytest.mark.parametrize("path", ["/page", "/packed"])
async def test_links_rewritten(api: Api, backend: Backend, path: str) -> None:
    """Absolute links of a page lead through the proxy again; nothing else of it changes."""
    await run_pod(api, backend.host)
    base = f"{NAMESPACE}/pods/web:{backend.port}/proxy"
    answer = await api.send("GET", f"{base}{path}")
    assert (
        answer.body
        == (
            f'<html><!-- a --><a href="{base}/x/?a=1&amp;b=2" class="k">t&eacute;</a><img src="rel.png">'
            '<a href="http://else.where/x">'
        ).encode()
    )
    assert "access-control-allow-origin" not in answer.headers


async def test_status_and_cookies_pass(api: Api, backend: Backend) -> None:
    """The backend's own status and all its headers come back."""
    await run_pod(api, backend.host)
    answer = await api.send("GET", f"{NAMESPACE}/pods/web:{backend.port}/proxy/teapot")
    assert (answer.status, answer.body) == (418, b"short and stout")
    if isinstance(api.door, Https):
        session = api.door.session(ADMIN)
        url = f"https://127.0.0.1:{await api.door.port()}{NAMESPACE}/pods/web:{backend.port}/proxy/cookies"
        async with session.get(url) as got:
            assert len(got.headers.getall("Set-Cookie")) == 2


async def test_refusals_worded(api: Api, backend: Backend) -> None:
    """What cannot be reached is told in the reference server's words."""
    await run_pod(api, backend.host)
    for name, code, message in (
        ("pods/a:b:c", 400, 'invalid pod request "a:b:c"'),
        ("pods/nobody:80", 404, 'pods "nobody" not found'),
        ("pods/web:named", 503, "error trying to reach service: dial tcp: lookup tcp/named: unknown port"),
        ("services/nobody", 404, 'services "nobody" not found'),
        ("pods/web:1", 503, f"error trying to reach service: dial tcp {backend.host}:1: connect: connection refused"),
    ):
        answer = await api.send("GET", f"{NAMESPACE}/{name}/proxy/")
        assert (answer.status, answer.tree["message"]) == (code, message)
    await expose(api, backend)
    for name, message in (
        ("web:99", 'no service port 99 found for service "web"'),
        ("web:other", 'no endpoints available for service "web:other"'),
    ):
        answer = await api.send("GET", f"{NAMESPACE}/services/{name}/proxy/")
        assert (answer.status, answer.tree["message"]) == (503, message)


@pytest.mark.parametrize("target", [None, {**THE_POD, "namespace": "other"}, {**THE_POD, "name": "another"}])
async def test_service_reaches_only_its_pods(api: Api, backend: Backend, target: Tree | None) -> None:
    """B9, 2021-25737: an endpoint that is no pod of the namespace, or not at its address, is not called."""
    await run_pod(api, backend.host)
    await run_pod(api, "10.9.8.7", "another")
    await expose(api, backend, target=target)
    answer = await api.send("GET", f"{NAMESPACE}/services/web:http/proxy/")
    assert (answer.status, answer.tree["message"]) == (503, 'no endpoints available for service "web:http"')
    assert not backend.asked


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "0.0.0.0"])
async def test_local_addresses_refused(api: Api, backend: Backend, address: str) -> None:
    """B9, 2020-8555: a pod or node that claims to be the server itself is not called."""
    await run_pod(api, address)
    answer = await api.send("GET", f"{NAMESPACE}/pods/web:{backend.port}/proxy/")
    assert (answer.status, answer.tree["message"]) == (400, "address not allowed")
    node = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n"}}
    await api.create("/api/v1/nodes", node)
    told = {"addresses": [{"type": "InternalIP", "address": address}]}
    assert (await api.patch("/api/v1/nodes/n/status", {"status": told})).status == 200
    answer = await api.send("GET", f"/api/v1/nodes/n:{backend.port}/proxy/")
    assert (answer.status, answer.tree["message"]) == (400, "address not allowed")


async def test_node_ports(api: Api, backend: Backend) -> None:
    """A node's other ports are reached like a pod's; without an agent the agent's port is refused by name."""
    await api.create("/api/v1/nodes", {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n"}})
    told = {"addresses": [{"type": "InternalIP", "address": backend.host}]}
    await api.patch("/api/v1/nodes/n/status", {"status": told})
    assert (await api.send("GET", f"/api/v1/nodes/n:{backend.port}/proxy/x")).status == 200
    answer = await api.send("GET", "/api/v1/nodes/n/proxy/x")
    assert (answer.status, answer.tree["message"]) == (503, "node n has no agent that can be reached")


@pytest.mark.parametrize("tail", ["../../x", "a/%2e%2e/x", "a%2f..%2fx", "%2e%2e%2fx"])
async def test_climbing_refused(api: Api, backend: Backend, tail: str) -> None:
    """B9: a path that climbs out from behind the proxy is refused, however it is written."""
    await run_pod(api, backend.host)
    if isinstance(api.door, Https):
        head = f"GET {NAMESPACE}/pods/web:{backend.port}/proxy/{tail} HTTP/1.1\r\nHost: x\r\n\r\n"
        assert (await raw(api, head.encode())).startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))
    assert not backend.asked


async def test_line_breaks_stay_in_the_path(api: Api, backend: Backend) -> None:
    """B9: a line break in path or query does not become one on the wire."""
    if not isinstance(api.door, Https):
        pytest.skip("about bytes on the wire")
    await run_pod(api, backend.host)
    path = f"{NAMESPACE}/pods/web:{backend.port}/proxy/a%0d%0aX-Evil:1/b?q=%0d%0aX-Evil:1"
    answer = await raw(api, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200")
    assert backend.asked[0].target == "/a%0D%0AX-Evil:1/b?q=%0d%0aX-Evil:1"
    assert "x-evil" not in backend.asked[0].headers


async def raw(api: Api, data: bytes) -> bytes:
    """What comes back for these bytes, until the first pause."""
    assert isinstance(api.door, Https)
    reader, writer = await api.door.connect(ADMIN)
    try:
        writer.write(data)
        async with asyncio.timeout(60):
            head = await reader.readuntil(b"\r\n\r\n")
            return head + await reader.read(1000)
    finally:
        writer.close()


UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: {}\r\nHost: x\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def test_websocket_through(api: Api, backend: Backend) -> None:
    """A WebSocket to the pod passes in both directions, byte for byte."""
    if not isinstance(api.door, Https):
        pytest.skip("an upgrade needs a connection")
    await run_pod(api, backend.host)
    session = api.door.session(ADMIN)
    url = f"https://127.0.0.1:{await api.door.port()}{NAMESPACE}/pods/web:{backend.port}/proxy/ws"
    async with session.ws_connect(url) as sockets:
        await sockets.send_str("hello")
        assert await sockets.receive_str() == "echo hello"
        await sockets.send_str("x" * 200_000)
        assert len(await sockets.receive_str()) == 200_005


async def test_any_protocol_through(api: Api) -> None:
    """A protocol that nobody here knows passes too, and each side hears when the other ends."""
    if not isinstance(api.door, Https):
        pytest.skip("an upgrade needs a connection")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: odd/1\r\n\r\nfirst ")
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()

    server = await asyncio.start_server(talk, own_address(), 0)
    host, port = server.sockets[0].getsockname()[:2]
    await run_pod(api, host)
    reader, writer = await api.door.connect(ADMIN)
    head = f"GET {NAMESPACE}/pods/web:{port}/proxy/x HTTP/1.1\r\n{UPGRADE.format('odd/1')}"
    writer.write(head.encode())
    async with asyncio.timeout(60):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.write(b"hello\n")
        assert await reader.readline() == b"first HELLO\n"
    writer.close()
    server.close()


@pytest.mark.parametrize(("path", "code"), [("teapot", 418), ("plain", 500), ("redirect", 500)])
async def test_failed_upgrade_ends_the_connection(api: Api, backend: Backend, path: str, code: int) -> None:
    """B9, 2018-1002105: after an upgrade that came to nothing the socket carries no second request."""
    if not isinstance(api.door, Https):
        pytest.skip("an upgrade needs a connection")
    await run_pod(api, backend.host)
    reader, writer = await api.door.connect(ADMIN)
    base = f"{NAMESPACE}/pods/web:{backend.port}/proxy"
    writer.write(f"GET {base}/{path} HTTP/1.1\r\n{UPGRADE.format('odd/1')}".encode())
    async with asyncio.timeout(60):
        assert f" {code} ".encode() in await reader.readline()
        writer.write(f"GET {base}/second HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.read()
    assert [asked.target for asked in backend.asked] == [f"/{path}"]
    writer.close()


async def test_rights(api: Api, backend: Backend) -> None:
    """The verb is that of the method, on the subresource; a node's streams need more than get."""
    await api.create("/api/v1/nodes", {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n"}})
    await run_pod(api, backend.host)
    rules = [{"apiGroups": [""], "resources": ["pods/proxy", "nodes/proxy"], "verbs": ["get"]}]
    role = {
        "kind": "ClusterRole",
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "p"},
        "rules": rules,
    }
    await api.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
    binding = {
        "kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "p"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "p"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
    }  # fmt: skip
    await api.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    jane = Peer("jane")
    path = f"{NAMESPACE}/pods/web:{backend.port}/proxy/x"
    assert (await api.send("GET", path, peer=jane)).status == 200
    answer = await api.send("POST", path, peer=jane)
    assert answer.status == 403
    assert 'cannot create resource "pods/proxy"' in answer.tree["message"]
    if isinstance(api.door, Https):
        return  # one more certificate would say the same
    upgrade = {"connection": "Upgrade", "upgrade": "websocket"}
    answer = await api.send("GET", "/api/v1/nodes/n/proxy/exec/default/web/c", peer=jane, **upgrade)
    assert answer.status == 403
    assert 'cannot create resource "nodes/proxy"' in answer.tree["message"]


async def test_simulated_nodes_refused(api: Api, backend: Backend) -> None:
    """The addresses of pods on a simulated node are made up, and may be somebody else's: nobody is called there."""
    await api.create("/api/v1/nodes", {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n"}})
    info = {"containerRuntimeVersion": "simulated://1"}
    await api.patch("/api/v1/nodes/n/status", {"status": {"nodeInfo": info}})
    made = pod("web", nodeName="n")
    await api.create(f"{NAMESPACE}/pods", made)
    told = {"podIP": backend.host, "podIPs": [{"ip": backend.host}]}
    await api.patch(f"{NAMESPACE}/pods/web/status", {"status": told})
    for path in (f"{NAMESPACE}/pods/web:{backend.port}", "/api/v1/nodes/n"):
        answer = await api.send("GET", f"{path}/proxy/")
        assert (answer.status, answer.tree["message"]) == (400, "node n is simulated: there is nothing to connect to")
    assert not backend.asked


async def test_https_backends(api: Api, tmp_path: Path) -> None:
    """219: `https:NAME:PORT` speaks TLS to the backend, whose certificate nobody can know."""
    now = SystemClock().now()
    authority = certificates.new_authority("somebody", now)
    authority.save(tmp_path / "tls", "ca")
    certificates.issue(authority, Subject("x", hosts=("x.example.com",)), now).save(tmp_path / "tls", "server")
    paths = (str(tmp_path / "tls" / name) for name in ("server.crt", "server.key", "ca.crt"))
    backend = Backend(serve, own_address())
    await backend.start(server_context(*paths))
    await run_pod(api, backend.host)
    await expose(api, backend, target=THE_POD)
    for name in (f"pods/https:web:{backend.port}", "services/https:web:http", "services/https:web:80"):
        assert (await api.send("GET", f"{NAMESPACE}/{name}/proxy/x")).status == 200
    assert (await api.send("GET", f"{NAMESPACE}/pods/ftp:web:1/proxy/x")).status == 400
    await backend.close()


async def test_admission_hears_of_connections(api: Api, backend: Backend) -> None:
    """CONNECT: admission sees the options of the connection, and may refuse it before anybody is called."""
    seen = []

    class Refuses:
        async def validate(self, attributes: Attributes, lookup: object) -> None:
            if attributes.operation == CONNECT:
                seen.append((attributes.subresource, attributes.body_kind, attributes.obj))
                raise status.forbidden("", "pods", attributes.name, "not today")

    await run_pod(api, backend.host)
    api.app.registry.admit_with(Chain([Refuses()]))
    answer = await api.send("POST", f"{NAMESPACE}/pods/web:{backend.port}/proxy/a/b/")
    assert answer.status == 403
    assert answer.tree["message"] == f'pods "web:{backend.port}" is forbidden: not today'
    options = {"kind": "PodProxyOptions", "apiVersion": "v1", "path": "/a/b/"}
    assert seen == [("proxy", ("", "v1", "PodProxyOptions"), options)]
    assert not backend.asked


async def test_silent_answer_is_let_go(api: Api) -> None:
    """I13: when the client is gone, so is our connection to a backend that says nothing any more."""
    if not isinstance(api.door, Https):
        pytest.skip("about connections")
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await reader.read()
        ended.set()
        writer.close()

    server = await asyncio.start_server(talk, own_address(), 0)
    host, port = server.sockets[0].getsockname()[:2]
    await run_pod(api, host)
    reader, writer = await api.door.connect(ADMIN)
    writer.write(f"GET {NAMESPACE}/pods/web:{port}/proxy/x HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    async with asyncio.timeout(60):
        await reader.readuntil(b"x\r\n")
        writer.close()
        await ended.wait()
    server.close()
