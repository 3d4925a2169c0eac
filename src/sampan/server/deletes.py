"""Deletion: at once, after a grace, or when the finalizers are gone; one object or a collection.

https://kubernetes.io/docs/concepts/architecture/garbage-collection/
"""

from dataclasses import dataclass, field
from typing import Any

from sampan.meta import fields, objects, schema, status, timestamps
from sampan.server import aside, codec, list_options, reads
from sampan.server.admission import chain
from sampan.server.cache import Item
from sampan.server.call import Call
from sampan.server.registry import UPDATE_TRIES, Registry, is_released
from sampan.server.request_info import is_true
from sampan.web.message import Response

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
POLICIES = {"Orphan": ORPHAN, "Foreground": FOREGROUND, "Background": ""}
_POLICIES = ("Foreground", "Background", "Orphan", "nil")

Tree = dict[str, Any]

_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"


@dataclass(frozen=True, slots=True)
class Options:
    """DeleteOptions. `grace_seconds` and `policy` are None when the caller has no wish."""

    grace_seconds: int | None = None
    policy: str | None = None
    uid: str = ""
    resource_version: str = ""
    tree: Tree = field(default_factory=dict)


async def options(call: Call) -> Options:
    """From the body, else from the query. Raises ApiError 400 or 422."""
    return options_of(call, await _body(call))


def options_of(call: Call, body: Tree) -> Options:
    """From a DeleteOptions tree, else from the query. Raises ApiError 400 or 422."""
    given = dict(reversed(call.request.query))  # the first of several counts
    grace = body.get("gracePeriodSeconds")
    if grace is None and (text := given.get("gracePeriodSeconds")) is not None:
        grace = list_options.integer(text)
    if grace is not None and grace < 0:
        grace = 1
    policy = body.get("propagationPolicy") or given.get("propagationPolicy") or None
    orphan = body.get("orphanDependents")
    if orphan is None and (text := given.get("orphanDependents")) is not None:
        orphan = is_true(text)
    if policy is not None and orphan is not None:
        cause = status.invalid_value(
            "propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set"
        )
        raise status.invalid("meta.k8s.io", "DeleteOptions", "", [cause])
    if policy is not None and policy not in POLICIES:
        cause = status.not_supported("propagationPolicy", policy, _POLICIES, in_order=True)
        raise status.invalid("meta.k8s.io", "DeleteOptions", "", [cause])
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    wanted = body.get("preconditions") or {}
    if body.get("dryRun"):
        call.request.query = (*call.request.query, *(("dryRun", str(value)) for value in body["dryRun"]))
    return Options(
        grace, policy, wanted.get("uid") or "", wanted.get("resourceVersion") or "", _told(body, grace, policy)
    )


def _told(body: Tree, grace: int | None, policy: str | None) -> Tree:
    """The DeleteOptions as admission sees them."""
    told: Tree = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
    given = {**body, "gracePeriodSeconds": grace, "propagationPolicy": policy}
    return told | {k: v for k, v in given.items() if v is not None and k not in told and k != "orphanDependents"}


async def _body(call: Call) -> Tree:
    body = call.request.body
    if not body:
        return {}
    if isinstance(body, dict):
        return body
    return _checked(await aside.run(codec.any_tree, call, size=len(body)))


def _checked(tree: Tree) -> Tree:
    """A body of the right type. Raises ApiError 400."""
    if tree.get("kind") not in (None, "", "DeleteOptions"):
        raise status.bad_request(f"{status.show(tree['kind'])} in the body cannot be handled as DeleteOptions")
    try:
        return fields.conform(tree, schema.definition(_OPTIONS))[0]  # type: ignore[no-any-return]
    except fields.Mismatch as error:
        raise fields.mismatch_error(error, "DeleteOptions", "v1") from error


class Deletes:
    """DELETE on an object and on a collection."""

    def __init__(self, registry: Registry, lists: reads.Reads) -> None:
        self._registry = registry
        self._reads = lists

    async def delete(self, call: Call) -> Response:
        """Answers with the object when it stays for a while or the kind has it so, else with a Status."""
        wish = await self._wish(call)
        item, gone = await self.delete_one(call, wish)
        if not gone or call.kind.answers_deleted:
            return await codec.answer(call, item)
        metadata = item.tree["metadata"]
        details = {"name": metadata["name"], "kind": call.kind.plural, "uid": metadata["uid"]}
        if call.kind.group:
            details["group"] = call.kind.group
        return codec.respond_tree(call, status.success(details))

    async def delete_collection(self, call: Call) -> Response:
        """Deletes what the selectors and the limit choose, one after another; answers with the list as it was before."""
        wish = await self._wish(call)
        chosen, revision, more = await self._reads.select(call)
        for item in chosen:
            try:
                await self.delete_one(_for_item(call, objects.namespace(item.tree), objects.name(item.tree)), wish)
            except status.ApiError as error:
                if error.reason != "NotFound":
                    raise
        return await reads.answer(call, chosen, revision, more)

    async def _wish(self, call: Call) -> Options:
        wish = await options(call)
        if wish.policy is None and call.kind.orphaning_warning:
            call.warnings.append(call.kind.orphaning_warning)
        return wish

    async def delete_one(self, call: Call, wish: Options) -> tuple[Item, bool]:
        """Returns the object as it was last, and whether it is gone."""
        for _ in range(UPDATE_TRIES):
            item = await self._registry.find(call)
            check(call, item, wish)
            attributes = await self._registry.admit_delete(call, item, wish.tree)
            new = await aside.run(marked, call, item.tree, wish, size=len(item.stored))
            if new is None:
                return item, False
            if is_released(call.kind, new):
                removed = await self._registry.remove(call, item, attributes)
                if removed is not None:
                    return removed, True
                continue
            terms = chain.Attributes(call, chain.UPDATE, new, item.tree, attributes.compares, attributes.writes)
            written = await self._registry.put(call, item, new, terms)
            if written is not None:
                return written, False
        raise status.conflict(call.kind.group, call.kind.plural, call.name)


def check(call: Call, item: Item, wish: Options) -> None:
    """Refuses when the object is not the one that was meant. Raises ApiError 409."""
    uid = item.tree["metadata"]["uid"]
    why = ""
    if wish.uid and wish.uid != uid:
        why = (
            f"the UID in the precondition ({wish.uid}) does not match the UID in record ({uid}). "
            "The object might have been deleted and then recreated"
        )
    elif wish.resource_version and wish.resource_version != str(item.revision):
        why = (
            f"the ResourceVersion in the precondition ({wish.resource_version}) does not match the ResourceVersion "
            f"in record ({item.revision}). The object might have been modified"
        )
    if why:
        raise status.conflict(call.kind.group, call.kind.name, call.name, why)


def marked(call: Call, old: Tree, wish: Options) -> Tree | None:
    """The object with the deletion written into it; None when it already says so."""
    kind = call.kind
    new: Tree = objects.copy(old)
    metadata = new["metadata"]
    finalizers = _finalizers(metadata.get("finalizers", []), wish.policy, is_orphaning=kind.orphaning)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    grace = max(0, kind.hooks.grace_seconds(new, wish.grace_seconds))
    if not metadata.get("deletionTimestamp"):
        metadata["deletionTimestamp"] = timestamps.format(call.now + grace)
        metadata["deletionGracePeriodSeconds"] = grace
        if kind.has_generation and "generation" in metadata:
            metadata["generation"] += 1
        kind.hooks.deleting(new)
        return new
    before = metadata.get("deletionGracePeriodSeconds") or 0
    if wish.grace_seconds is not None and grace < before:
        asked = timestamps.parse(metadata["deletionTimestamp"]) - before
        metadata["deletionTimestamp"] = timestamps.format(asked + grace)
        metadata["deletionGracePeriodSeconds"] = grace
        return new
    return new if new != old or is_released(kind, new) else None


def _finalizers(present: list[str], policy: str | None, *, is_orphaning: bool) -> list[str]:
    if policy is None and is_orphaning and not {ORPHAN, FOREGROUND}.intersection(present):
        policy = "Orphan"
    if policy is None:
        return present
    kept = [name for name in present if name not in (ORPHAN, FOREGROUND)]
    added = POLICIES[policy]
    return [*kept, added] if added else kept


def _for_item(call: Call, namespace: str, name: str) -> Call:
    import dataclasses

    info = dataclasses.replace(call.info, namespace=namespace, name=name)
    return dataclasses.replace(call, info=info)
