"""An operator as kopf's users write them: handlers, a timer, a daemon, a finalizer and admission."""

import os
from typing import Any

import kopf

WHERE = ("kopf.example.com", "v1", "booths")


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    keys = os.environ["WEBHOOK_KEYS"]
    settings.admission.server = kopf.WebhookServer(
        addr="127.0.0.1",
        host="127.0.0.1",
        cafile=f"{keys}/ca.crt",
        certfile=f"{keys}/hook.crt",
        pkeyfile=f"{keys}/hook.key",
    )
    settings.admission.managed = "booths.kopf.example.com"
    settings.persistence.finalizer = "kopf.example.com/hold"


@kopf.on.create(*WHERE)
async def made(spec: kopf.Spec, name: str, namespace: str, **_: Any) -> dict[str, Any]:
    import kubernetes_asyncio.client as api
    import kubernetes_asyncio.config

    await kubernetes_asyncio.config.load_kube_config()
    async with api.ApiClient() as client:
        body = {"metadata": {"name": name}, "data": {"size": str(spec["size"])}}
        kopf.adopt(body)
        await api.CoreV1Api(client).create_namespaced_config_map(namespace, body)
    return {"size": spec["size"]}


@kopf.on.update(*WHERE, field="spec.size")
def grown(old: Any, new: Any, patch: kopf.Patch, **_: Any) -> None:
    patch.status["grown"] = f"{old} to {new}"


@kopf.on.delete(*WHERE)
def gone(**_: Any) -> None:
    """Its being there makes kopf hold the object by a finalizer."""


@kopf.timer(*WHERE, interval=0.5)
def ticked(patch: kopf.Patch, status: kopf.Status, **_: Any) -> None:
    if status.get("ticks", 0) < 2:
        patch.status["ticks"] = status.get("ticks", 0) + 1


@kopf.daemon(*WHERE)
async def minded(stopped: kopf.DaemonStopped, patch: kopf.Patch, **_: Any) -> None:
    """Ends by itself, for only then is its patch sent."""
    await stopped.wait(0.2)
    patch.status["minded"] = True


@kopf.on.validate(*WHERE)
def judged(spec: kopf.Spec, warnings: list[str], **_: Any) -> None:
    if spec.get("size", 0) > 100:
        raise kopf.AdmissionError("nobody needs such a booth", code=418)
    if spec.get("size", 0) > 50:
        warnings.append("this is a large booth")


@kopf.on.mutate(*WHERE)
def dressed(patch: kopf.Patch, spec: kopf.Spec, **_: Any) -> None:
    if "colour" not in spec:
        patch.spec["colour"] = "red"
