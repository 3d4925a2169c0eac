"""HTTP rules: what an HTTPRoute says, as traffic.

https://gateway-api.sigs.k8s.io/api-types/httproute/
"""

from collections.abc import Iterable

from sampan.control.view import View
from sampan.gateway import rule_parts
from sampan.gateway.grants import Origin
from sampan.gateway.rule_parts import Reading, Translated, Unsupported, only
from sampan.gateway.traffic import EXACT, PREFIX, REGEX, Match, NewPath, Redirect, Retry, Rule
from sampan.kinds.kind import Object
from sampan.meta import objects

_FILTERS = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestMirror": "requestMirror",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
}
_ANY: Object = {"path": {"type": PREFIX, "value": "/"}}


def translate(view: View, route: Object) -> Translated:
    """Its rules; one that can't be carried out is dropped, and said."""
    reading = Reading(view, Origin("HTTPRoute", objects.namespace(route)))
    return rule_parts.translate(reading, route, _rule, ({},))


def _rule(reading: Reading, spec: Object) -> Rule:
    only(spec, "a rule", "name", "matches", "filters", "backendRefs", "timeouts", "retry")
    matches = tuple(_match(match) for match in spec.get("matches") or [_ANY])
    filters = spec.get("filters") or ()
    by_type = _by_type(filters)
    rewrite = by_type.get("URLRewrite") or {}
    only(rewrite, "a rewrite", "hostname", "path")
    timeouts = spec.get("timeouts") or {}
    only(timeouts, "timeouts", "request", "backendRequest")
    mirrors = (reading.mirror(f.get("requestMirror") or {}) for f in filters if f["type"] == "RequestMirror")
    request, response = rule_parts.modifiers(filters)
    redirect = _redirect(by_type["RequestRedirect"], matches) if "RequestRedirect" in by_type else None
    return Rule(
        matches=matches,
        backends=rule_parts.backend_list(reading, spec),
        request=request,
        response=response,
        redirect=redirect,
        new_hostname=rewrite.get("hostname") or "",
        new_path=_new_path(rewrite.get("path"), matches),
        mirrors=tuple(mirror for mirror in mirrors if mirror is not None),
        timeout_seconds=rule_parts.seconds(timeouts.get("request")),
        try_seconds=rule_parts.seconds(timeouts.get("backendRequest")),
        retry=_retry(spec["retry"]) if spec.get("retry") is not None else None,
    )


def _by_type(filters: Iterable[Object]) -> dict[str, Object]:
    found: dict[str, Object] = {}
    for each in filters:
        if each["type"] not in _FILTERS:
            raise Unsupported(f"filter {each['type']} is not supported")
        if each["type"] in found and each["type"] != "RequestMirror":
            raise Unsupported(f"filter {each['type']} is there more than once")
        found[each["type"]] = each.get(_FILTERS[each["type"]]) or {}
    if "RequestRedirect" in found and "URLRewrite" in found:
        raise Unsupported("filters RequestRedirect and URLRewrite are not supported together")
    return found


def _match(spec: Object) -> Match:
    only(spec, "a match", "path", "headers", "queryParams", "method")
    path = spec.get("path") or {}
    type_, value = path.get("type") or PREFIX, path.get("value") or "/"
    if type_ not in (EXACT, PREFIX, REGEX):
        raise Unsupported(f"path type {type_} is not supported")
    return Match(
        type_,
        rule_parts.expression(value) if type_ == REGEX else rule_parts.literal_path(value),
        spec.get("method") or "",
        rule_parts.values(spec.get("headers"), is_header=True),
        rule_parts.values(spec.get("queryParams"), is_header=False),
    )


def _redirect(spec: Object, matches: tuple[Match, ...]) -> Redirect:
    only(spec, "a redirect", "scheme", "hostname", "path", "port", "statusCode")
    status = int(spec.get("statusCode") or 302)
    if status not in (301, 302, 303, 307, 308):
        raise Unsupported(f"redirect statusCode {status} is not supported")
    path = _new_path(spec.get("path"), matches)
    return Redirect(status, spec.get("scheme") or "", spec.get("hostname") or "", int(spec.get("port") or 0), path)


def _new_path(spec: Object | None, matches: tuple[Match, ...]) -> NewPath | None:
    if not spec:
        return None
    if spec["type"] == "ReplaceFullPath":
        return NewPath(rule_parts.printable(spec.get("replaceFullPath") or "/", "a path"), is_prefix=False)
    if spec["type"] != "ReplacePrefixMatch":
        raise Unsupported(f"path modifier {spec['type']} is not supported")
    if any(match.type != PREFIX for match in matches):
        raise Unsupported("ReplacePrefixMatch is only supported with matches of type PathPrefix")
    return NewPath(rule_parts.printable(spec.get("replacePrefixMatch") or "", "a path"), is_prefix=True)


def _retry(spec: Object) -> Retry:
    only(spec, "retry", "codes", "attempts", "backoff")
    attempts = int(spec["attempts"]) if spec.get("attempts") is not None else 1
    if not 0 <= attempts <= 100:
        raise Unsupported(f"{attempts} attempts are not supported, only 0 to 100 are")
    backoff = rule_parts.seconds(spec["backoff"]) if spec.get("backoff") else None
    return Retry(attempts, tuple(int(code) for code in spec.get("codes") or ()), backoff)
