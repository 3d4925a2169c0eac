"""The binding subresource: a scheduler gives a pod its node, once.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/binding-v1/
"""

import dataclasses
from typing import Any

from sampan.kinds import builtin
from sampan.kinds.core.binding import BINDING
from sampan.meta import conditions, objects, status
from sampan.server import codec
from sampan.server.cache import Item
from sampan.server.call import Call
from sampan.server.registry import Registry
from sampan.web.message import Response

Tree = dict[str, Any]


class BindingHandler:
    """POST of pods/NAME/binding, and of bindings."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def post(self, call: Call) -> Response:
        """POST of bindings: the same, for the pod that the binding's own name says. Raises ApiError."""
        binding = await codec.body(call)
        name = objects.name(binding)
        if not name:
            raise status.bad_request("name must be provided")
        kind = builtin.by_resource("", "pods")
        assert kind is not None  # pods are built in
        info = dataclasses.replace(call.info, resource=kind.plural, name=name)
        door = kind.subresource("binding")
        return await self._bind(dataclasses.replace(call, info=info, kind=kind, subresource=door), binding)

    async def handle(self, call: Call) -> Response:
        """Raises ApiError 400, 404, 409."""
        binding = await codec.body(call, BINDING)
        named = objects.name(binding) if binding.get("metadata") else ""
        if named and named != call.name:
            raise status.bad_request(f"name in URL does not match name in Binding object: {call.name} != {named}")
        return await self._bind(call, binding)

    async def _bind(self, call: Call, binding: Tree) -> Response:
        target = binding.get("target") or {}
        if not target.get("name"):
            causes = [status.required("target.name")]
            raise status.invalid("", BINDING.name, call.name, causes)
        if target.get("kind", "Node") not in ("", "Node"):
            causes = [status.not_supported("target.kind", target["kind"], ["Node", "<empty>"])]
            raise status.invalid("", BINDING.name, call.name, causes)

        await self._registry.find(call)
        await self._registry.admit_body(call, BINDING, binding)
        call.admitted = True

        async def change(item: Item) -> Tree:
            return _bound(call, item, binding, target["name"])

        await self._registry.update(call, change)
        answer = status.success()
        answer["code"] = 201
        return codec.respond_tree(call, answer, 201)


def _bound(call: Call, item: Item, binding: Tree, node: str) -> Tree:
    """The pod on the node; what stays as it is, is the stored pod's own."""
    pod = item.tree
    why = _hindrance(binding.get("metadata") or {}, pod)
    if why:
        raise status.conflict("", "pods/binding", call.name, why)
    metadata, state = {**pod["metadata"]}, {**pod.get("status", {})}
    for field in ("labels", "annotations"):
        given = (binding.get("metadata") or {}).get(field)
        if given:
            metadata[field] = (metadata.get(field) or {}) | given
    state.pop("nominatedNodeName", None)
    state["conditions"] = conditions.set(state.get("conditions", []), "PodScheduled", "True", "", "", call.now)
    return {**pod, "metadata": metadata, "spec": {**pod["spec"], "nodeName": node}, "status": state}


def _hindrance(wanted: Tree, pod: Tree) -> str:
    """Why the pod cannot be bound, which has to be the one that `wanted` names; "" when it can."""
    live, spec = pod["metadata"], pod["spec"]
    for field, name in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if wanted.get(field) and wanted[field] != live[field]:
            return f"Precondition failed: {name} in precondition: {wanted[field]}, {name} in object meta: {live[field]}"
    if objects.is_deleting(pod):
        return f"pod {live['name']} is being deleted, cannot be assigned to a host"
    if spec.get("nodeName"):
        return f'pod {live["name"]} is already assigned to node "{spec["nodeName"]}"'
    return f"pod {live['name']} has non-empty .spec.schedulingGates" if spec.get("schedulingGates") else ""
