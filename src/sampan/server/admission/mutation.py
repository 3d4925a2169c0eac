"""The object as a hook sees it, and a changed one taken over: pruned, defaulted, in the request's version.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
"""

from typing import Any

from sampan.meta import fields, objects, status
from sampan.meta.apply import faults
from sampan.server.admission.chain import Attributes
from sampan.server.admission.matching import Match, requested
from sampan.server.served import Served
from sampan.server.versions import Versions

_IDENTITY = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_BROKEN = (
    ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating "
    "admission controller; please fix your requests: "
)

Tree = dict[str, Any]


async def seen(attributes: Attributes, match: Match, versions: Versions) -> tuple[Tree | None, Tree | None]:
    """The object and the old one in the version that was matched."""
    asked = requested(attributes)
    if match.kind == asked.kind or attributes.body_kind:
        return attributes.obj, attributes.old
    version, kind = match.kind.api_version, attributes.kind
    new = None if attributes.obj is None else await versions.to_version(kind, attributes.obj, version)
    old = None if attributes.old is None else await versions.to_version(kind, attributes.old, version)
    return new, old


async def settled(tree: Tree, attributes: Attributes, match: Match, served: Served, versions: Versions) -> Tree:
    """The object as the request's version has it, after its decoder and defaults. Raises ApiError 500."""
    asked = requested(attributes)
    if match.kind != asked.kind and not attributes.body_kind:
        kind = served.find(match.resource.group, match.resource.version, match.resource.name)
        if kind is None:
            raise status.internal(f"unable to convert to {match.resource}: unknown kind")
        tree = _typed(tree, kind.type)
        kind.hooks.default(tree)
        tree = await versions.to_version(kind, tree, asked.kind.api_version)
    if attributes.body_kind:
        return tree
    tree = _typed(tree, attributes.kind.type)
    if match.kind == asked.kind or not attributes.kind.custom:
        attributes.kind.hooks.default(tree)
    return tree


def take(attributes: Attributes, tree: Tree) -> bool:
    """Puts the tree in the place of the request's object; whether that changed it. Raises ApiError 400."""
    old = attributes.obj
    if old is None:
        return False
    _keep_identity(tree, old)
    _keep_owners(tree, attributes)
    if objects.same(tree, old):
        return False
    kept = objects.copy(tree)
    old.clear()
    old.update(kept)
    return True


def _typed(tree: Tree, kind: Any) -> Tree:
    try:
        made: Tree = fields.prune(tree, kind)
    except fields.Mismatch as error:
        raise status.internal(str(error)) from error
    return objects.copy(made) if made is tree else made


def _keep_owners(tree: Tree, attributes: Attributes) -> None:
    """managedFields that a hook has broken are put back, with a warning."""
    before = ((attributes.obj or {}).get("metadata") or {}).get("managedFields")
    after = (tree.get("metadata") or {}).get("managedFields")
    wrong = faults.fault(after) if after != before else ""
    if not wrong:
        return
    tree["metadata"].pop("managedFields")
    if before is not None:
        tree["metadata"]["managedFields"] = objects.copy(before)
    attributes.call.warnings.append(_BROKEN + wrong)


def _keep_identity(tree: Tree, old: Tree) -> None:
    if "metadata" not in old:
        return
    metadata, before = tree.get("metadata"), old["metadata"]
    if not isinstance(metadata, dict):
        metadata = tree["metadata"] = {}
    if (metadata.get("namespace") or "") != (before.get("namespace") or ""):
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    for name in ("kind", "apiVersion"):
        tree[name] = old[name]
    for name in _IDENTITY:
        if name in before:
            metadata[name] = before[name]
        else:
            metadata.pop(name, None)
