"""Checking an applied configuration against its schema: fields it does not know, list items without keys, other types.

Scalars are refused in the same words and at the same time as upstream does: it knows text, numbers, booleans, and what may
be any of them (times, quantities). Whether a number is whole is asked later.
"""

from typing import Any

from sampan.meta import go_text, objects, schema
from sampan.meta.apply import elements
from sampan.meta.status import failure

Tree = dict[str, Any]


def check(config: Tree, type: schema.Type) -> None:
    """Raises ApiError 500, as upstream, for a configuration that the schema does not allow."""
    problems = list(_problems(config, type, ""))
    if not problems:
        return
    namespace, name = objects.key(config)
    where = f"{namespace}/{name}"
    shown = problems[0] if len(problems) == 1 else "errors:\n" + "\n".join(f"  {p}" for p in problems)
    group, _, version = config.get("apiVersion", "").rpartition("/")
    what = f"{where}; {group}/{version}, Kind={config.get('kind', '')}"
    raise failure(500, "", f"failed to create typed patch object ({what}): {shown}")


def _problems(value: Any, type: schema.Type, path: str) -> list[str]:
    if value is None or type.kind == "any":
        return []
    if isinstance(value, dict) and type.kind in {"object", "map"}:
        return _map_problems(value, type, path)
    if isinstance(value, list) and type.kind == "array":
        return _list_problems(value, type, path)
    wrong = _mismatch(value, type)
    return [f"{path}: {wrong}"] if wrong else []


def _map_problems(value: Tree, type: schema.Type, path: str) -> list[str]:
    problems = []
    for name, child in value.items():
        field = type.fields.get(name) if type.kind == "object" else type.items
        if field is not None:
            problems += _problems(child, field, f"{path}.{name}")
        elif not type.preserve_unknown:
            problems.append(f"{path}.{name}: field not declared in schema")
    return problems


def _list_problems(value: list[Any], type: schema.Type, path: str) -> list[str]:
    problems = []
    seen: set[str] = set()
    for index, item in enumerate(value):
        element = None
        if type.list_type in {"set", "map"}:
            if why := elements.misfit(item, type):
                problems.append(f"{path}: element {index}: {why}")
                break
            element = elements.of_item(item, type)
            if element is not None and element in seen:
                problems.append(f"{path}: duplicate entries for key {elements.show(element)}")
            seen.add(element or "")
        where = elements.show(element) if element else f"[{index}]"
        problems += _problems(item, type.items, path + where)
    return problems


def _mismatch(value: Any, type: schema.Type) -> str:
    if type.kind in {"object", "map"}:
        return f"expected map, got &{{{go_text.text(value)}}}"
    if type.kind == "array":
        return f"expected list, got &{{{go_text.text(value)}}}"
    if type.kind in {"integer", "number"}:
        is_right = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if is_right else f"expected numeric (int or float), got {go_text.type_name(value)}"
    if type.kind == "boolean":
        return "" if isinstance(value, bool) else f"expected boolean, got &{{{go_text.text(value)}}}"
    if type.kind == "string" and type.format in {"", "byte"}:
        is_right = isinstance(value, str)
        return "" if is_right else f"expected string, got &value.valueUnstructured{{Value:{go_text.syntax(value)}}}"
    return f"expected any scalar, got &{{{go_text.text(value)}}}" if isinstance(value, dict | list) else ""
