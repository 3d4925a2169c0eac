"""Autoscalers: a HorizontalPodAutoscaler that has no target or no metrics."""

import re
from collections.abc import Mapping
from typing import Any

from sampan.meta import conditions, objects
from sampan.platform.health import homes, words
from sampan.platform.health.lookup import Lookup
from sampan.platform.health.verdict import HEALTHY, PROGRESSING, STUCK, Evidence, Verdict, about

Object = Mapping[str, Any]
NO_REQUEST = re.compile(r"missing request for (\S+)(?: in container (\S+))?")
NO_API = re.compile(
    r"could not find the requested resource|the server is currently unable|no metrics returned|unable to fetch"
)


def judge(scaler: Object, look: Lookup) -> Verdict:
    """A HorizontalPodAutoscaler."""
    able, active = conditions.get(scaler, "AbleToScale"), conditions.get(scaler, "ScalingActive")
    if able is not None and able.get("status") == "False":
        return _no_target(scaler, able, look)
    if active is not None and active.get("status") == "False" and active.get("reason") == "ScalingDisabled":
        return about(scaler, HEALTHY, "ScalingDisabled", "does nothing, for its target is scaled to zero")
    if active is not None and active.get("status") == "False":
        return _no_metrics(scaler, active)
    status = scaler.get("status") or {}
    if not status.get("conditions"):
        return about(scaler, PROGRESSING, "NotYetObserved", "has not been looked at by its controller yet")
    limited = conditions.get(scaler, "ScalingLimited") or {}
    most = (scaler.get("spec") or {}).get("maxReplicas")
    if limited.get("status") == "True" and limited.get("reason") == "TooManyReplicas":
        return about(scaler, HEALTHY, "AtMaximum", f"would have more than its maximum of {most}")
    return about(scaler, HEALTHY, "Active", f"wants {status.get('desiredReplicas')} of at most {most} pods")


def _no_target(scaler: Object, condition: Object, look: Lookup) -> Verdict:
    target = (scaler.get("spec") or {}).get("scaleTargetRef") or {}
    kind, name = homes.KINDS.get(str(target.get("kind"))), str(target.get("name", ""))
    text = words.clipped(str(condition.get("message", "")))
    shown = (Evidence("condition", f"AbleToScale=False {condition.get('reason')}: {text}"),)
    steps: tuple[str, ...] = (
        f"{words.in_namespace(objects.namespace(scaler))} edit hpa {objects.name(scaler)}   # spec.scaleTargetRef",
    )
    space = objects.namespace(scaler)
    if kind is None or look.get(kind, name, space) is not None or look.is_hidden(kind, space, name):
        return about(
            scaler, STUCK, str(condition.get("reason")), f"can't scale its target: {text}", evidence=shown, next=steps
        )
    better = words.nearest_object(name, look.list(kind, objects.namespace(scaler)))
    message = f"scales {target.get('kind')} {name}, which does not exist{words.meant(better)}"
    return about(scaler, STUCK, "TargetMissing", message, evidence=shown, next=steps)


def _no_metrics(scaler: Object, condition: Object) -> Verdict:
    text = str(condition.get("message", ""))
    shown = (Evidence("condition", f"ScalingActive=False {condition.get('reason')}: {words.clipped(text)}"),)
    target = (scaler.get("spec") or {}).get("scaleTargetRef") or {}
    ref = f"{str(target.get('kind', '')).lower()}/{target.get('name', '')}"
    where = words.in_namespace(objects.namespace(scaler))
    missing = NO_REQUEST.search(text)
    if missing is not None:
        what, container = missing[1], missing[2] or "CONTAINER"
        message = f"can't tell how busy {ref} is: its container {container} says no request for {what}, of which the target is a share"
        steps: tuple[str, ...] = (f"{where} set resources {ref} -c {container} --requests={what}=AMOUNT",)
        return about(scaler, STUCK, "RequestMissing", message, evidence=shown, next=steps)
    if NO_API.search(text):
        message = f"gets no metrics of {ref}: {words.clipped(text, 160)}"
        steps = (
            "look whether metrics are served: kubectl top pods; kubectl get apiservices",
            f"and whether its pods run: sampan why {ref} -n {objects.namespace(scaler)}",
        )
        return about(scaler, STUCK, "NoMetrics", message, evidence=shown, next=steps)
    steps = (f"{where} describe hpa {objects.name(scaler)}",)
    return about(scaler, STUCK, str(condition.get("reason")), words.clipped(text), evidence=shown, next=steps)
