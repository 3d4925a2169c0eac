"""Args: what `{{args.NAME}}` stands for in the metrics of an analysis.

https://argo-rollouts.readthedocs.io/en/stable/features/analysis/#analysis-template-arguments
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.kinds.kind import Object
from sampan.meta import objects

_PLACE = re.compile(r"\{\{\s*args\.([A-Za-z0-9_.-]+)\s*\}\}")
_BY_KEY = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class Unresolved(Exception):
    """An argument has no value; the text is for people."""


def filled(tree: Any, values: Mapping[str, str]) -> Any:
    """The tree with the values in all its texts. Raises Unresolved."""
    if isinstance(tree, dict):
        return {name: filled(value, values) for name, value in tree.items()}
    if isinstance(tree, list):
        return [filled(item, values) for item in tree]
    return _PLACE.sub(lambda match: _value(match[1], values), tree) if isinstance(tree, str) else tree


def merged(given: Sequence[Object], templates: Sequence[Object]) -> list[Object]:
    """The arguments of a run: those that templates name, with what is given for them. Raises Unresolved."""
    wanted = {arg["name"]: arg for arg in given}
    made: dict[str, Object] = {}
    for template in templates:
        for arg in template["spec"].get("args") or ():
            made[arg["name"]] = {**made.get(arg["name"], {}), **arg}
    made = {name: wanted.get(name, arg) for name, arg in made.items()}
    lacking = [name for name, arg in made.items() if "value" not in arg and "valueFrom" not in arg]
    if lacking:
        raise Unresolved(f"args.{lacking[0]} was not resolved")
    return list(made.values())


def given_by(rollout: Object, listed: Sequence[Object], hashes: Mapping[str, str]) -> list[Object]:
    """The arguments that a rollout gives, with values; `hashes` are those of its Stable and Latest pods."""
    return [_given(rollout, arg, hashes) for arg in listed]


def _given(rollout: Object, arg: Object, hashes: Mapping[str, str]) -> Object:
    source = arg.get("valueFrom") or {}
    if "podTemplateHashValue" in source:
        return {"name": arg["name"], "value": hashes.get(source["podTemplateHashValue"], "")}
    if "fieldRef" in source:
        return {"name": arg["name"], "value": field(rollout, source["fieldRef"].get("fieldPath") or "")}
    return arg


def field(obj: Object, path: str) -> str:
    """What a fieldRef means: metadata.name, metadata.labels['x'], status.x ... Empty for what is not there."""
    found = _BY_KEY.fullmatch(path)
    if found is not None:
        return str((obj["metadata"].get(found[1]) or {}).get(found[2], ""))
    value = objects.get_path(obj, path)
    return "" if value is None else str(value)


def _value(name: str, values: Mapping[str, str]) -> str:
    if name not in values:
        raise Unresolved(f"failed to resolve {{{{args.{name}}}}}")
    return values[name]
