"""Definitions of custom resources for tests."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sampan.kinds.apiextensions.custom_resource_definition import CUSTOMRESOURCEDEFINITION as DEFINITION
from sampan.kinds.kind import Kind
from sampan.meta import conditions
from sampan.server.cache import Change

Tree = dict[str, Any]

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"


def crd(plural: str = "widgets", group: str = "example.com", **more: Any) -> Tree:
    """A definition of a namespaced kind with one version, v1, whose schema is `schema`."""
    kind = plural[:-1].capitalize()
    schema = more.pop("schema", {"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    first = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    first |= more.pop("version", {})
    spec = {
        "group": group,
        "scope": more.pop("scope", "Namespaced"),
        "names": {"plural": plural, "kind": kind} | more.pop("names", {}),
        "versions": more.pop("versions", [first]),
    } | more
    return {
        "kind": "CustomResourceDefinition",
        "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": spec,
    }


def spec_schema(properties: Tree, **more: Any) -> Tree:
    """A schema of an object with these fields in spec."""
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties, **more}}}


def version(name: str, schema: Tree, **more: Any) -> Tree:
    """A served version that is not the stored one, unless `storage` says so."""
    return {"name": name, "served": True, "storage": False, "schema": {"openAPIV3Schema": schema}} | more


def widget(name: str, spec: Tree | None = None, **more: Any) -> Tree:
    """An object of the kind that `crd()` defines."""
    made: Tree = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}}
    if spec is not None:
        made["spec"] = spec
    return made | more


async def settled(api: Any, ready: Callable[[], Awaitable[bool]], kind: Kind = DEFINITION) -> None:
    """Returns when `ready` says so; it is asked again after each change of a definition (or of another kind)."""
    changed = asyncio.Event()
    cache = api.app.cache.of(kind)

    def note(change: Change) -> None:
        changed.set()

    cache.listen(note)
    try:
        while True:
            changed.clear()
            if await ready():
                return
            await asyncio.wait_for(changed.wait(), 60)
    finally:
        cache.unlisten(note)


async def establish(api: Any, definition: Tree) -> Tree:
    """Creates a definition and returns it as it is once it is established."""
    await api.create(CRDS, definition)
    path = f"{CRDS}/{definition['metadata']['name']}"

    async def is_established() -> bool:
        return conditions.is_true(await api.get(path), "Established")

    await settled(api, is_established)
    found: Tree = await api.get(path)
    return found


async def gone(api: Any, name: str = "widgets.example.com") -> None:
    """Returns when there is no such definition any more."""

    async def is_gone() -> bool:
        answer = await api.send("GET", f"{CRDS}/{name}")
        return bool(answer.status == 404)

    await settled(api, is_gone)
