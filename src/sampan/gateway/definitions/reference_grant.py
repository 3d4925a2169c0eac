"""ReferenceGrant: who from other namespaces may refer to what is in this one.

https://gateway-api.sigs.k8s.io/api-types/referencegrant/
"""

from sampan.gateway.definitions import shapes
from sampan.gateway.definitions.shapes import items, tree

_SPEC = tree(
    "from to",
    from_=items(
        tree("group kind namespace", group=shapes.GROUP_NAME, kind=shapes.KIND_NAME, namespace=shapes.NAMESPACE_NAME),
        16,
        1,
    ),
    to=items(tree("group kind", group=shapes.GROUP_NAME, kind=shapes.KIND_NAME, name=shapes.OBJECT_NAME), 16, 1),
)

DEFINITION = shapes.definition(
    "ReferenceGrant",
    "referencegrants",
    "Namespaced",
    ("refgrant",),
    shapes.version("v1", _SPEC, None, [shapes.AGE], storage=False),
    shapes.version("v1beta1", _SPEC, None, [shapes.AGE]),
)
