"""gRPC rules: what a GRPCRoute says, as traffic: a method is a path, /package.Service/Method.

https://gateway-api.sigs.k8s.io/api-types/grpcroute/
"""

import re

from sampan.control.view import View
from sampan.gateway import rule_parts
from sampan.gateway.grants import Origin
from sampan.gateway.rule_parts import Reading, Translated, Unsupported, only
from sampan.gateway.traffic import EXACT, PREFIX, REGEX, Match, Rule
from sampan.kinds.kind import Object
from sampan.meta import objects

_FILTERS = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror")


def translate(view: View, route: Object) -> Translated:
    """Its rules; one that can't be carried out is dropped, and said."""
    return rule_parts.translate(Reading(view, Origin("GRPCRoute", objects.namespace(route))), route, _rule)


def _rule(reading: Reading, spec: Object) -> Rule:
    only(spec, "a rule", "name", "matches", "filters", "backendRefs")
    filters = spec.get("filters") or ()
    for each in filters:
        if each["type"] not in _FILTERS:
            raise Unsupported(f"filter {each['type']} is not supported")
    request, response = rule_parts.modifiers(filters)
    mirrors = (reading.mirror(f.get("requestMirror") or {}) for f in filters if f["type"] == "RequestMirror")
    return Rule(
        matches=tuple(_match(match) for match in spec.get("matches") or [{}]),
        backends=rule_parts.backend_list(reading, spec),
        request=request,
        response=response,
        mirrors=tuple(mirror for mirror in mirrors if mirror is not None),
    )


def _match(spec: Object) -> Match:
    only(spec, "a match", "method", "headers")
    headers = rule_parts.values(spec.get("headers"), is_header=True)
    type_, path = _path(spec.get("method") or {})
    return Match(type_, path, "", headers, is_grpc=True)


def _path(method: Object) -> tuple[str, str]:
    only(method, "a method", "type", "service", "method")
    service, name = method.get("service") or "", method.get("method") or ""
    if method.get("type") == REGEX:
        for part in (service, name):
            rule_parts.expression(part)  # alone: together they might close each other's groups
        text = f"/{f'(?:{service})' if service else '[^/]+'}/{f'(?:{name})' if name else '[^/]+'}"
        return REGEX, rule_parts.expression(text)
    rule_parts.literal_path(f"/{service}/{name}")
    if service and name:
        return EXACT, f"/{service}/{name}"
    if service:
        return PREFIX, f"/{service}"
    return (REGEX, f"/[^/]+/{re.escape(name)}") if name else (PREFIX, "/")
