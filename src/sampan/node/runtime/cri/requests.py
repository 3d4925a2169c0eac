"""From a ContainerConfig to the requests that make its pod's sandbox and the container, and back to its state. Pure.

What must outlive the agent is in labels and annotations, named as a kubelet names them where it has them too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import orjson

from sampan.node.runtime import spec
from sampan.node.runtime.cri import api
from sampan.node.runtime.protocol import (
    APPARMOR_DEFAULT,
    CREATED,
    EXITED,
    RUNNING,
    ContainerConfig,
    ContainerState,
    Resources,
    RuntimeFailure,
    State,
)

Tree = dict[str, Any]

POD_NAME, POD_NAMESPACE = "io.kubernetes.pod.name", "io.kubernetes.pod.namespace"
POD_UID, CONTAINER_NAME = "io.kubernetes.pod.uid", "io.kubernetes.container.name"
OWNER = "sampan.io/node-root"
"""The node's own directory: one runtime may serve several nodes."""
KEPT = "sampan.io/container"
"""What the runtime does not know of a container, as JSON."""

_PROPAGATION = {"private": api.PRIVATE, "rslave": api.TO_CONTAINER, "rshared": api.BOTH_WAYS}
_PROFILES = {"RuntimeDefault": api.RUNTIME_DEFAULT, "Unconfined": api.UNCONFINED, "Localhost": api.LOCALHOST}
_STATES: Mapping[int, State] = {api.CREATED: CREATED, api.RUNNING: RUNNING}
_NANO = 1e9


def sandbox(config: ContainerConfig, owner: str, attempt: int) -> Tree:
    """The pod that the container is to be in. One in the host's network has the host's name."""
    return {
        "metadata": {
            "name": config.pod_name,
            "uid": config.pod_uid,
            "namespace": config.pod_namespace,
            "attempt": attempt,
        },
        "hostname": config.hostname if config.netns is not None else "",
        "log_directory": os.path.dirname(config.log_path),
        "labels": _pod_labels(config, owner),
        "annotations": {KEPT: _json({"cgroup_parent": config.cgroup_parent.strip("/")})},
        "linux": {
            "cgroup_parent": "/" + config.cgroup_parent.strip("/"),
            "sysctls": dict(config.sysctls),
            "security_context": {
                "namespace_options": _namespaces(config),
                "privileged": config.pod_privileged or config.privileged,
                "seccomp": {"profile_type": api.RUNTIME_DEFAULT},
            },
        },
    }


def container(config: ContainerConfig, owner: str, host: spec.Host) -> Tree:
    """The container. Raises RuntimeFailure for what can't be."""
    _refuse_impossible(config, host)
    limits = resources(config.resources)
    limits["oom_score_adj"] = max(config.oom_score_adj, host.lowest_oom_score_adj)
    return {
        "metadata": {"name": config.name, "attempt": config.attempt},
        "image": {"image": config.image.id},
        "command": list(config.command or ()),
        "args": list(config.args or ()),
        "working_dir": config.cwd or "",
        "envs": [{"key": name, "value": value} for name, value in config.env],
        "mounts": _mounts(config),
        "devices": [
            {"host_path": device.source, "container_path": device.target, "permissions": device.access}
            for device in config.devices
        ],
        "CDI_devices": [{"name": name} for name in config.cdi_devices],
        "labels": {**_pod_labels(config, owner), CONTAINER_NAME: config.name},
        "annotations": {**dict(config.annotations), KEPT: _kept(config)},
        "log_path": os.path.basename(config.log_path),
        "stdin": config.stdin,
        "stdin_once": config.stdin_once,
        "tty": config.tty,
        "linux": {"resources": limits, "security_context": _security(config)},
    }


def resources(limits: Resources) -> Tree:
    """A container's cgroup limits; pids are the pod's own cgroup's."""
    found: Tree = {"memory_limit_in_bytes": limits.memory_limit, "cpu_shares": max(2, limits.cpu_shares)}
    if limits.huge_pages:
        found["hugepage_limits"] = [{"page_size": size, "limit": limit} for size, limit in limits.huge_pages]
    if limits.cpu_quota > 0:
        found |= {"cpu_quota": limits.cpu_quota, "cpu_period": limits.cpu_period}
    return found


def changed_resources(limits: Resources) -> Tree:
    """The same for a container that runs: also that there is no limit any more is said."""
    found = {"cpu_quota": -1, "cpu_period": limits.cpu_period, **resources(limits)}
    return {**found, "memory_limit_in_bytes": limits.memory_limit or -1}


def state(status: Mapping[str, Any]) -> ContainerState:
    """A ContainerStatus (or what a list says of a container) as this node has it."""
    labels, own = status["labels"], kept(status)
    found = _STATES.get(status["state"], EXITED)
    reason = status.get("reason") or ""
    return ContainerState(
        id=status["id"],
        pod_uid=labels.get(POD_UID, ""),
        pod_namespace=labels.get(POD_NAMESPACE, ""),
        pod_name=labels.get(POD_NAME, ""),
        name=labels.get(CONTAINER_NAME, ""),
        attempt=status["metadata"]["attempt"],
        image_ref=own.get("image", ""),
        image_id=own.get("image_id", ""),
        state=found,
        created_at=status["created_at"] / _NANO,
        started_at=0.0 if reason == "StartError" else status.get("started_at", 0) / _NANO,
        finished_at=status.get("finished_at", 0) / _NANO,
        exit_code=status.get("exit_code", 0),
        oom_killed=reason == "OOMKilled",
        reason=reason if found == EXITED else "",
        message=status.get("message") or "",
        log_path=own.get("log_path", ""),
        labels=tuple((key, value) for key, value in own.get("labels", ())),
    )


def kept(status: Mapping[str, Any]) -> Tree:
    """What the runtime does not know of a container: log_path, tty ...; of a sandbox only cgroup_parent."""
    found: Tree = orjson.loads(status["annotations"].get(KEPT) or b"{}")
    return found


def _refuse_impossible(config: ContainerConfig, host: spec.Host) -> None:
    """What every runtime refuses, said as early and in the same words."""
    try:
        spec.capabilities(config, host)
        if config.cwd and not config.cwd.startswith("/"):
            raise spec.SpecError(f'cwd "{config.cwd}" must be an absolute path')
    except spec.SpecError as error:
        text = f"failed to generate container spec: {error}"
        raise RuntimeFailure("CreateContainerError", text) from error


def _kept(config: ContainerConfig) -> str:
    tree = {
        "image": config.image.reference,
        "image_id": next(iter(config.image.repo_digests), config.image.id),
        "log_path": config.log_path,
        "cgroup_parent": config.cgroup_parent.strip("/"),
        "labels": [list(pair) for pair in config.labels],
        "tty": config.tty,
        "stdin": config.stdin,
        "stop_signal": config.stop_signal,
    }
    return _json(tree)


def _json(tree: Tree) -> str:
    return str(orjson.dumps(tree), "utf-8")


def _pod_labels(config: ContainerConfig, owner: str) -> dict[str, str]:
    return {
        POD_NAME: config.pod_name,
        POD_NAMESPACE: config.pod_namespace,
        POD_UID: config.pod_uid,
        OWNER: owner,
    }


def _namespaces(config: ContainerConfig) -> Tree:
    own = api.POD if config.shares_processes else api.CONTAINER
    return {
        "network": api.NODE if config.netns is None else api.POD,
        "pid": api.NODE if config.host_pid else own,
        "ipc": api.NODE if config.host_ipc else api.POD,
    }


def _mounts(config: ContainerConfig) -> list[Tree]:
    found = []
    for mount in config.mounts:
        if mount.kind != "bind":
            raise RuntimeFailure("CreateContainerError", f"a {mount.kind} at {mount.target} can't be made through CRI")
        found.append(
            {
                "container_path": mount.target,
                "host_path": mount.source,
                "readonly": mount.read_only,
                "propagation": _PROPAGATION[mount.propagation],
                "recursive_read_only": mount.recursive,
            }
        )
    return found


def _security(config: ContainerConfig) -> Tree:
    namespaces = _namespaces(config)
    if config.pid_of and not (config.host_pid or config.shares_processes):
        namespaces |= {"pid": api.TARGET, "target_id": config.pid_of}
    found: Tree = {
        "capabilities": {
            "add_capabilities": list(config.capabilities_add),
            "drop_capabilities": list(config.capabilities_drop),
        },
        "privileged": config.privileged,
        "namespace_options": namespaces,
        "readonly_rootfs": config.read_only_root,
        "supplemental_groups": list(config.supplementary_groups),
        "supplemental_groups_policy": int(config.only_named_groups),
        "no_new_privs": config.no_new_privileges,
        "seccomp": _profile(config.seccomp, config.seccomp_profile),
        **_user(config),
    }
    if not (config.privileged or config.unmasked_proc):
        found |= {"masked_paths": spec.MASKED_PATHS, "readonly_paths": spec.READ_ONLY_PATHS}
    found["apparmor"] = _apparmor(config.apparmor)
    return found


def _apparmor(name: str) -> Tree | None:
    """Where nothing is said, the runtime applies its own profile, if the kernel has AppArmor at all."""
    if not name:
        return None
    if name in (APPARMOR_DEFAULT, "unconfined"):
        return {"profile_type": api.RUNTIME_DEFAULT if name == APPARMOR_DEFAULT else api.UNCONFINED}
    return {"profile_type": api.LOCALHOST, "localhost_ref": name}


def _profile(kind: str, path: str) -> Tree:
    return {"profile_type": _PROFILES[kind], "localhost_ref": path}


def _user(config: ContainerConfig) -> Tree:
    """Whom it runs as; nothing leaves it to the image. Runtimes refuse a group alone: the image's user goes with it."""
    of_image = config.image.config.user.partition(":")[0]
    if config.run_as_non_root:
        _refuse_root(config, of_image)
    group = {} if config.group is None else {"run_as_group": {"value": config.group}}
    if config.user is not None:
        return {"run_as_user": {"value": config.user}, **group}
    if not group:
        return {}
    if of_image and not of_image.isdecimal():
        return {"run_as_username": of_image, **group}
    return {"run_as_user": {"value": int(of_image or 0)}, **group}


def _refuse_root(config: ContainerConfig, of_image: str) -> None:
    if config.user is not None:
        if config.user == 0:
            raise RuntimeFailure("CreateContainerConfigError", "container's runAsUser breaks non-root policy")
    elif of_image and not of_image.isdecimal():
        text = f"container has runAsNonRoot and image has non-numeric user ({of_image}), cannot verify user is non-root"
        raise RuntimeFailure("CreateContainerConfigError", text)
    elif int(of_image or 0) == 0:
        raise RuntimeFailure("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")
