"""An operator as kopf's users write them, with hours and days in it."""

import asyncio
import time
from typing import Any

import kopf

WHERE = ("kopf.example.com", "v1", "booths")


@kopf.on.startup()
def ready(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.background.instant_exit_timeout = 60  # else an object that is deleted may overtake its daemons


@kopf.on.login()
def known(**given: Any) -> Any:
    return kopf.login_with_kubeconfig(**given)


@kopf.on.create(*WHERE)
async def made(retry: int, **_: Any) -> dict[str, int]:
    if retry < 3:
        raise kopf.TemporaryError("the wood has not come yet", delay=600)
    return {"retries": retry}


@kopf.on.update(*WHERE, field="spec.size")
def grown(old: Any, new: Any, patch: kopf.Patch, **_: Any) -> None:
    time.sleep(300)
    patch.status["grown"] = f"{old} to {new}"


@kopf.on.delete(*WHERE)
async def gone(**_: Any) -> None:
    await asyncio.sleep(900)


@kopf.timer(*WHERE, interval=86400, initial_delay=86400)
def ticked(patch: kopf.Patch, status: kopf.Status, **_: Any) -> None:
    patch.status["ticks"] = status.get("ticks", 0) + 1


@kopf.daemon(*WHERE, cancellation_timeout=1)
async def minded(stopped: kopf.DaemonStopped, memo: kopf.Memo, **_: Any) -> None:
    while not stopped:
        memo.hours = memo.get("hours", -1) + 1
        await stopped.wait(3600)


@kopf.daemon(*WHERE, cancellation_timeout=1)
def watched(stopped: kopf.DaemonStopped, memo: kopf.Memo, **_: Any) -> None:
    while not stopped:
        memo.halves = memo.get("halves", -1) + 1
        stopped.wait(1800)


@kopf.timer(*WHERE, interval=21700, initial_delay=21700)
def told(patch: kopf.Patch, memo: kopf.Memo, **_: Any) -> None:
    patch.status["told"] = {"hours": memo.hours, "halves": memo.halves}
