"""Memory: which endpoint each client has, taken over from the table of an agent before this one (pure)."""

from collections.abc import Iterable, Mapping
from typing import Any

from sampan.node.network.services.elements import Element
from sampan.node.network.services.table import KINDS

HOLDERS = tuple(f"clients{kind}" for kind in KINDS)


def kept(listing: Iterable[Mapping[str, Any]]) -> list[Element]:
    """The elements of one map; `listing` is what `nft -j list map` gives. What isn't understood is forgotten."""
    found = []
    for item in listing:
        known = item.get("map") or {}
        for element in known.get("elem") or ():
            key, mark = element
            about = key.get("elem") or {}
            value = about.get("val")
            words = [value] if isinstance(value, int) else (value or {}).get("concat")
            if words and isinstance(mark, int) and about.get("expires", 0) > 0:
                times = f"timeout {about.get('timeout', known['timeout'])}s expires {about['expires']}s"
                found.append(Element(known["name"], f"{' . '.join(map(str, words))} {times}", f"{mark:#x}"))
    return found
