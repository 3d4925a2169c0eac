"""The finalize subresource of a namespace: the only door to spec.finalizers.

What else the namespace says beside its status is written as well.
"""

from sampan.server import codec
from sampan.server.call import Call
from sampan.server.registry import Registry
from sampan.web.message import Response


class FinalizeHandler:
    """PUT of namespaces/NAME/finalize. The namespace goes when its last finalizer does."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def handle(self, call: Call) -> Response:
        """Raises ApiError."""
        body = await codec.body(call)
        body.setdefault("metadata", {})
        return await codec.answer(call, await self._registry.replace(call, body))
