"""What a container is made of before a runtime sees it: its mounted root file system, its mounts, its config.json.

For a pod with users of its own, layers and volumes are shown under those users' ids, and the root file system is
mounted where they may go: no directory above it is closed to them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import orjson

from sampan.kit import descriptors
from sampan.node.images import holders, users
from sampan.node.runtime import checks, devices, idmap, overlay, pod_limits, spec
from sampan.node.runtime.container import Container
from sampan.node.runtime.pods import Shared
from sampan.node.runtime.protocol import ContainerConfig, Mount, RuntimeFailure

_FLAGS = {os.ST_NOSUID: "nosuid", os.ST_NODEV: "nodev", os.ST_NOEXEC: "noexec", os.ST_NOATIME: "noatime"}


def write(container: Container, config: ContainerConfig, shared: Shared, host: spec.Host, processes: str) -> None:
    """Everything is in place for the runtime; `processes` is the namespace of another container that is joined.

    Raises RuntimeFailure with what the container can't be.
    """
    try:
        checks.propagation(config.mounts)
        checks.apparmor_profile(config.apparmor)
        profile = checks.seccomp_profile(config.seccomp_profile) if config.seccomp_profile else None
        pod_limits.apply(container.known.cgroup_parent, config.pod_resources)
        mounts = tuple(_shown(container, config, shared)) if shared.users else config.mounts
        merged = _mounted(container, config, shared)
        place = spec.Place(
            container.id,
            merged,
            processes or shared.processes,
            shared.ipc,
            profile,
            shared.users,
            shared.first_id,
            shared.shm,
        )
        if host.files is not None:
            host = dataclasses.replace(host, files=descriptors.bounded(host.files))
        tree = spec.build(dataclasses.replace(config, mounts=mounts), _find_user(merged, config), place, host)
        devices.add(tree, config)
        Path(container.folder, "config.json").write_bytes(orjson.dumps(tree))
    except spec.SpecError as error:
        text = f'failed to generate container "{container.id}" spec: failed to generate spec: {error}'
        raise RuntimeFailure("CreateContainerError", text) from error
    except (OSError, ValueError) as error:
        raise RuntimeFailure("CreateContainerError", f"failed to create container: {error}") from error


def settle(container: Container) -> None:
    """The runtime has taken what was mounted for it only: it lives on in the container."""
    for name in ("lower", "volumes"):
        folder = os.path.join(container.folder, name)
        if os.path.isdir(folder):
            for path in overlay.mounts_below(folder):
                overlay.unmount(path)
            shutil.rmtree(folder, ignore_errors=True)


def unmount(container: Container) -> None:
    """Takes everything away that is mounted. Repeating is harmless."""
    settle(container)
    overlay.unmount(container.merged)
    holders.let_go(container.known.mark)
    if container.known.rootfs:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(container.known.rootfs)


def _mounted(container: Container, config: ContainerConfig, shared: Shared) -> str:
    layers = config.image.layer_dirs
    holders.hold(container.known.mark, layers, container.folder)
    if shared.users:
        shown = []
        for number, layer in enumerate(layers):
            shown.append(os.path.join(container.folder, "lower", str(number)))
            idmap.mount(layer, shown[-1], shared.users)
        layers = tuple(shown)
    return overlay.mount(layers, container.folder, container.merged, shared.first_id)


def _shown(container: Container, config: ContainerConfig, shared: Shared) -> Iterator[Mount]:
    """The mounts with their sources as the pod's users are to see them."""
    for number, mount in enumerate(config.mounts):
        if mount.kind != "bind":
            yield mount
            continue
        target = os.path.join(container.folder, "volumes", str(number))
        idmap.mount(mount.source, target, shared.users, recursive=True)
        # What the mount forbids already may not be left out by one who is not the host's root.
        kept = os.statvfs(mount.source).f_flag
        options = tuple(name for flag, name in _FLAGS.items() if kept & flag)
        is_fixed = mount.read_only or bool(kept & os.ST_RDONLY)
        yield dataclasses.replace(mount, source=target, options=options, read_only=is_fixed)


def _find_user(merged: str, config: ContainerConfig) -> users.User:
    text = config.image.config.user if config.user is None else str(config.user)
    if config.group is not None:
        text = f"{text.partition(':')[0]}:{config.group}"
    fd = os.open(merged, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        user = users.lookup(fd, text)
        if config.group is not None:
            # The image's memberships count also where the pod gives the primary group.
            named = users.lookup(fd, text.partition(":")[0])
            user = users.User(user.uid, user.gid, named.groups, user.home)
    finally:
        os.close(fd)
    if config.run_as_non_root and user.uid == 0:
        raise RuntimeFailure("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")
    return dataclasses.replace(user, groups=()) if config.only_named_groups else user
