"""Machine: what a simulated node is like."""

from dataclasses import dataclass, field, replace
from typing import Any

from sampan.cluster.settings import Settings
from sampan.node import simulated
from sampan.node.facts import Facts
from sampan.node.kubelet_config import KubeletConfig
from sampan.node.parts import AgentSettings

POD_NETWORK = 244  # the second number of its addresses
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Machine:
    """`number` decides its addresses; what is None is as on every other one.

    Drivers of devices are all there, but those that it is `without`.
    """

    name: str
    number: int
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[Object, ...] = ()
    cpus: int | None = None
    memory_bytes: int | None = None
    pods: int = 110
    without: frozenset[str] = frozenset()

    @property
    def facts(self) -> Facts:
        """What its agent finds."""
        given = {"cpus": self.cpus, "memory_bytes": self.memory_bytes}
        known: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return replace(simulated.FACTS, **known)

    def settings(self, cluster: Settings) -> AgentSettings:
        """What its agent is told. A number beyond 255 goes into the next lower network."""
        network = f"10.{POD_NETWORK - self.number // 256}.{self.number % 256}"
        return AgentSettings(
            cluster=cluster.name,
            node=self.name,
            root=cluster.path(self.name),
            internal_ip=f"{network}.1",
            pod_cidr=f"{network}.0/24",
            labels=self.labels,
            kubelet=KubeletConfig(max_pods=self.pods, register_with_taints=self.taints),
            is_simulated=True,
        )
