"""What an expression may name: variables with their types, and which optional parts of the language are on.

`Environment({"self": types.of_schema(...)}).compile("self.x > 1", (types.BOOL,))` gives a Program or raises
CompileError with the text that the reference server prints. Environments are values; programs are cached.

https://kubernetes.io/docs/reference/using-api/cel/
"""

from collections.abc import Mapping

from sampan.cel import types
from sampan.cel.program import Program
from sampan.cel.syntax import SourceError, render

_KEPT = 2000
_BY_NAME = frozenset({"null", "timestamp", "duration"})


class CompileError(Exception):
    """An expression does not compile. The text: compilation failed: ERROR: <input>:1:6: undeclared reference to ..."""


class Environment:
    """Variables by name; `mutation` turns on Object{...} and JSONPatch{...}.

    `variables` of admission policies: `declare` returns an environment that has one more of them.
    """

    def __init__(self, variables: Mapping[str, types.Type], *, mutation: bool = False) -> None:
        self.variables = dict(variables)
        self.mutation = mutation
        self._programs: dict[str, Program] = {}

    def declare(self, name: str, type_: types.Type) -> "Environment":
        """This environment with `variables.NAME` of that type added."""
        known = self.variables.get("variables")
        fields = {**(known.fields if known is not None else {}), name: type_}
        composite = types.object_of("kubernetes.variables", fields)
        return Environment({**self.variables, "variables": composite}, mutation=self.mutation)

    def compile(self, source: str, results: tuple[types.Type, ...] = ()) -> Program:
        """The program. With `results`, another result type is refused: "must evaluate to bool but got int".

        Callers with a text of their own (CRDs: "cel expression must evaluate to a bool") leave `results` out
        and look at `result_type`.
        """
        program = self._programs.get(source)
        if program is None:
            program = self._compile(source)
            if len(self._programs) >= _KEPT:
                self._programs.clear()
            self._programs[source] = program
        if results and program.result_type not in results and types.DYN not in results:
            names = [_name(t) for t in results]
            wanted = names[0] if len(names) == 1 else f"one of [{' '.join(names)}]"
            raise CompileError(f"must evaluate to {wanted} but got {_name(program.result_type)}")
        return program

    def _compile(self, source: str) -> Program:
        # The language is loaded by the first expression, not at start-up.
        from sampan.cel import compiler

        try:
            return compiler.compile_source(source, self.variables, mutation=self.mutation)
        except SourceError as wrong:
            raise CompileError(f"compilation failed: {render(source, wrong.problems)}") from None


def _name(type_: types.Type) -> str:
    return type_.name if type_.kind in _BY_NAME else str(type_)
