"""Where drivers and the node meet: the node's own directory, which its pods find at /var/lib/kubelet.

Drivers have that path in their manifests and in their programs. A pod that mounts it from the host gets the directory
of the very node that it runs on, however many nodes the machine has; nothing is made at that path itself.

https://kubernetes.io/docs/reference/node/kubelet-files/
"""

from pathlib import Path, PurePosixPath

KUBELET = PurePosixPath("/var/lib/kubelet")


class Places:
    """The directories of one node, below its root."""

    def __init__(self, root: Path) -> None:
        """Makes nothing."""
        self.root = root
        self.registry = root / "plugins_registry"
        self.plugins = root / "plugins"
        self.device_plugins = root / "device-plugins"
        self.pod_resources = root / "pod-resources"

    def make(self) -> None:
        """All of them are there."""
        for folder in (self.registry, self.plugins, self.device_plugins, self.pod_resources):
            folder.mkdir(parents=True, exist_ok=True, mode=0o750)

    def on_host(self, path: str) -> Path:
        """A path as a pod says it, on this machine."""
        found = PurePosixPath(path)
        return self.root / found.relative_to(KUBELET) if found.is_relative_to(KUBELET) else Path(path)

    def in_pod(self, path: str | Path) -> str:
        """A path on this machine, as a pod sees it that has mounted the directory at its usual place."""
        found = Path(path)
        return str(KUBELET / found.relative_to(self.root)) if found.is_relative_to(self.root) else str(path)
