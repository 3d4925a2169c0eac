"""Writes: every create, update and patch of every stored kind goes through here.

A write is a function old -> new that is tried again when somebody else was faster. In order:
decode or patch, identity, defaults, managed fields, admission, prepare, validation, transaction.
The caller gets the object as the cache has it, after the commit.

https://kubernetes.io/docs/reference/using-api/api-concepts/#updating-resources
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

import orjson

from sampan.kinds.kind import Kind
from sampan.kit.ids import Ids
from sampan.meta import objects, status, timestamps, validation
from sampan.meta.apply import managed
from sampan.server import aside
from sampan.server.admission import chain
from sampan.server.cache import Cache, Item, Written, encode, item_key
from sampan.server.cache import Change as CacheChange
from sampan.server.call import Call
from sampan.server.versions import Versions
from sampan.store.protocol import Compare, Delete, Put, Write

Tree = dict[str, Any]
Change = Callable[[Item], Awaitable[Tree]]

NAME_TRIES = 8
UPDATE_TRIES = 32
MAX_GENERATED_BASE = 58
ANY_REVISION = "0"  # whichever there is, as if none was said
SYSTEM_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_GROUPED = frozenset(("apiextensions.k8s.io", "apiregistration.k8s.io"))
_PLACES = {
    ("", "nodes"): "minions",
    ("", "services"): "services/specs",
    ("", "endpoints"): "services/endpoints",
    ("networking.k8s.io", "ingresses"): "ingress",
}
_SERVERS_ALONE = frozenset((*SYSTEM_FIELDS, "resourceVersion", "selfLink"))


@dataclass(frozen=True, slots=True)
class Seed:
    """A new object of the server's own: the request to which it would come; and that which would tell its state, if any."""

    call: Call
    obj: Tree
    status: Call | None = None
    state: Tree = field(default_factory=dict)


class Registry:
    """The write side. `lookup` is what admission may read."""

    def __init__(self, cache: Cache, ids: Ids, versions: Versions) -> None:
        self._cache = cache
        self._admission = chain.Chain(())
        self._ids = ids
        self.versions = versions

    def admit_with(self, admission: chain.Chain) -> None:
        """The plugins look things up here, and so come after."""
        self._admission = admission

    # Lookup, for admission and handlers

    def get(self, kind: Kind, namespace: str, name: str) -> Item | None:
        return self._cache.of(kind).get(item_key(kind, namespace, name))

    @property
    def revision(self) -> int:
        """Up to which the look-ups are true."""
        return self._cache.revision

    async def wait_for(self, kind: Kind, namespace: str, name: str, seconds: float) -> Item | None:
        """The object, as soon as it is there; None when it does not come within the time."""
        item = self.get(kind, namespace, name)
        if item is not None:
            return item
        cache, key = self._cache.of(kind), item_key(kind, namespace, name)
        come: asyncio.Future[Item] = asyncio.get_running_loop().create_future()

        def look(change: CacheChange) -> None:
            if change.item is not None and change.item.key == key and not come.done():
                come.set_result(change.item)

        cache.listen(look)
        try:
            return await asyncio.wait_for(come, seconds)
        except TimeoutError:
            return None
        finally:
            cache.unlisten(look)

    def all(self, kind: Kind, namespace: str = "") -> list[Item]:
        return self._cache.of(kind).range(namespace)

    def live(self, kind: Kind) -> Sized:
        """Grows and shrinks with what there is of the kind."""
        return self._cache.of(kind).items

    async def find(self, call: Call) -> Item:
        """The object that a call names, as its kind shows it. Raises ApiError 404."""
        item = self.get(call.kind, call.namespace, call.name)
        if item is None:
            raise call.not_found()
        return await self.versions.view(call.kind, item) if call.kind.is_satellite else item

    # Create

    async def create(self, call: Call, given: Tree) -> Item:
        """Stores a new object, which is the registry's own from now on. Raises ApiError 409 when the name is taken."""
        metadata = given["metadata"] = given.get("metadata") or {}
        generates = bool(metadata.get("generateName")) and not metadata.get("name")
        for tries_left in range(NAME_TRIES - 1 if generates else 0, -1, -1):
            obj = objects.copy(given) if tries_left else given
            self._clean(call, obj)
            try:
                return await self._create_once(call, obj)
            except status.ApiError as error:
                if error.reason != "AlreadyExists" or not tries_left:
                    raise
        raise status.internal("no free name was found")

    async def _create_once(self, call: Call, obj: Tree) -> Item:
        given = orjson.dumps(obj)
        for attempt in range(UPDATE_TRIES):
            new = orjson.loads(given) if attempt else obj
            attributes = chain.Attributes(call, chain.CREATE, new, birth=self._birth(call, new))
            try:
                item = await self._try_create(call, new, attributes)
            finally:
                attributes.let_go()
            if item is not None:
                return item
        raise status.conflict(call.kind.group, call.kind.plural, objects.name(obj))

    async def _try_create(self, call: Call, new: Tree, attributes: chain.Attributes) -> Item | None:
        """One try; None when something that the transaction relies on has changed."""
        kind = call.kind
        size = max(len(call.request.body), kind.weight)
        await aside.run(self._complete, call, new, None, size=size)
        await self._admit(attributes)
        new["metadata"] = attributes.born()["metadata"]
        call.warnings.extend(await aside.run(self._check_new, call, new, size=max(size, attributes.grown)))
        await self._judge(attributes)
        cache, place = self._cache.of(kind), item_key(kind, objects.namespace(new), objects.name(new))
        key = cache.prefix + place
        if kind.is_satellite:
            stored, shown = await self.versions.written(kind, new)
        else:
            stored = shown = encode(new)
        if cache.get(place) is not None:
            raise status.already_exists(kind.group, kind.plural, objects.name(new))
        if call.dry_run:
            return Item(key, 0, shown)
        compares, writes = [Compare(key, 0), *attributes.compares], [Put(key, stored), *attributes.writes]
        result = await self._cache.write(compares, writes, self._at_hand(call, key, stored, new))
        if result.succeeded:
            return self._now(kind, place, result.revision, shown)
        if result.found and result.found[0] is not None:
            raise status.already_exists(kind.group, kind.plural, objects.name(new))
        return None

    async def plant(self, seeds: Sequence[Seed]) -> bool:
        """Stores new objects of the server's own as `create` would, all with one transaction and without asking anybody.

        They are the registry's own from now on. False, and nothing is stored, when one of them is there already.
        """
        return await self._cache.plant([self._planted(seed) for seed in seeds])

    def _planted(self, seed: Seed) -> Written:
        call, obj = seed.call, seed.obj
        self._clean(call, obj)
        birth = self._birth(call, obj)
        self._complete(call, obj, None)
        obj["metadata"] |= birth
        call.kind.hooks.prepare(obj, None, "")
        if seed.status is not None:
            settled, obj = seed.status, {**obj, "metadata": dict(obj["metadata"]), "status": seed.state}
            self._complete(settled, obj, seed.obj)
            scope_write(settled, obj, seed.obj)
        return self.store_key(call.kind, obj), encode(obj), obj

    def _clean(self, call: Call, obj: Tree) -> None:
        """What the server alone decides about a new object is not taken from the caller."""
        metadata = obj["metadata"]
        if metadata.get("resourceVersion"):
            raise status.bad_request("resourceVersion should not be set on objects to be created")
        check_namespace(call, metadata)
        _set_namespace(call, metadata)
        for name in _SERVERS_ALONE.intersection(metadata):
            del metadata[name]
        _drop_empty(metadata)
        if call.name and not call.sub and not metadata.get("name"):
            metadata["name"] = call.name

    def _birth(self, call: Call, obj: Tree) -> Tree:
        """What the server adds to a new object's metadata once the mutating phase is over."""
        metadata, birth = obj["metadata"], {}
        if not metadata.get("name") and metadata.get("generateName"):
            birth["name"] = metadata["generateName"][:MAX_GENERATED_BASE] + self._ids.suffix()
        birth |= {"uid": self._ids.uid(), "creationTimestamp": timestamps.format(call.now)}
        if call.kind.has_generation:
            birth["generation"] = 1
        return birth

    def _complete(self, call: Call, new: Tree, old: Tree | None) -> None:
        """What is not said is as the kind has it, and what is said is its writer's."""
        if call.sub == "status" and old is not None and _shares_all_but_status(new, old):
            call.kind.hooks.default_status(new)
        elif call.sub not in _WHOLE:
            call.kind.hooks.default(new)
        if owners := self._track(call, new, old):
            new["metadata"]["managedFields"] = owners
        else:
            new["metadata"].pop("managedFields", None)

    def _check_new(self, call: Call, obj: Tree) -> Iterable[str]:
        """Prepares and validates; what its writer is warned of."""
        kind = call.kind
        kind.hooks.prepare(obj, None, call.sub)
        causes = [
            *validation.new_meta(obj, kind.namespaced, kind.name_check),
            *kind.hooks.validate(obj, None, call.sub),
        ]
        if causes:
            raise status.invalid(kind.group, kind.name, objects.name(obj), causes)
        return kind.hooks.warn(obj, None)

    # Update

    async def replace(self, call: Call, body: Tree) -> Item:
        """The object that a call names becomes what `body` says, which is about no other."""
        check_identity(call, body["metadata"])

        async def change(item: Item) -> Tree:
            return body

        return await self.update(call, change)

    async def update(self, call: Call, change: Change) -> Item:
        """Replaces the object that a call names by what `change` makes of it; deletes it when nothing holds it.

        What `change` makes may share anything with the item and with the request: it is left alone.
        """
        for _ in range(UPDATE_TRIES):
            item = await self.find(call)
            new = await change(item)
            said = objects.resource_version(new)
            if said == ANY_REVISION and not call.kind.unconditional:
                raise status.no_version(call.kind.group, call.kind.plural, call.name)
            if said not in ("", ANY_REVISION, str(item.revision)):
                raise status.conflict(call.kind.group, call.kind.plural, call.name)
            written = await self._update_once(call, item, new)
            if written is not None:
                return written
        raise status.conflict(call.kind.group, call.kind.plural, call.name)

    async def _update_once(self, call: Call, item: Item, made: Tree) -> Item | None:
        """One try; None when somebody else was faster."""
        size = max(len(item.stored), len(call.request.body))
        new = await aside.run(self._draft, call, item, made, size=size)
        attributes = chain.Attributes(call, chain.UPDATE, new, item.tree)
        try:
            await self._prove(call, new, attributes, size)
            return await self.put(call, item, new, attributes)
        finally:
            attributes.let_go()

    def _draft(self, call: Call, item: Item, made: Tree) -> Tree:
        """What a change has made of an item, as the write's own tree: with its identity, defaults and owners."""
        old = item.tree
        new = _own(call, old, made)
        self._keep_identity(call, new, old)
        new["metadata"]["resourceVersion"] = str(item.revision)
        self._complete(call, new, old)
        return new

    async def _prove(self, call: Call, new: Tree, attributes: chain.Attributes, size: int) -> None:
        """Admission, preparation and validation of an update. Raises ApiError."""
        old = attributes.old or {}
        await self._admit(attributes)
        scope_write(call, new, old)
        call.warnings.extend(await aside.run(self._check_update, call, new, old, size=size))
        await self._judge(attributes)

    async def put(self, call: Call, item: Item, new: Tree, attributes: chain.Attributes) -> Item | None:
        """The transaction of an update; a no-op returns the item as it is, and an object that nothing holds goes."""
        new["metadata"]["resourceVersion"] = str(item.revision)
        if objects.same(new, item.tree) and not self._is_stale(call, item):
            return item
        if call.kind.is_satellite:
            stored, shown = await self.versions.written(call.kind, new)
        else:
            stored = shown = encode(new)
        key = self.store_key(call.kind, new)
        write: Write = Put(key, stored)
        if is_released(call.kind, new):
            write = Delete(key)
            await self._admission.release(attributes, self)
        if call.dry_run:
            return Item(item.key, item.revision, shown)
        compares = [Compare(key, item.revision), *attributes.compares]
        result = await self._cache.write(compares, [write, *attributes.writes], self._at_hand(call, key, stored, new))
        return self._now(call.kind, item.key, result.revision, shown) if result.succeeded else None

    def _at_hand(self, call: Call, key: str, stored: bytes, new: Tree) -> Written | None:
        """The tree, where somebody in this process is to see it: so nobody decodes what was just encoded."""
        is_seen = call.request.takes_trees or self._cache.of(call.kind).is_held
        return (key, stored, new) if is_seen and not call.kind.is_satellite else None

    def _now(self, kind: Kind, key: str, revision: int, shown: bytes) -> Item:
        """What was written: the cache's own item, unless another form is shown or others have written since."""
        kept = None if kind.is_satellite else self._cache.of(kind).get(key)
        return kept if kept is not None and kept.revision == revision else Item(key, revision, shown)

    def _is_stale(self, call: Call, item: Item) -> bool:
        """Whether the object is stored in another version than its kind's: then even a no-op writes it anew."""
        if not call.kind.is_satellite:
            return False
        kept = self._cache.of(call.kind).get(item.key)
        return kept is not None and bool(orjson.loads(kept.stored)["apiVersion"] != call.kind.storage_api_version)

    async def _admit(self, attributes: chain.Attributes) -> None:
        if not attributes.call.admitted:
            await self._admission.admit(attributes, self)

    async def _judge(self, attributes: chain.Attributes) -> None:
        if not attributes.call.admitted:
            await self._admission.validate(attributes, self)

    async def admit_delete(self, call: Call, item: Item, options: Tree | None = None) -> chain.Attributes:
        """Asks admission whether the object may be deleted. Raises ApiError."""
        attributes = chain.Attributes(call, chain.DELETE, None, item.tree, options=options or {})
        await self._admit(attributes)
        await self._judge(attributes)
        return attributes

    async def admit_connect(self, call: Call, options: Tree, body_kind: tuple[str, str, str]) -> None:
        """Asks admission whether this connection may be made (exec, attach, proxy). Raises ApiError."""
        attributes = chain.Attributes(call, chain.CONNECT, options, body_kind=body_kind)
        await self._admit(attributes)
        await self._judge(attributes)

    async def admit_body(self, call: Call, kind: Kind, body: Tree, old: Tree | None = None) -> chain.Attributes:
        """Asks admission about the body of a subresource that is a type of its own, once. Raises ApiError.

        `kind` is the body's; `old` is what it was before (a Scale), None for what is only posted (a Binding). What plugins
        add to the transaction is in the answer.
        """
        operation = chain.CREATE if old is None else chain.UPDATE
        body_kind = (kind.group, kind.version, kind.name)
        attributes = chain.Attributes(call, operation, body, old, body_kind=body_kind)
        await self._admit(attributes)
        await self._judge(attributes)
        return attributes

    async def admit_again(self, attributes: chain.Attributes) -> None:
        """The same when somebody else was faster: only who joins the transaction is asked once more. Raises ApiError."""
        if not attributes.call.admitted:
            await self._admission.rejoin(attributes, self)

    async def admit_review(self, call: Call, review: Tree) -> None:
        """Admission and validation of a question that is answered and not stored. Raises ApiError."""
        review["metadata"] = review.get("metadata") or {}
        attributes = chain.Attributes(call, chain.CREATE, review)
        await self._admit(attributes)
        causes = call.kind.hooks.validate(review, None, "")
        if causes:
            raise status.invalid(call.kind.group, call.kind.name, objects.name(review), causes)
        await self._judge(attributes)

    async def remove(self, call: Call, item: Item, attributes: chain.Attributes) -> Item | None:
        """Deletes an object for good: as it was when it went; None when somebody else was faster."""
        await self._admission.release(attributes, self)
        if call.dry_run:
            return item
        key = self.store_key(call.kind, item.tree)
        compares = [Compare(key, item.revision), *attributes.compares]
        result = await self._cache.write(compares, [Delete(key), *attributes.writes], None)
        return item.at(result.revision) if result.succeeded else None

    def store_key(self, kind: Kind, obj: Tree) -> str:
        return self._cache.of(kind).prefix + item_key(kind, objects.namespace(obj), objects.name(obj))

    def _keep_identity(self, call: Call, new: Tree, old: Tree) -> None:
        """Refuses another name, namespace or uid, and puts back what only the server writes."""
        metadata, before = new["metadata"], old["metadata"]
        check_identity(call, metadata)
        _set_namespace(call, metadata)
        if metadata.get("uid", before["uid"]) != before["uid"]:
            if call.request.method == "PATCH":
                cause = status.invalid_value("metadata.uid", metadata["uid"], "field is immutable")
                raise status.invalid(call.kind.group, call.kind.name, call.name, [cause])
            raise self.is_another(call, metadata["uid"], before["uid"])
        for name in (*SYSTEM_FIELDS, "generateName"):
            if name in before:
                metadata[name] = before[name]
            else:
                metadata.pop(name, None)
        metadata.pop("selfLink", None)
        _drop_empty(metadata)

    def is_another(self, call: Call, wanted: str, found: str) -> status.ApiError:
        """The refusal where a write means an object with another uid; `found` is "" where there is none."""
        key = _upstreams_prefix(call.kind) + item_key(call.kind, call.namespace, call.name)
        why = (
            f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
            f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
        )
        return status.conflict(call.kind.group, call.kind.plural, call.name, why)

    def _check_update(self, call: Call, new: Tree, old: Tree) -> Iterable[str]:
        """Prepares and validates; what its writer is warned of."""
        kind = call.kind
        kind.hooks.prepare(new, old, call.sub)
        if kind.has_generation and call.sub in ("", "scale"):
            count_generation(new, old)
        causes = [*validation.changed_meta(new, old), *kind.hooks.validate(new, old, call.sub)]
        known = {cause.field for cause in causes}
        for path in kind.immutable if not call.sub else ():
            value = objects.get_path(new, path)
            if not objects.same(value, objects.get_path(old, path)) and path not in known:
                causes.append(status.invalid_value(path, value, "field is immutable"))
        if causes:
            raise status.invalid(kind.group, kind.name, objects.name(new), causes)
        if call.sub == "status":
            return kind.hooks.warn_status(new, old)
        return kind.hooks.warn(new, old) if call.sub in ("", "scale") else ()

    def _track(self, call: Call, new: Tree, old: Tree | None) -> list[Tree]:
        """The managedFields of a write. A server-side apply has made its own already.

        What admission and the kind's preparation add later is nobody's.
        """
        if is_apply(call):
            made: list[Tree] = new["metadata"].get("managedFields", [])
            return made
        kept = call.kind.kept.get(call.sub)
        write = managed.Write(call.field_manager, "Update", call.api_version, call.sub, call.now, kept)
        return managed.track(new, old, write, call.kind.type)


def _own(call: Call, old: Tree, made: Tree) -> Tree:
    """What is to be written as a tree that the write may change, however much of it others hold: a copy.

    A write to /status that says nothing else shares all else with the stored object, as it leaves that as it is: no
    hook or plugin touches more than metadata and status then (see Hooks.default_status).
    """
    if call.sub in _WHOLE:
        return made
    metadata = made["metadata"]
    if call.sub == "status" and not call.kind.is_satellite and _says_no_more(made, old):
        shared = {name: old.get(name) for name in made}
        shared["metadata"] = dict(old["metadata"]) if metadata == old["metadata"] else objects.copy(metadata)
        if "status" in made:
            shared["status"] = objects.copy(made["status"])
        return shared
    owners = metadata.get("managedFields")  # entries are never changed, so they need no copy either
    bare = {**made, "metadata": {name: value for name, value in metadata.items() if name != "managedFields"}}
    own: Tree = objects.copy(bare)
    if owners is not None:
        copied = own["metadata"]
        own["metadata"] = {name: owners if name == "managedFields" else copied[name] for name in metadata}
    return own


_WRITTEN = ("metadata", "status")
_WHOLE = ("binding",)
"""Subresources whose handlers make a stored object anew so far as it changes: the rest is complete, and shared."""


def _says_no_more(made: Tree, old: Tree) -> bool:
    """Whether all but metadata and status is as the object has it."""
    if not _are_alike(made, old):
        return False
    for name, value in old.items():  # noqa: SIM110 (asked of each write: no generator)
        if name not in _WRITTEN and made.get(name) != value:
            return False
    return True


def _shares_all_but_status(new: Tree, old: Tree) -> bool:
    """Whether that is so because `_own` shared it."""
    if not _are_alike(new, old):
        return False
    for name, value in old.items():  # noqa: SIM110 (asked of each write: no generator)
        if name not in _WRITTEN and new.get(name) is not value:
            return False
    return True


def _are_alike(new: Tree, old: Tree) -> bool:
    """Whether they have as many parts beside status."""
    return len(new) - ("status" in new) == len(old) - ("status" in old)


def _drop_empty(metadata: Tree) -> None:
    """Empty maps and lists of metadata are the same as none, and are not kept."""
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        if name in metadata and not metadata[name]:
            del metadata[name]


def is_apply(call: Call) -> bool:
    """Whether the request is a server-side apply."""
    content_type = call.request.headers.get("content-type", "")
    return call.request.method == "PATCH" and content_type.startswith("application/apply-patch")


def _upstreams_prefix(kind: Kind) -> str:
    """Where upstream's store has objects of the kind: built-in ones without their group, some under an older name."""
    if kind.custom or kind.group in _GROUPED:
        return f"/registry/{kind.group}/{kind.plural}/"
    return f"/registry/{_PLACES.get((kind.group, kind.plural), kind.plural)}/"


def check_identity(call: Call, metadata: Tree) -> None:
    """A body is about the object that its path names. Raises ApiError 400."""
    check_namespace(call, metadata)
    name = metadata.get("name")
    if not name:
        text = f"the name of the object ({call.name} based on URL) was undeterminable: name must be provided"
        raise status.bad_request(text)
    if name != call.name:
        raise status.bad_request(f"the name of the object ({name}) does not match the name on the URL ({call.name})")


def check_namespace(call: Call, metadata: Tree) -> None:
    """The object's namespace, if it says one, is the request's. Raises ApiError 400."""
    if call.kind.namespaced and (metadata.get("namespace") or call.namespace) != call.namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def _set_namespace(call: Call, metadata: Tree) -> None:
    if call.kind.namespaced:
        metadata["namespace"] = call.namespace
    else:
        metadata.pop("namespace", None)


def scope_write(call: Call, new: Tree, old: Tree) -> None:
    """A write to the object leaves status as it was; one to /status all the rest, and what its kind says of metadata."""
    if call.sub == "status":
        _put_back(
            new, old, [name for name in {**new, **old} if name not in _WRITTEN and new.get(name) is not old.get(name)]
        )
        _put_back(new["metadata"], old["metadata"], call.kind.status_keeps)
    elif not call.sub and call.kind.has_status:
        _put_back(new, old, ("status",))


def _put_back(new: Tree, old: Tree, names: Iterable[str]) -> None:
    for name in names:
        new.pop(name, None)
        if name in old:
            new[name] = objects.copy(old[name])


def count_generation(new: Tree, old: Tree) -> None:
    """metadata.generation counts changes of anything but metadata and status."""
    for name in {*new, *old} - {"metadata", "status"}:
        if not objects.same(new.get(name), old.get(name)):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
            return


def is_released(kind: Kind, obj: Tree) -> bool:
    """Whether a deleted object may go now: no finalizer, no grace, nothing of its kind holds it."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    return not metadata.get("deletionGracePeriodSeconds") and not kind.hooks.holds(obj)
