"""Which probes and lifecycle hooks are refused: one action each, at sensible times."""

import re
from collections.abc import Mapping
from typing import Any

from sampan.kinds.parts import numbers
from sampan.meta import names
from sampan.meta.status import Cause, forbidden_field, invalid_value, not_supported, required

_ACTIONS = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOKS = ("exec", "httpGet", "tcpSocket", "sleep")
_COUNTS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_SCHEMES = ("HTTP", "HTTPS")
_HEADER = re.compile("[-A-Za-z0-9]+")
_HEADER_TEXT = names.regex_error(
    "a valid HTTP header must consist of alphanumeric characters or '-'", "[-A-Za-z0-9]+", "X-Header-Name"
)


def causes(probe: Mapping[str, Any], path: str, *, once: bool) -> list[Cause]:
    """One action; counts not negative; `once`: a single success decides (liveness, startup)."""
    found = _action_causes(probe, path, _ACTIONS)
    found += numbers.negative_causes(probe, path, *_COUNTS)
    if once and probe.get("successThreshold", 1) != 1:
        found.append(invalid_value(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        found.append(invalid_value(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    if not once and grace is not None:
        text = "must not be set for readinessProbes"
        found.append(invalid_value(f"{path}.terminationGracePeriodSeconds", grace, text))
    return found


def lifecycle_causes(lifecycle: Mapping[str, Any], path: str, grace_seconds: int | None = None) -> list[Cause]:
    """postStart and preStop, each with one action; a sleep ends within the pod's grace."""
    found: list[Cause] = []
    for name in ("postStart", "preStop"):
        if lifecycle.get(name) is not None:
            found += _action_causes(lifecycle[name], f"{path}.{name}", _HOOKS)
            found += _sleep_causes(lifecycle[name].get("sleep"), f"{path}.{name}.sleep", grace_seconds)
    return found


def _sleep_causes(sleep: Mapping[str, Any] | None, path: str, grace_seconds: int | None) -> list[Cause]:
    seconds = (sleep or {}).get("seconds") or 0
    if sleep is None or grace_seconds is None or 0 <= seconds <= grace_seconds:
        return []
    text = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_seconds})"
    return [invalid_value(path, seconds, text)]


def _action_causes(handler: Mapping[str, Any], path: str, actions: tuple[str, ...]) -> list[Cause]:
    given = [name for name in actions if handler.get(name) is not None]
    if not given:
        return [required(path, "must specify a handler type")]
    found = [forbidden_field(f"{path}.{name}", "may not specify more than 1 handler type") for name in given[1:]]
    name, where = given[0], f"{path}.{given[0]}"
    action = handler[name]
    if name == "exec" and not action.get("command"):
        found.append(required(f"{where}.command"))
    elif name in {"httpGet", "tcpSocket"}:
        found += _port_causes(action.get("port"), f"{where}.port")
        if name == "httpGet":
            found += _http_causes(action, where)
    elif name == "grpc":
        found += _port_causes(action.get("port"), f"{where}.port")
    return found


def _http_causes(action: Mapping[str, Any], path: str) -> list[Cause]:
    found = []
    if not action.get("path"):
        found.append(required(f"{path}.path"))
    if action.get("scheme") not in _SCHEMES:
        found.append(not_supported(f"{path}.scheme", action.get("scheme") or "", _SCHEMES))
    for header in action.get("httpHeaders") or ():
        name = header.get("name") or ""
        if _HEADER.fullmatch(name) is None:
            found.append(invalid_value(f"{path}.httpHeaders", name, _HEADER_TEXT))
    return found


def _port_causes(port: Any, path: str) -> list[Cause]:
    if isinstance(port, str):
        return [invalid_value(path, port, text) for text in names.port_name(port)]
    number = port or 0
    return [invalid_value(path, number, text) for text in names.port_number(number)]
