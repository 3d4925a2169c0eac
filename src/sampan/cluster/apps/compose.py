"""Compose files: read, with their variables replaced, and made into plain Kubernetes objects. Pure.

The form is the Compose Specification (https://github.com/compose-spec/compose-spec/blob/main/spec.md). A key that is not
understood is refused by name; what Kubernetes needs no words for, or can't do and is harmless, is left out with a note.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from sampan.cluster.apps import compose_files, compose_service, objects
from sampan.cluster.apps.compose_files import Surroundings
from sampan.cluster.apps.compose_values import ComposeError, mapping, name_of
from sampan.cluster.apps.objects import Application, Object
from sampan.node.images.building import expansion

_TOP = {"version", "name", "services", "volumes", "networks", "configs", "secrets"}
_BUILD = {"context", "dockerfile", "args", "target"}
MAX_SERVICES = 200


@dataclass(frozen=True, slots=True)
class Build:
    """An image that is built of a folder."""

    image: str
    context: str
    file: str = ""
    target: str = ""
    arguments: Sequence[tuple[str, str]] = ()


@dataclass(slots=True)
class Project:
    """What a file asks for: builds by service, and objects in waves, each to be up before the next is begun."""

    name: str
    builds: dict[str, Build] = field(default_factory=dict)
    waves: list[list[Object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def load(text: str, around: Surroundings) -> tuple[Object, list[str]]:
    """The file with its variables replaced, and notes on those that are not set. Raises ComposeError."""
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ComposeError(f"not YAML: {' '.join(str(error).split())[:300]}") from error
    missing: dict[str, None] = {}
    tree = _replaced(tree, _Variables(around.variables, missing), "")
    top = mapping(tree, "the file")
    _refuse_unknown(top, _TOP, "")
    if not mapping(top.get("services"), "services"):
        raise ComposeError("there are no services")
    return top, [f"the variable {name} is not set, and taken as empty" for name in missing]


def builds(tree: Object, project: str) -> dict[str, Build]:
    """The images that are built, by service. Raises ComposeError."""
    found = {}
    for service, entry in _services(tree):
        asked = entry.get("build")
        if asked is None:
            continue
        where = f"services.{service}.build"
        one = {"context": asked} if isinstance(asked, str) else mapping(asked, where)
        _refuse_unknown(one, _BUILD, f"{where}.")
        found[service] = Build(
            str(entry.get("image") or f"{project}-{name_of(service, 'service')}"),
            str(one.get("context") or "."),
            str(one.get("dockerfile") or ""),
            str(one.get("target") or ""),
            compose_files.pairs(one.get("args"), f"{where}.args"),
        )
    return found


def translate(tree: Object, app: Application, images: Mapping[str, str], around: Surroundings) -> Project:
    """`images` are those that were built, by service, as pods name them. Raises ComposeError."""
    project = Project(app.name)
    known = compose_files.known(tree, app, around)
    needs = {service: compose_service.needs(service, entry) for service, entry in _services(tree)}
    jobs = {other for wanted in needs.values() for other, condition in wanted.items() if condition == "done"}
    context = compose_service.Context(app, known, around.folder, around.read, around.variables, project.notes)
    made: dict[str, list[Object]] = {}
    for service, entry in _services(tree):
        one = {**entry, "image": images.get(service, entry.get("image"))}
        what = compose_service.translate(service, one, context, is_job=service in jobs)
        made[service] = objects.workload(app, what)
    project.waves = [[*known.objects]] if known.objects else []
    project.waves += [[each for service in wave for each in made[service]] for wave in _waves(needs)]
    if mapping(tree.get("networks"), "networks"):
        project.notes.append("networks: all pods reach each other; see NetworkPolicy to keep them apart")
    project.notes += _left_out(tree)
    return project


def _services(tree: Object) -> Iterator[tuple[str, Object]]:
    """Those without profiles, in their order."""
    services = mapping(tree["services"], "services")
    if len(services) > MAX_SERVICES:
        raise ComposeError(f"there are more than {MAX_SERVICES} services")
    for name, entry in services.items():
        one = mapping(entry, f"services.{name}")
        if not one.get("profiles"):
            yield str(name), one


def _left_out(tree: Object) -> list[str]:
    return [
        f"services.{name} is left out: it has profiles"
        for name, entry in mapping(tree["services"], "services").items()
        if mapping(entry, f"services.{name}").get("profiles")
    ]


def _waves(needs: Mapping[str, Mapping[str, str]]) -> list[list[str]]:
    """The services so that each comes after those that it depends on. Raises ComposeError."""
    waves: list[list[str]] = []
    done: set[str] = set()
    while len(done) < len(needs):
        for service, wanted in needs.items():
            unknown = [other for other in wanted if other not in needs]
            if unknown:
                raise ComposeError(f"services.{service}.depends_on: there is no service {unknown[0]}")
        wave = [service for service, wanted in needs.items() if service not in done and done.issuperset(wanted)]
        if not wave:
            rest = ", ".join(service for service in needs if service not in done)
            raise ComposeError(f"depends_on goes in a circle: {rest}")
        waves.append(wave)
        done.update(wave)
    return waves


def _refuse_unknown(tree: Object, known: set[str], where: str) -> None:
    for key in tree:
        if key not in known and not str(key).startswith("x-"):
            raise ComposeError(f"{where}{key} is not supported")


class _Variables(dict[str, str]):
    """The variables; remembers which were asked for and are not set."""

    def __init__(self, known: Mapping[str, str], missing: dict[str, None]) -> None:
        super().__init__(known)
        self._missing = missing

    def get(self, name: str, default: Any = None) -> Any:
        if name not in self and default == "":
            self._missing[name] = None
        return super().get(name, default)


def _replaced(tree: Any, variables: _Variables, where: str, depth: int = 0) -> Any:
    if depth > 50:
        raise ComposeError(f"{where}: nested too deeply")
    if isinstance(tree, dict):
        return {
            key: _replaced(value, variables, f"{where}.{key}".lstrip("."), depth + 1) for key, value in tree.items()
        }
    if isinstance(tree, list):
        return [_replaced(value, variables, where, depth + 1) for value in tree]
    if not isinstance(tree, str) or "$" not in tree:
        return tree
    try:
        return "$".join(expansion.expand_document(part, variables) for part in re.split(r"\$\$", tree))
    except expansion.ExpansionError as error:
        raise ComposeError(f"{where}: {error}") from error
