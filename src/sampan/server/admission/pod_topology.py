"""A pod is labelled with the zone and the region of its node, when it gets that node.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#podtopologylabels
"""

from sampan.kinds.core.binding import BINDING
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.server.admission.chain import CREATE, Attributes, Concern, Lookup

CONCERNS = Concern(operations=(CREATE,), kinds=(POD,))
LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


async def admit(attributes: Attributes, lookup: Lookup) -> None:
    """Labels a Binding, whose labels become the pod's, or a pod that is created with a node. What it has stays."""
    obj = attributes.obj
    if obj is None:
        return
    if attributes.subresource == "":
        name = (obj.get("spec") or {}).get("nodeName")
    elif attributes.body_kind == (BINDING.group, BINDING.version, BINDING.name):
        target = obj.get("target") or {}
        name = target.get("name") if target.get("kind") == NODE.name else None
    else:
        return
    node = lookup.get(NODE, "", name) if name else None
    if node is None:
        return
    given = node.tree["metadata"].get("labels") or {}
    found = {key: given[key] for key in LABELS if key in given}
    if found:
        metadata = obj["metadata"] = obj.get("metadata") or {}
        metadata["labels"] = found | (metadata.get("labels") or {})
