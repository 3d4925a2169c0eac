"""HTTPRoute: which requests go to which Services, and what is changed on the way.

https://gateway-api.sigs.k8s.io/api-types/httproute/
"""

from sampan.gateway.definitions import routes, shapes
from sampan.gateway.definitions.shapes import items, text, tree, whole, with_rules

_ANY = {"type": "PathPrefix", "value": "/"}
_BAD_PARTS = ("//", "/./", "/../", "%2f", "%2F", "#")
_BAD_ENDS = ("/..", "/.")
_IS_LITERAL = "(self.type in ['Exact', 'PathPrefix'])"

_PATH_MATCH = {
    **tree(
        "",
        (
            (
                f"{_IS_LITERAL} ? self.value.startsWith('/') : true",
                "value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']",
            ),
            *(
                (
                    f"{_IS_LITERAL} ? !self.value.contains('{part}') : true",
                    f"must not contain '{part}' when type one of ['Exact', 'PathPrefix']",
                )
                for part in _BAD_PARTS
            ),
            *(
                (
                    f"{_IS_LITERAL} ? !self.value.endsWith('{end}') : true",
                    f"must not end with '{end}' when type one of ['Exact', 'PathPrefix']",
                )
                for end in _BAD_ENDS
            ),
        ),
        type=shapes.choice("Exact", "PathPrefix", "RegularExpression", default="PathPrefix"),
        value=text(1024, default="/"),
    ),
    "default": _ANY,
}

_MATCH_TYPE = shapes.choice("Exact", "RegularExpression", default="Exact")
_MATCH = tree(
    path=_PATH_MATCH,
    headers=items(tree("name value", type=_MATCH_TYPE, name=shapes.HEADER_NAME, value=text(4096, 1)), 16, keys="name"),
    queryParams=items(
        tree("name value", type=_MATCH_TYPE, name=shapes.HEADER_NAME, value=text(1024, 1)), 16, keys="name"
    ),
    method=shapes.choice("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"),
)

_NEW_PATH = tree(
    "type",
    (
        (
            "self.type == 'ReplaceFullPath' ? has(self.replaceFullPath) : true",
            "replaceFullPath must be specified when type is set to 'ReplaceFullPath'",
        ),
        (
            "has(self.replaceFullPath) ? self.type == 'ReplaceFullPath' : true",
            "type must be 'ReplaceFullPath' when replaceFullPath is set",
        ),
        (
            "self.type == 'ReplacePrefixMatch' ? has(self.replacePrefixMatch) : true",
            "replacePrefixMatch must be specified when type is set to 'ReplacePrefixMatch'",
        ),
        (
            "has(self.replacePrefixMatch) ? self.type == 'ReplacePrefixMatch' : true",
            "type must be 'ReplacePrefixMatch' when replacePrefixMatch is set",
        ),
    ),
    type=shapes.choice("ReplaceFullPath", "ReplacePrefixMatch"),
    replaceFullPath=text(1024),
    replacePrefixMatch=text(1024),
)

_REDIRECT = tree(
    scheme=shapes.choice("http", "https"),
    hostname=shapes.PRECISE_HOSTNAME,
    path=_NEW_PATH,
    port=shapes.PORT,
    statusCode={"type": "integer", "enum": [301, 302, 303, 307, 308], "default": 302},
)

_FILTERS = with_rules(
    routes.once(
        routes.filters(
            {
                "RequestHeaderModifier": ("requestHeaderModifier", routes.HEADER_FILTER),
                "ResponseHeaderModifier": ("responseHeaderModifier", routes.HEADER_FILTER),
                "RequestMirror": ("requestMirror", routes.MIRROR),
                "RequestRedirect": ("requestRedirect", _REDIRECT),
                "URLRewrite": ("urlRewrite", tree(hostname=shapes.PRECISE_HOSTNAME, path=_NEW_PATH)),
                "ExtensionRef": ("extensionRef", routes.EXTENSION),
            }
        ),
        "RequestHeaderModifier",
        "ResponseHeaderModifier",
        "RequestRedirect",
        "URLRewrite",
    ),
    (
        "!(self.exists(f, f.type == 'RequestRedirect') && self.exists(f, f.type == 'URLRewrite'))",
        "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both",
    ),
)

_ONE_PREFIX = "has(self.matches) && size(self.matches) == 1 && has(self.matches[0].path) && self.matches[0].path.type == 'PathPrefix'"


def _prefix_rule(field: str, where: str) -> tuple[str, str]:
    replaces = f"has(f.{field}) && has(f.{field}.path) && f.{field}.path.type == 'ReplacePrefixMatch'"
    return (
        f"(has(self.filters) && self.filters.exists(f, {replaces})) ? ({_ONE_PREFIX}) : true",
        f"When using {where} filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified",
    )


_TIMEOUTS = tree(
    "",
    (
        (
            (
                "!(has(self.request) && has(self.backendRequest) && duration(self.request) != duration('0s')"
                " && duration(self.backendRequest) > duration(self.request))"
            ),
            "backendRequest timeout cannot be longer than request timeout",
        ),
    ),
    request=shapes.DURATION,
    backendRequest=shapes.DURATION,
)

_RULE = tree(
    "",
    (
        (
            (
                "(has(self.backendRefs) && size(self.backendRefs) > 0) ?"
                " (!has(self.filters) || self.filters.all(f, !has(f.requestRedirect))) : true"
            ),
            "RequestRedirect filter must not be used together with backendRefs",
        ),
        _prefix_rule("requestRedirect", "RequestRedirect"),
        _prefix_rule("urlRewrite", "URLRewrite"),
    ),
    name=shapes.SECTION_NAME,
    matches=items(_MATCH, 64, default=[{"path": _ANY}]),
    filters=_FILTERS,
    backendRefs=items(routes.weighted(_FILTERS), 16),
    timeouts=_TIMEOUTS,
    retry=tree(codes=items(whole(400, 599), 100), attempts={"type": "integer"}, backoff=shapes.DURATION),
)

_SPEC = tree(
    parentRefs=routes.PARENT_REFERENCES,
    hostnames=items(shapes.HOSTNAME, 16),
    rules=items(_RULE, 16, 1, default=[{"matches": [{"path": _ANY}]}]),
)

DEFINITION = shapes.definition(
    "HTTPRoute", "httproutes", "Namespaced", (), shapes.version("v1", _SPEC, routes.STATUS, routes.COLUMNS)
)
