"""Refusals: which Gateways Envoy doesn't serve as it was told, and why; they stand in an annotation of theirs.

Over REST Envoy only asks again with the version that it has, and its reasons stand in its log. What is said on a Gateway
is read by its controller, which puts it into the conditions.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from sampan.gateway.envoy_resources import LISTENERS, ROUTES, SECRETS
from sampan.gateway.traffic import Entrance, Plan
from sampan.kinds.kind import Object
from sampan.meta import objects

ANNOTATION = "gateway.sampan.dev/refused"
MAX_MESSAGE = 1024
_SEVERAL = "Envoy does not take it"
_TYPES = {"listeners": LISTENERS, "routes": ROUTES, "secrets": SECRETS}
_REJECTED = re.compile(r"REST config for /v3/discovery:(\w+) rejected: (.*?)(?=\n\[\d{4}-|\n*\Z)", re.DOTALL)

Subject = tuple[str, str]
"""What Envoy asks for: a type and a name, "" for all of the type."""
Key = tuple[str, str]
Refused = dict[Key, dict[str, str]]
"""By Gateway: by a listener's port, why."""


def reasons(text: str) -> dict[str, str]:
    """By type, what Envoy's log says last of a configuration that it doesn't take."""
    return {_TYPES[kind]: why.strip() for kind, why in _REJECTED.findall(text) if kind in _TYPES}


def attributed(why: Mapping[str, str], refused: Collection[Subject]) -> dict[str, str]:
    """The same, and nothing of it where nobody knows whose it is; of listeners each line bears a name."""
    counts = Counter(type_ for type_, _ in refused)
    return {type_: _SEVERAL if type_ != LISTENERS and counts[type_] > 1 else text for type_, text in why.items()}


def of_gateways(refused: Collection[Subject], why: Mapping[str, str], plan: Plan) -> Refused:
    """Whom it concerns. What nothing is said of in the log was not refused: Envoy may have been started anew."""
    found: Refused = {}
    for entrance in plan.entrances:
        namespace, _, rest = entrance.name.partition("/")
        name, _, port = rest.rpartition("/")
        if not name:
            continue  # that of the Ingresses
        said = next((text for text in _of_entrance(entrance, refused, why) if text), "")
        if said:
            found.setdefault((namespace, name), {})[port] = said[:MAX_MESSAGE]
    return found


def _of_entrance(entrance: Entrance, refused: Collection[Subject], why: Mapping[str, str]) -> Iterator[str]:
    if (LISTENERS, "") in refused:
        line = re.search(
            rf"^(?:Error .*?: |.*listener\(s\) )?{re.escape(entrance.name)}: (.*)$",
            why.get(LISTENERS, ""),
            re.MULTILINE,
        )
        yield line[1] if line else ""
    for door in entrance.doors:
        if (ROUTES, door.name) in refused:
            yield why.get(ROUTES, "")
        for key in door.secrets:
            if (SECRETS, "/".join(key)) in refused:
                yield f"certificate {'/'.join(key)}: {why[SECRETS]}" if SECRETS in why else ""


def of(gateway: Object) -> dict[int, str]:
    """By a listener's port, why Envoy doesn't serve it, as was told on the Gateway."""
    try:
        told = json.loads(objects.annotations(gateway).get(ANNOTATION) or "{}")
        return {int(port): str(why) for port, why in told.items()}
    except (ValueError, AttributeError, RecursionError):  # somebody else has written it
        return {}
