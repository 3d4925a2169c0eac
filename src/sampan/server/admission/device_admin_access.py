"""Access to devices that others use is for namespaces that an administrator has marked.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#admin-access
"""

from typing import Any

from sampan.kinds.core.namespace import NAMESPACE
from sampan.kinds.resource.resource_claim import RESOURCECLAIM
from sampan.kinds.resource.resource_claim_template import RESOURCECLAIMTEMPLATE
from sampan.meta import objects, status
from sampan.server.admission.chain import CREATE, Attributes, Concern, Lookup

LABEL = "resource.kubernetes.io/admin-access"

Tree = dict[str, Any]

_PATHS = {RESOURCECLAIM: "spec.devices", RESOURCECLAIMTEMPLATE: "spec.spec.devices"}
CONCERNS = Concern(operations=(CREATE,), kinds=tuple(_PATHS))
_TEXT = f"admin access to devices requires the `{LABEL}: true` label on the containing namespace"


async def validate(attributes: Attributes, lookup: Lookup) -> None:
    """Raises ApiError 422."""
    path, obj = _PATHS[attributes.kind], attributes.obj
    if obj is None or attributes.subresource:
        return
    requests = objects.get_path(obj, f"{path}.requests") or []
    causes = [
        status.forbidden_field(f"{path}.requests[{index}].exactly.adminAccess", _TEXT)
        for index, request in enumerate(requests)
        if (request.get("exactly") or {}).get("adminAccess")
    ]
    namespace = lookup.get(NAMESPACE, "", attributes.namespace)
    is_marked = namespace is not None and objects.labels(namespace.tree).get(LABEL) == "true"
    if causes and not is_marked:
        raise status.invalid(attributes.kind.group, attributes.kind.name, attributes.name, causes)
