"""Logs, exec and attach: passed on to the agent of the pod's node, which holds the containers.

The agent's address is the node's own, and redirects are never followed. What fails at the agent is told on
the error stream of the client's WebSocket: a failed handshake would only make the client try SPDY.

https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.36/#pod-v1-core
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol
from urllib.parse import urlencode

import orjson

from sampan.kinds.core import node as nodes
from sampan.kinds.core.node import NODE
from sampan.meta import objects, status
from sampan.server import spdy_bridge
from sampan.server.call import Call
from sampan.server.registry import Registry
from sampan.server.request_info import is_true
from sampan.web.message import Response

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
EXEC_PARAMETERS = ("command", "stdin", "stdout", "stderr", "tty")
ATTACH_PARAMETERS = ("stdin", "stdout", "stderr", "tty")
FORWARD_PROTOCOLS = ("SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io")
FORWARD_PARAMETERS = ("ports",)
LOG_PARAMETERS = ("follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream")

Tree = dict[str, Any]


class NodeDialer(Protocol):
    """How the server reaches an agent; joined in by the cluster's wiring."""

    async def get(self, url: str) -> tuple[int, AsyncIterator[bytes]]:
        """Status code and body. OSError when the agent cannot be reached."""
        ...

    async def websocket(self, url: str, protocols: tuple[str, ...]) -> Any:
        """An open WebSocket. ApiError when the agent refuses, OSError when it cannot be reached."""
        ...

    def upgrade(self, backend: Any) -> Any:
        """What Response.hijack needs to join a client's WebSocket to an open one."""
        ...

    def command(self, backend: Any) -> Any:
        """The same for a command, whose client is told where the agent is lost before it could say what came of it."""
        ...

    def messages(self, body: AsyncIterator[bytes]) -> Any:
        """What Response.hijack needs to send a body over a client's WebSocket."""
        ...

    def refusal(self, error: status.ApiError, protocol: str) -> Any:
        """What Response.hijack needs to accept a client's WebSocket and say on its error stream what failed."""
        ...


class NearLogs(Protocol):
    """Who has simulated nodes' logs and figures, where these nodes are in the server's process."""

    async def get(self, url: str) -> tuple[int, AsyncIterator[bytes]]:
        """As NodeDialer."""
        ...


class Streams:
    """GET of pods/NAME/log, GET and POST of pods/NAME/exec, attach and portforward."""

    def __init__(self, registry: Registry, dialer: NodeDialer | None, near: NearLogs | None = None) -> None:
        self._registry = registry
        self._dialer = dialer
        self._near = near

    async def log(self, call: Call) -> Response:
        """The container's log, as plain text, or in messages to a WebSocket. Raises ApiError 400, 404."""
        pod = (await self._registry.find(call)).tree
        container = _container(call, pod)
        _check_log_query(call)
        node = self._node(pod)
        near = self._near if is_simulated(node) else None
        url = _url(
            node, "containerLogs", _place(pod, container), _query(call, LOG_PARAMETERS), is_near=near is not None
        )
        try:
            code, body = await (near or self._agent()).get(url)
        except OSError as error:
            raise _unreachable(url, error) from error
        if code != 200:
            raise await _refusal(code, body)
        if self._dialer is not None and "websocket" in call.request.headers.get("upgrade", "").lower():
            return Response(101, hijack=self._dialer.messages(body))
        return Response(200, body, content_type="text/plain")

    async def exec(self, call: Call) -> Response:
        """Raises ApiError 400, 404."""
        if not any(key == "command" for key, _ in call.request.query):
            raise status.bad_request("you must specify at least 1 command for the container")
        return await self._stream(call, "exec", EXEC_PARAMETERS)

    async def attach(self, call: Call) -> Response:
        return await self._stream(call, "attach", ATTACH_PARAMETERS)

    async def port_forward(self, call: Call) -> Response:
        """Raises ApiError 400, 404."""
        pod = (await self._registry.find(call)).tree
        kind = "PodPortForwardOptions"
        asked = [value for key, value in call.request.query if key == "ports"]
        told: Tree = {
            "kind": kind,
            "apiVersion": "v1",
            **({"ports": [int(p) for p in asked if p.isdigit()]} if asked else {}),
        }
        await self._registry.admit_connect(call, told, ("", "v1", kind))
        place = f"{objects.namespace(pod)}/{objects.name(pod)}"
        url = _url(self._node(pod), "portForward", place, _query(call, FORWARD_PARAMETERS))
        if spdy_bridge.is_wanted(call.request):
            version = spdy_bridge.negotiated(call.request, spdy_bridge.FORWARD)
            forward = spdy_bridge.Forward(await self._dialed(url, FORWARD_PROTOCOLS[0]))
            return spdy_bridge.response(forward, version)
        protocol = _protocol(call, FORWARD_PROTOCOLS) or FORWARD_PROTOCOLS[-1]
        backend = await self._dialed(url, protocol)  # a refusal is an answer of its own: no channel is one for errors
        return Response(101, hijack=self._agent().upgrade(backend))

    async def _stream(self, call: Call, verb: str, parameters: tuple[str, ...]) -> Response:
        pod = (await self._registry.find(call)).tree
        name = f"Pod{verb.capitalize()}Options"
        told: Tree = {"kind": name, "apiVersion": "v1", **_options(call, parameters)}
        await self._registry.admit_connect(call, told, ("", "v1", name))
        self._agent()
        container = _container(call, pod)
        url = _url(self._node(pod), verb, _place(pod, container), _query(call, parameters))
        if spdy_bridge.is_wanted(call.request):
            version = spdy_bridge.negotiated(call.request, spdy_bridge.COMMANDS)
            count = spdy_bridge.expected(told, version)
            command = spdy_bridge.Command(await self._dialed(url, PROTOCOLS[0]), version, count)
            return spdy_bridge.response(command, version)
        protocol = _protocol(call)  # last: a client that falls back to SPDY must read what is wrong above
        return await self._joined(url, protocol)

    async def _joined(self, url: str, protocol: str) -> Response:
        """The client's WebSocket, joined to one that is opened to the agent."""
        agent = self._agent()
        try:
            backend = await agent.websocket(url, (protocol,))
        except status.ApiError as error:
            refusal = status.internal(f"unable to upgrade connection: {error.message}")
            return Response(101, hijack=agent.refusal(refusal, protocol))
        except OSError as error:
            refusal = status.internal(f"error dialing backend: {error.strerror or error}")
            return Response(101, hijack=agent.refusal(refusal, protocol))
        return Response(101, hijack=agent.command(backend))

    async def _dialed(self, url: str, protocol: str) -> Any:
        """An open WebSocket to the agent. Raises ApiError."""
        try:
            return await self._agent().websocket(url, (protocol,))
        except status.ApiError as error:
            text = f"unable to upgrade connection: {error.message}"
            if error.code == 429:
                raise status.too_many_requests(text) from error
            raise status.failure(error.code, error.reason, text) from error
        except OSError as error:
            raise status.internal(f"error dialing backend: {error.strerror or error}") from error

    def _agent(self) -> NodeDialer:
        if self._dialer is None:
            raise status.bad_request(
                "logs, exec and attach need a node agent, and this cluster has only simulated nodes"
            )
        return self._dialer

    def _node(self, pod: Tree) -> Tree:
        node_name = pod["spec"].get("nodeName", "")
        if not node_name:
            raise status.bad_request(f"pod {objects.name(pod)} does not have a host assigned")
        item = self._registry.get(NODE, "", node_name)
        if item is None:
            raise status.not_found("", "nodes", node_name)
        return item.tree


def _url(node: Tree, verb: str, place: str, query: list[tuple[str, str]], *, is_near: bool = False) -> str:
    if is_simulated(node) and not is_near:
        name = objects.name(node)
        raise status.bad_request(f"node {name} is simulated: its pods have no logs and nothing to exec in")
    address = agent_address(node)
    if address is None:
        raise status.bad_request(f"node {objects.name(node)} has no address yet")
    return f"https://{address}/{verb}/{place}" + (f"?{urlencode(query)}" if query else "")


def agent_address(node: Tree) -> str | None:
    """Host and port of a node's agent; None while it says none."""
    address = nodes.address(node, "InternalIP")
    port = objects.get_path(node, "status.daemonEndpoints.kubeletEndpoint.Port")
    if not (port and address):
        return None
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def is_simulated(node: Tree) -> bool:
    """Whether nothing really runs on a node."""
    info = node.get("status", {}).get("nodeInfo", {})
    return bool(info.get("containerRuntimeVersion", "").startswith("simulated://"))


def _place(pod: Tree, container: str) -> str:
    return f"{objects.namespace(pod)}/{objects.name(pod)}/{container}"


def _options(call: Call, parameters: tuple[str, ...]) -> Tree:
    """The connection's options as an object (PodExecOptions), for admission."""
    options: Tree = {}
    for key, value in _query(call, (*parameters, "container")):
        if key == "command":
            options.setdefault(key, []).append(value)
        else:
            options[key] = value if key == "container" else is_true(value)
    return options


def _protocol(call: Call, known: tuple[str, ...] = PROTOCOLS) -> str:
    """The WebSocket sub-protocol to speak; empty when the client named none. Raises ApiError 400."""
    headers = call.request.headers
    upgrade = headers.get("upgrade", "").lower()
    if "websocket" not in upgrade:
        raise status.bad_request("Upgrade request required")
    offered = tuple(p.strip() for p in headers.get("sec-websocket-protocol", "").split(",") if p.strip())
    if not offered:
        return ""
    wanted = next((p for p in known if p in offered), None)
    if wanted is None:
        raise status.bad_request(f"none of the sub-protocols is supported: {', '.join(offered)}")
    return wanted


def _container(call: Call, pod: Tree) -> str:
    """The container that is meant, checked against the pod's list. Raises ApiError 400."""
    spec = pod["spec"]
    groups = ("containers", "initContainers", "ephemeralContainers")
    names = [c["name"] for group in groups for c in spec.get(group, ())]
    asked = call.request.param("container")
    name = objects.name(pod)
    if asked:
        if asked not in names:
            raise status.bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    if len(spec["containers"]) == 1:
        only: str = spec["containers"][0]["name"]
        return only
    listed = " ".join(c["name"] for c in spec["containers"])
    more = ""
    if spec.get("initContainers"):
        more = f" or one of the init containers: [{' '.join(c['name'] for c in spec['initContainers'])}]"
    raise status.bad_request(f"a container name must be specified for pod {name}, choose one of: [{listed}]{more}")


def _query(call: Call, names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(key, value) for key, value in call.request.query if key in names]


def _check_log_query(call: Call) -> None:
    causes = []
    for name, least in (("sinceSeconds", 1), ("tailLines", 0), ("limitBytes", 1)):
        text = call.request.param(name)
        if text and not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20):
            raise status.bad_request(f"strconv.ParseInt: parsing {status.show(text)}: invalid syntax")
        if text and int(text) < least:
            causes.append(status.invalid_value(name, int(text), f"must be greater than or equal to {least}"))
    if call.request.param("sinceSeconds") and call.request.param("sinceTime"):
        causes.append(status.forbidden_field("", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    if causes:
        raise status.invalid("", "PodLogOptions", call.name, causes)


def _unreachable(url: str, error: OSError) -> status.ApiError:
    plain = url.partition("?")[0]
    return status.failure(500, "InternalError", f'Get "{plain}": {error.strerror or error}')


async def _refusal(code: int, body: AsyncIterator[bytes]) -> status.ApiError:
    """What the agent said, as an ApiError: its Status, or its text."""
    data = b""
    try:
        async with asyncio.timeout(10):
            async for chunk in body:
                data += chunk
                if len(data) > 65536:
                    break
    finally:
        if (close := getattr(body, "aclose", None)) is not None:
            await close()
    try:
        tree = orjson.loads(data)
    except orjson.JSONDecodeError:
        tree = None
    if isinstance(tree, dict) and tree.get("kind") == "Status":
        return status.ApiError(tree)
    reason = {400: "BadRequest", 404: "NotFound", 403: "Forbidden"}.get(code, "InternalError")
    text = data.decode("utf-8", "replace").strip() or f"the node agent answered {code}"
    return status.too_many_requests(text) if code == 429 else status.failure(code, reason, text)
