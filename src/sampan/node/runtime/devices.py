"""Devices of a container: adds to its OCI configuration the host's device nodes that it is given.

https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#devices
"""

import os
import stat
from collections.abc import Iterator
from typing import Any

from sampan.node.runtime import cdi
from sampan.node.runtime.protocol import ContainerConfig, Device

Tree = dict[str, Any]


def add(tree: Tree, config: ContainerConfig) -> None:
    """What the config has of devices and annotations, into a configuration. OSError, ValueError when it can't be had."""
    tree["annotations"] |= dict(config.annotations)
    for device in config.devices:
        for source, target in _nodes(device):
            _allow(tree, node(source, target), device.access)
    if config.cdi_devices:
        for edits in cdi.edits(config.cdi_devices, cdi.FOLDERS):
            apply(tree, edits)


def node(source: str, target: str) -> Tree:
    """A device of the host as a configuration lists it."""
    found = os.stat(source)
    if not (stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)):
        raise ValueError(f'error gathering device information while adding custom device "{source}": not a device node')
    return {
        "path": target,
        "type": "c" if stat.S_ISCHR(found.st_mode) else "b",
        "major": os.major(found.st_rdev),
        "minor": os.minor(found.st_rdev),
        "fileMode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
    }


def apply(tree: Tree, edits: Tree) -> None:
    """One set of containerEdits of the Container Device Interface, into a configuration."""
    process = tree["process"]
    names = {entry.partition("=")[0] for entry in edits.get("env") or ()}
    kept = [entry for entry in process["env"] if entry.partition("=")[0] not in names]
    process["env"] = [*kept, *(edits.get("env") or ())]
    for wanted in edits.get("deviceNodes") or ():
        _allow(tree, _described(wanted), wanted.get("permissions") or "rwm")
    for mount in edits.get("mounts") or ():
        tree["mounts"] = [*(m for m in tree["mounts"] if m["destination"] != mount["containerPath"]), _mount(mount)]
    for hook in edits.get("hooks") or ():
        fields = {name: hook[name] for name in ("path", "args", "env", "timeout") if name in hook}
        tree.setdefault("hooks", {}).setdefault(hook["hookName"], []).append(fields)
    if groups := edits.get("additionalGids") or edits.get("additionalGIDs"):
        user = process["user"]
        user["additionalGids"] = sorted({*user.get("additionalGids", ()), *(group for group in groups if group)})


def _described(wanted: Tree) -> Tree:
    """A device node as CDI describes it; what is not said is the host's device's."""
    source = wanted.get("hostPath") or wanted["path"]
    known = node(source, wanted["path"]) if not (wanted.get("type") and "major" in wanted) else {}
    names = ("path", "type", "major", "minor", "fileMode", "uid", "gid")
    return {**known, **{name: wanted[name] for name in names if wanted.get(name) is not None}}


def _allow(tree: Tree, device: Tree, access: str) -> None:
    linux = tree["linux"]
    others = [known for known in linux.get("devices") or () if known["path"] != device["path"]]
    linux["devices"] = [*others, device]
    rule = {"allow": True, "access": access, **{name: device[name] for name in ("type", "major", "minor")}}
    linux["resources"]["devices"] = [*linux["resources"]["devices"], rule]


def _mount(mount: Tree) -> Tree:
    options = list(mount.get("options") or ["ro", "nosuid", "nodev", "bind"])
    kind = mount.get("type") or "bind"
    return {"destination": mount["containerPath"], "source": mount["hostPath"], "type": kind, "options": options}


def _nodes(device: Device) -> Iterator[tuple[str, str]]:
    """The device, or all that are below a directory, with their places in the container."""
    if not os.path.isdir(device.source):
        yield device.source, device.target
        return
    for folder, _, names in sorted(os.walk(device.source)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                yield path, os.path.join(device.target, os.path.relpath(path, device.source))
