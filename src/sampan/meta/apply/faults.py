"""What is wrong with managedFields that somebody else wrote, in the reference server's words.

https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from typing import Any

import orjson

from sampan.meta import status
from sampan.meta.apply import fieldset

Tree = dict[str, Any]


def fault(entries: Any) -> str:
    """The first fault of a list of entries; "" when they are sound, or when there are none."""
    for index, entry in enumerate(entries or ()):
        if entry.get("operation") not in ("Apply", "Update"):
            return "operation must be `Apply` or `Update`"
        if not entry.get("apiVersion"):
            return "apiVersion must not be empty"
        form = entry.get("fieldsType") or ""
        if form != "FieldsV1":
            what = f"invalid fieldsType {status.show(form)}" if form else "missing fieldsType"
            return f"{what} in managed fields entry {index}"
        if not fieldset.is_valid(entry.get("fieldsV1") or {}):
            return f"error decoding versioned set from {_shown(entry)}: error decoding set: not a set of fields"
    return ""


def _shown(entry: Tree) -> str:
    parts = [str(entry.get(name) or "") for name in ("manager", "operation", "apiVersion", "time", "fieldsType")]
    return "{" + " ".join([*parts, orjson.dumps(entry["fieldsV1"]).decode(), entry.get("subresource") or ""]) + "}"
