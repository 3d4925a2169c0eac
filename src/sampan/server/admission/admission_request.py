"""AdmissionRequest: a write as webhooks are told of it, and as the expressions of policies see it.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request
"""

from typing import Any

from sampan.kinds.core.namespace import NAMESPACE
from sampan.server.admission.chain import CONNECT, CREATE, DELETE, UPDATE, Attributes
from sampan.server.admission.matching import Match, Triple, requested
from sampan.server.identity import User

_OPTIONS = {CREATE: "CreateOptions", UPDATE: "UpdateOptions", DELETE: "DeleteOptions"}

Tree = dict[str, Any]


def tree(attributes: Attributes, match: Match) -> Tree:
    """The request without its uid and objects, as a hook that matched it so sees it."""
    asked, sub = requested(attributes), attributes.subresource
    made: Tree = {"kind": _kind(match.kind), "resource": _resource(match.resource)}
    if sub:
        made["subResource"] = sub
    made |= {"requestKind": _kind(asked.kind), "requestResource": _resource(asked.resource)}
    if sub:
        made["requestSubResource"] = sub
    if attributes.name:
        made["name"] = attributes.name
    # A namespace is in itself.
    if namespace := attributes.name if attributes.kind == NAMESPACE else attributes.namespace:
        made["namespace"] = namespace
    made["operation"] = attributes.operation
    made["userInfo"] = user_info(attributes.user)
    made["dryRun"] = attributes.dry_run
    made["options"] = options(attributes)
    return made


def user_info(user: User) -> Tree:
    """The user as reviews show it."""
    made: Tree = {"username": user.name}
    if user.uid:
        made["uid"] = user.uid
    if user.groups:
        made["groups"] = list(user.groups)
    if user.extra:
        made["extra"] = {key: list(values) for key, values in user.extra.items()}
    return made


def options(attributes: Attributes) -> Tree | None:
    """The options of the operation (CreateOptions ...); a connection has none beside its object."""
    if attributes.operation == CONNECT:
        return None
    call, kind = attributes.call, _OPTIONS[attributes.operation]
    if call.request.method == "PATCH":
        kind = "PatchOptions"
    made: Tree = {**attributes.options, "kind": kind, "apiVersion": "meta.k8s.io/v1"}
    if attributes.operation == DELETE or attributes.options:
        return made
    for name in ("fieldManager", "fieldValidation"):
        if value := call.request.param(name):
            made[name] = value
    if attributes.dry_run:
        made["dryRun"] = ["All"]
    if kind == "PatchOptions" and (force := call.request.param("force")):
        made["force"] = force in ("true", "1")
    return made


def _kind(triple: Triple) -> Tree:
    return {"group": triple.group, "version": triple.version, "kind": triple.name}


def _resource(triple: Triple) -> Tree:
    return {"group": triple.group, "version": triple.version, "resource": triple.name}
