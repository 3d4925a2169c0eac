"""The plain Kubernetes objects that an application is made of: Deployment, Job, Service and what they mount. Pure."""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

Object = dict[str, Any]

NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
MANAGED_BY = "app.kubernetes.io/managed-by"
CONTENT = "sampan.dev/content"
"""Annotation of pods: a fingerprint of what they read from ConfigMaps and Secrets, so that a change rolls them."""
SOURCE = "sampan.dev/source"
"""Annotation: the compose file's name, `Containerfile`, or the image's name, that the object was deployed from."""
FOLDER = "sampan.dev/source-folder"
"""Annotation: a fingerprint of the folder's path, where the application has its name from the folder."""

_CHECK_SECONDS = 30  # what a health check has that sets no timeout


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a container, and the one by which it is reached from outside (0: by none)."""

    target: int
    published: int = 0
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True)
class Workload:
    """One program: its pods' container and pod fields, how many, and how it is reached."""

    name: str
    container: Object
    ports: Sequence[Port] = ()
    replicas: int | None = None
    pod: Object = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    is_job: bool = False
    restarts: bool = True
    """Of a job: whether it is tried again."""
    is_alone: bool = False
    """Whether the old pod has to end before the new one starts: they would share files."""
    has_name: bool = True
    """Whether others find it by its name, also without ports."""


@dataclass(frozen=True, slots=True)
class Application:
    """What an application is called, where it lives, and what it is deployed from."""

    name: str
    namespace: str
    source: str = ""
    folder: str = ""
    """The fingerprint of its folder's path; "" where it was named, and so may come from any folder."""


def workload(app: Application, what: Workload) -> list[Object]:
    """Its Deployment or Job, and its Service if it has one."""
    labels = _labels(app, what.name)
    meta: Object = {"labels": labels}
    if what.annotations:
        meta["annotations"] = dict(what.annotations)
    container = {"name": what.name, **what.container}
    if what.ports:
        inner = dict.fromkeys((port.target, port.protocol) for port in what.ports)
        container["ports"] = [{"containerPort": number, "protocol": protocol} for number, protocol in inner]
    template: Object = {"metadata": meta, "spec": {**what.pod, "containers": [container]}}
    if what.is_job:
        return [_job(app, what, template)]
    spec: Object = {
        "selector": {"matchLabels": {NAME: what.name, INSTANCE: app.name}},
        "template": template,
    }
    spec |= {} if what.replicas is None else {"replicas": what.replicas}
    spec |= {"strategy": {"type": "Recreate"}} if what.is_alone else {}
    found = [_object(app, ("apps/v1", "Deployment"), what.name, {"spec": spec})]
    return [*found, _service(app, what)] if what.ports or what.has_name else found


def claim(app: Application, name: str, size: str) -> Object:
    """A volume of the default class."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return _object(app, ("v1", "PersistentVolumeClaim"), name, {"spec": spec})


def config_map(app: Application, name: str, data: Mapping[str, str]) -> Object:
    """Texts."""
    return _object(app, ("v1", "ConfigMap"), name, {"data": dict(data)})


def secret(app: Application, name: str, data: Mapping[str, str]) -> Object:
    """Texts that are to be kept."""
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    return _object(app, ("v1", "Secret"), name, {"data": encoded, "type": "Opaque"})


def marks(app: Application) -> Object:
    """The metadata that all objects of the application share."""
    found: Object = {"labels": {INSTANCE: app.name, MANAGED_BY: "sampan"}}
    annotations = {name: value for name, value in ((SOURCE, app.source), (FOLDER, app.folder)) if value}
    return found | ({"annotations": annotations} if annotations else {})


def namespace(name: str) -> Object:
    """The namespace, in case it is not there."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def readiness(test: Sequence[str], check: Mapping[str, Any]) -> Object | None:
    """The readiness probe of a health check as images and compose files have it, times in seconds; None for none.

    A check that sets no timeout has 30 s, as in Docker: with the single second of a probe it would fail on a busy machine.
    """
    if not test or test[0] == "NONE":
        return None
    command = ["/bin/sh", "-c", *test[1:2]] if test[0] == "CMD-SHELL" else list(test[1:])
    probe: Object = {"exec": {"command": command}}
    for field_name, seconds in (
        ("periodSeconds", check.get("interval")),
        ("timeoutSeconds", check.get("timeout") or _CHECK_SECONDS),
    ):
        if seconds:
            probe[field_name] = max(round(seconds), 1)
    if check.get("retries"):
        probe["failureThreshold"] = int(check["retries"])
    return probe


def fingerprint(key: bytes, content: str) -> str:
    """The same for the same content; who has no key can't find out by it whether a guess of the content is right."""
    return hmac.new(key, content.encode(), hashlib.sha256).hexdigest()[:32]


def digest(tree: Any) -> str:
    """Short, and the same for the same content. It keeps nothing secret."""
    return hashlib.sha256(orjson.dumps(tree, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _job(app: Application, what: Workload, template: Object) -> Object:
    """Named by what it runs: a Job can't be changed, and one that was done is not done again."""
    template["spec"]["restartPolicy"] = "OnFailure" if what.restarts else "Never"
    spec = {"backoffLimit": 6 if what.restarts else 0, "template": template}
    return _object(app, ("batch/v1", "Job"), f"{what.name}-{digest(template)[:8]}", {"spec": spec})


def _service(app: Application, what: Workload) -> Object:
    spec: Object = {"selector": {NAME: what.name, INSTANCE: app.name}}
    published = [port for port in what.ports if port.published]
    numbers = {(port.published, port.protocol): port.target for port in published}
    for port in what.ports:
        numbers.setdefault((port.target, port.protocol), port.target)
    if not numbers:
        return _object(app, ("v1", "Service"), what.name, {"spec": {**spec, "clusterIP": "None"}})
    spec["ports"] = [
        {"name": f"{protocol.lower()}-{number}", "port": number, "targetPort": target, "protocol": protocol}
        for (number, protocol), target in numbers.items()
    ]
    spec["type"] = "LoadBalancer" if published else "ClusterIP"
    return _object(app, ("v1", "Service"), what.name, {"spec": spec})


def _labels(app: Application, name: str) -> Object:
    return {NAME: name, **marks(app)["labels"]}


def _object(app: Application, kind: tuple[str, str], name: str, body: Object) -> Object:
    meta = {"name": name, "namespace": app.namespace, **marks(app), "labels": _labels(app, name)}
    return {"apiVersion": kind[0], "kind": kind[1], "metadata": meta, **body}
