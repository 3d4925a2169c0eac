"""Naming: which kind and object somebody means, in the words that kubectl takes.

deploy, deployment, deployments.apps, Deployment, apps/v1/Deployment        a kind
deployment/web, {"kind": "Deployment", "apiVersion": "apps/v1", ...}        an object
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.kinds.kind import Kind
from sampan.meta import objects

Object = dict[str, Any]
Reference = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Named:
    """One object: its kind and where it is. `namespace` is "" for cluster-scoped kinds."""

    kind: Kind
    name: str
    namespace: str

    def __str__(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.kind.singular or self.kind.name.lower()}/{self.name}{where}"


def kind_of(word: str | Kind, served: Sequence[Kind]) -> Kind:
    """The kind that a word means; of several versions the first that is served. Raises LookupError."""
    if isinstance(word, Kind):
        return word
    group_version, _, name = word.rpartition("/")
    found = next(_matching(name, group_version, served), None)
    if found is None:
        raise LookupError(f"no kind is called {word!r} here; write it as kubectl does: pods, deploy, deployments.apps")
    return found


def named(reference: Reference, served: Sequence[Kind], namespace: str = "default") -> Named:
    """The object that is meant. `namespace` counts where the reference has none. Raises LookupError."""
    if isinstance(reference, str):
        word, slash, name = reference.rpartition("/")
        if not slash:
            raise LookupError(f"{reference!r} names no object; write KIND/NAME")
        kind = kind_of(word, served)
        return Named(kind, name, namespace if kind.namespaced else "")
    kind = kind_of(f"{reference['apiVersion']}/{reference['kind']}", served)
    own = objects.namespace(reference) or namespace
    return Named(kind, objects.name(reference), own if kind.namespaced else "")


def _matching(name: str, group_version: str, served: Iterable[Kind]) -> Iterator[Kind]:
    lowered = name.lower()
    plural, _, group = lowered.partition(".")
    for kind in served:
        if kind.not_stored or not kind.plural or (group_version and kind.api_version != group_version):
            continue
        words = {kind.plural, kind.singular or kind.name.lower(), kind.name.lower(), *kind.short_names}
        if lowered in words or (group and group == kind.group and plural in words):
            yield kind
