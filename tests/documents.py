"""Case documents: YAML files of given, when and then, where each document is one test."""

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

_TIMES = "tag:yaml.org,2002:timestamp"


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML in which times stay texts."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMES]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@functools.cache
def load(path: Path) -> list[Any]:
    """All documents of a file: the same ones each time."""
    return list(yaml.load_all(path.read_text(), Loader))  # noqa: S506 (a SafeLoader)


def every(folder: Path) -> list[Any]:
    """For parametrize("path, number"): each document of each file."""
    return [
        pytest.param(path, number, id=f"{path.stem}-{number}")
        for path in sorted(folder.glob("*.yaml"))
        for number, _ in enumerate(load(path))
    ]


def check(path: Path, number: int, run: Callable[[dict[str, Any]], Any], *, update: bool) -> None:
    """What a case leads to is what is written; with `update` that is written first."""
    documents = load(path)
    case = documents[number]
    found = run(copy.deepcopy(case))
    if update:
        case["then"] = found
        path.write_text(yaml.safe_dump_all(documents, sort_keys=False, width=120))
    assert found == case["then"], case["promise"]
