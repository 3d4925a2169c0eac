"""JSON patches: jsonpatch.escapeKey makes a key fit into a path.

https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/
"""

from sampan.cel.functions import Overload, traverse
from sampan.cel.types import STRING


def _escape_key(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


FUNCTIONS: dict[str, list[Overload]] = {
    "jsonpatch.escapeKey": [
        Overload("string_jsonpatch_escapeKey_string", (STRING,), STRING, _escape_key, cost=traverse())
    ]
}
