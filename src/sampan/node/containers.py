"""From a container's spec to what the runtime is asked for.

https://kubernetes.io/docs/tasks/configure-pod-container/security-context/
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.meta import objects
from sampan.node import env, podspec, resources
from sampan.node.env import ConfigError
from sampan.node.images.model import Image
from sampan.node.runtime.protocol import ContainerConfig, Mount
from sampan.node.snapshot import IMAGE_LABEL

Object = dict[str, Any]

_PROPAGATION = {"HostToContainer": "rslave", "Bidirectional": "rshared"}


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the spec does not say: where the pod's things are on this node."""

    attempt: int
    image: Image
    variables: tuple[tuple[str, str], ...]
    netns: str | None
    hostname: str
    cgroup_parent: str
    log_path: str
    capacity_bytes: int
    volumes: Mapping[str, str] = field(default_factory=dict)
    subpaths: Mapping[int, str] = field(default_factory=dict)
    own_mounts: tuple[Mount, ...] = ()


def config(pod: Object, container: Object, inputs: Inputs) -> ContainerConfig:
    """The whole container. Raises ConfigError for what can't be, or isn't possible here."""
    refuse_unsupported(pod, container)
    pod_context = pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}
    context = {**{k: pod_context[k] for k in _SHARED if k in pod_context}, **own}
    capabilities = own.get("capabilities") or {}
    qos = (pod.get("status") or {}).get("qosClass") or "BestEffort"
    groups = list(pod_context.get("supplementalGroups") or ())
    if "fsGroup" in pod_context:
        groups.append(pod_context["fsGroup"])
    seccomp = (context.get("seccompProfile") or {}).get("type", "Unconfined")
    return ContainerConfig(
        pod_uid=objects.uid(pod),
        pod_namespace=objects.namespace(pod),
        pod_name=objects.name(pod),
        name=container["name"],
        image=inputs.image,
        attempt=inputs.attempt,
        command=env.expand_all(container.get("command"), inputs.variables),
        args=env.expand_all(container.get("args"), inputs.variables),
        env=_with_hostname(inputs),
        cwd=container.get("workingDir") or None,
        mounts=mounts(container, inputs, _read_only(pod)),
        netns=inputs.netns,
        hostname=inputs.hostname,
        cgroup_parent=inputs.cgroup_parent,
        resources=resources.cgroup(container),
        user=context.get("runAsUser"),
        group=context.get("runAsGroup"),
        supplementary_groups=tuple(groups),
        run_as_non_root=bool(context.get("runAsNonRoot")),
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
        privileged=bool(own.get("privileged")),
        capabilities_add=tuple(capabilities.get("add") or ()),
        capabilities_drop=tuple(capabilities.get("drop") or ()),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        seccomp="RuntimeDefault" if seccomp == "RuntimeDefault" else "Unconfined",
        tty=bool(container.get("tty")),
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        log_path=inputs.log_path,
        stop_signal=(container.get("lifecycle") or {}).get("stopSignal") or "",
        oom_score_adj=resources.oom_score_adj(container, qos, inputs.capacity_bytes),
        sysctls=tuple((s["name"], s["value"]) for s in pod_context.get("sysctls") or ()),
        host_pid=bool(pod["spec"].get("hostPID")),
        host_ipc=bool(pod["spec"].get("hostIPC")),
        labels=_labels(pod, container),
        pod_labels=tuple(sorted(objects.labels(pod).items())),
    )


_SHARED = ("runAsUser", "runAsGroup", "runAsNonRoot", "seccompProfile")


def _labels(pod: Object, container: Object) -> tuple[tuple[str, str], ...]:
    """The spec's image name, and annotations of ours (which a simulated runtime takes orders from)."""
    own = {k: str(v) for k, v in objects.annotations(pod).items() if "sampan" in k.partition("/")[0]}
    return tuple(sorted({**own, IMAGE_LABEL: podspec.image(container)}.items()))


def refuse_unsupported(pod: Object, container: Object) -> None:
    """Says what this node can't do yet, rather than leaving it out. Raises ConfigError."""
    spec = pod["spec"]
    if spec.get("shareProcessNamespace"):
        raise ConfigError("shareProcessNamespace is not supported yet")
    if spec.get("hostUsers") is False:
        raise ConfigError("user namespaces (hostUsers: false) are not supported yet")
    if spec.get("runtimeClassName"):
        raise ConfigError(f'RuntimeClass "{spec["runtimeClassName"]}" is not supported yet')
    if spec.get("setHostnameAsFQDN"):
        raise ConfigError("host names with a domain (setHostnameAsFQDN) are not supported yet")
    if spec.get("hostnameOverride"):
        raise ConfigError("hostnameOverride is not supported yet")
    if spec.get("resourceClaims") or (container.get("resources") or {}).get("claims"):
        raise ConfigError("resource claims are not supported yet")
    if spec.get("resources"):
        raise ConfigError("resources of a whole pod are not supported yet")
    if container.get("volumeDevices"):
        raise ConfigError("volumeDevices are not supported yet")
    for mount in container.get("volumeMounts") or ():
        if mount.get("recursiveReadOnly") == "Enabled":
            raise ConfigError(f"the mount at {mount['mountPath']} can not be recursively read-only yet")
    if (container.get("securityContext") or {}).get("procMount") == "Unmasked":
        raise ConfigError("unmasked /proc mounts (procMount) are not supported yet")
    for context in (spec.get("securityContext") or {}, container.get("securityContext") or {}):
        if (context.get("seccompProfile") or {}).get("type") == "Localhost":
            raise ConfigError("seccompProfile of type Localhost is not supported yet")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if "grpc" in (container.get(probe) or {}):
            raise ConfigError(f"{probe}: grpc probes are not supported yet; use httpGet, tcpSocket or exec")
    for source in container.get("ports") or ():
        if source.get("hostPort") and not podspec.is_host_network(pod):
            raise ConfigError("hostPort is not supported yet; use hostNetwork or a Service")


def _with_hostname(inputs: Inputs) -> tuple[tuple[str, str], ...]:
    known = dict(inputs.variables)
    return inputs.variables if "HOSTNAME" in known else (("HOSTNAME", inputs.hostname), *inputs.variables)


def volume_path(mount: Object, volumes: Mapping[str, str]) -> str:
    """Where the mount's volume lies on the node. Raises ConfigError."""
    source = volumes.get(mount["name"])
    if source is None:
        raise ConfigError(f'volume "{mount["name"]}" of the mount at {mount["mountPath"]} is not there')
    return source


def subpaths(container: Object, variables: tuple[tuple[str, str], ...]) -> dict[int, str]:
    """The subPath (or the expanded subPathExpr) of each volume mount that has one, by the mount's number."""
    found = {}
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        inner = mount.get("subPath") or env.expand(mount.get("subPathExpr") or "", dict(variables))
        if inner:
            found[number] = inner
    return found


def _read_only(pod: Object) -> frozenset[str]:
    """The names of the volumes that nobody may write to, whatever a mount says."""
    volumes = pod["spec"].get("volumes") or ()
    return frozenset(v["name"] for v in volumes if (v.get("persistentVolumeClaim") or {}).get("readOnly"))


def mounts(container: Object, inputs: Inputs, read_only: frozenset[str] = frozenset()) -> tuple[Mount, ...]:
    """The spec's volume mounts, then the node's own files where nothing of the spec is in their place."""
    found = []
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        source = inputs.subpaths.get(number) or volume_path(mount, inputs.volumes)
        propagation = _PROPAGATION.get(mount.get("mountPropagation") or "", "private")
        is_fixed = bool(mount.get("readOnly")) or mount["name"] in read_only
        found.append(Mount(source, mount["mountPath"], is_fixed, propagation=propagation))  # type: ignore[arg-type]
    taken = {mount.target for mount in found}
    return tuple(found + [m for m in inputs.own_mounts if m.target not in taken])
