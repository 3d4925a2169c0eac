"""A subresource that is a part of the object itself, such as pods/resize: read, replaced and patched as the object is.

The kind's `prepare` keeps all that the part does not cover.
"""

from sampan.server import codec
from sampan.server.call import Call
from sampan.server.patching import Patching
from sampan.server.reads import Reads
from sampan.server.registry import Registry
from sampan.web.message import Response


class OwnPartHandler:
    """GET, PUT and PATCH; all answer with the whole object."""

    def __init__(self, registry: Registry, reads: Reads, patching: Patching) -> None:
        self._registry, self._reads, self._patching = registry, reads, patching

    async def handle(self, call: Call) -> Response:
        """Raises ApiError."""
        if call.info.verb == "get":
            return await self._reads.get(call)
        if call.info.verb == "patch":
            item, _ = await self._patching.patch(call)
            return await codec.answer(call, item)
        body = await codec.body(call)
        body.setdefault("metadata", {})
        return await codec.answer(call, await self._registry.replace(call, body))
