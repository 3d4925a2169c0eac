"""Literals that are checked before any evaluation: patterns, durations and timestamps.

https://pkg.go.dev/github.com/google/cel-go/cel#ValidateRegexLiterals
"""

from collections.abc import Callable, Sequence

from sampan.cel import regex, times
from sampan.cel.syntax import Call, Const, Node, SourceError


def check(nodes: Sequence[Node]) -> None:
    """Raises SourceError for calls whose literal argument can't be right."""
    problems = []
    for node in nodes:
        if not isinstance(node, Call) or not node.args:
            continue
        parse = _PARSERS.get(node.function)
        literal = node.args[-1] if node.function == "matches" else node.args[0]
        if parse is None or not isinstance(literal, Const) or not isinstance(literal.value, str):
            continue
        try:
            parse(literal.value)
        except ValueError:
            problems.append((literal.at, f"invalid {node.function} argument"))
    if problems:
        raise SourceError(problems)


_PARSERS: dict[str, Callable[[str], object]] = {
    "matches": regex.compiled_or_error,
    "duration": times.parse_duration,
    "timestamp": times.parse_timestamp,
}
