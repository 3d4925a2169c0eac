"""A container's record: what the agent must know of it after a restart, kept as one file in its directory."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path
from typing import Any

import orjson

from sampan.node.images import holders
from sampan.node.runtime import spec
from sampan.node.runtime.protocol import CREATED, ContainerConfig, ContainerState

FILE = "record.json"
_PAGE_BYTES = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """The state as last known, and what of the configuration is needed later."""

    state: ContainerState
    cgroup_parent: str = ""
    stop_signal: str = "SIGTERM"
    tty: bool = False
    stdin: bool = False
    handler: str = ""
    rootfs: str = ""
    """Where its root file system is mounted; empty for the usual place in its directory."""
    joins_processes: bool = False
    """Its process namespace is not its own, so that its processes don't end with its first."""
    mark: str = ""
    """What says that its image's layers are in use."""


def create(config: ContainerConfig, container_id: str, now: float) -> Record:
    """The record of a container that is about to be made."""
    state = ContainerState(
        id=container_id,
        pod_uid=config.pod_uid,
        pod_namespace=config.pod_namespace,
        pod_name=config.pod_name,
        name=config.name,
        attempt=config.attempt,
        image_ref=config.image.reference,
        image_id=next(iter(config.image.repo_digests), config.image.id),
        state=CREATED,
        created_at=now,
        log_path=config.log_path,
        labels=config.labels,
    )
    return Record(
        state,
        config.cgroup_parent.strip("/"),
        spec.stop_signal(config),
        config.tty,
        config.stdin,
        handler=config.handler,
        joins_processes=config.shares_processes or config.host_pid or bool(config.pid_of),
        mark=holders.place(config.image.layer_dirs, container_id),
    )


def save(folder: str, record: Record) -> None:
    """Replaces what is in the file: all or nothing, also for one who is killed at that.

    Within a page it is written over, which is one step and spares the disk a new file. Not forced to disk: no
    container outlives a power cut.
    """
    path = os.path.join(folder, FILE)
    data = orjson.dumps(record)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        data = data.ljust(os.fstat(descriptor).st_size)
        if len(data) <= _PAGE_BYTES:
            if os.pwrite(descriptor, data, 0) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            return
    finally:
        os.close(descriptor)
    Path(path + ".new").write_bytes(data)
    os.replace(path + ".new", path)


def load(folder: str) -> Record | None:
    """Reads the file; None if it is not there or damaged."""
    try:
        tree: dict[str, Any] = orjson.loads(Path(folder, FILE).read_bytes())
        state = tree.pop("state")
        state["labels"] = tuple((key, value) for key, value in state["labels"])
        return Record(ContainerState(**state), **tree)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def unknown(container_id: str) -> Record:
    """The record of a container of which nothing but the id is known any more."""
    return Record(ContainerState(container_id, "", "", "", "", 0, "", "", CREATED))
