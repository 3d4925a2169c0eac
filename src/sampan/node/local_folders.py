"""Local folders: takes away the folders of persistent volumes that are over, as the Node's annotations ask, and says so."""

import logging
from typing import Any

from sampan.client.transport import TransportError
from sampan.kinds.core.node import NODE
from sampan.kinds.parts import local_volumes
from sampan.kit.tasks import Tasks
from sampan.meta.status import ApiError
from sampan.node.parts import Parts
from sampan.node.volumes.failure import VolumeFailure

log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0

Object = dict[str, Any]


class LocalFolders:
    """Those of one node. `look` is shown each version of the Node."""

    def __init__(self, node: str, parts: Parts, tasks: Tasks) -> None:
        self._node, self._parts, self._tasks = node, parts, tasks
        self._going: set[str] = set()

    def look(self, node: Object) -> None:
        """Begins with what is asked for."""
        for name in local_volumes.over(node):
            if name not in self._going:
                self._going.add(name)
                self._tasks.spawn(self._take_away(name), f"volume {name}", critical=False)

    async def _take_away(self, name: str) -> None:
        try:
            while not await self._try(name):
                await self._parts.clock.sleep(RETRY_SECONDS)
        finally:
            self._going.discard(name)

    async def _try(self, name: str) -> bool:
        done = local_volumes.mark(name, is_over=False)
        try:
            await self._parts.volumes.discard(name)
            await self._parts.client.patch(NODE, ("", self._node), done, type="merge")
        except ApiError as error:
            log.info("volume %s: %s", name, error)
            return error.code == 404
        except (TransportError, VolumeFailure, OSError) as error:
            log.warning("volume %s: %s; trying again", name, error)
            return isinstance(error, VolumeFailure)
        return True
