"""PodResizeValidator: a bound pod is resized only on a Linux node, and to no more than that node has for pods.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#podresizevalidator
"""

from typing import Any

from sampan.kinds.core import pod as pods
from sampan.kinds.core.node import NODE
from sampan.meta import objects, quantity, status
from sampan.meta.quantity import Quantity
from sampan.server.admission.chain import UPDATE, Attributes, Concern, Lookup

CONCERNS = Concern(operations=(UPDATE,), kinds=(pods.POD,))
NODE_CAPACITY, UNSUPPORTED_PLATFORM = "NodeCapacity", "UnsupportedPlatform"
_OS_LABEL = "kubernetes.io/os"

Tree = dict[str, Any]


async def validate(attributes: Attributes, lookup: Lookup) -> None:
    """Raises ApiError 403; its cause tells the two reasons apart."""
    pod = attributes.obj
    if attributes.subresource != "resize" or pod is None or pod["spec"] == (attributes.old or {}).get("spec"):
        return
    name = pod["spec"].get("nodeName")
    if not name:
        return
    node = lookup.get(NODE, "", name)
    if node is None:
        raise _refusal(attributes, f"node {status.show(name)} not found")
    system = objects.labels(node.tree).get(_OS_LABEL, "linux")
    if system != "linux":
        why = f"pod resize is only supported on linux nodes, node {status.show(name)} is {status.show(system)}"
        raise _refusal(attributes, why, UNSUPPORTED_PLATFORM)
    lacking = _lacking(pods.requests(pod), (node.tree.get("status") or {}).get("allocatable") or {})
    if lacking:
        why = f"node didn't have enough allocatable resources: {'; '.join(lacking)}"
        raise _refusal(attributes, why, NODE_CAPACITY)


def _lacking(requests: dict[str, Quantity], allocatable: Tree) -> list[str]:
    """What is asked beyond the node's: cpu in thousandths, memory in bytes."""
    found = []
    for resource, number in (("cpu", quantity.to_milli), ("memory", quantity.to_int)):
        asked, there = requests.get(resource, quantity.ZERO), allocatable.get(resource, "0")
        if asked.nanos > quantity.parse(there).nanos:
            found.append(f"{resource}, requested: {number(asked)}, allocatable: {number(there)}")
    return found


def _refusal(attributes: Attributes, why: str, cause: str = "") -> status.ApiError:
    error = status.forbidden(attributes.kind.group, attributes.kind.plural, attributes.name, why)
    if cause:
        error.status["details"]["causes"] = [{"reason": cause}]
    return error
