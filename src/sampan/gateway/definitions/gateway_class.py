"""GatewayClass: which controller looks after Gateways of a class.

https://gateway-api.sigs.k8s.io/api-types/gatewayclass/
"""

from sampan.gateway.definitions import shapes
from sampan.gateway.definitions.shapes import column, items, text, tree

_SPEC = tree(
    "controllerName",
    controllerName={
        **shapes.CONTROLLER_NAME,
        "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "Value is immutable"}],
    },
    parametersRef=tree(
        "group kind name",
        group=shapes.GROUP_NAME,
        kind=shapes.KIND_NAME,
        name=shapes.OBJECT_NAME,
        namespace=shapes.NAMESPACE_NAME,
    ),
    description=text(64),
)

_STATUS = {
    **tree(
        conditions=shapes.CONDITIONS,
        supportedFeatures=items(tree("name", name={"type": "string"}), 64, keys="name"),
    ),
    "default": {"conditions": shapes.pending("Accepted")},
}

_COLUMNS = [
    column("Controller", ".spec.controllerName"),
    column("Accepted", '.status.conditions[?(@.type=="Accepted")].status'),
    shapes.AGE,
    column("Description", ".spec.description", priority=1),
]

DEFINITION = shapes.definition(
    "GatewayClass", "gatewayclasses", "Cluster", ("gc",), shapes.version("v1", _SPEC, _STATUS, _COLUMNS)
)
