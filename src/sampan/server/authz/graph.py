"""Graph: from a node to its pods, and from those to what they refer to.

https://kubernetes.io/docs/reference/access-authn-authz/node/
"""

from collections.abc import Iterator
from typing import Any, Protocol

from sampan.kinds.core.persistent_volume import PERSISTENTVOLUME
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Kind
from sampan.kinds.resource.resource_slice import RESOURCESLICE
from sampan.kinds.storage.volume_attachment import VOLUMEATTACHMENT
from sampan.meta import objects
from sampan.server.authz import references
from sampan.server.cache import Cache, Item
from sampan.server.narrow import ByNode

Tree = dict[str, Any]


class Objects(Protocol):
    """The live objects."""

    def get(self, kind: Kind, namespace: str, name: str) -> Item | None: ...


class Graph:
    """Answers for one node at a time."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._by_node: ByNode | None = None

    def start(self, cache: Cache) -> None:
        """Knows the pods from now on."""
        self._by_node = cache.of(POD).by_node

    def is_bound(self, node: str, namespace: str, pod: str) -> bool:
        """Whether the pod is bound to the node."""
        item = self._objects.get(POD, namespace, pod)
        return item is not None and _node(item.tree) == node

    def refers(self, node: str, resource: str, namespace: str, name: str) -> bool:
        """Whether a pod of the node refers to the object, or the object is the node's own."""
        match resource:
            case "persistentvolumes":
                return self._refers_to_volume(node, name)
            case "volumeattachments":
                return self._names_node(VOLUMEATTACHMENT, name, node)
            case "resourceslices":
                return self._names_node(RESOURCESLICE, name, node)
        if any(references.refers(pod, resource, name) for pod in self._pods(node, namespace)):
            return True
        return resource == "secrets" and (namespace, name) in self._volume_secrets(node)

    def _refers_to_volume(self, node: str, name: str) -> bool:
        volume = self._objects.get(PERSISTENTVOLUME, "", name)
        if volume is None:
            return False
        claim = objects.get_path(volume.tree, "spec.claimRef") or {}
        return self.refers(node, "persistentvolumeclaims", claim.get("namespace", ""), claim.get("name", ""))

    def _names_node(self, kind: Kind, name: str, node: str) -> bool:
        item = self._objects.get(kind, "", name)
        return item is not None and _node(item.tree) == node

    def _volume_secrets(self, node: str) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        for pod in self._pods(node, ""):
            for name in references.claims(pod):
                claim = self._objects.get(PERSISTENTVOLUMECLAIM, objects.namespace(pod), name)
                bound = objects.get_path(claim.tree, "spec.volumeName") if claim else ""
                volume = self._objects.get(PERSISTENTVOLUME, "", bound) if bound else None
                if volume is not None:
                    found |= references.volume_secrets(volume.tree)
        return found

    def _pods(self, node: str, namespace: str) -> Iterator[Tree]:
        """The node's pods, of one namespace or all."""
        for key in self._by_node.keys(node) if self._by_node is not None else ():
            place, _, name = key.partition("/")
            if namespace in ("", place) and (item := self._objects.get(POD, place, name)) is not None:
                yield item.tree


def _node(obj: Tree) -> str:
    return str((obj.get("spec") or {}).get("nodeName") or "")
