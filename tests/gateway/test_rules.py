"""The small rules below: hostnames, endpoints, precedence, durations, statistics."""

import contextlib
from typing import Any

import pytest

from sampan.gateway import (
    backends,
    build,
    certificates,
    envoy_resources,
    envoy_routes,
    grpc_rules,
    hostnames,
    metrics_text,
    refusals,
    route_stats,
    rule_parts,
)
from sampan.gateway.traffic import EXACT, PREFIX, REGEX, Cluster, Door, Entrance, Match, Plan, Route, Rule, Value
from tests.gateway import test_tls, world

COVERED = [
    ("a.example", "", True),
    ("a.example", "a.example", True),
    ("a.example", "b.example", False),
    ("a.example", "*.example", True),
    ("b.a.example", "*.example", True),
    ("example", "*.example", False),
    ("*.a.example", "*.example", True),
    ("*.example", "*.a.example", False),
    ("aexample", "*.example", False),
]


@pytest.mark.parametrize(("name", "pattern", "is_so"), COVERED)
def test_what_a_hostname_covers(name: str, pattern: str, is_so: bool) -> None:
    """A wildcard stands for one label or more."""
    assert hostnames.is_covered(name, pattern) is is_so


def test_hostnames_of_a_route_on_a_listener() -> None:
    """The narrower of each two that meet."""
    assert hostnames.intersection("", []) == ["*"]
    assert hostnames.intersection("*.example", []) == ["*.example"]
    assert hostnames.intersection("*.example", ["a.example", "other", "*.b.example", "*.example"]) == [
        "a.example",
        "*.b.example",
        "*.example",
    ]
    assert hostnames.intersection("a.example", ["*.example"]) == ["a.example"]
    assert hostnames.most_specific("a.b.example", ["", "*.example", "*.b.example", "x.b.example"]) == "*.b.example"


def _endpoint(address: str, **conditions: bool) -> dict[str, Any]:
    return {"addresses": [address], "conditions": conditions}


def test_endpoints_that_end_serve_only_where_no_other_does() -> None:
    """As for Services."""
    web = Cluster("default", "web", 80, "http")
    ready, ending = (
        _endpoint("10.0.0.1", ready=True),
        _endpoint("10.0.0.2", ready=False, serving=True, terminating=True),
    )
    unready = _endpoint("10.0.0.3", ready=False, serving=False, terminating=False)

    def found(*listed: dict[str, Any]) -> tuple[tuple[str, int], ...]:
        slice_ = {**world.slice_of("web", ("10.0.0.1", 8080)), "endpoints": list(listed)}
        return backends.endpoints(world.view([slice_]), web)

    assert found(ready, ending, unready) == (("10.0.0.1", 8080),)
    assert found(ending, unready) == (("10.0.0.2", 8080),)
    assert found(unready) == ()
    both = [world.slice_of("web", ("10.0.0.1", 80)), {**world.slice_of("web", ("fd00::1", 80)), "addressType": "IPv6"}]
    both[1]["metadata"] = {**both[1]["metadata"], "name": "web-6"}
    assert backends.endpoints(world.view(both), web) == (("10.0.0.1", 80),)
    assert backends.endpoints(world.view(both[1:]), web) == (("fd00::1", 80),)
    assert found(_endpoint("10.0.0.4")) == (("10.0.0.4", 8080),)


def _route(name: str, *matches: Match, created: str = "2026") -> Route:
    return Route("HTTPRoute", "default", name, created, (Rule(matches),))


def test_precedence() -> None:
    """Exact, longer, method, headers, parameters, older, by name."""
    header = (Value("a", "b"),)
    routes = [
        _route("z-old", Match(PREFIX, "/a"), created="2025"),
        _route("b", Match(PREFIX, "/a")),
        _route("a", Match(PREFIX, "/a"), Match(PREFIX, "/a", params=header), Match(PREFIX, "/a", headers=header)),
        _route("method", Match(PREFIX, "/a", method="GET")),
        _route("longer", Match(PREFIX, "/a/b")),
        _route("regex", Match(REGEX, "/.")),
        _route("exact", Match(EXACT, "/a")),
    ]
    found = [(route.name, bool(match.headers), bool(match.params)) for route, _, match in envoy_routes.ordered(routes)]
    assert found == [
        ("exact", False, False),
        ("regex", False, False),
        ("longer", False, False),
        ("method", False, False),
        ("a", True, False),
        ("a", False, True),
        ("z-old", False, False),
        ("a", False, False),
        ("b", False, False),
    ]


def test_durations() -> None:
    """As the Gateway API writes them."""
    assert [rule_parts.seconds(text) for text in ("1h30m", "500ms", "1m1s", "0s", None)] == [
        5400.0,
        0.5,
        61.0,
        0.0,
        0.0,
    ]
    with pytest.raises(rule_parts.Unsupported):
        rule_parts.seconds("1d")


def test_statistics() -> None:
    """Ports of a Service are added up; Envoy's own clusters are nobody's."""
    buckets = [{"upper_bound": 5, "cumulative": 1, "interval": 1}, {"upper_bound": 10, "cumulative": 3, "interval": 2}]
    stats = {
        "stats": [
            {"name": "cluster.default/web/80.upstream_rq_total", "value": 3},
            {"name": "cluster.default/web/81/h2.upstream_rq_total", "value": 1},
            {"name": "cluster.default/web/80.upstream_rq_5xx", "value": 2},
            {"name": "cluster.xds.upstream_rq_total", "value": 9},
            {"histograms": [{"name": "cluster.default/web/80.upstream_rq_time", "buckets": buckets}]},
        ]
    }
    assert route_stats.per_backend(stats) == {("default", "web"): (4, {5.0: 1, 10.0: 3})}
    text = metrics_text.exposition(stats)
    assert 'sampan_gateway_service_requests_total{namespace="default",service="web",code="5xx"} 2' in text
    assert (
        'sampan_gateway_service_request_duration_seconds_bucket{namespace="default",service="web",le="0.005"} 1' in text
    )
    assert 'sampan_gateway_service_request_duration_seconds_sum{namespace="default",service="web"} 0.0175' in text


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding", "connection", "Upgrade", "TE", "Host"])
@pytest.mark.parametrize("way", ["set", "add", "remove"])
def test_headers_that_say_where_a_request_ends_stay(name: str, way: str) -> None:
    """Nor those for the next hop only."""
    spec = {way: [name] if way == "remove" else [{"name": name, "value": "5"}]}
    with pytest.raises(rule_parts.Unsupported, match=name):
        rule_parts.header_edits(spec)


def test_expressions_of_a_method_are_read_one_by_one() -> None:
    """Together they might close each other's groups."""
    method = {"type": REGEX, "service": "a)|(b", "method": "x"}
    given = world.complete(world.route({"matches": [{"method": method}]}, kind="GRPCRoute"))
    found = grpc_rules.translate(world.view([]), given)
    assert not found.route.rules
    assert "can't be used" in found.dropped[0]


def test_a_client_is_given_bounds() -> None:
    """Time for its headers; and all together not more connections than there are files for."""
    monitor = envoy_resources.bootstrap("x", "y", "z", 1024)["overload_manager"]["resource_monitors"][0]
    assert monitor["typed_config"]["max_active_downstream_connections"] == 341
    made = envoy_resources.resources(Plan((Entrance("e", "127.0.0.1", 1, 80, (Door("d", ()),)),)))
    (chain,) = made[envoy_resources.LISTENERS]["e"]["filter_chains"]
    assert chain["filters"][0]["typed_config"]["request_headers_timeout"] == "60s"


def test_keys_that_envoy_does_not_take_are_refused() -> None:
    """It wants 2048 bits of RSA."""
    for bits, is_good in ((1024, False), (2048, True)):
        given = test_tls.secret(f"rsa-{bits}", "a.example", bits=bits)
        with contextlib.nullcontext() if is_good else pytest.raises(ValueError, match="not supported"):
            certificates.of_secret(given)


def test_other_endpoints_are_no_reason_to_look_at_routes_again() -> None:
    """What comes of a plan with new endpoints is the same as if all had been planned anew, and routes are those from before."""
    gateway = world.gateway()
    given = [world.gateway_class(), gateway, world.service_before(gateway, p80=18500), world.service("a")]
    given += [world.route({"backendRefs": [world.to("a")]}), world.service("b")]
    before = build.plan(world.view([*given, world.slice_of("a", ("10.0.0.1", 80))]))
    old = envoy_resources.resources(before)
    now = world.view([*given, world.slice_of("a", ("10.0.0.2", 80)), world.slice_of("b", ("10.0.0.3", 80))])
    found = build.with_endpoints(now, before)
    made = envoy_resources.resources(found, (before, old))
    assert (found, made) == (build.plan(now), envoy_resources.resources(build.plan(now)))
    assert made[envoy_resources.ENDPOINTS] != old[envoy_resources.ENDPOINTS]
    assert made[envoy_resources.ROUTES] is old[envoy_resources.ROUTES]


ENVOY_LOG = """[2026-01-01 00:00:01.000][1][warning][config] [x.cc:132] REST config for /v3/discovery:listeners rejected: Error adding/updating listener(s) default/a/80: cannot bind '127.0.0.1:1': Address already in use
default/b/81: too odd

[2026-01-01 00:00:02.000][1][warning][config] [x.cc:132] REST config for /v3/discovery:secrets rejected: bad key
[2026-01-01 00:00:03.000][1][warning][config] [x.cc:122] REST update for /v3/discovery:clusters failed
"""


@pytest.mark.parametrize(
    ("refused", "found"),
    [
        ([(envoy_resources.LISTENERS, "")], {"a": "cannot bind '127.0.0.1:1': Address already in use", "b": "too odd"}),
        ([(envoy_resources.SECRETS, "default/tls")], {"c": "certificate default/tls: bad key"}),
        ([(envoy_resources.SECRETS, "default/other")], {}),
        ([(envoy_resources.ROUTES, "default/a/80")], {}),
        ([], {}),
    ],
)
def test_whom_a_refusal_concerns(refused: list[tuple[str, str]], found: dict[str, str]) -> None:
    """The Gateways whose listeners, routes or certificates Envoy doesn't take; without a reason in its log it has refused nothing."""
    entrances = [
        Entrance(f"default/{name}/{port}", "", 1, port, (Door("d", ()),)) for name, port in (("a", 80), ("b", 81))
    ]
    tls = Entrance("default/c/443", "", 1, 443, (Door("d", (), "", (("default", "tls"),)),), is_tls=True)
    ingress = Entrance("ingress/80", "", 1, 80, (Door("ingress/80", ()),))
    told = refusals.of_gateways(refused, refusals.reasons(ENVOY_LOG), Plan((*entrances, tls, ingress)))
    assert {key[1]: next(iter(said.values())) for key, said in told.items()} == found


def test_a_refusals_text_goes_to_nobody_else() -> None:
    """Of two whose routes or certificates are refused at a time nobody knows whose Envoy's last text is."""
    doors = {name: Door(name, (), "", (("default", name),)) for name in ("a", "b")}
    plan = Plan(tuple(Entrance(f"default/{name}/80", "", 1, 80, (door,)) for name, door in doors.items()))
    for type_, subjects in (
        (envoy_resources.ROUTES, ("a", "b")),
        (envoy_resources.SECRETS, ("default/a", "default/b")),
    ):
        both = [(type_, name) for name in subjects]
        for refused, is_told in ((both[:1], True), (both, False)):
            why = refusals.attributed({type_: "secret regex"}, refused)
            told = refusals.of_gateways(refused, why, plan)
            assert len(told) == len(refused)
            assert all(("secret regex" in said["80"]) is is_told for said in told.values())


def test_no_ingress_keeps_a_gateway_from_being_served(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What can't be planned of them stays as it was, and it is told."""

    def broken(*_: object) -> None:
        raise ValueError("odd")

    monkeypatch.setattr(build.ingress_rules, "ours", broken)
    given = [world.gateway_class(), world.gateway(), world.service_before(world.gateway(), p80=18600)]
    before = Plan((Entrance("ingress/80", "", 1, 80, (Door("ingress/80", ()),)),))
    assert [entrance.name for entrance in build.plan(world.view(given), before).entrances] == [
        "default/main/80",
        "ingress/80",
    ]
    assert "the Ingresses can't be planned" in caplog.text
