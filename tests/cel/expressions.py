"""What the CEL tests share: evaluating an expression over variables with declared types."""

from typing import Any

from sampan.cel import types
from sampan.cel.environment import Environment
from sampan.cel.program import Budget
from sampan.meta import schema

VARIABLES = {
    "self": types.DYN,
    "x": types.INT,
    "f": types.DOUBLE,
    "s": types.STRING,
    "l": types.list_of(types.INT),
    "m": types.map_of(types.STRING, types.INT),
    "b": types.BOOL,
}
VALUES: dict[str, Any] = {
    "self": {"a": {"b": 1}, "n": None, "list": [1, 2, 3], "name": "web"},
    "x": 3,
    "f": 1.5,
    "s": "hello",
    "l": [3, 1, 2],
    "m": {"a": 1, "b": 2},
    "b": True,
}
PLAIN = Environment(VARIABLES)


def evaluate(source: str) -> Any:
    """The value of an expression over VALUES."""
    return PLAIN.compile(source).evaluate(VALUES, Budget())


def of_schema(node: dict[str, Any], *, root: bool = False) -> types.Type:
    """The type of a schema; it must be one that rules can reach."""
    made = types.of_schema(schema.Type.from_openapi(node), root=root)
    assert made is not None
    return made


def over(node: dict[str, Any], source: str, value: Any, *, root: bool = False) -> Any:
    """The value of an expression whose `self` is of a schema."""
    program = Environment({"self": of_schema(node, root=root)}).compile(source)
    return program.evaluate({"self": value}, Budget())
