"""A label selector as upstream's messages print the structure."""

from collections.abc import Mapping
from typing import Any


def shown(selector: Mapping[str, Any] | None) -> str:
    """ "nil" for none."""
    if selector is None:
        return "nil"
    labels = "".join(f"{k}: {v}," for k, v in sorted((selector.get("matchLabels") or {}).items()))
    requirements = "".join(
        f"LabelSelectorRequirement{{Key:{r['key']},Operator:{r['operator']},Values:[{' '.join(r.get('values') or ())}],}},"
        for r in selector.get("matchExpressions") or ()
    )
    matches = (
        f"MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{requirements}}},"
    )
    return f"&LabelSelector{{{matches}}}"
