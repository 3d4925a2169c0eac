"""Reviews: questions about tokens and permissions, answered and not stored.

https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
"""

from typing import Any

from sampan.meta import selectors, status, timestamps
from sampan.server import aside, authn, codec
from sampan.server.authz.authorizer import Authorizer
from sampan.server.authz.decision import Attributes
from sampan.server.call import Call
from sampan.server.identity import User
from sampan.server.registry import Registry
from sampan.server.tokens import TokenError
from sampan.web.message import Response

Tree = dict[str, Any]


class Reviews:
    """POST of every review kind, by its name."""

    def __init__(self, authenticator: authn.Authenticator, authorizer: Authorizer, registry: Registry) -> None:
        self._registry = registry
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._answers = {
            "SubjectAccessReview": self._subject_access,
            "LocalSubjectAccessReview": self._subject_access,
            "SelfSubjectAccessReview": self._self_access,
            "SelfSubjectRulesReview": self._self_rules,
            "SelfSubjectReview": self._self,
        }

    async def handle(self, call: Call) -> Response:
        """Raises ApiError 400 or 422 for a question that makes no sense."""
        review = await codec.body(call)
        if call.kind.name == "TokenReview" and not (review.get("spec") or {}).get("token"):
            raise status.bad_request("token is required for TokenReview in authentication")
        metadata = review.setdefault("metadata", {})
        if call.namespace and metadata.setdefault("namespace", call.namespace) != call.namespace:
            raise status.bad_request(
                f"namespace on request does not match the one of the review: {metadata['namespace']}"
            )
        await self._registry.admit_review(call, review)
        spec = review.get("spec") or {}
        if call.kind.name == "TokenReview":
            review["status"] = await self._token(call, spec)
        else:
            review["status"] = self._answers[call.kind.name](call, spec)
        if call.kind.name == "SelfSubjectReview":  # the only review that tells its time, and nothing of the question
            review["metadata"] = {"creationTimestamp": timestamps.format(call.now)}
        return await aside.run(codec.respond_tree, call, review, 201, size=len(call.request.body))

    async def _token(self, call: Call, spec: Tree) -> Tree:
        try:
            verified = await self._authenticator.token(spec.get("token") or "", tuple(spec.get("audiences") or ()))
        except TokenError as error:
            call.audit.update(error.notes)
            told = str(error)
            return {"user": {}, "error": f"[invalid bearer token, {told}]" if told else "invalid bearer token"}
        call.audit.update(verified.notes)
        call.warnings.extend(verified.warnings)
        shown: Tree = {"authenticated": True, "user": authn.user_info(verified.user)}
        shown["audiences"] = list(verified.audiences)
        return shown

    def _subject_access(self, call: Call, spec: Tree) -> Tree:
        extra = {key.lower(): tuple(values or ()) for key, values in (spec.get("extra") or {}).items()}
        user = User(spec.get("user", ""), spec.get("uid", ""), tuple(spec.get("groups") or ()), extra)
        return self._decide(user, spec)

    def _self_access(self, call: Call, spec: Tree) -> Tree:
        return self._decide(call.user, spec)

    def _self_rules(self, call: Call, spec: Tree) -> Tree:
        namespace = spec.get("namespace", "")
        if not namespace:
            raise status.bad_request("no namespace on request")
        resources, paths = self._authorizer.rules_for(call.user, namespace)
        shown: Tree = {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}
        if self._authorizer.is_node(call.user):
            shown |= {"incomplete": True, "evaluationError": "node authorizer does not support user rule resolution"}
        return shown

    def _self(self, call: Call, spec: Tree) -> Tree:
        return {"userInfo": authn.user_info(call.user)}

    def _decide(self, user: User, spec: Tree) -> Tree:
        decision = self._authorizer.authorize(user, attributes(spec))
        shown: Tree = {"allowed": decision.allowed}
        if decision.reason:
            shown["reason"] = decision.reason
        return shown


def attributes(spec: Tree) -> Attributes:
    """What a review asks about, as the authorizer takes it."""
    resource = spec.get("resourceAttributes")
    if resource is None:
        path = spec.get("nonResourceAttributes") or {}
        return Attributes(verb=path.get("verb", ""), path=path.get("path", ""), is_resource=False)
    return Attributes(
        verb=resource.get("verb", ""),
        group=resource.get("group", ""),
        resource=resource.get("resource", ""),
        subresource=resource.get("subresource", ""),
        namespace=resource.get("namespace", ""),
        name=resource.get("name", ""),
        fields=_fields(resource.get("fieldSelector") or {}),
    )


def _fields(selector: Tree) -> str:
    """The equalities of a review's field selector, as a query would say them; what it cannot say is left out."""
    if selector.get("rawSelector"):
        return str(selector["rawSelector"])
    one_value = [r for r in selector.get("requirements") or () if len(r.get("values") or ()) == 1]
    terms = ((r.get("key", ""), "=", r["values"][0]) for r in one_value if r.get("operator") == "In")
    return str(selectors.FieldSelector(tuple(terms)))
