"""Staging: the market is set up by the API before the day, and cleared away after it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from sampan.client.api import Client
from sampan.cluster.trading_day import manifests
from sampan.cluster.trading_day.manifests import NAME, NAMESPACE, Object
from sampan.gateway import kinds as gateway
from sampan.kinds.builtin import KINDS
from sampan.kinds.core.namespace import NAMESPACE as NAMESPACE_KIND
from sampan.kinds.kind import Kind
from sampan.kit.clock import Clock
from sampan.meta import conditions, objects
from sampan.meta.status import ApiError
from sampan.platform import definitions
from sampan.platform.elastic import cron_horizontal_pod_autoscaler as cron
from sampan.platform.rollouts import kinds as rollouts

LAYERS = ("elastic", "gateway", "protection", "rollouts")
MANAGER = "sampan-demo"
LABEL = "policy.kruise.io/delete-protection"
LOOK_SECONDS = 0.5
_OWN = (gateway.GATEWAY, gateway.HTTPROUTE, *map(definitions.kind, (*rollouts.DEFINITIONS, *cron.DEFINITIONS)))
_KINDS = {(kind.api_version, kind.name): kind for kind in (*KINDS, *_OWN)}


class StagingError(Exception):
    """The market can't be set up or cleared away; the text is for people."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a day takes place, and of which objects. `say` is told what happens before and after it."""

    client: Client
    clock: Clock
    objects: Sequence[Object]
    say: Callable[[str], None] = field(default=lambda text: None)
    timeout_seconds: float = 120.0


async def set_up(stage: Stage) -> str:
    """Everything but the schedule; returns the gateway's address when it leads to the market. Raises StagingError, TransportError."""
    await apply(stage, manifests.at_first(stage.objects))
    await _until(stage, f"rollout {NAME}", lambda: _is_healthy(stage))
    stage.say(f"rollout {NAME} is healthy")
    address = ""

    async def is_programmed() -> str:
        nonlocal address
        address, why = await _programmed(stage)
        return why

    await _until(stage, f"gateway {NAME}", is_programmed)
    stage.say(f"gateway {NAME} listens at {address}")
    return address


async def clear(stage: Stage) -> None:
    """Takes the protection away, and then the namespace with all that is in it. Raises StagingError, ApiError, TransportError."""

    async def is_gone() -> str:
        try:
            await stage.client.get(NAMESPACE_KIND, NAMESPACE)
        except ApiError as error:
            if error.code == 404:
                return ""
            raise
        return "is still there"

    if not await is_gone():
        return
    await stage.client.patch(NAMESPACE_KIND, ("", NAMESPACE), {"metadata": {"labels": {LABEL: None}}})
    await stage.client.delete(NAMESPACE_KIND, ("", NAMESPACE))
    await _until(stage, f"namespace {NAMESPACE}", is_gone)


async def apply(stage: Stage, wanted: Sequence[Object]) -> None:
    """By server-side apply. Raises StagingError, TransportError."""
    for obj in wanted:
        title = f"{obj['kind']} {objects.name(obj)}"
        kind = _KINDS.get((obj["apiVersion"], obj["kind"]))
        if kind is None:
            raise StagingError(f"{title}: its kind is not one that a trading day has")
        try:
            await stage.client.apply(kind, obj, manager=MANAGER, force=True)
        except ApiError as error:
            raise StagingError(f"{title}: {error}") from error


def kind_of(name: str) -> Kind:
    """By its name alone, which is enough among those that a day has."""
    return next(kind for kind in (*_OWN, *KINDS) if kind.name == name)


async def _is_healthy(stage: Stage) -> str:
    """Why not; "" when it is."""
    rollout = await stage.client.get(rollouts.ROLLOUT, NAME, NAMESPACE)
    status = rollout.get("status") or {}
    seen = status.get("observedGeneration") == str(objects.generation(rollout))
    if seen and status.get("phase") == "Healthy":
        return ""
    told = (
        status.get("message")
        or f"{status.get('readyReplicas') or 0} of {rollout['spec'].get('replicas', 1)} pods ready"
    )
    return f"{status.get('phase') or 'Unknown'}: {told}"


async def _programmed(stage: Stage) -> tuple[str, str]:
    """The address, and why it does not serve yet."""
    found = await stage.client.get(gateway.GATEWAY, NAME, NAMESPACE)
    if not conditions.is_true(found, "Programmed"):
        told = conditions.get(found, "Programmed") or {}
        return "", f"{told.get('reason', 'Pending')}: {told.get('message', '')}".strip(": ")
    route = await stage.client.get(gateway.HTTPROUTE, NAME, NAMESPACE)
    parents = (route.get("status") or {}).get("parents") or []
    is_accepted = parents and all(conditions.is_true(parent, "Accepted") for parent in parents)
    addresses = (found.get("status") or {}).get("addresses") or []
    if not is_accepted or not addresses:
        return "", "its route is not accepted" if addresses else "it has no address"
    return str(addresses[0]["value"]), ""


async def _until(stage: Stage, what: str, why_not: Callable[[], Awaitable[str]]) -> None:
    """Until there is nothing in the way. Raises StagingError when there still is after the time."""
    deadline = stage.clock.monotonic() + stage.timeout_seconds
    while why := await why_not():
        if stage.clock.monotonic() > deadline:
            raise StagingError(f"{what}: {why} after {stage.timeout_seconds:.0f} s")
        await stage.clock.sleep(LOOK_SECONDS)
