"""Housekeeping of a node: what looks after its memory, its disks and its images, made together and begun together."""

from sampan.kit.tasks import Tasks
from sampan.node.agent import Agent
from sampan.node.evictions import Evictions
from sampan.node.evictor import Evictor
from sampan.node.image_gc import Forget, ImageCollector, Remove
from sampan.node.machine import Machine
from sampan.node.pod_uses import PodUses
from sampan.node.storage_watch import StorageWatch


class Housekeeping:
    """Of a node on a real machine. `remove_image` deletes an image by id, unless something is made of it.

    `forget_builds` drops what image builds keep and returns how many bytes that were.
    """

    def __init__(self, agent: Agent, machine: Machine, remove_image: Remove, forget_builds: Forget) -> None:
        self.machine = machine
        self.uses = PodUses(agent.parts, machine, agent.hands.files)
        self.evictions = Evictions(agent)
        self.images = ImageCollector(agent, machine, remove_image, forget_builds)
        self.evictor = Evictor(agent, machine, self.evictions, self.uses, self.images.remove_unused)
        self.storage = StorageWatch(self.evictions, self.uses, agent.parts.clock)
        self._has_limits = agent.settings.kubelet.local_storage_capacity_isolation

    def start(self, tasks: Tasks) -> None:
        """Begins to look."""
        tasks.spawn(self.evictor.run(), "pressure")
        tasks.spawn(self.images.run(), "image garbage")
        if self._has_limits:
            tasks.spawn(self.storage.run(), "storage limits")
