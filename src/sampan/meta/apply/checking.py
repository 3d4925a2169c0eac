"""Checking an applied configuration against its schema: fields it does not know, list items without keys."""

from typing import Any

from sampan.meta import go_text, objects, schema
from sampan.meta.apply import elements
from sampan.meta.status import bad_request

Tree = dict[str, Any]


def check(config: Tree, type: schema.Type) -> None:
    """Raises ApiError 400 for a configuration that the schema does not allow."""
    problems = list(_problems(config, type, ""))
    if not problems:
        return
    namespace, name = objects.key(config)
    where = f"{namespace}/{name}"
    shown = problems[0] if len(problems) == 1 else "errors:\n" + "\n".join(f"  {p}" for p in problems)
    version, kind = config.get("apiVersion", ""), config.get("kind", "")
    raise bad_request(f"failed to create typed patch object ({where}; {version}, Kind={kind}): {shown}")


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
            if key := elements.missing_key(item, type):
                why = f'associative list with keys has an element that omits key field "{key}"'
                problems.append(f"{path}: element {index}: {why} (and doesn't have default value)")
                continue
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
    if isinstance(value, dict | list):
        return f"expected {_EXPECTED.get(type.kind, type.kind)}, got &{{{go_text.text(value)}}}"
    return ""


_EXPECTED = {"integer": "numeric (int or float)", "number": "numeric (int or float)", "time": "string"}
