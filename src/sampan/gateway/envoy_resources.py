"""Envoy's resources: everything that Envoy is told, by type and name, from a plan of traffic.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from sampan.gateway import envoy_routes, envoy_waiting
from sampan.gateway.envoy_parts import BUFFER_BYTES, HTTP2, TYPE, Tree, assignment, at, pipe, typed
from sampan.gateway.traffic import Cluster, Door, Entrance, Plan

Resources = dict[str, dict[str, Tree]]
"""By type URL and name."""

CLUSTERS = f"{TYPE}envoy.config.cluster.v3.Cluster"
ENDPOINTS = f"{TYPE}envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENERS = f"{TYPE}envoy.config.listener.v3.Listener"
ROUTES = f"{TYPE}envoy.config.route.v3.RouteConfiguration"
SECRETS = f"{TYPE}envoy.extensions.transport_sockets.tls.v3.Secret"
TYPES = (CLUSTERS, ENDPOINTS, SECRETS, ROUTES, LISTENERS)

_HOLD_SECONDS = 310
_PATIENCE_SECONDS = 3600
"""An Envoy of before 1.37 has no other bound for a question: no longer than it may go on with what is old."""
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.1, 2.0
_MANY = 1_000_000
_HEADERS_SECONDS = 60
_MOST_CONNECTIONS = 50_000
_IDLE_UPSTREAM_SECONDS = 4
"""Before servers close an idle connection, of which the shortest known close after five."""


def source(refresh_seconds: float = 0.1) -> Tree:
    """Where Envoy asks for a resource: our server, which holds the question until there is news.

    When a question fails, Envoy asks the next one after the same short time for ever, and writes that down. So hardly one
    fails where we are away: it is tried again, see `bootstrap`.
    """
    api = {
        "api_type": "REST",
        "transport_api_version": "V3",
        "cluster_names": ["xds"],
        "refresh_delay": envoy_routes.duration(refresh_seconds),
        "request_timeout": f"{_PATIENCE_SECONDS}s",
    }
    return {"api_config_source": api, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def resources(plan: Plan, before: tuple[Plan, Resources] | None = None) -> Resources:
    """All of them. What a plan `before` says of routes is taken over where this one has the very same entrances."""
    made: Resources = {type_: {} for type_ in TYPES}
    is_known = before is not None and before[0].entrances is plan.entrances
    made[ROUTES] = before[1][ROUTES] if before is not None and is_known else _routes(plan)
    for cluster, addresses in plan.endpoints.items():
        made[CLUSTERS][cluster.name] = _cluster(cluster, cluster.name)
        listed = [at(*address) for address in addresses]
        if cluster in plan.sleepers:
            _add_room(made, cluster, listed)
        else:
            made[ENDPOINTS][cluster.name] = assignment(cluster.name, listed)
    for entrance in plan.entrances:
        made[LISTENERS][entrance.name] = _listener(entrance)
    for key, pair in plan.certificates.items():
        made[SECRETS]["/".join(key)] = _secret("/".join(key), pair)
    return made


def _routes(plan: Plan) -> dict[str, Tree]:
    return {
        door.name: envoy_routes.configuration(door.name, door.hosts, entrance)
        for entrance in plan.entrances
        for door in entrance.doors
    }


def _add_room(made: Resources, cluster: Cluster, pods: list[Tree]) -> None:
    """With a room beside the pods, for when there are none, or one does not take a connection."""
    name = envoy_waiting.awake(cluster)
    made[CLUSTERS][name] = _cluster(cluster, name)
    made[ENDPOINTS][name] = assignment(name, pods)
    made[ENDPOINTS][cluster.name] = assignment(cluster.name, pods, [envoy_waiting.door(cluster)])
    made[LISTENERS][f"waiting/{cluster.name}"] = envoy_waiting.room(cluster)
    asked = Cluster("", "", 0)
    made[CLUSTERS][envoy_waiting.DOORKEEPER] = _cluster(asked, envoy_waiting.DOORKEEPER)
    keeper = [pipe(envoy_waiting.SOCKET)]
    made[ENDPOINTS][envoy_waiting.DOORKEEPER] = assignment(envoy_waiting.DOORKEEPER, keeper)


def _cluster(cluster: Cluster, name: str) -> Tree:
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), _MANY) | {"max_retries": 1000}
    http: Tree = {"http2_protocol_options": {}} if cluster.is_http2 else {"http_protocol_options": {}}
    options = typed(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        common_http_protocol_options={"idle_timeout": f"{_IDLE_UPSTREAM_SECONDS}s"},
        explicit_http_config=http,
    )
    return typed(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        type="EDS",
        eds_cluster_config={"eds_config": source()},
        connect_timeout="5s",
        circuit_breakers={"thresholds": [limits]},
        per_connection_buffer_limit_bytes=BUFFER_BYTES,
        common_lb_config={"healthy_panic_threshold": {"value": 0}},
        typed_extension_protocol_options={"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    )


def _secret(name: str, pair: tuple[str, str]) -> Tree:
    chain, key = ({"inline_string": text} for text in pair)
    certificate = {"certificate_chain": chain, "private_key": key}
    return typed("envoy.extensions.transport_sockets.tls.v3.Secret", name=name, tls_certificate=certificate)


def _listener(entrance: Entrance) -> Tree:
    made = typed(
        "envoy.config.listener.v3.Listener",
        name=entrance.name,
        address=at(entrance.address, entrance.port),
        filter_chains=[_chain(entrance, door) for door in entrance.doors],
        freebind=True,
        per_connection_buffer_limit_bytes=BUFFER_BYTES,
    )
    if entrance.is_tls:
        inspector = typed("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector")
        made["listener_filters"] = [{"name": "envoy.filters.listener.tls_inspector", "typed_config": inspector}]
    return made


def _chain(entrance: Entrance, door: Door) -> Tree:
    chain: Tree = {"name": door.name, "filters": [_manager(door)]}
    if entrance.is_tls:
        chain["transport_socket"] = _tls(door)
        if door.server_name:
            chain["filter_chain_match"] = {"server_names": [door.server_name]}
    return chain


def _tls(door: Door) -> Tree:
    named = [{"name": "/".join(key), "sds_config": source()} for key in door.secrets]
    context = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": named,
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
    }
    made = typed("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", common_tls_context=context)
    return {"name": "envoy.transport_sockets.tls", "typed_config": made}


def _manager(door: Door) -> Tree:
    router = typed("envoy.extensions.filters.http.router.v3.Router", suppress_envoy_headers=True)
    manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=door.name,
        codec_type="AUTO",
        rds={"route_config_name": door.name, "config_source": source()},
        http_filters=[{"name": "envoy.filters.http.router", "typed_config": router}],
        upgrade_configs=[{"upgrade_type": "websocket"}],
        http2_protocol_options=HTTP2,
        use_remote_address=True,
        normalize_path=True,
        server_header_transformation="PASS_THROUGH",
        common_http_protocol_options={"idle_timeout": "3600s", "headers_with_underscores_action": "ALLOW"},
        stream_idle_timeout="0s",
        request_headers_timeout=f"{_HEADERS_SECONDS}s",
        drain_timeout="5s",
    )
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


_RUNTIME = {"re2.max_program_size.error_level": _MANY, "re2.max_program_size.warn_level": _MANY}


def bootstrap(socket: str, admin: str, node: str, files: int = _MOST_CONNECTIONS) -> Tree:
    """What Envoy starts with: where our server is, and where it may be asked how it is; both unix sockets.

    `files` is how many it may open: a client's connection needs one, and as a rule one more to a backend. While our server
    is away, each question is tried again ever more seldom, up to two seconds: an Envoy of before 1.37 leaves that out.
    """
    endpoint = {"endpoint": {"address": {"pipe": {"path": socket, "mode": 0o600}}}}
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), _MANY)
    retries = {
        "retry_on": "connect-failure,refused-stream,reset",
        "num_retries": _MANY,
        "per_try_timeout": f"{_HOLD_SECONDS}s",
        "retry_back_off": {
            "base_interval": envoy_routes.duration(FIRST_RETRY_SECONDS),
            "max_interval": envoy_routes.duration(LAST_RETRY_SECONDS),
        },
    }
    options = typed(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config={"http_protocol_options": {}},
        retry_policy=retries,
    )
    server = {
        "name": "xds",
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [limits]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    most = max(1, min(files // 3, _MOST_CONNECTIONS))
    connections = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    monitor = {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": typed(connections, max_active_downstream_connections=most),
    }
    return {
        "overload_manager": {"resource_monitors": [monitor]},
        "node": {"id": node, "cluster": "sampan"},
        "admin": {"address": {"pipe": {"path": admin, "mode": 0o600}}},
        "stats_flush_on_admin": True,
        "layered_runtime": {"layers": [{"name": "sampan", "static_layer": _RUNTIME}]},
        "static_resources": {"clusters": [server]},
        "dynamic_resources": {"lds_config": source(), "cds_config": source()},
    }
