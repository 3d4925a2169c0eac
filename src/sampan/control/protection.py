"""Protection: a finalizer of ours keeps an object while something uses it, and goes when nothing does."""

from sampan.control import decorate
from sampan.control.plan import Plan, plan
from sampan.kinds.kind import Kind, Object
from sampan.meta import objects


def keep(kind: Kind, obj: Object, finalizer: str, *, in_use: bool) -> Plan:
    """Puts the finalizer on an object that lives without it, and takes it off a deleted one that is not in use."""
    present = objects.finalizers(obj)
    if not objects.is_deleting(obj):
        wanted = present if finalizer in present else [*present, finalizer]
    elif in_use:
        wanted = present
    else:
        wanted = [name for name in present if name != finalizer]
    return plan(decorate.metadata(kind, obj, finalizers=wanted))
