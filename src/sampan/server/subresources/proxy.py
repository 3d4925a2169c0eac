"""pods/NAME/proxy, services/NAME/proxy and nodes/NAME/proxy: HTTP to what runs in the cluster, through the API.

Names are `[https:]NAME[:PORT]`; a Service's port may be its name. Any method passes, and so does any
upgrade. Only global unicast addresses are called, a Service only through its own namespace's pods; the
certificates of pods and services are not checked, those of node agents are.

https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode

from sampan.kinds.core import node
from sampan.meta import objects, status
from sampan.server import forwarding, outbound, proxied_links, service_target
from sampan.server.authz.decision import Attributes
from sampan.server.call import Call
from sampan.server.identity import User
from sampan.server.outbound import Credentials, Outbound, Target
from sampan.server.registry import Registry
from sampan.web.message import Response

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
OPTIONS = {"pods": "PodProxyOptions", "services": "ServiceProxyOptions", "nodes": "NodeProxyOptions"}
Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Name:
    """What `[SCHEME:]NAME[:PORT]` says; absent parts are ""."""

    scheme: str
    name: str
    port: str


class ProxyHandler:
    """`agent` is how the server shows itself to node agents, None where there are none.

    `check` raises ApiError 403 for what a user may not do.
    """

    def __init__(
        self,
        registry: Registry,
        way_out: Outbound | None,
        agent: Credentials | None,
        check: Callable[[User, Attributes], object],
    ) -> None:
        self._registry = registry
        self._outbound = way_out
        self._agent = agent
        self._check = check
        self._turns = itertools.count()

    async def handle(self, call: Call) -> Response:
        """The other's answer. Raises ApiError 400, 404, 405, 503."""
        request, resource = call.request, call.kind.plural
        if request.method not in METHODS:
            raise status.method_not_supported(call.kind.group, resource, call.info.verb)
        path = below(call)
        if resource == "nodes" and call.info.verb == "get" and forwarding.is_upgrade(request):
            # A GET that becomes a stream can run a command in any container: reading is not enough for it.
            self._check(call.user, Attributes("create", resource=resource, subresource="proxy", name=call.name))
        kind = OPTIONS[resource]
        options = {"kind": kind, "apiVersion": "v1", "path": path} if path else {"kind": kind, "apiVersion": "v1"}
        await self._registry.admit_connect(call, options, ("", "v1", kind))
        target = self._target(call)
        if not path and request.method in ("GET", "HEAD") and not forwarding.is_upgrade(request):
            return _slash(call)
        way_out = outbound.needed(self._outbound, f"the proxy to {resource}")
        headers = forwarding.request_headers(request)
        path = proxied_links.join("", path)
        prefix = _prefix(call)
        if forwarding.is_upgrade(request):
            return await forwarding.forward(way_out, target, forwarding.with_path(request, path, headers))
        headers["x-forwarded-uri"] = outbound.escaped(proxied_links.join(prefix, path))
        answer = await forwarding.forward(way_out, target, forwarding.with_path(request, path, headers))
        rewriter = proxied_links.Rewriter(prefix, (target.address, target.host), request.headers.get("host", ""))
        return rewriter.response(answer)

    def _target(self, call: Call) -> Target:
        name = split(call)
        if call.kind.plural == "services":
            return self._service(call, name)
        item = self._registry.get(call.kind, call.namespace, name.name)
        if item is None:
            raise call.not_found(name.name)
        host = name.name if call.kind.plural == "nodes" else item.tree["spec"].get("nodeName", "")
        if service_target.is_simulated(self._registry, host):
            raise status.bad_request(f"node {host} is simulated: there is nothing to connect to")
        return self._pod(item.tree, name) if call.kind.plural == "pods" else self._node(item.tree, name)

    def _pod(self, tree: Tree, name: Name) -> Target:
        """The pod's address; its first declared port when none is given."""
        declared = [port for c in tree["spec"].get("containers", ()) for port in c.get("ports") or ()]
        port = name.port or (str(declared[0]["containerPort"]) if declared else "")
        address = pod_address(tree.get("status") or {})
        if not outbound.is_proxyable(address):
            raise status.bad_request(outbound.NOT_ALLOWED)
        scheme = name.scheme or "http"
        return Target(address, _number(port or ("443" if scheme == "https" else "80")), scheme, insecure=True)

    def _service(self, call: Call, name: Name) -> Target:
        """One of the service's pods; `PORT` is the name or the number of the service's port."""
        service = service_target.find(self._registry, call.namespace, name.name)
        port = service_target.port_named(service, int(name.port)) if _is_number(name.port) else name.port
        found = service_target.pod_backed(self._registry, call.namespace, name.name, port, next(self._turns))
        if found is None:
            raise service_target.no_endpoints(call.name)
        return Target(*found, name.scheme or "http", insecure=True)

    def _node(self, tree: Tree, name: Name) -> Target:
        """The node's agent, or another port of the node."""
        address = node.address(tree, "InternalIP")
        agent_port = str(objects.get_path(tree, "status.daemonEndpoints.kubeletEndpoint.Port") or "")
        if not address:
            raise status.failure(500, "", "no preferred addresses found; known addresses: []")
        if not outbound.is_proxyable(address):
            raise status.bad_request(outbound.NOT_ALLOWED)
        if name.port and name.port != agent_port:
            return Target(address, _number(name.port), name.scheme or "http", insecure=True)
        if self._agent is None or not agent_port:
            raise status.unavailable(f"node {name.name} has no agent that can be reached")
        agent = self._agent
        return Target(address, int(agent_port), ca=agent.ca, certificate=agent.certificate, key=agent.key)


def split(call: Call) -> Name:
    """Raises ApiError 400 for a name that is none."""
    parts = call.name.split(":")
    scheme = parts.pop(0) if len(parts) == 3 else ""
    if len(parts) > 2 or (scheme and scheme not in ("http", "https")) or not parts[0]:
        raise status.bad_request(f"invalid {call.kind.name.lower()} request {status.show(call.name)}")
    return Name(scheme, parts[0], parts[1] if len(parts) == 2 else "")


def below(call: Call) -> str:
    """The path behind `/proxy`, wholly decoded: "" or from a slash on. Raises ApiError 400 when it climbs up."""
    path = call.info.below
    if "%" in path:
        path = "/".join(unquote(part) if "%2f" in part.lower() or "%00" in part else part for part in path.split("/"))
    if ".." in path.split("/"):
        raise status.bad_request("the path behind a proxy may not contain '..'")
    return path


def pod_address(tree: Tree) -> str:
    """A pod's first address, "" when it has none."""
    first: Tree = next(iter(tree.get("podIPs") or ()), {})
    return str(first.get("ip") or tree.get("podIP") or "")


def _slash(call: Call) -> Response:
    """Relative links of the page behind `/proxy` need the slash at its end."""
    request = call.request
    query = request.raw_query or urlencode(request.query)
    location = f"{request.raw_path or request.path}/" + (f"?{query}" if query else "")
    return Response(301, b"", {"Location": location}, "")


def _prefix(call: Call) -> str:
    """The proxy's own path: the request's without what is behind it."""
    whole = call.request.path
    return whole[: len(whole) - len(call.info.below)].rstrip("/") if call.info.below else whole


def _is_number(port: str) -> bool:
    return port.isascii() and port.isdigit()


def _number(port: str) -> int:
    if not _is_number(port):
        raise status.unavailable(f"error trying to reach service: dial tcp: lookup tcp/{port}: unknown port")
    if not 0 < int(port) < 65536:
        raise status.unavailable(f"error trying to reach service: dial tcp: address {port}: invalid port")
    return int(port)
