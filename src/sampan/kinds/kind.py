"""Kind: what the API server knows about a resource, in the shape of a CustomResourceDefinition.

A built-in kind is one file that declares one `Kind` and at most the hooks `default`, `prepare`,
`validate`, `warn` and `convert` beside it; a CRD read at run time yields the same value. Nobody
outside kinds/ tests a kind's name: what is special about it stands here.

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.meta import names
from sampan.meta import schema as schemas
from sampan.meta.apply import fieldset
from sampan.meta.status import Cause

Object = dict[str, Any]

NAMESPACED = "Namespaced"
CLUSTER = "Cluster"

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`.

    `value` is a dotted path into the object ("status.replicas") or a function (object, now) -> cell,
    `now` in unix seconds. `kind` is the Table type: string, integer, date ... Columns with
    `wide=True` have priority 1, others any above 0: only `-o wide` shows them.
    """

    name: str
    value: str | Callable[[Object, float], Any]
    kind: str = "string"
    format: str = ""
    description: str = ""
    wide: int = 0


@dataclass(frozen=True, slots=True)
class Subresource:
    """A named door of an object beside its own: status, scale, log, exec, binding, token ...

    `kind`, `group`, `version` name the body's type where it is another one (Scale, Binding,
    TokenRequest), for discovery. `verbs` are the RBAC verbs it answers. `scale_paths` holds
    (specReplicasPath, statusReplicasPath, labelSelectorPath) for scale. The server finds the
    handler by `name`.
    """

    name: str
    verbs: tuple[str, ...] = ("get", "patch", "update")
    group: str = ""
    version: str = ""
    kind: str = ""
    scale_paths: tuple[str, str, str] | None = None


STATUS = Subresource("status")
METADATA = ("labels", "annotations", "finalizers", "ownerReferences")


def _same(obj: Object) -> None:
    """Default hook: nothing to fill in."""


def _no_prepare(new: Object, old: Object | None, subresource: str) -> None:
    """Prepare hook: nothing to reset."""


def _no_causes(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    return ()


def _no_warnings(new: Object, old: Object | None) -> Sequence[str]:
    return ()


def _at_once(obj: Object, requested: int | None) -> int:
    return 0


def _nothing_holds(obj: Object) -> bool:
    return False


def _one_version(obj: Object, api_version: str) -> Object:
    return {**obj, "apiVersion": api_version}


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a kind adds to its declaration. All pure, all synchronous.

    default(obj)                    fills in absent fields, in place, on the server's own fresh copy
    default_status(obj)             the part of `default` that is about status: all that a write to /status needs
    prepare(new, old, subresource)  drops or keeps what this write may not touch, in place
                                    (old is None on create; subresource "" for the main resource)
    validate(new, old, subresource) returns all causes
    warn(new, old)                  returns texts for Warning headers of writes to the main resource or to scale
    warn_status(new, old)           returns those of writes to /status
    convert(obj, api_version)       returns the object in another version, such as "autoscaling/v1": called on
                                    the kind of the version that is served, to it and from it
    read(obj)                       what a stored object lacks or has too much when it is read, in place
    grace_seconds(obj, requested)   how long a deleted object stays, 0 for not at all (requested: the caller's wish)
    deleting(obj)                   what a graceful deletion changes besides metadata, in place
    holds(obj)                      whether something other than metadata.finalizers keeps a deleted object
    """

    default: Callable[[Object], None] = _same
    default_status: Callable[[Object], None] = _same
    prepare: Callable[[Object, Object | None, str], None] = _no_prepare
    validate: Callable[[Object, Object | None, str], Sequence[Cause]] = _no_causes
    warn: Callable[[Object, Object | None], Sequence[str]] = _no_warnings
    warn_status: Callable[[Object, Object], Sequence[str]] = _no_warnings
    convert: Callable[[Object, str], Object] = _one_version
    read: Callable[[Object], None] = _same
    grace_seconds: Callable[[Object, int | None], int] = _at_once
    deleting: Callable[[Object], None] = _same
    holds: Callable[[Object], bool] = _nothing_holds


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One resource type in one version. `group` is "" for core; `versions` holds that version.

    A resource with several versions has one Kind for each; its objects are stored in `storage_version`
    ("" for its own), under `stored_as` (group, plural) where they share another resource's place
    (events.k8s.io). A `custom` kind comes from a CustomResourceDefinition and brings its `own_type`. `deprecation` is
    what every request on a version that will go is warned with. Kinds that are not `unconditional` are replaced
    only by who says which resourceVersion they replace; where `put_creates`, a replacement of what is not there
    makes it. A deletion of an `answers_deleted` kind is answered with the object as it was last, of others with a Status;
    one that says nothing of dependents leaves those of an
    `orphaning` kind behind, and is warned with `orphaning_warning`. A kind with `bare_finalizers` lets its objects have
    finalizers without a domain. `weight` is how large even an empty object becomes, in
    bytes, where its defaults are many.
    Hooks see objects in this Kind's version.

    `schema` names a definition (io.k8s.api.apps.v1.Deployment) of meta.schema. `selectable` maps a
    field selector's name to a dotted path, or to several with | between, of which the first that is
    there counts (metadata.name and metadata.namespace are always there).
    `immutable` lists dotted paths that an update may not change. `has_status` objects ignore status
    on main writes and everything but status and metadata on /status, of which `status_keeps` names what
    that door leaves as it was too; `unowned` maps a subresource ("" for the object itself) to dotted paths that
    managedFields do not tell of beside those. `has_generation` objects
    count spec changes in metadata.generation. `verbs` may be fewer than all (reviews: create only).
    `name_check` says what is wrong with a metadata.name.
    `not_stored` kinds (reviews) are answered, never persisted; one without a `plural` is only ever the
    body of a subresource (Scale, Binding); `said_as` are API versions that its writer may call it by.
    Two Kind values of the same group and name are equal, so that a declaration finds what was stored under its hook-bound
    twin.
    """

    group: str
    versions: tuple[str, ...]
    name: str
    plural: str
    scope: str = NAMESPACED
    schema: str = ""
    singular: str = ""
    list_name: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()
    columns: tuple[Column, ...] = ()
    selectable: Mapping[str, str] = field(default_factory=dict)
    immutable: tuple[str, ...] = ()
    has_generation: bool = False
    status_keeps: tuple[str, ...] = ()
    unowned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    not_stored: bool = False
    said_as: tuple[str, ...] = ()
    name_check: Callable[[str], list[str]] = names.dns1123_subdomain
    stored_as: tuple[str, str] | None = None
    storage_version: str = ""
    custom: bool = False
    own_type: schemas.Type | None = None
    deprecation: str = ""
    unconditional: bool = True
    put_creates: bool = False
    answers_deleted: bool = False
    orphaning: bool = False
    orphaning_warning: str = ""
    bare_finalizers: bool = False
    weight: int = 0
    hooks: Hooks = Hooks()
    kept: Mapping[str, fieldset.Set] = field(init=False, repr=False)
    place: tuple[str, str] = field(init=False, repr=False)
    resource: str = field(init=False, repr=False)
    version: str = field(init=False, repr=False)
    api_version: str = field(init=False, repr=False)
    storage_api_version: str = field(init=False, repr=False)
    is_satellite: bool = field(init=False, repr=False)
    namespaced: bool = field(init=False, repr=False)
    has_status: bool = field(init=False, repr=False)
    _hash: int = field(init=False, repr=False)
    _type: schemas.Type | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Each write asks for these many times.

        `resource` is the resource with its group, as messages name it: pods, deployments.apps.
        `place` is (group, plural) under which objects are stored, `storage_api_version` that in which objects are stored; `is_satellite` says whether what is stored may be
        another version than this one, or needs a look before it is shown.
        """
        version = self.versions[0]
        stored_group = self.stored_as[0] if self.stored_as else self.group
        stored_version = self.storage_version or version
        made = {
            "resource": f"{self.plural}.{self.group}" if self.group else self.plural,
            "version": version,
            "place": self.stored_as or (self.group, self.plural),
            "api_version": f"{self.group}/{version}" if self.group else version,
            "storage_api_version": f"{stored_group}/{stored_version}" if stored_group else stored_version,
            "namespaced": self.scope == NAMESPACED,
            "has_status": any(s.name == "status" for s in self.subresources),
            "_hash": hash((self.group, self.name)),
        }
        made["is_satellite"] = self.custom or made["storage_api_version"] != made["api_version"]
        for name, value in made.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "kept", _kept(self))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Kind) and (self.group, self.name) == (other.group, other.name)

    def __hash__(self) -> int:
        return self._hash

    @property
    def type(self) -> schemas.Type:
        """The shape of its objects; read when it is first asked for."""
        found = self._type
        if found is None:
            found = self.own_type or schemas.definition(self.schema)
            object.__setattr__(self, "_type", found)
        return found

    @property
    def list_kind(self) -> str:
        return self.list_name or f"{self.name}List"

    def subresource(self, name: str) -> Subresource | None:
        return next((s for s in self.subresources if s.name == name), None)

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The REST path of the collection or the object, in the storage version."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        where = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        tail = (f"/{name}" if name else "") + (f"/{subresource}" if subresource else "")
        return f"{root}{where}/{self.plural}{tail}"


def _kept(kind: Kind) -> dict[str, fieldset.Set]:
    """By subresource, what a write through that door leaves as it was, as a set of fields."""
    doors: dict[str, tuple[str, ...]] = {}
    if kind.has_status:
        is_all = set(METADATA) <= set(kind.status_keeps)
        metadata = ("metadata",) if is_all else tuple(f"metadata.{name}" for name in kind.status_keeps)
        doors = {"": ("status",), "status": ("spec", *metadata)}
    names = {**doors, **kind.unowned}
    return {name: fieldset.of_paths((*doors.get(name, ()), *kind.unowned.get(name, ()))) for name in names}
