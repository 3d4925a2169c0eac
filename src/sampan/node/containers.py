"""From a container's spec to what the runtime is asked for.

https://kubernetes.io/docs/tasks/configure-pod-container/security-context/
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from sampan.meta import objects
from sampan.node import confinement, env, podspec, resources
from sampan.node.env import ConfigError
from sampan.node.given import NOTHING, Given
from sampan.node.images.model import Image
from sampan.node.resize import RESOURCES_LABEL
from sampan.node.runtime.protocol import ContainerConfig, Device, Features, Mount
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
    pids_limit: int = -1
    volumes: Mapping[str, str] = field(default_factory=dict)
    subpaths: Mapping[int, str] = field(default_factory=dict)
    own_mounts: tuple[Mount, ...] = ()
    given: Given = NOTHING
    pid_of: str = ""
    handler: str = ""
    """Which runtime its RuntimeClass names."""
    features: Features = field(default_factory=Features)
    profiles: str = ""
    """The directory of the node's seccomp profiles."""


def config(pod: Object, container: Object, inputs: Inputs) -> ContainerConfig:
    """The whole container. Raises ConfigError for what can't be, or isn't possible here."""
    pod_context = pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}
    context = {**{k: pod_context[k] for k in _SHARED if k in pod_context}, **own}
    capabilities = own.get("capabilities") or {}
    seccomp, profile = confinement.seccomp(context, inputs.profiles)
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
        devices=block_devices(container, inputs.volumes, _read_only(pod)) + inputs.given.devices,
        cdi_devices=inputs.given.cdi_devices,
        annotations=inputs.given.annotations,
        netns=inputs.netns,
        hostname=inputs.hostname,
        cgroup_parent=inputs.cgroup_parent,
        resources=resources.cgroup(container, pod["spec"]),
        pod_resources=resources.pod_cgroup(pod["spec"], inputs.pids_limit),
        user=context.get("runAsUser"),
        group=context.get("runAsGroup"),
        supplementary_groups=_groups(pod_context),
        run_as_non_root=bool(context.get("runAsNonRoot")),
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
        privileged=bool(own.get("privileged")),
        pod_privileged=podspec.is_privileged(pod),
        capabilities_add=tuple(capabilities.get("add") or ()),
        capabilities_drop=tuple(capabilities.get("drop") or ()),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        seccomp=seccomp,
        seccomp_profile=profile,
        apparmor=confinement.apparmor(context, inputs.features),
        tty=bool(container.get("tty")),
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        log_path=inputs.log_path,
        stop_signal=(container.get("lifecycle") or {}).get("stopSignal") or "",
        oom_score_adj=resources.oom_score_adj(container, pod, inputs.capacity_bytes),
        sysctls=tuple((s["name"], s["value"]) for s in pod_context.get("sysctls") or ()),
        host_pid=bool(pod["spec"].get("hostPID")),
        host_ipc=bool(pod["spec"].get("hostIPC")),
        pid_of=inputs.pid_of,
        shares_processes=bool(pod["spec"].get("shareProcessNamespace")),
        shares_ipc=podspec.shares_ipc(pod),
        own_users=podspec.has_own_users(pod),
        handler=inputs.handler,
        unmasked_proc=own.get("procMount") == "Unmasked",
        only_named_groups=pod_context.get("supplementalGroupsPolicy") == "Strict",
        labels=_labels(pod, container, inputs.handler),
        pod_labels=tuple(sorted(objects.labels(pod).items())),
    )


def _groups(pod_context: Object) -> tuple[int, ...]:
    """Of the pod's processes, beside the image's."""
    own = [pod_context["fsGroup"]] if "fsGroup" in pod_context else []
    return (*(pod_context.get("supplementalGroups") or ()), *own)


_SHARED = ("runAsUser", "runAsGroup", "runAsNonRoot", "seccompProfile", "appArmorProfile")


HANDLER_LABEL = "sampan.io/handler"
"""Label of a container: under which handler it runs, whatever has become of the RuntimeClass."""


def _labels(pod: Object, container: Object, handler: str) -> tuple[tuple[str, str], ...]:
    """The spec's image name, and annotations of ours (which a simulated runtime takes orders from)."""
    own = {k: str(v) for k, v in objects.annotations(pod).items() if "sampan" in k.partition("/")[0]}
    started = {IMAGE_LABEL: podspec.image(container)}
    started[RESOURCES_LABEL] = orjson.dumps(container.get("resources") or {}, default=dict).decode()
    if handler:
        started[HANDLER_LABEL] = handler
    return tuple(sorted({**own, **started}.items()))


def _with_hostname(inputs: Inputs) -> tuple[tuple[str, str], ...]:
    known = dict(inputs.variables)
    given = tuple((name, value) for name, value in inputs.given.env if name not in known)
    name = () if "HOSTNAME" in known else (("HOSTNAME", inputs.hostname),)
    return (*name, *given, *inputs.variables)


def volume_path(mount: Object, volumes: Mapping[str, str]) -> str:
    """Where the mount's volume lies on the node. Raises ConfigError."""
    source = volumes.get(mount["name"])
    if source is None:
        raise ConfigError(f'volume "{mount["name"]}" of the mount at {mount["mountPath"]} is not there')
    return source


def subpaths(container: Object, variables: tuple[tuple[str, str], ...]) -> dict[int, str]:
    """The subPath (or the expanded subPathExpr) of each volume mount that has one, by the mount's number.

    Raises ConfigError for a path that can't be below a volume.
    """
    found = {}
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        inner = mount.get("subPath") or env.expand_path(mount.get("subPathExpr") or "", dict(variables))
        if inner.startswith("/"):
            raise ConfigError(f"error SubPath `{inner}` must not be an absolute path")
        if ".." in inner.split("/"):
            raise ConfigError(f"unable to provision SubPath `{inner}`: must not contain '..'")
        if inner:
            found[number] = inner
    return found


def block_devices(
    container: Object, volumes: Mapping[str, str], read_only: frozenset[str] = frozenset()
) -> tuple[Device, ...]:
    """The devices of the container's block volumes. Raises ConfigError."""
    found = []
    for device in container.get("volumeDevices") or ():
        if device["name"] not in volumes:
            raise ConfigError(f"volume {device['name']} is not there")
        access = "r" if device["name"] in read_only else "rwm"
        found.append(Device(volumes[device["name"]], device["devicePath"], access))
    return tuple(found)


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
        recursive = confinement.is_recursive(mount, inputs.features)
        found.append(Mount(source, mount["mountPath"], is_fixed, recursive, propagation=propagation))  # type: ignore[arg-type]
    taken = {mount.target for mount in found}
    given = [mount for mount in inputs.given.mounts if mount.target not in taken]
    return tuple(given + found + [m for m in inputs.own_mounts if m.target not in taken])
