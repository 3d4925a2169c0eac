"""A simulated cluster behind a bridge, for the tests of clients that nobody here wrote."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.cluster.simulated import SimulatedCluster
from sampan.testing.bridge import Bridge
from sampan.testing.virtual_time import VirtualTime

POD_TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {"containers": [{"name": "web", "image": "web:1"}]},
}
DEPLOYMENT: dict[str, Any] = {  # available after half a minute
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "replicas": 1,
        "minReadySeconds": 30,
        "selector": {"matchLabels": {"app": "web"}},
        "template": POD_TEMPLATE,
    },
}


@dataclass(frozen=True)
class Bridged:
    """The cluster, its bridge and the kubeconfig."""

    sim: SimulatedCluster
    bridge: Bridge
    kubeconfig: Path

    def virtual_time(self) -> VirtualTime:
        return VirtualTime(self.sim, self.bridge)

    def get(self, api_version: str, kind: str, name: str, namespace: str = "default") -> Any:
        """The object as the server has it, or None."""
        return self.sim.get(self.kind(api_version, kind), name, namespace)

    def kind(self, api_version: str, name: str) -> Any:
        group, _, version = api_version.rpartition("/")
        return self.sim.app.served.by_kind(group, version, name)


@contextlib.contextmanager
def bridged(directory: Path, **settings: Any) -> Iterator[Bridged]:
    """Started, and closed again."""
    with SimulatedCluster(**settings) as sim:
        bridge = Bridge(sim)
        bridge.start()
        try:
            yield Bridged(sim, bridge, bridge.kubeconfig(directory))
        finally:
            bridge.close()
