"""Grants: whether somebody in one namespace may refer to something in another, as its ReferenceGrants say.

https://gateway-api.sigs.k8s.io/api-types/referencegrant/
"""

from dataclasses import dataclass

from sampan.control.view import View
from sampan.gateway import kinds
from sampan.kinds.kind import Object


@dataclass(frozen=True, slots=True)
class Origin:
    """Who refers: the kind of the Gateway API and the namespace of the object."""

    kind: str
    namespace: str


def is_permitted(view: View, origin: Origin, target: tuple[str, str], namespace: str, name: str) -> bool:
    """Whether `origin` may refer to the object; `target` is its (group, kind)."""
    if namespace == origin.namespace:
        return True
    grants = view.list(kinds.REFERENCEGRANT, namespace)
    return any(_is_from(grant, origin) and _is_to(grant, target, name) for grant in grants)


def _is_from(grant: Object, origin: Origin) -> bool:
    wanted = (kinds.GROUP, origin.kind, origin.namespace)
    return any((f.get("group"), f.get("kind"), f.get("namespace")) == wanted for f in grant["spec"].get("from") or ())


def _is_to(grant: Object, target: tuple[str, str], name: str) -> bool:
    return any(
        (to.get("group") or "", to.get("kind")) == target and to.get("name") in (None, "", name)
        for to in grant["spec"].get("to") or ()
    )
