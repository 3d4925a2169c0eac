"""From source to Program: parse, check types, check literals, estimate the cost, make closures."""

from collections.abc import Mapping

from sampan.cel import estimate, interpreter, literals, types
from sampan.cel.checker import Checker
from sampan.cel.functions import all_functions
from sampan.cel.parser import parse
from sampan.cel.program import Program
from sampan.cel.syntax import NOWHERE, SourceError


def compile_source(source: str, variables: Mapping[str, types.Type], *, mutation: bool) -> Program:
    """The program. Raises SourceError."""
    tree = parse(source)
    checker = Checker(variables, all_functions(), mutation=mutation)
    try:
        result = checker.check(tree)
        literals.check(checker.nodes)
        cost = estimate.cost(tree)
        run = interpreter.build(tree)
    except RecursionError:
        raise SourceError([(NOWHERE, "expression recursion limit exceeded: 250")]) from None
    return Program(source, run, result, cost, {name: variables[name] for name in checker.used})
