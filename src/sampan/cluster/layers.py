"""Layers: which there are, and which a cluster has enabled. A layer is loaded only when somebody asks for it.

What is enabled stands in the ConfigMap kube-system/sampan-layers: {NAME: "enabled"}; how each is, in its annotations:
"ready", or what is in the way.
"""

import importlib
import importlib.util

from sampan.client.api import Client
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.kind import Object
from sampan.meta.status import ApiError
from sampan.platform.layer import Layer

MODULES = {
    "gateway": "sampan.gateway.layer",
    "elastic": "sampan.platform.elastic.layer",
    "protection": "sampan.platform.protection.layer",
    "rollouts": "sampan.platform.rollouts.layer",
}
NAMESPACE, CONFIG = "kube-system", "sampan-layers"
ENABLED = "enabled"
READY = "ready"
_STATE = "layers.sampan.dev/"


def names() -> list[str]:
    """All layers, by name."""
    return sorted(name for name, module in MODULES.items() if _exists(module))


def load(name: str) -> Layer:
    """The layer. Raises LookupError with a text for people."""
    if name not in names():
        raise LookupError(f"there is no layer {name!r}; there are: {', '.join(names())}")
    found: Layer = importlib.import_module(MODULES[name]).LAYER
    return found


def enabled(config: Object | None) -> list[str]:
    """The layers that the ConfigMap enables, by name; names of none are left out."""
    data = (config or {}).get("data") or {}
    return [name for name in names() if data.get(name) == ENABLED] if data else []


def states(config: Object | None) -> dict[str, str]:
    """How each layer is that is enabled: "ready", what is in the way, or "" when it has just begun."""
    told = ((config or {}).get("metadata") or {}).get("annotations") or {}
    return {name: str(told.get(_STATE + name) or "") for name in enabled(config)}


async def read(client: Client) -> dict[str, str]:
    """The layers that a cluster has enabled, and how they are. Raises ApiError, TransportError."""
    try:
        return states(await client.get(CONFIGMAP, CONFIG, NAMESPACE))
    except ApiError as error:
        if error.code == 404:
            return {}
        raise


async def tell(client: Client, name: str, state: str) -> None:
    """Says how a layer is, where it is enabled. Raises ApiError, TransportError."""
    await client.patch(CONFIGMAP, (NAMESPACE, CONFIG), {"metadata": {"annotations": {_STATE + name: state or None}}})


async def enable(client: Client, *wanted: str) -> None:
    """Enables layers beside those that are already. Raises ApiError, TransportError."""
    data = dict.fromkeys(wanted, ENABLED)
    metadata = {"name": CONFIG, "namespace": NAMESPACE}
    try:
        await client.create(CONFIGMAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
        await client.patch(CONFIGMAP, (NAMESPACE, CONFIG), {"data": data})


async def disable(client: Client, name: str) -> None:
    """It works no longer; what it brought stays. Raises ApiError, TransportError."""
    try:
        gone = {"metadata": {"annotations": {_STATE + name: None}}, "data": {name: None}}
        await client.patch(CONFIGMAP, (NAMESPACE, CONFIG), gone)
    except ApiError as error:
        if error.code != 404:
            raise


def manager(name: str) -> str:
    """The field manager of what a layer applies."""
    return f"sampan-{name}"


def lease(name: str) -> tuple[str, str]:
    """The key of the Lease that whoever works for a layer holds, where there may be several."""
    return NAMESPACE, f"sampan-layer-{name}"


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
