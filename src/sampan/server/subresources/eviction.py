"""The eviction subresource: a graceful deletion that a disruption budget could refuse.

Budgets are not available yet in this version of Sampan, so that none stands against an eviction.

https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
"""

import dataclasses

from sampan.kinds.policy.eviction import EVICTION
from sampan.meta import objects, status
from sampan.server import codec, deletes
from sampan.server.call import Call
from sampan.web.message import Response


class EvictionHandler:
    """POST of pods/NAME/eviction."""

    def __init__(self, removal: deletes.Deletes) -> None:
        self._deletes = removal

    async def handle(self, call: Call) -> Response:
        """Raises ApiError 400, 404, 409."""
        eviction = codec.body_tree(call, EVICTION)
        name = objects.name(eviction) if eviction.get("metadata") else ""
        if name and name != call.name:
            raise status.bad_request(f"name in URL does not match name in Eviction object: {call.name} != {name}")
        wish = deletes.options_of(call, eviction.get("deleteOptions") or {})
        await self._deletes.delete_one(dataclasses.replace(call, subresource=None), wish)
        answer = status.success()
        answer["code"] = 201
        return codec.respond_tree(call, answer, 201)
