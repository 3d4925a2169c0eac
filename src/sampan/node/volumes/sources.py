"""Sources: which ConfigMaps, Secrets, tokens and persistent volumes a pod's volumes are made from (pure).

`needed` says what to fetch; the agent fetches and hands over `Sources`; nothing below asks the API.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sampan.kinds.parts import pod_claims

Object = Mapping[str, Any]

CONFIG_MAP = "ConfigMap"
SECRET = "Secret"
TOKEN = "Token"
CLAIM = "PersistentVolumeClaim"

_DEFAULT_EXPIRATION_SECONDS = 3600


class Source(NamedTuple):
    """One thing to fetch: a ConfigMap, Secret or claim by name, or a token for an audience.

    With `optional` its absence is no error.
    """

    kind: str
    name: str = ""
    optional: bool = False
    audience: str = ""
    expiration_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Sources:
    """What was fetched. Objects by name; token texts by (audience, expiration seconds); volumes by their claims' names."""

    config_maps: Mapping[str, Object] = field(default_factory=dict)
    secrets: Mapping[str, Object] = field(default_factory=dict)
    tokens: Mapping[tuple[str, int], str] = field(default_factory=dict)
    volumes: Mapping[str, Object] = field(default_factory=dict)
    images: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The unpacked layers of image volumes, the lowest first, by the volumes' names."""
    csi: tuple[Any, ...] = ()
    """What the drivers of the pod's CSI volumes are to be told: Orders."""
    allocatable: Mapping[str, str] = field(default_factory=dict)
    """What the node can give, which is the limit of a container that has none."""


def needed(pod: Object) -> list[Source]:
    """All that the pod's volumes and its containers' environment are made from, each once, sorted.

    Something that one place needs and another would do without is needed.
    """
    found = [*of_volumes(pod), *_from_environment(pod["spec"])]
    found += [Source(CLAIM, name) for _, name in pod_claims.of(pod)]
    merged: dict[tuple[str, str, str, int], bool] = {}
    for source in found:
        key = (source.kind, source.name, source.audience, source.expiration_seconds)
        merged[key] = merged.get(key, True) and source.optional
    return sorted(Source(k, n, optional, a, e) for (k, n, a, e), optional in merged.items())


def of_volumes(pod: Object) -> Iterable[Source]:
    """What the files of the pod's volumes are made from; something may come more than once."""
    for volume in pod["spec"].get("volumes") or ():
        if "configMap" in volume:
            yield _named(CONFIG_MAP, volume["configMap"])
        if "secret" in volume:
            secret = volume["secret"]
            yield Source(SECRET, secret.get("secretName", ""), bool(secret.get("optional")))
        for part in (volume.get("projected") or {}).get("sources") or ():
            if "configMap" in part:
                yield _named(CONFIG_MAP, part["configMap"])
            if "secret" in part:
                yield _named(SECRET, part["secret"])
            if "serviceAccountToken" in part:
                audience, seconds = token_key(part["serviceAccountToken"])
                yield Source(TOKEN, audience=audience, expiration_seconds=seconds)


def _from_environment(spec: Object) -> Iterable[Source]:
    for field_name in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field_name) or ():
            for source in container.get("envFrom") or ():
                if "configMapRef" in source:
                    yield _named(CONFIG_MAP, source["configMapRef"])
                if "secretRef" in source:
                    yield _named(SECRET, source["secretRef"])
            for variable in container.get("env") or ():
                origin = variable.get("valueFrom") or {}
                if "configMapKeyRef" in origin:
                    yield _named(CONFIG_MAP, origin["configMapKeyRef"])
                if "secretKeyRef" in origin:
                    yield _named(SECRET, origin["secretKeyRef"])


def token_key(projection: Object) -> tuple[str, int]:
    """(audience, expiration seconds) of a serviceAccountToken projection."""
    return projection.get("audience", ""), int(projection.get("expirationSeconds", _DEFAULT_EXPIRATION_SECONDS))


def _named(kind: str, reference: Object) -> Source:
    return Source(kind, reference.get("name", ""), bool(reference.get("optional")))
