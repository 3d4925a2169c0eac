"""The fields of a pod spec that nobody wrote: filled in, as the reference server fills them.

On the hot path of every pod created: direct dict work only.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from collections.abc import Callable
from typing import Any

from sampan.kinds.parts import claim_rules, image_tags, pod_resources, volume_defaults

Tree = dict[str, Any]

GRACE_SECONDS = 30
TOKEN_SECONDS = 3600
FILE_MODE = 0o644


# What is the same as absent when it is empty, false, zero or "", and so is not kept.
_SPEC = frozenset((
    "dnsPolicy", "ephemeralContainers", "hostAliases", "hostIPC", "hostNetwork", "hostPID", "hostname",
    "imagePullSecrets", "initContainers", "nodeName", "nodeSelector", "overhead", "priorityClassName",
    "readinessGates", "resourceClaims", "restartPolicy", "schedulerName", "schedulingGates", "serviceAccount",
    "serviceAccountName", "subdomain", "tolerations", "topologySpreadConstraints", "volumes",
))  # fmt: skip
_CONTAINER = frozenset((
    "args", "command", "env", "envFrom", "ports", "resizePolicy", "stdin", "stdinOnce", "tty", "volumeDevices",
    "volumeMounts", "workingDir",
))  # fmt: skip
_RESOURCES = frozenset(("claims", "limits", "requests"))
_PORT = frozenset(("hostIP", "hostPort", "name", "protocol"))
_MOUNT = frozenset(("readOnly", "subPath", "subPathExpr"))
_VARIABLE = frozenset(("value",))


def default_spec(spec: Tree, *, created: bool) -> None:
    """Fills in a pod spec, in place. `created` is a pod itself; else a template, which upstream treats alike but for
    requests (taken from limits) and service links."""
    _omit(spec, _SPEC)
    set_default = spec.setdefault
    set_default("restartPolicy", "Always")
    set_default("terminationGracePeriodSeconds", GRACE_SECONDS)
    set_default("dnsPolicy", "ClusterFirst")
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    set_default("schedulerName", "default-scheduler")
    if created:
        set_default("enableServiceLinks", True)
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    host_network = spec.get("hostNetwork", False)
    for containers in (spec.get("initContainers"), spec.get("containers"), spec.get("ephemeralContainers")):
        for container in containers or ():
            _container(container, created=created, host_network=host_network)
    for volume in spec.get("volumes") or ():
        _volume(volume)
    if created and spec.get("resources"):
        _whole_requests(spec)


def _whole_requests(spec: Tree) -> None:
    """A pod with resources of its own asks for what its containers do, else for its limits."""
    resources = spec["resources"]
    limits = resources.get("limits") or {}
    if not limits and not resources.get("requests"):
        return
    parts = {name: value for name, value in spec.items() if name not in ("resources", "overhead")}
    asked = {name: str(value) for name, value in pod_resources.requests(parts).items() if name in ("cpu", "memory")}
    resources["requests"] = {**limits, **asked, **(resources.get("requests") or {})}


def _omit(node: Tree, names: frozenset[str]) -> None:
    for name in [n for n, value in node.items() if not value and n in names]:
        del node[name]


def _omit_parts(container: Tree) -> None:
    _omit(container, _CONTAINER)
    if container.get("resources"):
        _omit(container["resources"], _RESOURCES)
    for port in container.get("ports") or ():
        _omit(port, _PORT)
    for mount in container.get("volumeMounts") or ():
        _omit(mount, _MOUNT)
    for variable in container.get("env") or ():
        _omit(variable, _VARIABLE)


def _container(container: Tree, *, created: bool, host_network: bool) -> None:
    _omit_parts(container)
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = image_tags.pull_policy(container.get("image") or "")
    if not container.get("terminationMessagePath"):
        container["terminationMessagePath"] = "/dev/termination-log"
    if not container.get("terminationMessagePolicy"):
        container["terminationMessagePolicy"] = "File"
    resources = container.get("resources")
    if resources is None:
        container["resources"] = {}
    elif created and resources.get("limits"):
        asked = resources.get("requests")
        resources["requests"] = {**resources["limits"], **asked} if asked else dict(resources["limits"])
    for port in container.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if host_network and not port.get("hostPort"):
            port["hostPort"] = port.get("containerPort")
    for variable in container.get("env") or ():
        source = variable.get("valueFrom")
        if source and source.get("fieldRef") is not None:
            source["fieldRef"].setdefault("apiVersion", "v1")
        if source and source.get("resourceFieldRef") is not None:
            source["resourceFieldRef"].setdefault("divisor", "0")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe is not None:
            _probe(probe)
    lifecycle = container.get("lifecycle")
    for hook in (lifecycle or {}).values():
        if isinstance(hook, dict) and hook.get("httpGet") is not None:
            _http_get(hook["httpGet"])


def _probe(probe: Tree) -> None:
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        if not probe.get(field):
            probe[field] = value
    if probe.get("httpGet") is not None:
        _http_get(probe["httpGet"])
    if probe.get("grpc") is not None:
        probe["grpc"].setdefault("service", "")


def _http_get(action: Tree) -> None:
    if not action.get("path"):
        action["path"] = "/"
    if not action.get("scheme"):
        action["scheme"] = "HTTP"


def _volume(volume: Tree) -> None:
    if not any(field != "name" for field in volume):
        volume["emptyDir"] = {}
        return
    volume_defaults.fill(volume)
    for name, fill in _SOURCES.items():
        source = volume.get(name)
        if source is not None:
            fill(source)


def _file_mode(source: Tree) -> None:
    source.setdefault("defaultMode", FILE_MODE)


def _field_items(source: Tree) -> None:
    for item in source.get("items") or ():
        if item.get("fieldRef") is not None:
            item["fieldRef"].setdefault("apiVersion", "v1")
        if item.get("resourceFieldRef") is not None:
            item["resourceFieldRef"].setdefault("divisor", "0")


def _downward(source: Tree) -> None:
    _file_mode(source)
    _field_items(source)


def _projected(source: Tree) -> None:
    _file_mode(source)
    for part in source.get("sources") or ():
        if part.get("serviceAccountToken") is not None:
            part["serviceAccountToken"].setdefault("expirationSeconds", TOKEN_SECONDS)
        if part.get("downwardAPI") is not None:
            _field_items(part["downwardAPI"])


def _ephemeral(source: Tree) -> None:
    spec = (source.get("volumeClaimTemplate") or {}).get("spec")
    if spec is not None:
        claim_rules.default(spec)


def _image(source: Tree) -> None:
    if not source.get("pullPolicy"):
        source["pullPolicy"] = image_tags.pull_policy(source.get("reference") or "")


_SOURCES: dict[str, Callable[[Tree], None]] = {
    "configMap": _file_mode,
    "secret": _file_mode,
    "projected": _projected,
    "downwardAPI": _downward,
    "ephemeral": _ephemeral,
    "image": _image,
}
