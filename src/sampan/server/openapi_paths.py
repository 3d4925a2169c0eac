"""OpenAPI paths of a kind: which operations its resource answers, with which parameters and bodies.

Made from the Kind value alone, once neutrally and then dressed as OpenAPI 2 or 3. kubectl looks here for
what a resource's patch supports (dryRun, fieldValidation).

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sampan.kinds.kind import Kind

Tree = dict[str, Any]

META = "io.k8s.apimachinery.pkg.apis.meta.v1."


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `body` and `answer` name definitions ("" for none); `query` names parameters.

    Custom resources know no strategic merge patch, and clients look here to learn it.
    """

    path: str
    method: str
    action: str
    gvk: Tree
    summary: str
    identity: str
    tag: str
    query: tuple[str, ...]
    body: str = ""
    answer: str = ""
    is_custom: bool = False

    @property
    def is_created(self) -> bool:
        """Whether the answer may be 201."""
        return self.method in ("post", "put", "patch")


_WRITE = ("pretty", "dryRun", "fieldManager", "fieldValidation")
_DELETE = ("pretty", "dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential",
           "orphanDependents", "propagationPolicy")  # fmt: skip
_LIST = ("pretty", "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
         "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch")  # fmt: skip

# verb -> (method, action, words, query, body, answer); "self" is the kind itself, "list" its list.
_COLLECTION = {
    "list": ("get", "list", "list or watch objects of kind", _LIST, "", "list"),
    "create": ("post", "post", "create", _WRITE, "self", "self"),
    "deletecollection": ("delete", "deletecollection", "delete collection of", _DELETE + _LIST[2:-1], "options",
                         "status"),
}  # fmt: skip
_ITEM = {
    "get": ("get", "get", "read the specified", ("pretty",), "", "self"),
    "update": ("put", "put", "replace the specified", _WRITE, "self", "self"),
    "delete": ("delete", "delete", "delete", _DELETE, "options", "deleted"),
    "patch": ("patch", "patch", "partially update the specified", (*_WRITE, "force"), "patch", "self"),
}
_OLDER_WATCH = "deprecated, use the parameter watch of a list instead: watch"
_WATCHED = ("get", "watchlist", f"{_OLDER_WATCH} a list of kind", _LIST, "", "event")
_WATCHED_ITEM = ("get", "watch", f"{_OLDER_WATCH} an object of kind", _LIST, "", "event")
_SUBRESOURCE = {**_ITEM, "create": ("post", "connect", "create", _WRITE, "self", "self")}

TYPES = {"limit": "integer", "timeoutSeconds": "integer", "gracePeriodSeconds": "integer"}
TYPES |= dict.fromkeys(("watch", "allowWatchBookmarks", "sendInitialEvents", "force", "orphanDependents",
                        "ignoreStoreReadErrorWithClusterBreakingPotential"), "boolean")  # fmt: skip
DESCRIPTIONS = {
    "pretty": "Whether the output is indented.",
    "dryRun": "All: do everything but keep the result.",
    "fieldManager": "A name for the actor that makes these changes, at most 128 printable characters.",
    "fieldValidation": "What to do about unknown and duplicate fields: Ignore, Warn (the default) or Strict.",
    "force": "Take fields over from other field managers. Only for apply patches.",
    "gracePeriodSeconds": "Seconds before the object is deleted. 0 means at once.",
    "propagationPolicy": "What happens to dependents: Orphan, Background or Foreground.",
    "orphanDependents": "Deprecated: use propagationPolicy.",
    "continue": "The token of the previous page.",
    "limit": "At most so many objects in one answer.",
    "labelSelector": "Only objects whose labels match.",
    "fieldSelector": "Only objects whose fields match.",
    "resourceVersion": "How fresh the answer must be.",
    "resourceVersionMatch": "How resourceVersion is applied: Exact or NotOlderThan.",
    "sendInitialEvents": "Begin a watch with the objects that are there.",
    "timeoutSeconds": "Seconds after which a list or watch ends.",
    "watch": "Stream changes instead of listing.",
    "allowWatchBookmarks": "Send BOOKMARK events in a watch.",
    "ignoreStoreReadErrorWithClusterBreakingPotential": "Delete even what cannot be read back. Dangerous.",
    "name": "The object's name.",
    "namespace": "The object's namespace.",
}


def operations(kind: Kind, version: str) -> Iterator[Operation]:
    """Every operation of the kind's resource in one version, in path order."""
    root = f"/apis/{kind.group}/{version}" if kind.group else f"/api/{version}"
    gvk = {"group": kind.group, "kind": kind.name, "version": version}
    base = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    maker = _Maker(kind, version, gvk)
    if kind.namespaced and "list" in kind.verbs:
        yield maker.make(f"{root}/{kind.plural}", _COLLECTION["list"], suffix="ForAllNamespaces")
    for verb, row in _COLLECTION.items():
        if verb in kind.verbs:
            yield maker.make(base, row)
    for verb, row in _ITEM.items():
        if verb in kind.verbs:
            yield maker.make(f"{base}/{{name}}", row)
    if not kind.custom and "watch" in kind.verbs:
        yield from _older_watches(maker, root, base)
    for subresource in kind.subresources:
        named = {"group": subresource.group, "kind": subresource.kind, "version": subresource.version or version}
        below = _Maker(kind, version, named if subresource.kind else gvk)
        for verb, row in _SUBRESOURCE.items():
            if verb in subresource.verbs:
                yield below.make(f"{base}/{{name}}/{subresource.name}", row, suffix=_camel(subresource.name))


def _older_watches(maker: "_Maker", root: str, base: str) -> Iterator[Operation]:
    """The deprecated paths that watch a collection or one object; custom resources never had any."""
    plural, below = maker.kind.plural, base.removeprefix(root)
    if maker.kind.namespaced:
        yield maker.make(f"{root}/watch/{plural}", _WATCHED, suffix="ForAllNamespaces")
    yield maker.make(f"{root}/watch{below}", _WATCHED)
    yield maker.make(f"{root}/watch{below}/{{name}}", _WATCHED_ITEM)


@dataclass(frozen=True, slots=True)
class _Maker:
    kind: Kind
    version: str
    gvk: Tree

    def make(self, path: str, row: tuple[str, str, str, tuple[str, ...], str, str], suffix: str = "") -> Operation:
        method, action, words, query, body, answer = row
        group = _joined(self.kind.group.removesuffix(".k8s.io") or "core")
        scope = "Namespaced" if "{namespace}" in path else ""
        what = f"{self.kind.name}List" if action == "watchlist" else self.kind.name
        return Operation(
            path, method, action, self.gvk, f"{words} {self.kind.name}",
            f"{_VERBS.get(action, action)}{group}{_camel(self.version)}{scope}{what}{suffix}",
            f"{group[0].lower()}{group[1:]}_{self.version}", query, self._named(body), self._named(answer), self.kind.custom,
        )  # fmt: skip

    def _named(self, what: str) -> str:
        own = self.kind.schema if self.gvk["kind"] == self.kind.name else _SCHEMAS.get(self.gvk["kind"], "")
        return {"self": own, "list": f"{own}List", "options": META + "DeleteOptions", "status": META + "Status",
                "deleted": own if self.kind.answers_deleted else META + "Status", "patch": META + "Patch",
                "event": META + "WatchEvent"}.get(what, "")  # fmt: skip


_VERBS = {"get": "read", "post": "create", "put": "replace", "deletecollection": "deleteCollection",
          "watchlist": "watch"}  # fmt: skip
_SCHEMAS = {
    "Scale": "io.k8s.api.autoscaling.v1.Scale",
    "Binding": "io.k8s.api.core.v1.Binding",
    "Eviction": "io.k8s.api.policy.v1.Eviction",
    "TokenRequest": "io.k8s.api.authentication.v1.TokenRequest",
}


def _joined(group: str) -> str:
    """rbac.authorization as RbacAuthorization, cert-manager.io as CertManagerIo."""
    return "".join(map(_camel, re.split(r"[.-]", group)))


def _camel(name: str) -> str:
    return name[:1].upper() + name[1:]
