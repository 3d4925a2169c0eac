"""An application that is one image: its objects, made of what the image says and what the command line asks for. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sampan.cluster.apps import objects
from sampan.cluster.apps.objects import Application, Object, Port, Workload

_PORT = re.compile(r"(?:(\d{1,5}):)?(\d{1,5})(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_SECOND = 10**9


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: the image as pods name it, ports in place of those that it exposes, replicas."""

    image: str
    ports: Sequence[str] = ()
    replicas: int | None = None
    environment: Sequence[tuple[str, str]] = ()
    revision: str = ""
    """Something else that rolls the pods when it changes."""


def translate(app: Application, wish: Wish, config: Object) -> list[Object]:
    """`config` is the image's own (Docker's form). Raises ValueError for ports that can't be."""
    ports = [port(text, is_published=True) for text in wish.ports]
    if not ports:
        ports = [port(text, is_published=True) for text in sorted(config.get("ExposedPorts") or {}, key=_order)]
    container: Object = {"image": wish.image}
    if wish.environment:
        container["env"] = [{"name": name, "value": value} for name, value in wish.environment]
    check: dict[str, Any] = config.get("Healthcheck") or {}
    seconds = {name: (check.get(name.title()) or 0) / _SECOND for name in ("interval", "timeout")}
    probe = objects.readiness(check.get("Test") or (), {**seconds, "retries": check.get("Retries")})
    if probe:
        container["readinessProbe"] = probe
    annotations = {objects.CONTENT: wish.revision} if wish.revision else {}
    what = Workload(app.name, container, ports, wish.replicas, annotations=annotations, has_name=False)
    return objects.workload(app, what)


def port(text: str, *, is_published: bool) -> Port:
    """`80`, `8080:80`, `53/udp`. Raises ValueError."""
    found = _PORT.fullmatch(text)
    target = int(found[2]) if found else 0
    published = int(found[1] or found[2]) if found else 0
    if not found or not 0 < target < 65536 or not 0 < published < 65536:
        raise ValueError(f"{text!r} is not a port: use 80, 8080:80 or 53/udp")
    return Port(target, published if is_published or found[1] else 0, (found[3] or "tcp").upper())


def _order(text: str) -> tuple[int, str]:
    number, _, protocol = text.partition("/")
    return (int(number) if number.isdecimal() else 0, protocol)
