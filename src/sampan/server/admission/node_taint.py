"""A new node takes no pods until it is known to be ready.

https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-nodes-by-condition
"""

from sampan.kinds.core.node import NODE
from sampan.server.admission.chain import CREATE, Attributes, Concern, Lookup

CONCERNS = Concern(operations=(CREATE,), kinds=(NODE,))
TAINT = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


async def admit(attributes: Attributes, lookup: Lookup) -> None:
    """Adds the taint to a new node; a controller takes it away."""
    node = attributes.obj
    if attributes.subresource or node is None:
        return
    taints = (node.get("spec") or {}).get("taints") or []
    if not any((t.get("key"), t.get("effect")) == (TAINT["key"], TAINT["effect"]) for t in taints):
        node.setdefault("spec", {})["taints"] = [*taints, dict(TAINT)]
