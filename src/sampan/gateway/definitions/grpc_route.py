"""GRPCRoute: which calls go to which Services.

https://gateway-api.sigs.k8s.io/api-types/grpcroute/
"""

from sampan.gateway.definitions import routes, shapes
from sampan.gateway.definitions.shapes import items, text, tree

_MATCH_TYPE = shapes.choice("Exact", "RegularExpression", default="Exact")

_METHOD = tree(
    "",
    (
        (
            "has(self.type) ? has(self.service) || has(self.method) : true",
            "One or both of 'service' or 'method' must be specified",
        ),
        (
            r"(!has(self.type) || self.type == 'Exact') && has(self.service) ? self.service.matches(r'^(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$') : true",
            r"service must only contain valid characters (matching ^(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$)",
        ),
        (
            r"(!has(self.type) || self.type == 'Exact') && has(self.method) ? self.method.matches(r'^[A-Za-z_][A-Za-z_0-9]*$') : true",
            r"method must only contain valid characters (matching ^[A-Za-z_][A-Za-z_0-9]*$)",
        ),
    ),
    type=_MATCH_TYPE,
    service=text(1024),
    method=text(1024),
)

_MATCH = tree(
    method=_METHOD,
    headers=items(tree("name value", type=_MATCH_TYPE, name=shapes.HEADER_NAME, value=text(4096, 1)), 16, keys="name"),
)

_FILTERS = routes.once(
    routes.filters(
        {
            "RequestHeaderModifier": ("requestHeaderModifier", routes.HEADER_FILTER),
            "ResponseHeaderModifier": ("responseHeaderModifier", routes.HEADER_FILTER),
            "RequestMirror": ("requestMirror", routes.MIRROR),
            "ExtensionRef": ("extensionRef", routes.EXTENSION),
        }
    ),
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
)

_RULE = tree(
    name=shapes.SECTION_NAME,
    matches=items(_MATCH, 64),
    filters=_FILTERS,
    backendRefs=items(routes.weighted(_FILTERS), 16),
)

_SPEC = tree(
    parentRefs=routes.PARENT_REFERENCES,
    hostnames=items(shapes.HOSTNAME, 16),
    rules=items(_RULE, 16),
)

DEFINITION = shapes.definition(
    "GRPCRoute", "grpcroutes", "Namespaced", (), shapes.version("v1", _SPEC, routes.STATUS, routes.COLUMNS)
)
