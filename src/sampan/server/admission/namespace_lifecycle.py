"""Nothing is created in a namespace that is missing or going away; the three first namespaces stay."""

from sampan.kinds.core.namespace import NAMESPACE
from sampan.meta import objects, status
from sampan.server.admission.chain import CREATE, DELETE, Attributes, Concern, Lookup

CONCERNS = Concern(operations=(CREATE, DELETE))
IMMORTAL = ("default", "kube-system", "kube-public")


async def admit(attributes: Attributes, lookup: Lookup) -> None:
    """Raises ApiError 404 or 403."""
    kind, call = attributes.kind, attributes.call
    if attributes.operation == DELETE:
        name = objects.name(attributes.old or {})
        if kind is NAMESPACE or (kind.group, kind.plural) == ("", NAMESPACE.plural):
            _keep(name)
        return
    if not kind.namespaced or kind.not_stored:
        return
    namespace = lookup.get(NAMESPACE, "", call.namespace)
    if namespace is None:
        raise status.not_found("", NAMESPACE.plural, call.namespace)
    if objects.is_deleting(namespace.tree):
        raise _going(attributes)


def _going(attributes: Attributes) -> status.ApiError:
    """Made here: a frame that raises it and has a name for it would live until garbage is looked for."""
    kind, namespace = attributes.kind, attributes.call.namespace
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    error = status.forbidden(kind.group, kind.plural, attributes.called, why)
    cause = {"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated"}
    error.status["details"]["causes"] = [{**cause, "field": "metadata.namespace"}]
    return error


def _keep(name: str) -> None:
    if name in IMMORTAL:
        raise status.forbidden("", NAMESPACE.plural, name, "this namespace may not be deleted")
