"""The token subresource: a service account's token, for an audience and a time, bound to a pod or node.

https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/
"""

from typing import Any

from sampan.kinds.authentication.token_request import TOKENREQUEST
from sampan.kinds.core.node import NODE
from sampan.kinds.core.pod import POD
from sampan.kinds.core.secret import SECRET
from sampan.kit.ids import Ids
from sampan.meta import objects, status, timestamps
from sampan.server import codec
from sampan.server.admission import node_restriction
from sampan.server.admission.token_audience import TokenAudiences
from sampan.server.authz import nodes
from sampan.server.authz.authorizer import Authorizer
from sampan.server.call import Call
from sampan.server.registry import Registry
from sampan.server.tokens import Grant, Tokens
from sampan.web.message import Response

DEFAULT_SECONDS = 3600
MIN_SECONDS = 600
MAX_SECONDS = 1 << 32
GROUP = TOKENREQUEST.group
ISSUED = "authentication.kubernetes.io/issued-credential-id"

Tree = dict[str, Any]
_BINDABLE = {"Pod": POD, "Secret": SECRET, "Node": NODE}


class TokenHandler:
    """POST of serviceaccounts/NAME/token."""

    def __init__(self, registry: Registry, tokens: Tokens, ids: Ids, authorizer: Authorizer) -> None:
        self._registry = registry
        self._tokens = tokens
        self._ids = ids
        self._audiences = TokenAudiences(registry, authorizer)

    async def handle(self, call: Call) -> Response:
        """Raises ApiError 400, 403, 404, 409, 422."""
        account = (await self._registry.find(call)).tree
        review = await codec.body(call, TOKENREQUEST)
        await self._registry.admit_body(call, TOKENREQUEST, review)
        spec = review.setdefault("spec", {})
        self._restrict_node(call, spec)
        _check_metadata(call, account, review.get("metadata") or {})
        seconds = spec.get("expirationSeconds", DEFAULT_SECONDS)
        _check_seconds(seconds)
        audiences = tuple(spec.get("audiences") or (self._tokens.issuer,))
        bound = self._bound(call, account, spec.get("boundObjectRef"))
        grant = Grant(
            namespace=call.namespace,
            service_account=call.name,
            service_account_uid=objects.uid(account),
            audiences=audiences,
            seconds=seconds,
            jti=self._ids.uid(),
            **bound,
        )
        token = self._tokens.issue(grant, call.now)
        call.audit[ISSUED] = f"JTI={grant.jti}"
        review["metadata"] = {
            "name": call.name,
            "namespace": call.namespace,
            "uid": objects.uid(account),
            "creationTimestamp": timestamps.format(call.now),
        }
        review["spec"] = {**spec, "audiences": list(audiences), "expirationSeconds": seconds}
        review["status"] = {"token": token, "expirationTimestamp": timestamps.format(call.now + seconds)}
        return codec.respond_tree(call, review, 201)

    def _restrict_node(self, call: Call, spec: Tree) -> None:
        """An agent gets tokens of pods on its node, for what they talk to. Raises ApiError 403 or 404."""
        node = nodes.node_name(call.user)
        if not node:
            return
        reference = spec.get("boundObjectRef")
        pod = self._registry.get(POD, call.namespace, (reference or {}).get("name") or "")
        why = node_restriction.check_token(node, reference, pod.tree if pod else None)
        if not why and pod is not None:
            account = (call.namespace, call.name)
            why = self._audiences.refusal(call.user, account, spec.get("audiences") or (), pod.tree)
        if why:
            raise status.forbidden("", "serviceaccounts", call.name, why)

    def _bound(self, call: Call, account: Tree, reference: Tree | None) -> dict[str, str]:
        """The names that bind the token. Raises ApiError when the object is not there, or another."""
        if not reference:
            return {}
        name, wanted = reference.get("name", ""), reference.get("kind", "")
        group, _, version = reference.get("apiVersion", "").rpartition("/")
        kind = None if group else _BINDABLE.get(wanted)
        if kind is None:
            raise status.bad_request(f"cannot bind token to object of type {group}/{version}, Kind={wanted}")
        item = self._registry.get(kind, call.namespace if kind.namespaced else "", name)
        if item is None:
            raise status.not_found("", kind.plural, name)
        found, uid = item.tree, reference.get("uid", "")
        if kind is POD and found["spec"].get("serviceAccountName") != objects.name(account):
            text = "to pod running with different serviceaccount name."
            raise status.bad_request(f"cannot bind token for serviceaccount {status.show(call.name)} {text}")
        if uid and uid != objects.uid(found):
            why = f"the UID in the bound object reference ({uid}) does not match the UID in record. "
            why += "The object might have been deleted and then recreated"
            raise status.conflict("", kind.name, name, why)
        if kind is POD:
            return {"pod_name": name, "pod_uid": objects.uid(found)} | self._node_of(found)
        return {f"{kind.name.lower()}_name": name, f"{kind.name.lower()}_uid": objects.uid(found)}

    def _node_of(self, pod: Tree) -> dict[str, str]:
        """The node of a pod that has one; without a uid when the node is not there."""
        name = pod["spec"].get("nodeName")
        if not name:
            return {}
        node = self._registry.get(NODE, "", name)
        return {"node_name": name, "node_uid": objects.uid(node.tree) if node is not None else ""}


def _check_metadata(call: Call, account: Tree, given: Tree) -> None:
    """What the request says of the account has to be true. Raises ApiError 409 or 422."""
    for field, real in (("name", call.name), ("namespace", call.namespace)):
        said = given.get(field)
        if said and said != real:
            text = f"must match the service account {field} if specified"
            cause = status.invalid_value(f"metadata.{field}", said, text)
            raise status.invalid(GROUP, TOKENREQUEST.name, call.name, [cause])
    uid, live = given.get("uid"), objects.uid(account)
    if uid and uid != live:
        why = f"the UID in the token request ({uid}) does not match the UID of the service account ({live})"
        raise status.conflict(GROUP, TOKENREQUEST.name, call.name, why)


def _check_seconds(seconds: int) -> None:
    text = ""
    if seconds < MIN_SECONDS:
        text = "may not specify a duration less than 10 minutes"
    elif seconds > MAX_SECONDS:
        text = "may not specify a duration larger than 2^32 seconds"
    if text:
        raise status.invalid(
            GROUP, TOKENREQUEST.name, "", [status.invalid_value("spec.expirationSeconds", seconds, text)]
        )
