"""Files of one volume that would be in each other's place: of the same path, or one where another's folder is.

https://kubernetes.io/docs/concepts/storage/projected-volumes/
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Tree = Mapping[str, Any]


def warnings(volume: Tree) -> Iterator[str]:
    """Of a pod's volume made of files that are named in it."""
    name = volume.get("name") or ""
    for kind, shown, field in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
        if source := volume.get(kind):
            yield from _within(_items(source), f'volume "{name}" ({shown} "{source.get(field) or ""}")')
    if source := volume.get("downwardAPI"):
        yield from _within(_items(source), f'volume "{name}" (DownwardAPI)')
    if source := volume.get("projected"):
        yield from _projected(source.get("sources") or (), name)


def _projected(sources: Sequence[Tree], volume: str) -> Iterator[str]:
    """Within each source, and with those before it."""
    seen = _Files()
    for source in sources:
        if not any(part is not None for part in source.values()):
            yield f'volume "{volume}" (Projected) has no sources provided'
            continue
        shown, paths = _source(source)
        yield from _within(paths, f'volume "{volume}" (Projected {shown})', seen)


def _source(source: Tree) -> tuple[str, Sequence[str]]:
    """What it is called, and the paths that it names."""
    for kind, shown in (("configMap", "ConfigMap"), ("secret", "Secret")):
        if (part := source.get(kind)) is not None:
            return f'{shown} "{part.get("name") or ""}"', _items(part)
    if (part := source.get("downwardAPI")) is not None:
        return "DownwardAPI", _items(part)
    if (part := source.get("serviceAccountToken")) is not None:
        return "ServiceAccountToken", [part.get("path") or ""]
    if (part := source.get("clusterTrustBundle")) is not None:
        return f'ClusterTrustBundle "{part.get("name") or part.get("signerName") or ""}"', [part.get("path") or ""]
    if (part := source.get("podCertificate")) is not None:
        return "PodCertificate", [part.get(field) or "" for field in _OF_CERTIFICATE]
    return "", ()


_OF_CERTIFICATE = ("credentialBundlePath", "keyPath", "certificateChainPath")


def _items(source: Tree) -> Sequence[str]:
    return [item.get("path") or "" for item in source.get("items") or ()]


def _within(paths: Sequence[str], lead: str, seen: "_Files | None" = None) -> Iterator[str]:
    """In order, each that meets one before it; of two sources, the one behind by the alphabet is told first."""
    seen = seen or _Files()
    own: set[str] = set()
    for path in filter(None, (path.rstrip("/") for path in paths)):
        if met := seen.add(path):
            first, second = (path, met) if met in own else (max(path, met), min(path, met))
            yield f'{lead}: overlapping paths: "{first}" with "{second}"'
        own.add(path)


class _Files:
    """Paths as a tree of their parts. What is behind the first MOST_PARTS of them is not looked at: these are only warnings."""

    def __init__(self) -> None:
        self._tree: dict[str, Any] = {}
        self._left = MOST_PARTS

    def add(self, path: str) -> str:
        """One that was there before and meets it; "" where there is none."""
        self._left -= path.count("/") + 1
        if self._left < 0:
            return ""
        node, above = self._tree, ""
        for part in path.split("/"):
            above = above or node.get(_FILE, "")
            node = node.setdefault(f"/{part}", {_FIRST: path})
        met: str = path if _FILE in node else node[_FIRST] if node[_FIRST] != path else above
        node[_FILE] = path
        return met


MOST_PARTS = 20_000
_FILE, _FIRST = "file", "first"
"""A node's own path, where a volume has that file, and the first path that led to or past it."""
