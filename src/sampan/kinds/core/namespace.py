"""Namespace: a room for names; deleted, it empties itself before it goes.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/namespace-v1/
"""

from collections.abc import Sequence

from sampan.kinds.kind import CLUSTER, STATUS, Column, Kind, Object, Subresource
from sampan.kinds.parts import finalizer_rules
from sampan.kinds.parts.cells import AGE
from sampan.meta import names, objects
from sampan.meta.status import Cause, invalid_value

NAMESPACE = Kind(
    group="",
    versions=("v1",),
    name="Namespace",
    plural="namespaces",
    scope=CLUSTER,
    schema="io.k8s.api.core.v1.Namespace",
    short_names=("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    subresources=(STATUS, Subresource("finalize", verbs=("update",))),
    unowned={"finalize": ("status",)},
    columns=(Column("Status", "status.phase", description="The status of the namespace"), AGE),
    selectable={"status.phase": "status.phase"},
    name_check=names.dns1123_label,
)

NAME_LABEL = "kubernetes.io/metadata.name"
FINALIZER = "kubernetes"


def default(obj: Object) -> None:
    """Every namespace carries its own name as a label."""
    _label(obj.setdefault("metadata", {}))


def _label(meta: Object) -> None:
    if meta.get("name"):
        labels = meta.get("labels")
        if labels is None:
            labels = meta["labels"] = {}
        labels[NAME_LABEL] = meta["name"]


def prepare(new: Object, old: Object | None, subresource: str) -> None:
    """Created Active, with the finalizer; spec.finalizers change only through /finalize."""
    if old is None:
        _label(new["metadata"])  # a generated name is new to it
        finalizers = list((new.get("spec") or {}).get("finalizers") or ())
        if FINALIZER not in finalizers:
            finalizers.append(FINALIZER)
        new["spec"] = {"finalizers": finalizers}
        new["status"] = {"phase": "Active"}
    elif subresource == "finalize":
        new["status"] = objects.copy(old.get("status") or {})
    else:
        new["spec"] = objects.copy(old.get("spec") or {})


def validate(new: Object, old: Object | None, subresource: str) -> Sequence[Cause]:
    """Finalizers are qualified names; a phase belongs to its deletion timestamp."""
    causes = []
    for index, finalizer in enumerate((new.get("spec") or {}).get("finalizers") or ()):
        where = f"spec.finalizers[{index}]" if subresource == "finalize" else "spec.finalizers"
        causes += [invalid_value(where, finalizer, text) for text in names.qualified_name(finalizer)]
        causes += finalizer_rules.name_causes(finalizer, where)
    if subresource == "status":
        phase = (new.get("status") or {}).get("phase")
        if objects.is_deleting(new) and phase != "Terminating":
            causes.append(
                invalid_value("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")
            )
        if not objects.is_deleting(new) and phase != "Active":
            causes.append(invalid_value("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty"))
    return causes


def deleting(obj: Object) -> None:
    """A namespace under deletion says so."""
    obj.setdefault("status", {})["phase"] = "Terminating"


def holds(obj: Object) -> bool:
    """Its spec.finalizers keep it until its content is gone."""
    return bool((obj.get("spec") or {}).get("finalizers"))
