"""No custom object is made while its definition is being deleted: such an object would stay behind.

The definition's revision is compared in the transaction that stores the object, so that a deletion that
begins meanwhile wins.
"""

from sampan.kinds.apiextensions import crd_spec
from sampan.kinds.apiextensions.custom_resource_definition import CUSTOMRESOURCEDEFINITION as DEFINITION
from sampan.meta import status
from sampan.server import cache
from sampan.server.admission.chain import CREATE, Attributes, Concern, Lookup
from sampan.store.protocol import Compare

CONCERNS = Concern(operations=(CREATE,), custom=True)


async def validate(attributes: Attributes, lookup: Lookup) -> None:
    """Raises ApiError 405, as upstream, or 404 when the definition is gone."""
    kind = attributes.kind
    if attributes.subresource:
        return
    name = f"{kind.plural}.{kind.group}"
    item = lookup.get(DEFINITION, "", name)
    if item is None:
        raise status.no_such_path()
    if crd_spec.is_terminating(item.tree):
        text = "create not allowed while custom resource definition is terminating"
        raise status.failure(405, "MethodNotAllowed", text, {"group": kind.group, "kind": kind.plural})
    attributes.compares.append(Compare(cache.prefix(DEFINITION) + name, item.revision))
