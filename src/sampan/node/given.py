"""What plugins give a container: variables, mounts, devices."""

from dataclasses import dataclass

from sampan.node.runtime.protocol import Device, Mount


@dataclass(frozen=True, slots=True)
class Given:
    """Of one container. Variables are added before the spec's own, which win."""

    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    cdi_devices: tuple[str, ...] = ()


NOTHING = Given()
