"""The finalize subresource of a namespace: the only door to spec.finalizers.

What else the namespace says beside its status is written as well.
"""

from typing import Any

from sampan.server import codec
from sampan.server.cache import Item
from sampan.server.call import Call
from sampan.server.registry import Registry
from sampan.web.message import Response

Tree = dict[str, Any]


class FinalizeHandler:
    """PUT of namespaces/NAME/finalize. The namespace goes when its last finalizer does."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def handle(self, call: Call) -> Response:
        """Raises ApiError."""
        body = await codec.body(call)
        body.setdefault("metadata", {})

        async def change(item: Item) -> Tree:
            return body

        return await codec.answer(call, await self._registry.update(call, change))
