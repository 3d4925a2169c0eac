"""Parts of a ResourceClaim's status are for those alone who may bind claims, or speak for a device's driver.

https://kubernetes.io/docs/concepts/security/hardening-guide/dynamic-resource-allocation/
"""

from collections.abc import Sequence
from typing import Any

from sampan.kinds.resource.resource_claim import RESOURCECLAIM
from sampan.meta import names, objects, status
from sampan.meta.status import Cause
from sampan.server.admission.chain import UPDATE, Attributes, Concern, Lookup
from sampan.server.authz import decision
from sampan.server.authz.authorizer import Authorizer
from sampan.server.identity import User

ACCOUNT = "system:serviceaccount:"
NODE_NAME = "authentication.kubernetes.io/node-name"

Tree = dict[str, Any]
_Place = tuple[str, str, str, str]

_BOUND = ("allocation", "reservedFor")
_VERBS = {"PUT": "update", "PATCH": "patch"}


class ClaimStatus:
    """Asks the authorizer about subresources that there are for this purpose only."""

    CONCERNS = Concern(operations=(UPDATE,), kinds=(RESOURCECLAIM,))

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def validate(self, attributes: Attributes, lookup: Lookup) -> None:
        """Raises ApiError 422."""
        if attributes.subresource != "status" or attributes.obj is None:
            return
        new, old = attributes.obj.get("status") or {}, (attributes.old or {}).get("status") or {}
        verb = _VERBS.get(attributes.call.request.method, "update")
        causes = self._binding_causes(attributes, verb) if _differ(new, old) else []
        drivers = _told_of(new, old)
        if drivers:
            verbs = [f"arbitrary-node:{verb}"]
            if _is_at(attributes.user, _node(new.get("allocation") or {})):
                verbs.insert(0, f"associated-node:{verb}")
            for driver in drivers:
                causes += self._driver_causes(attributes, verbs, driver)
        if causes:
            raise status.invalid(attributes.kind.group, attributes.kind.name, attributes.name, causes)

    def _binding_causes(self, attributes: Attributes, verb: str) -> list[Cause]:
        why = self._refusal(attributes.user, verb, "binding", "", "")
        what = f'changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="{verb}"'
        return [status.forbidden_field("status", f"{what} permission: {why}")] if why else []

    def _driver_causes(self, attributes: Attributes, verbs: Sequence[str], driver: str) -> list[Cause]:
        """One of the verbs suffices; the first one's refusal is told."""
        refusals = [self._refusal(attributes.user, verb, "driver", attributes.namespace, driver) for verb in verbs]
        if not all(refusals):
            return []
        what = f'changing status.devices requires resource="resourceclaims/driver", verb="[{" ".join(verbs)}]"'
        return [status.forbidden_field("status.devices", f"{what} permission: {refusals[0]}")]

    def _refusal(self, user: User, verb: str, part: str, namespace: str, name: str) -> str:
        asked = decision.Attributes(verb, RESOURCECLAIM.group, RESOURCECLAIM.plural, part, namespace, name)
        decided = self._authorizer.authorize(user, asked)
        return "" if decided.allowed else decision.message(user, asked, decided)


def _differ(new: Tree, old: Tree) -> bool:
    return any(not objects.same(new.get(field) or None, old.get(field) or None) for field in _BOUND)


def _told_of(new: Tree, old: Tree) -> list[str]:
    """The drivers of whose devices something else is told than before."""
    before, now = _by_place(old), _by_place(new)
    return sorted(
        {place[0] for place in before.keys() | now.keys() if not objects.same(before.get(place), now.get(place))}
    )


def _by_place(state: Tree) -> dict[_Place, Tree]:
    return {_place(each): each for each in state.get("devices") or ()}


def _place(device: Tree) -> _Place:
    driver, pool, name, share = (str(device.get(field) or "") for field in ("driver", "pool", "device", "shareID"))
    return driver, pool, name, share


def _node(allocation: Tree) -> str:
    """The only node that has the devices; "" where there may be others."""
    terms: Sequence[Tree] = (allocation.get("nodeSelector") or {}).get("nodeSelectorTerms") or ()
    if len(terms) != 1 or terms[0].get("matchExpressions"):
        return ""
    match terms[0].get("matchFields"):
        case [{"key": "metadata.name", "operator": "In", "values": [name]}]:
            return str(name)
    return ""


def _is_at(user: User, node: str) -> bool:
    """Whether it is a service account whose token is for a pod of that node."""
    is_account = user.name.startswith(ACCOUNT) and user.name.count(":") == 3
    return (
        bool(node)
        and is_account
        and tuple(user.extra.get(NODE_NAME, ())) == (node,)
        and not names.dns1123_subdomain(node)
    )
