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
from sampan.server.authz import nodes
from sampan.server.call import Call
from sampan.server.registry import Registry
from sampan.server.tokens import Grant, Tokens
from sampan.web.message import Response

DEFAULT_SECONDS = 3600
MIN_SECONDS = 600
MAX_SECONDS = 1 << 32

Tree = dict[str, Any]
_BINDABLE = {"Pod": POD, "Secret": SECRET, "Node": NODE}


class TokenHandler:
    """POST of serviceaccounts/NAME/token."""

    def __init__(self, registry: Registry, tokens: Tokens, ids: Ids) -> None:
        self._registry = registry
        self._tokens = tokens
        self._ids = ids

    async def handle(self, call: Call) -> Response:
        """Raises ApiError 403, 404, 409, 422."""
        account = (await self._registry.find(call)).tree
        review = await codec.body(call, TOKENREQUEST)
        await self._registry.admit_body(call, TOKENREQUEST, review)
        spec = review.setdefault("spec", {})
        seconds = spec.get("expirationSeconds", DEFAULT_SECONDS)
        _check_seconds(call, seconds)
        audiences = tuple(spec.get("audiences") or (self._tokens.issuer,))
        self._restrict_node(call, spec.get("boundObjectRef"))
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
        review["metadata"] = {
            "name": call.name,
            "namespace": call.namespace,
            "creationTimestamp": timestamps.format(call.now),
        }
        review["spec"] = {**spec, "audiences": list(audiences), "expirationSeconds": seconds}
        review["status"] = {"token": token, "expirationTimestamp": timestamps.format(call.now + seconds)}
        return codec.respond_tree(call, review, 201)

    def _restrict_node(self, call: Call, reference: Tree | None) -> None:
        """An agent gets tokens of pods on its node, and no others. Raises ApiError 403."""
        node = nodes.node_name(call.user)
        if not node:
            return
        pod = self._registry.get(POD, call.namespace, (reference or {}).get("name") or "")
        if why := node_restriction.check_token(node, reference, pod.tree if pod else None):
            raise status.forbidden("", "serviceaccounts", call.name, why)

    def _bound(self, call: Call, account: Tree, reference: Tree | None) -> dict[str, str]:
        """The names that bind the token. Raises ApiError when the object is not there, or another."""
        if not reference:
            return {}
        kind = _BINDABLE.get(reference.get("kind", ""))
        if kind is None or reference.get("apiVersion") != "v1":
            raise status.bad_request(
                f"cannot bind token for serviceaccount {status.show(call.name)} to type "
                f"{reference.get('apiVersion')}, Kind={reference.get('kind')}"
            )
        name, uid = reference.get("name", ""), reference.get("uid", "")
        item = self._registry.get(kind, call.namespace if kind.namespaced else "", name)
        if item is None:
            raise status.not_found("", kind.plural, name)
        found = item.tree
        if uid and uid != objects.uid(found):
            why = f"the UID in the bound object reference ({uid}) does not match the UID in record. "
            why += "The object might have been deleted and then recreated"
            raise status.conflict("", kind.plural, name, why)
        if kind is SECRET:
            return {"secret_name": name, "secret_uid": objects.uid(found)}
        if kind is POD:
            return self._bound_to_pod(call, account, found)
        return {"node_name": name, "node_uid": objects.uid(found)}

    def _bound_to_pod(self, call: Call, account: Tree, pod: Tree) -> dict[str, str]:
        if pod["spec"].get("serviceAccountName") != objects.name(account):
            why = "cannot bind token for serviceaccount "
            why += f"{status.show(objects.name(account))} to pod running with different serviceaccount name."
            raise status.forbidden("", "serviceaccounts", call.name, why)
        bound = {"pod_name": objects.name(pod), "pod_uid": objects.uid(pod)}
        node = self._registry.get(NODE, "", pod["spec"].get("nodeName", ""))
        if node is not None:
            bound |= {"node_name": objects.name(node.tree), "node_uid": objects.uid(node.tree)}
        return bound


def _check_seconds(call: Call, seconds: int) -> None:
    cause = None
    if seconds < MIN_SECONDS:
        cause = status.invalid_value(
            "spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"
        )
    elif seconds > MAX_SECONDS:
        cause = status.invalid_value(
            "spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"
        )
    if cause:
        raise status.invalid("authentication.k8s.io", "TokenRequest", call.name, [cause])
