"""Pod devices: the ResourceClaims behind a pod: those that it names, those made for it, that of extended resources.

https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sampan.meta import objects

Tree = Mapping[str, Any]

CLAIM_ANNOTATION = "resource.kubernetes.io/pod-claim-name"
EXTENDED_ANNOTATION = "resource.kubernetes.io/extended-resource-claim"
FINALIZER = "resource.kubernetes.io/delete-protection"

NOT_NEEDED = ""
NOT_CREATED = "ResourceClaim not created yet"


def entries(pod: Tree) -> Sequence[dict[str, Any]]:
    """What its spec claims."""
    return (pod.get("spec") or {}).get("resourceClaims") or ()


def is_made(entry: Tree) -> bool:
    """Whether the claim behind an entry is made for the pod alone."""
    return entry.get("resourceClaimTemplateName") is not None


def name_of(pod: Tree, entry: Tree) -> str | None:
    """The name of the claim behind an entry; NOT_NEEDED where none is, None where it has not been made yet."""
    if not is_made(entry):
        return str(entry.get("resourceClaimName") or "")
    for made in (pod.get("status") or {}).get("resourceClaimStatuses") or ():
        if made.get("name") == entry.get("name"):
            return str(made.get("resourceClaimName") or NOT_NEEDED)
    return None


def extended_name(pod: Tree) -> str:
    """The name of the claim that the scheduler made for the pod's extended resources; "" for none."""
    return str(((pod.get("status") or {}).get("extendedResourceClaimStatus") or {}).get("resourceClaimName") or "")


def names(pod: Tree) -> list[str]:
    """The names of all claims behind the pod that are known."""
    found = [name for entry in entries(pod) if (name := name_of(pod, entry))]
    extended = extended_name(pod)
    return [*found, extended] if extended else found


def is_for(pod: Tree, claim: Tree) -> bool:
    """Whether a claim was made for this very pod."""
    return objects.is_controlled_by(claim, pod)


def not_for_text(pod: Tree, claim: Tree) -> str:
    """What is said of a claim that was made for another."""
    names = tuple(f"{objects.namespace(each)}/{objects.name(each)}" for each in (claim, pod))
    return f"ResourceClaim {names[0]} was not created for pod {names[1]} (pod is not owner)"


def reservations(claim: Tree) -> list[dict[str, Any]]:
    """Who uses the claim."""
    return (claim.get("status") or {}).get("reservedFor") or []


def is_reserved(pod: Tree, claim: Tree) -> bool:
    """Whether the claim is reserved for this very pod."""
    return any(each.get("uid") == objects.uid(pod) for each in reservations(claim))


def reservation(pod: Tree) -> dict[str, str]:
    """The pod as who uses a claim."""
    return {"resource": "pods", "name": objects.name(pod), "uid": objects.uid(pod)}


def allocation(claim: Tree) -> Tree | None:
    """What the claim has got, if anything."""
    return (claim.get("status") or {}).get("allocation")


def results(claim: Tree) -> Sequence[dict[str, Any]]:
    """The devices that the claim has got."""
    return ((allocation(claim) or {}).get("devices") or {}).get("results") or ()


def drivers(claim: Tree) -> list[str]:
    """Their drivers, in order."""
    return list(dict.fromkeys(str(result.get("driver") or "") for result in results(claim)))
