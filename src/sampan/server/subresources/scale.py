"""The scale subresource: a workload's replicas behind one common type.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/
"""

from typing import Any

from sampan.kinds.autoscaling.scale import SCALE
from sampan.meta import objects, schema, selectors, status
from sampan.meta.apply import managed, scaled
from sampan.server import aside, codec, patch_reading, patching
from sampan.server.cache import Item
from sampan.server.call import Call
from sampan.server.registry import Registry, check_identity, is_apply
from sampan.server.request_info import is_true
from sampan.server.served import Served
from sampan.web.message import Response

Tree = dict[str, Any]

_UNSAID = -(2**31)  # what stands in an old Scale for a custom object that does not say how many


class ScaleHandler:
    """GET, PUT and PATCH of OBJECT/scale, by the paths that the kind declares."""

    def __init__(self, registry: Registry, served: Served) -> None:
        self._registry, self._served = registry, served

    async def handle(self, call: Call) -> Response:
        """Raises ApiError."""
        if call.info.verb == "get":
            obj = (await self._registry.find(call)).tree
            if _is_unsaid(call, obj):
                raise status.internal(f'the spec replicas field ".{_paths(call)[0]}" does not exist')
            return codec.respond_tree(call, shown(call, obj))
        size = len(call.request.body)
        given = None
        if call.info.verb != "patch":
            given = await codec.body(call, SCALE)
            check_identity(call, given.get("metadata") or {})

        async def change(item: Item) -> Tree:
            live = shown(call, item.tree)
            if _is_unsaid(call, item.tree):
                live["spec"]["replicas"] = _UNSAID
            owners = None
            if given is not None:
                wanted = objects.copy(given)
            elif is_apply(call):
                wanted, owners = await aside.run(_applied, call, live, item.tree, size=size)
            else:
                wanted = await aside.run(self._patched, call, live, size=size)
            call.admitted = False
            await self._registry.admit_body(call, SCALE, wanted, live)
            call.admitted = True
            if objects.get_path(wanted, "spec.replicas") == _UNSAID:
                raise status.bad_request(f'the spec replicas field ".{_paths(call)[0]}" cannot be empty')
            return _with_replicas(call, item, wanted, owners)

        written = await self._registry.update(call, change)
        return codec.respond_tree(call, shown(call, written.tree))

    def _patched(self, call: Call, live: Tree) -> Tree:
        media = codec.media_type(call)
        if media not in patch_reading.ACCEPTED:
            raise status.unsupported_media_type(patch_reading.ACCEPTED)
        patch = patch_reading.read(call, media)
        new = patching.patched(SCALE, live, patch)
        new = patch_reading.typed(patch, new, SCALE, SCALE.version, self._served)
        made = patching.checked(call, objects.copy(new), patch, SCALE)
        check_identity(call, made["metadata"])
        return made


def shown(call: Call, obj: Tree) -> Tree:
    """The Scale of an object."""
    spec_path, status_path, selector_path = _paths(call)
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    scale: Tree = {
        "kind": SCALE.name,
        "apiVersion": SCALE.api_version,
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"replicas": objects.get_path(obj, spec_path) or 0},
        "status": {"replicas": objects.get_path(obj, status_path) or 0},
    }
    selector = objects.get_path(obj, selector_path)
    if selector is not None:
        scale["status"]["selector"] = _selector_text(call, selector, selector_path)
    return scale


def _is_unsaid(call: Call, obj: Tree) -> bool:
    """Whether a custom object does not say how many replicas it wants."""
    return call.kind.custom and objects.get_path(obj, _paths(call)[0]) is None


def _selector_text(call: Call, selector: Any, path: str) -> str:
    """A selector as text; a ReplicationController's is a plain map of labels, a custom resource's a text already."""
    if isinstance(selector, str):
        return selector
    kind = call.kind.type
    for step in path.split("."):
        kind = kind.fields.get(step, schema.ANY)
    whole = {"matchLabels": selector} if kind.kind == "map" else selector
    return str(selectors.from_label_selector(whole))


def _applied(call: Call, live: Tree, obj: Tree) -> tuple[Tree, list[Tree]]:
    """The Scale after a server-side apply, and who owns what of the object then. Raises ApiError 400, 409, 422."""
    path, entries = _paths(call)[0], objects.metadata(obj).get("managedFields") or []
    config = patching.applied(call, SCALE)
    config.pop("status", None)
    owners = scaled.of_scale(entries, path, SCALE.api_version)
    live = {**live, "metadata": {**live["metadata"], "managedFields": owners}}
    write = managed.Write(call.field_manager, "Apply", SCALE.api_version, call.sub, call.now)
    force = is_true(call.request.param("force", "false"))
    made = objects.copy(managed.apply(live, config, write, SCALE.type, force=force))
    kept = made["metadata"].pop("managedFields")
    return made, scaled.of_object(entries, path, kept, call.api_version)


def _with_replicas(call: Call, item: Item, scale: Tree, owners: list[Tree] | None) -> Tree:
    """The object with a Scale's replicas; `owners` are its managedFields then, None where the write tells."""
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not call.kind.custom and (not isinstance(replicas, int) or replicas < 0):
        cause = status.invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
        raise status.invalid(SCALE.group, SCALE.name, call.name, [cause])
    new = {**item.tree, "metadata": {**item.tree["metadata"]}}
    *parents, last = _paths(call)[0].split(".")
    target = new
    for parent in parents:
        target[parent] = {**target.get(parent, {})}
        target = target[parent]
    target[last] = replicas
    if owners is not None:
        new["metadata"]["managedFields"] = owners
    wanted = scale.get("metadata") or {}
    for name in ("resourceVersion", "uid"):
        if wanted.get(name):
            new["metadata"][name] = wanted[name]
    return new


def _paths(call: Call) -> tuple[str, str, str]:
    assert call.subresource is not None  # routed here by it
    assert call.subresource.scale_paths is not None
    return call.subresource.scale_paths
