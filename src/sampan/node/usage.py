"""What a container or a node uses: cpu and memory, as read at one time."""

from dataclasses import dataclass
from typing import Protocol

from sampan.node.runtime.protocol import ContainerState

WINDOW_SECONDS = 10.0
"""Over the time of which, before it was read, cpu is averaged."""


@dataclass(frozen=True, slots=True)
class Figures:
    """`cores` is the average over the window before `at` (unix seconds), `cpu_seconds` since the `start`.

    `memory` is all that counts as used, `working_set` what cannot be had back at once; both in bytes.
    """

    at: float
    start: float
    cores: float
    cpu_seconds: float
    memory: int
    working_set: int


class Meter(Protocol):
    """Who reads them."""

    def container(self, state: ContainerState) -> Figures | None:
        """Those of a running container; None where there are none yet."""
        ...

    def node(self) -> Figures | None:
        """Those of the whole node."""
        ...
