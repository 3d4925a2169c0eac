"""Static pods' files: what each file of a directory (or the one file) says, as the pod that this node runs (pure but for reading).

A file's pod gets a uid that follows from its content, the node's name as the end of its name, the API's defaults, and
a toleration of whatever drives other pods off. It may not refer to objects of the API, which the node may not read
for it.

https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sampan.kinds.core import pod as pods
from sampan.kinds.core.pod import POD
from sampan.meta import fields, objects, timestamps, validation
from sampan.meta.status import ApiError
from sampan.meta.wire import yaml
from sampan.node import admission

Object = dict[str, Any]

CONFIG_HASH, CONFIG_SEEN = "kubernetes.io/config.hash", "kubernetes.io/config.seen"
LARGEST_BYTES = 10 << 20
_REFERENCES = {
    "secret": "secrets",
    "configMap": "configmaps",
    "persistentVolumeClaim": "persistentvolumeclaims",
    "clusterTrustBundle": "clustertrustbundles",
    "serviceAccountToken": "serviceaccounts",
    "ephemeral": "persistentvolumeclaims",
    "secretRef": "secrets",
    "secretKeyRef": "secrets",
    "configMapRef": "configmaps",
    "configMapKeyRef": "configmaps",
    "nodePublishSecretRef": "secrets",
}


class StaticPodError(ValueError):
    """A file that is no pod that can run here; the text says which and why."""


def read(path: Path, node: str, now: float) -> tuple[dict[str, Object], dict[str, str]]:
    """The pods by uid, and what is wrong with the other files, by their path. A path that isn't there has none."""
    found: dict[str, Object] = {}
    wrong: dict[str, str] = {}
    names: dict[tuple[str, str], str] = {}
    for file in _files(path):
        try:
            made = pod(_content(file), str(file), node, now)
        except (StaticPodError, OSError) as error:
            wrong[str(file)] = str(error)
            continue
        first = names.setdefault(objects.key(made), str(file))
        if first != str(file):
            wrong[str(file)] = f"{objects.namespace(made)}/{objects.name(made)} is in {first} already"
        else:
            found[objects.uid(made)] = made
    return found, wrong


def pod(data: bytes, file: str, node: str, now: float) -> Object:
    """The pod that a file's content means on this node. Raises StaticPodError."""
    try:
        tree = yaml.decode(data)
        if not isinstance(tree, dict) or (tree.get("apiVersion"), tree.get("kind")) != ("v1", POD.name):
            raise StaticPodError("couldn't parse as pod: it has to be one object of apiVersion v1 and kind Pod")
        made: Object = objects.copy(fields.conform(tree, POD.type)[0])
    except (ApiError, fields.Mismatch) as error:
        raise StaticPodError(f"couldn't parse as pod: {error}") from error
    metadata = made.setdefault("metadata", {})
    metadata["name"] = f"{metadata.get('name') or ''}-{node.lower()}"
    metadata.setdefault("namespace", "default")
    spec = made.setdefault("spec", {})
    spec["nodeName"] = node
    spec["tolerations"] = [*(spec.get("tolerations") or ()), {"operator": "Exists", "effect": "NoExecute"}]
    uid = metadata.setdefault("uid", _hash(made, file, node))
    marks = {CONFIG_HASH: uid, CONFIG_SEEN: timestamps.format_micro(now), admission.CONFIG_SOURCE: "file"}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **marks}
    metadata["creationTimestamp"] = timestamps.format(now)
    _check(made)
    return made


def _check(made: Object) -> None:
    """Fills in what the API would, in place. Raises StaticPodError for what it would refuse."""
    if resource := next(_api_references(made["spec"]), None):
        raise StaticPodError(f"static pods may not reference {resource}")
    pods.default(made)
    pods.prepare(made, None, "")
    causes = [*validation.new_meta(made, True, POD.name_check), *pods.validate(made, None, "")]
    if causes:
        raise StaticPodError("; ".join(f"{cause.field}: {cause.message}" for cause in causes))


def _api_references(spec: Object) -> Iterator[str]:
    """The resources of the API that the pod would need."""
    if spec.get("serviceAccountName") or spec.get("serviceAccount"):
        yield "serviceaccounts"
    if spec.get("imagePullSecrets"):
        yield "secrets"
    if spec.get("resourceClaims"):
        yield "resourceclaims"
    yield from _named_in(spec.get("volumes"))
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            yield from _named_in([container.get("env"), container.get("envFrom")])


def _named_in(tree: Any) -> Iterator[str]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if key in _REFERENCES:
                yield _REFERENCES[key]
            yield from _named_in(value)
    elif isinstance(tree, list):
        for item in tree:
            yield from _named_in(item)


def _hash(made: Object, file: str, node: str) -> str:
    text = json.dumps([made, f"host:{node}", f"file:{file}"], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _files(path: Path) -> list[Path]:
    """The one file, or those of the directory whose names don't begin with a dot, in order."""
    if not path.is_dir():
        return [path] if path.exists() else []
    return sorted(entry for entry in path.iterdir() if not entry.name.startswith(".") and not entry.is_dir())


def _content(file: Path) -> bytes:
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as source:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise StaticPodError("it isn't a regular file")
        data = source.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        raise StaticPodError(f"it has more than {LARGEST_BYTES} bytes")
    return data
