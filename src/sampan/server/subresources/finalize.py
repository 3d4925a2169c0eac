"""The finalize subresource of a namespace: the only door to spec.finalizers."""

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

        async def change(item: Item) -> Tree:
            new = item.copy()
            new["spec"] = {**new.get("spec", {}), "finalizers": (body.get("spec") or {}).get("finalizers") or []}
            version = (body.get("metadata") or {}).get("resourceVersion")
            if version:
                new["metadata"]["resourceVersion"] = version
            return new

        return codec.respond(call, await self._registry.update(call, change))
