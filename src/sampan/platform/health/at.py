"""At: the container that a rule looks at, with everything around it that a rule may need."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sampan.meta import objects
from sampan.platform.health import homes, words
from sampan.platform.health.homes import Home
from sampan.platform.health.lookup import Lookup, warnings
from sampan.platform.health.verdict import Evidence, Verdict

Object = Mapping[str, Any]
MAX_LOG_LINES = 4


@dataclass(frozen=True, slots=True)
class At:
    """`container` is its spec, `status` its entry of the pod's status, `field` containers or initContainers."""

    look: Lookup
    pod: Object
    container: Object
    status: Object
    field: str = "containers"

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self.container.get("name", ""))

    @property
    def path(self) -> str:
        """The container in a pod's spec, for people."""
        return f"{self.field}[{self.name}]"

    @property
    def namespace(self) -> str:
        """The pod's."""
        return objects.namespace(self.pod)

    @property
    def home(self) -> Home:
        """Where its template is."""
        return homes.of(self.pod, self.look)

    def verdict(self, state: str, reason: str, message: str, **more: Any) -> Verdict:
        """A verdict on the container."""
        noun = "init container" if self.field == "initContainers" else "container"
        return Verdict(f"{noun} {self.name}", state, reason, message, self.namespace, **more)

    def told(self, *reasons: str) -> tuple[Evidence, ...]:
        """The latest warning about this container, of these reasons."""
        return tuple(told(event, self.look) for event in warnings(self.look, self.pod, *reasons, part=self.name)[:1])


def told(event: Object, look: Lookup) -> Evidence:
    """An event as evidence."""
    count = (event.get("series") or {}).get("count") or event.get("count") or 1
    times = f" (x{count})" if count > 1 else ""
    return Evidence("event", f"{event.get('reason', '')}{times}: {words.clipped(str(event.get('message', '')))}")


def logged(lines: tuple[str, ...]) -> tuple[Evidence, ...]:
    """The last lines of a log as evidence."""
    said = [line.rstrip() for line in lines if line.strip()]
    return tuple(Evidence("log", words.clipped(line)) for line in said[-MAX_LOG_LINES:])
