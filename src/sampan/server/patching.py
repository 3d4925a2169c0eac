"""PATCH: the four patch types, each turned into a function old -> new for the registry.

https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply
"""

from typing import Any

from sampan.kinds.kind import Kind
from sampan.meta import fields, objects, status
from sampan.meta.apply import checking, managed
from sampan.meta.patch import json_patch, merge, strategic
from sampan.meta.wire import yaml
from sampan.server import aside, codec, custom_bodies, patch_reading
from sampan.server.access import Access
from sampan.server.cache import Item
from sampan.server.call import Call
from sampan.server.patch_reading import ACCEPTED, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Patch, read
from sampan.server.registry import Registry, check_identity, is_apply
from sampan.server.request_info import is_true
from sampan.server.served import Served

Tree = dict[str, Any]


class Patching:
    """PATCH on an object or on its status."""

    def __init__(self, registry: Registry, served: Served, access: Access) -> None:
        self._registry, self._served, self._access = registry, served, access

    async def patch(self, call: Call) -> tuple[Item, bool]:
        """The object as written, and whether it was created. Raises ApiError."""
        if is_apply(call):
            return await self._apply(call)
        media = codec.media_type(call)
        accepted = tuple(m for m in ACCEPTED if m != STRATEGIC_PATCH) if call.kind.custom else ACCEPTED
        if media not in accepted:
            raise status.unsupported_media_type(accepted)
        size = len(call.request.body)
        patch = await aside.run(read, call, media, size=size)

        def made(item: Item) -> Tree:
            new = patched(call.kind, item.tree, patch)
            if not call.kind.custom:
                new = patch_reading.typed(patch, new, call.kind, call.info.version, self._served)
            said = patch_reading.version_said(patch, new, call.kind, self._served)
            if said is not call.kind:
                return _complete(checked(call, new, patch, said), said)
            if call.kind.custom:
                custom_bodies.check_type(new, call.kind)
            return checked(call, new, patch, call.kind, item.tree)

        async def change(item: Item) -> Tree:
            new = await aside.run(made, item, size=max(size, len(item.stored)))
            if new["apiVersion"] == call.api_version:
                return new
            return await self._registry.versions.to_version(call.kind, new, call.api_version)

        return await self._registry.update(call, change), False

    async def _apply(self, call: Call) -> tuple[Item, bool]:
        size = len(call.request.body)
        config = await aside.run(applied, call, call.kind, size=codec.weight(call))
        for _ in range(2):
            if self._registry.get(call.kind, call.namespace, call.name) is None:
                if call.sub:
                    raise call.not_found()
                if uid := config["metadata"].get("uid"):
                    why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                    raise status.conflict(call.kind.group, call.kind.plural, call.name, why)
                check_identity(call, config["metadata"])
                self._access.authorize_birth(call.user, call.info)
                try:
                    made = objects.copy(await aside.run(_merged, call, None, config, size=size))
                    return await self._registry.create(call, made), True
                except status.ApiError as error:
                    if error.reason != "AlreadyExists" or "uid" in config["metadata"]:
                        raise

            async def change(item: Item) -> Tree:
                return await aside.run(_merged, call, item.tree, config, size=max(size, len(item.stored)))

            return await self._registry.update(call, change), False
        raise status.conflict(call.kind.group, call.kind.plural, call.name)


def patched(kind: Kind, old: Tree, patch: Patch) -> Tree:
    """The patched object, which shares what it can with `old` and the patch."""
    if patch.media == JSON_PATCH:
        new = json_patch.apply(old, patch.document)
    elif patch.media == MERGE_PATCH:
        new = merge.apply(old, patch.document)
    else:
        new = strategic.apply(old, patch.document, kind.type)
    if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
        raise status.bad_request("the patched object is not an object")
    for name in ("kind", "apiVersion"):  # a patch cannot make a thing nameless
        new.setdefault(name, old[name])
    return new


def checked(call: Call, made: Tree, patch: Patch, kind: Kind, known: Tree | None = None) -> Tree:
    """What a patch made, as its type keeps it; for `known` see `fields.conform`. Raises ApiError 422."""
    try:
        return codec.check_patched(call, made, kind, patch.told, known)
    except fields.Undecodable as error:
        raise patch.unfit(made, kind, error) from error


def _complete(made: Tree, kind: Kind) -> Tree:
    """What a patch made in another version of its kind, with that version's defaults."""
    new: Tree = objects.copy(made)
    kind.hooks.default(new)
    return new


def applied(call: Call, kind: Kind) -> Tree:
    """The configuration of a server-side apply; of an object that is there it need not say the name. ApiError 400 or 422.

    `kind` is the body's, which is not the resource's own where that has a Scale.
    """
    api_version = call.api_version if kind is call.kind else kind.api_version
    if not call.request.param("fieldManager"):
        cause = status.required("fieldManager", "is required for apply patch")
        raise status.invalid("meta.k8s.io", "PatchOptions", "", [cause])
    body = call.request.body
    problems: list[str] = []
    if isinstance(body, dict):
        config = objects.copy(body)
    else:
        config, problems = yaml.decode_strict(body)
    if isinstance(config, dict) and config.get("metadata") is None:
        config["metadata"] = {}
    if not isinstance(config, dict) or not isinstance(config["metadata"], dict):
        raise status.bad_request("error decoding YAML: the applied configuration must be an object with metadata")
    if config.get("apiVersion") != api_version:
        raise status.bad_request(
            "Incorrect version specified in apply patch. "
            f"Specified patch version: {config.get('apiVersion') or ''}, expected: {api_version}"
        )
    if config.get("kind") != kind.name:
        raise status.bad_request(
            f"the applied configuration is a {config.get('apiVersion')}, Kind={config.get('kind')}, "
            f"expected {api_version}, Kind={kind.name}"
        )
    if config["metadata"].get("managedFields"):
        raise status.bad_request("metadata.managedFields must be nil")
    if kind.custom:
        custom_bodies.refuse_undeclared(config, kind, call.name)
    checking.check(config, kind.type)
    if problems and call.field_validation == "Strict":
        raise status.bad_request(f"error strict decoding YAML: error converting YAML to JSON: {'; '.join(problems)}")
    config = codec.check_fields(call, config, call.kind, problems, applied=True)
    if config["metadata"].get("name"):
        check_identity(call, config["metadata"])
    else:
        config["metadata"].pop("name", None)
    return config


def _merged(call: Call, live: Tree | None, config: Tree) -> Tree:
    force = is_true(call.request.param("force", "false"))
    kept = call.kind.kept.get(call.sub)
    write = managed.Write(call.field_manager, "Apply", call.api_version, call.sub, call.now, kept)
    return managed.apply(live, config, write, call.kind.type, force=force)
