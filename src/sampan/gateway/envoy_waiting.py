"""Waiting rooms: where Envoy keeps the requests for a Service that sleeps, until we say that somebody is awake.

A room is a listener of Envoy on a unix socket, and the endpoint of the Service's cluster where no pod is one. Before
it lets a request go on to the pods it asks us, and we answer when there are some. So what waits stays in Envoy: a body
is read no further than its buffers reach, and HTTP/2, gRPC and WebSockets are what they are elsewhere.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/ext_authz_filter
"""

import hashlib

from sampan.gateway.envoy_parts import HTTP2, Tree, pipe, typed
from sampan.gateway.traffic import Cluster

SOCKET = "waiting.sock"
"""Where Envoy asks us."""
DOORKEEPER = "doorkeeper"
"""The cluster that leads there."""
OUTCOME = "x-sampan-outcome"
GO_ON, FULL, LATE = "go-on", "full", "late"
HOLD_SECONDS = 120
_ASKING_SECONDS = HOLD_SECONDS + 10
_BUFFER_BYTES = 64 << 10
_ATTEMPTS = 60
_TEXTS = {
    FULL: (503, "too many requests wait for Service {} already\n"),
    LATE: (504, "Service {} was at zero replicas and did not become ready in time\n"),
}
_UNKNOWN = (503, "Service {} is not ready\n")


def awake(cluster: Cluster) -> str:
    """The cluster behind the room: the pods alone."""
    return f"awake/{cluster.name}"


def label(cluster: Cluster) -> str:
    """What Envoy calls it when it asks us."""
    return cluster.name.replace("/", ":")


def namespace(label: str) -> str:
    """The namespace in a label."""
    return label.partition(":")[0]


def door(cluster: Cluster) -> Tree:
    """The room's address."""
    return pipe(f"room-{hashlib.sha256(cluster.name.encode()).hexdigest()[:16]}.sock")


def room(cluster: Cluster) -> Tree:
    """The listener. It changes nothing of a request, since the one before it has done all of that."""
    manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=f"waiting/{cluster.name}",
        codec_type="AUTO",
        route_config=_routes(cluster),
        http_filters=[_question(cluster), {"name": "envoy.filters.http.router", "typed_config": _router()}],
        upgrade_configs=[{"upgrade_type": "websocket"}],
        http2_protocol_options={**HTTP2, "initial_stream_window_size": _BUFFER_BYTES},
        skip_xff_append=True,
        generate_request_id=False,
        preserve_external_request_id=True,
        server_header_transformation="PASS_THROUGH",
        common_http_protocol_options={"idle_timeout": "3600s", "headers_with_underscores_action": "ALLOW"},
        stream_idle_timeout="0s",
    )
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return typed(
        "envoy.config.listener.v3.Listener",
        name=f"waiting/{cluster.name}",
        address=door(cluster),
        filter_chains=[chain],
        ignore_global_conn_limit=True,
        per_connection_buffer_limit_bytes=_BUFFER_BYTES,
    )


def _router() -> Tree:
    return typed("envoy.extensions.filters.http.router.v3.Router", suppress_envoy_headers=True)


def _question(cluster: Cluster) -> Tree:
    """Without an answer, as when we are not there, it is 503."""
    service = {
        "server_uri": {"uri": "http://doorkeeper", "cluster": DOORKEEPER, "timeout": f"{_ASKING_SECONDS}s"},
        "path_prefix": f"/{label(cluster)}",
        "authorization_response": {"allowed_upstream_headers": {"patterns": [{"exact": OUTCOME}]}},
    }
    config = typed(
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        http_service=service,
        disallowed_headers={"patterns": [{"exact": "authorization"}]},
        status_on_error={"code": "ServiceUnavailable"},
        clear_route_cache=True,
    )
    return {"name": "envoy.filters.http.ext_authz", "typed_config": config}


def _routes(cluster: Cluster) -> Tree:
    """By what we answered."""
    where = f"{cluster.namespace}/{cluster.service}"
    rules: list[Tree] = [{"match": _outcome(GO_ON), "route": _onward(cluster), "request_headers_to_remove": [OUTCOME]}]
    for outcome, said in _TEXTS.items():
        rules.append({"match": _outcome(outcome), **_told(said, where)})
    rules.append({"match": {"prefix": "/"}, **_told(_UNKNOWN, where)})
    return {"name": f"waiting/{cluster.name}", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": rules}]}


def _outcome(value: str) -> Tree:
    return {"prefix": "/", "headers": [{"name": OUTCOME, "string_match": {"exact": value}}]}


def _told(said: tuple[int, str], where: str) -> Tree:
    code, text = said
    return {"direct_response": {"status": code, "body": {"inline_string": text.format(where)}}}


def _onward(cluster: Cluster) -> Tree:
    """A pod without a probe is ready before its program listens: it is tried for a good while."""
    retries = {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": _ATTEMPTS,
        "retry_back_off": {"base_interval": "0.050s", "max_interval": "1s"},
    }
    return {"cluster": awake(cluster), "timeout": "0s", "retry_policy": retries}
