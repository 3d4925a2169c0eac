"""Reconcile: a default role or binding as it should be at start, with everything that somebody added to it.

What is missing is added; nothing is taken away. Only a binding that names another role is made anew,
since that cannot be changed.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#auto-reconciliation
"""

from typing import Any

from sampan.meta import objects
from sampan.server.authz import matching

Tree = dict[str, Any]
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"


def is_protected(live: Tree) -> bool:
    """Whether somebody asked that the object be left alone."""
    return objects.annotations(live).get(AUTOUPDATE) == "false"


def names_another_role(live: Tree, wanted: Tree) -> bool:
    """Whether the binding has to be deleted and made anew."""
    return "roleRef" in wanted and live.get("roleRef") != wanted["roleRef"]


def role(live: Tree, wanted: Tree) -> Tree | None:
    """The role to write, or None when the live one gives at least what is wanted."""
    changed = _with_metadata(live, wanted)
    aggregation = wanted.get("aggregationRule")
    if aggregation is not None:
        selectors = _joined((live.get("aggregationRule") or {}).get("clusterRoleSelectors"), aggregation)
        changed["aggregationRule"] = {**(live.get("aggregationRule") or {}), "clusterRoleSelectors": selectors}
    else:
        present, given = live.get("rules") or [], wanted.get("rules") or []
        missing = [] if present == given else matching.compact(matching.uncovered(present, given))
        if missing:
            changed["rules"] = [*present, *missing]
    return None if changed == live else changed


def binding(live: Tree, wanted: Tree) -> Tree | None:
    """The binding to write, or None when the live one has at least the wanted subjects."""
    changed = _with_metadata(live, wanted)
    present = live.get("subjects") or []
    missing = [subject for subject in wanted.get("subjects") or () if subject not in present]
    if missing:
        changed["subjects"] = [*present, *missing]
    return None if changed == live else changed


def _joined(present: list[Tree] | None, aggregation: Tree) -> list[Tree]:
    found = present or []
    return [*found, *(s for s in aggregation.get("clusterRoleSelectors") or () if s not in found)]


def _with_metadata(live: Tree, wanted: Tree) -> Tree:
    """A copy with the labels and annotations that are missing; those with another value stay."""
    metadata = dict(live["metadata"])
    for field in ("labels", "annotations"):
        merged = {**(wanted["metadata"].get(field) or {}), **(metadata.get(field) or {})}
        if merged:
            metadata[field] = merged
    return {**live, "metadata": metadata}
