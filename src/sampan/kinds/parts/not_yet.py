"""What this version keeps as upstream does, but nobody acts on yet: told in a warning when it is created.

Nobody shall wonder why nothing happens.
"""

from collections.abc import Mapping
from typing import Any


def warnings(resource: str, obj: Mapping[str, Any]) -> list[str]:
    """For a new object of a resource, such as "services"."""
    if resource == "services" and any(port.get("nodePort") for port in obj["spec"].get("ports") or ()):
        return ["node ports are allocated, but no node forwards them yet in this version of Sampan"]
    return []
