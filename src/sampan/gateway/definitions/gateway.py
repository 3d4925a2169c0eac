"""Gateway: listeners on addresses, and which routes may attach to them.

https://gateway-api.sigs.k8s.io/api-types/gateway/
"""

from sampan.gateway.definitions import shapes
from sampan.gateway.definitions.shapes import column, items, text, tree, whole, with_rules

_NAMESPACES = {
    **tree(from_=shapes.choice("All", "Selector", "Same", "None", default="Same"), selector=shapes.LABEL_SELECTOR),
    "default": {"from": "Same"},
}

_ALLOWED_ROUTES = {
    **tree(
        namespaces=_NAMESPACES,
        kinds=items(tree("kind", group={**shapes.GROUP_NAME, "default": shapes.GROUP}, kind=shapes.KIND_NAME), 8),
    ),
    "default": {"namespaces": {"from": "Same"}},
}

_CERTIFICATE = tree(
    "name",
    group={**shapes.GROUP_NAME, "default": ""},
    kind={**shapes.KIND_NAME, "default": "Secret"},
    name=shapes.OBJECT_NAME,
    namespace=shapes.NAMESPACE_NAME,
)

_TLS = tree(
    "",
    (
        (
            "self.mode == 'Terminate' ? size(self.certificateRefs) > 0 || size(self.options) > 0 : true",
            "certificateRefs or options must be specified when mode is Terminate",
        ),
    ),
    mode=shapes.choice("Terminate", "Passthrough", default="Terminate"),
    certificateRefs=items(_CERTIFICATE, 64),
    options=shapes.pairs(text(4096), 16),
)

_LISTENER = tree(
    "name port protocol",
    name=shapes.SECTION_NAME,
    hostname=shapes.HOSTNAME,
    port=shapes.PORT,
    protocol=text(
        255,
        1,
        r"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9]+$",
    ),
    tls=_TLS,
    allowedRoutes=_ALLOWED_ROUTES,
)

_NAME = "(has({0}.hostname) ? {0}.hostname : '')"
_LISTENERS = with_rules(
    items(_LISTENER, 64, 1, keys="name"),
    (
        "self.all(l, l.protocol in ['HTTP', 'TCP', 'UDP'] ? !has(l.tls) : true)",
        "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']",
    ),
    (
        "self.all(l, (l.protocol == 'HTTPS' && has(l.tls)) ? (l.tls.mode == '' || l.tls.mode == 'Terminate') : true)",
        "tls mode must be Terminate for protocol HTTPS",
    ),
    (
        "self.all(l, l.protocol in ['TCP', 'UDP'] ? (!has(l.hostname) || l.hostname == '') : true)",
        "hostname must not be specified for protocols ['TCP', 'UDP']",
    ),
    ("self.all(l1, self.exists_one(l2, l1.name == l2.name))", "Listener name must be unique within the Gateway"),
    (
        f"self.all(l1, self.exists_one(l2, l1.port == l2.port && l1.protocol == l2.protocol && {_NAME.format('l1')} == {_NAME.format('l2')}))",
        "Combination of port, protocol and hostname must be unique for each listener",
    ),
)

_ADDRESS_TYPE = text(
    253,
    1,
    r"^Hostname|IPAddress|NamedAddress|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$",
    default="IPAddress",
)

_SPEC = tree(
    "gatewayClassName listeners",
    gatewayClassName=shapes.OBJECT_NAME,
    listeners=_LISTENERS,
    addresses=items(tree("", type=_ADDRESS_TYPE, value=text(253)), 16),
    infrastructure=tree(
        labels=shapes.pairs(text(63), 8),
        annotations=shapes.pairs(text(4096), 8),
        parametersRef=tree("group kind name", group=shapes.GROUP_NAME, kind=shapes.KIND_NAME, name=shapes.OBJECT_NAME),
    ),
)

_STATUS = {
    **tree(
        addresses=items(tree("value", type=_ADDRESS_TYPE, value=text(253, 1)), 16),
        conditions=shapes.CONDITIONS,
        listeners=items(
            tree(
                "name attachedRoutes conditions",
                name=shapes.SECTION_NAME,
                supportedKinds=items(
                    tree("kind", group={**shapes.GROUP_NAME, "default": shapes.GROUP}, kind=shapes.KIND_NAME), 8
                ),
                attachedRoutes=whole(),
                conditions=shapes.CONDITIONS,
            ),
            64,
            keys="name",
        ),
    ),
    "default": {"conditions": shapes.pending("Accepted", "Programmed")},
}

_COLUMNS = [
    column("Class", ".spec.gatewayClassName"),
    column("Address", ".status.addresses[*].value"),
    column("Programmed", '.status.conditions[?(@.type=="Programmed")].status'),
    shapes.AGE,
]

DEFINITION = shapes.definition(
    "Gateway", "gateways", "Namespaced", ("gtw",), shapes.version("v1", _SPEC, _STATUS, _COLUMNS)
)
