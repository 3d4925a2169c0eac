"""The house rules: file and function sizes, parameters, empty package files, docstrings, who reads a clock.

A rule may have exceptions, listed here by name; the lists only shrink.
"""

import ast
import functools
import gc
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "sampan"
FILES = sorted(SOURCE.rglob("*.py"))
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 5

LONG_FILES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()
MANY_PARAMETERS = {"meta/conditions.py:set"}  # the fields of a condition

CLOCK_MODULES = {"time", "random", "secrets", "uuid"}
CLOCK_READERS = {"kit", "cli", "cluster"}
TASK_STARTERS = {"create_task"}
CLOCK_EXCEPTIONS = {
    "node/network/dns/exchange.py",  # a question's id must not be guessed
    "testing/waits.py",  # puts something else in the clocks' places
    "testing/wall_clock.py",  # the same
    "store/sqlite_writer.py",  # its own thread, waiting for a foreign lock
}


@functools.cache
def parse(path: Path) -> ast.Module:
    """Without collecting garbage meanwhile: what that complains of is shown by parsing too, which 3.11 can't do inside of it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_text(), str(path))
    finally:
        if was_on:
            gc.enable()


def label(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [n for n in ast.walk(parse(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len([n for n in names if n not in ("self", "cls")])


def test_a_file_answers_one_question() -> None:
    """No file is over 600 lines."""
    long = {label(p) for p in FILES if len(p.read_text().splitlines()) > MAX_FILE_LINES}
    assert long == LONG_FILES


def test_a_function_fits_on_a_screen() -> None:
    """No function is over 60 lines."""
    long = {
        f"{label(p)}:{f.name}"
        for p in FILES
        for f in functions(p)
        if (f.end_lineno or 0) - f.lineno >= MAX_FUNCTION_LINES
    }
    assert long == LONG_FUNCTIONS


def test_parameters_are_few() -> None:
    """No function has more than five parameters."""
    many = {f"{label(p)}:{f.name}" for p in FILES for f in functions(p) if parameters(f) > MAX_PARAMETERS}
    assert many == MANY_PARAMETERS


def test_package_files_are_empty() -> None:
    """Importing a folder runs nothing. `sampan.testing` is what users import: it loads what they ask for."""
    filled = [label(p) for p in FILES if p.name == "__init__.py" and p.read_text().strip()]
    assert filled == ["testing/__init__.py"]


@pytest.mark.parametrize("path", [p for p in FILES if p.name != "__init__.py"], ids=label)
def test_a_file_says_what_it_is_for(path: Path) -> None:
    """Every file starts with a docstring."""
    assert ast.get_docstring(parse(path))


def test_only_kit_reads_the_clock_and_starts_tasks() -> None:
    """Time, randomness and new tasks come from kit (the command line's own processes may wait)."""
    broken = []
    for path in FILES:
        if path.relative_to(SOURCE).parts[0] in CLOCK_READERS or label(path) in CLOCK_EXCEPTIONS:
            continue
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Import) and any(a.name in CLOCK_MODULES for a in node.names):
                broken.append(f"{label(path)}:{node.lineno}")
            if isinstance(node, ast.ImportFrom) and node.module in CLOCK_MODULES:
                broken.append(f"{label(path)}:{node.lineno}")
            if isinstance(node, ast.Attribute) and node.attr in TASK_STARTERS:
                broken.append(f"{label(path)}:{node.lineno}")
    assert broken == []
