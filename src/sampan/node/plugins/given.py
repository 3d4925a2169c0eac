"""What plugins' answers mean for a container: the first one to name a variable or a path has its way."""

from collections.abc import Iterable, Mapping
from typing import Any

from sampan.node.given import Given
from sampan.node.plugins.places import Places
from sampan.node.runtime.protocol import Device, Mount

Response = Mapping[str, Any]


def of_responses(responses: Iterable[Response], places: Places) -> Given:
    """Of device plugins' ContainerAllocateResponses."""
    env: dict[str, str] = {}
    notes: dict[str, str] = {}
    mounts: dict[str, Mount] = {}
    devices: dict[str, Device] = {}
    names: list[str] = []
    for response in responses:
        env = {**response.get("envs", {}), **env}
        notes = {**response.get("annotations", {}), **notes}
        for mount in response.get("mounts", ()):
            source, target = str(places.on_host(mount["host_path"])), mount["container_path"]
            mounts.setdefault(target, Mount(source, target, mount["read_only"]))
        for device in response.get("devices", ()):
            target = device["container_path"]
            devices.setdefault(target, Device(device["host_path"], target, device["permissions"] or "rwm"))
        names += [device["name"] for device in response.get("cdi_devices", ())]
    return Given(
        env=tuple(sorted(env.items())),
        mounts=tuple(mounts.values()),
        devices=tuple(devices.values()),
        annotations=tuple(sorted(notes.items())),
        cdi_devices=tuple(dict.fromkeys(names)),
    )
