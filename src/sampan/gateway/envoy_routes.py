"""Envoy's routes: which of all matches comes first, and what each does, as Envoy says it.

https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule
https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from sampan.gateway.traffic import (
    EXACT,
    PREFIX,
    REGEX,
    Backend,
    Entrance,
    HeaderEdits,
    Host,
    Match,
    NewPath,
    Redirect,
    Retry,
    Route,
    Rule,
    Value,
)

Tree = dict[str, Any]

NOWHERE = "nowhere"
_SAFE_RETRIES = "connect-failure,refused-stream,reset-before-request"
_SAFE_ATTEMPTS = 3
_READING = ("GET", "HEAD", "OPTIONS")
_READING_RETRIES = "connect-failure,refused-stream,reset"
_STATUS_WORDS = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
_PATH_ORDER = {EXACT: 0, REGEX: 1, PREFIX: 2}
_WELL_KNOWN = {"http": 80, "https": 443}


def configuration(name: str, hosts: Iterable[Host], entrance: Entrance) -> Tree:
    """All hosts behind one door. Ports in Host don't matter."""
    return {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": name,
        "ignore_port_in_host_matching": True,
        "virtual_hosts": [_virtual_host(host, entrance) for host in hosts],
        "validate_clusters": False,
    }


def _virtual_host(host: Host, entrance: Entrance) -> Tree:
    return {
        "name": host.name.replace(".", "_"),
        "domains": [host.name],
        "routes": [
            made
            for route, rule, match in ordered(host.routes)
            for made in _variants(_route(route, rule, match, entrance), rule, match, host.name, entrance)
        ],
    }


def ordered(routes: Iterable[Route]) -> list[tuple[Route, Rule, Match]]:
    """Every match of every rule, that which takes precedence first."""
    found = (
        (_rank(route, match), route.label, number, place, route, rule, match)
        for route in routes
        for number, rule in enumerate(route.rules)
        for place, match in enumerate(rule.matches)
    )
    return [entry[4:] for entry in sorted(found, key=lambda entry: entry[:4])]


def _rank(route: Route, match: Match) -> tuple[Any, ...]:
    """Tier; exact paths, longer paths; with a method; more headers; more parameters; older routes; names."""
    if match.is_grpc:
        specific: tuple[Any, ...] = _grpc_rank(match)
    else:
        specific = (
            _PATH_ORDER[match.type],
            -len(match.path),
            not match.method,
            -len(match.headers),
            -len(match.params),
        )
    return (route.tier, *specific, route.created, f"{route.namespace}/{route.name}")


def _grpc_rank(match: Match) -> tuple[Any, ...]:
    """As many letters of the service as possible, then of the method, then headers."""
    service, _, method = match.path.removeprefix("/").partition("/")
    return (_PATH_ORDER[match.type], -len(service), not method, -len(method) if method else 0, -len(match.headers))


def _variants(made: Tree, rule: Rule, match: Match, host: str, entrance: Entrance) -> Iterator[Tree]:
    """The route, and before it what holds for some of its requests only.

    Requests that only read are tried again where the connection broke before an answer; others are not. Envoy keeps
    the port in Host where none is said: a redirect to the scheme's own port says the host anew, or else that port.
    """
    if rule.redirect is not None and not made["redirect"].keys() & {"host_redirect", "port_redirect"}:
        scheme = rule.redirect.scheme or ("https" if entrance.is_tls else "http")
        anew: Tree = {"port_redirect": _WELL_KNOWN[scheme]} if "*" in host else {"host_redirect": host}
        with_port = {"name": ":authority", "string_match": _regex(".*:[0-9]+")}
        headers = [*made["match"].get("headers", ()), with_port]
        yield {**made, "match": {**made["match"], "headers": headers}, "redirect": {**made["redirect"], **anew}}
    if "retry_policy" not in made.get("route", {}) or rule.retry is not None or match.is_grpc:
        yield made
        return
    if match.method in ("", *_READING):
        again = {**made["route"], "retry_policy": {**made["route"]["retry_policy"], "retry_on": _READING_RETRIES}}
        reading = {"name": ":method", "string_match": _regex("|".join(_READING))}
        headers = [*made["match"].get("headers", ()), *(() if match.method else (reading,))]
        yield {**made, "match": {**made["match"], "headers": headers}, "route": again}
    if match.method not in _READING:
        yield made


def _route(route: Route, rule: Rule, match: Match, entrance: Entrance) -> Tree:
    made: Tree = {"match": matcher(match), "stat_prefix": route.label.replace(".", "_")}
    made["name"] = route.label
    made |= _edits(rule.request, "request") | _edits(rule.response, "response")
    if rule.redirect is not None:
        return made | {"redirect": redirect(rule.redirect, match, entrance)}
    if not sum(backend.weight for backend in rule.backends):
        return made | {"direct_response": {"status": 500}}
    return made | {"route": _action(rule, match)}


def matcher(match: Match) -> Tree:
    """Which requests."""
    made = _path(match)
    headers = [_header(value) for value in match.headers]
    if match.method:
        headers.append({"name": ":method", "string_match": {"exact": match.method}})
    if match.authority:
        headers.append({"name": ":authority", "string_match": _regex(match.authority)})
    if headers:
        made["headers"] = headers
    if match.params:
        made["query_parameters"] = [{"name": p.name, "string_match": _text(p)} for p in match.params]
    return made | ({"grpc": {}} if match.is_grpc else {})


def _path(match: Match) -> Tree:
    if match.type == EXACT:
        return {"path": match.path}
    if match.type == REGEX:
        return {"safe_regex": {"regex": match.path}}
    bare = match.path.rstrip("/")
    return {"path_separated_prefix": bare} if bare else {"prefix": "/"}


def _header(value: Value) -> Tree:
    return {"name": value.name, "string_match": _text(value)}


def _text(value: Value) -> Tree:
    return _regex(value.value) if value.is_regex else {"exact": value.value}


def _regex(pattern: str) -> Tree:
    return {"safe_regex": {"regex": pattern}}


def redirect(wanted: Redirect, match: Match, entrance: Entrance) -> Tree:
    """Where the client is sent. The port is that of the scheme, or the listener's; well-known ones stay unsaid."""
    made: Tree = {"response_code": _STATUS_WORDS[wanted.status]}
    scheme = wanted.scheme or ("https" if entrance.is_tls else "http")
    port = wanted.port or (_WELL_KNOWN[scheme] if wanted.scheme else entrance.public_port)
    if wanted.scheme:
        made["scheme_redirect"] = wanted.scheme
    if wanted.hostname:
        made["host_redirect"] = wanted.hostname
    if port != _WELL_KNOWN[scheme]:
        made["port_redirect"] = port
    if wanted.path is None:
        return made
    if wanted.path.is_prefix:
        return made | _new_prefix(wanted.path.value, match)
    return made | {"path_redirect": wanted.path.value}


def _new_prefix(value: str, match: Match) -> Tree:
    """The rest of the path stays, with one slash before it."""
    old, new = match.path.rstrip("/"), value.rstrip("/")
    if old and new:
        return {"prefix_rewrite": new}
    if not old and not new:
        return {}
    pattern = f"^{re.escape(old)}/*" if old else "^/"
    return {"regex_rewrite": {"pattern": {"regex": pattern}, "substitution": _literal(f"{new}/")}}


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\")


def _action(rule: Rule, match: Match) -> Tree:
    made: Tree = {"timeout": duration(rule.timeout_seconds), "cluster_not_found_response_code": "INTERNAL_SERVER_ERROR"}
    shares = [backend for backend in rule.backends if backend.weight]
    if len(shares) == 1 and shares[0].request == shares[0].response == HeaderEdits():
        made["cluster"] = _target(shares[0])
    else:
        made["weighted_clusters"] = {"clusters": [_share(backend) for backend in shares]}
    if rule.new_hostname:
        made["host_rewrite_literal"] = rule.new_hostname
    if rule.new_path is not None:
        made |= _rewritten(rule.new_path, match)
    if rule.mirrors:
        made["request_mirror_policies"] = [_mirror(m.cluster.name, m.numerator, m.denominator) for m in rule.mirrors]
    made["retry_policy"] = _retries(rule.retry)
    if rule.try_seconds and rule.retry is not None:
        made["retry_policy"]["per_try_timeout"] = duration(rule.try_seconds)
    elif rule.try_seconds:
        made["timeout"] = duration(min(filter(None, (rule.timeout_seconds, rule.try_seconds))))
    return made


def _rewritten(path: NewPath, match: Match) -> Tree:
    if path.is_prefix:
        return _new_prefix(path.value, match)
    return {"regex_rewrite": {"pattern": {"regex": "^/.*$"}, "substitution": _literal(path.value)}}


def _target(backend: Backend) -> str:
    return backend.cluster.name if backend.cluster is not None else NOWHERE


def _share(backend: Backend) -> Tree:
    made: Tree = {"name": _target(backend), "weight": backend.weight}
    return made | _edits(backend.request, "request") | _edits(backend.response, "response")


def _mirror(cluster: str, numerator: int, denominator: int) -> Tree:
    """Envoy counts in hundredths, ten thousandths or millionths."""
    words = {100: "HUNDRED", 10_000: "TEN_THOUSAND"}
    if denominator not in words:
        numerator, denominator = round(numerator * 1_000_000 / denominator), 1_000_000
    share = {"numerator": numerator, "denominator": words.get(denominator, "MILLION")}
    return {"cluster": cluster, "runtime_fraction": {"default_value": share}}


_PRIORITIES = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
_ELSEWHERE: Tree = {
    "name": "envoy.retry_priorities.previous_priorities",
    "typed_config": {"@type": f"type.googleapis.com/{_PRIORITIES}", "update_frequency": 1},
}
"""Where a cluster has a waiting room too, a request that no pod took goes there."""


def _retries(wanted: Retry | None) -> Tree:
    """Who asked for none still gets those of requests that no backend has seen."""
    if wanted is None:
        made: Tree = {"retry_on": _SAFE_RETRIES, "num_retries": _SAFE_ATTEMPTS}
    else:
        on = "connect-failure,refused-stream,reset" + (",retriable-status-codes" if wanted.codes else "")
        made = {"retry_on": on, "num_retries": wanted.attempts, "retriable_status_codes": list(wanted.codes)}
        if wanted.backoff_seconds:
            interval = duration(wanted.backoff_seconds)
            made["retry_back_off"] = {"base_interval": interval, "max_interval": duration(wanted.backoff_seconds * 10)}
    predicate = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return made | {
        "retry_priority": _ELSEWHERE,
        "host_selection_retry_max_attempts": 5,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"type.googleapis.com/{predicate}"},
            }
        ],
    }


def _edits(edits: HeaderEdits, side: str) -> Tree:
    ways = (("OVERWRITE_IF_EXISTS_OR_ADD", edits.set), ("APPEND_IF_EXISTS_OR_ADD", edits.add))
    added = list(_additions(ways))
    made: Tree = {f"{side}_headers_to_add": added} if added else {}
    return made | ({f"{side}_headers_to_remove": list(edits.remove)} if edits.remove else {})


def _additions(ways: Iterable[tuple[str, tuple[tuple[str, str], ...]]]) -> Iterator[Tree]:
    for action, pairs in ways:
        for name, value in pairs:
            yield {"header": {"key": name, "value": value.replace("%", "%%")}, "append_action": action}


def duration(seconds: float) -> str:
    """As protobuf's JSON has it."""
    return f"{seconds:.3f}s"
