"""Which finalizers of built-in objects are refused: those that belong to nobody, having neither a domain nor a known name.

https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/
"""

from collections.abc import Callable, Sequence

from sampan.kinds.kind import Object
from sampan.meta.status import Cause, invalid_value

Validate = Callable[[Object, Object | None, str], Sequence[Cause]]

_STANDARD = ("foregroundDeletion", "kubernetes", "orphan")
_TEXT = "name is neither a standard finalizer name nor is it fully qualified"


def name_causes(name: str, path: str) -> list[Cause]:
    """One finalizer: example.com/mine, or one of Kubernetes' own."""
    return [] if "/" in name or name in _STANDARD else [invalid_value(path, name, _TEXT)]


def judged(validate: Validate) -> Validate:
    """The same rules, and that of metadata.finalizers; what is stored already may stay."""

    def both(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
        listed = (new.get("metadata") or {}).get("finalizers")
        if not listed:
            return validate(new, old, subresource)
        kept = ((old or {}).get("metadata") or {}).get("finalizers") or ()
        found = [
            cause
            for index, name in enumerate(listed)
            if name not in kept
            for cause in name_causes(name, f"metadata.finalizers[{index}]")
        ]
        return [*found, *validate(new, old, subresource)]

    return both
