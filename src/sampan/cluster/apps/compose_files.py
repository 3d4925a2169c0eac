"""What a compose file's services share: named volumes, configs, secrets; and environments, in lists, mappings and files. Pure."""

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.cluster.apps import objects
from sampan.cluster.apps.compose_values import ComposeError, mapping, name_of, text, texts
from sampan.cluster.apps.objects import Application, Object

CLAIM_SIZE = "1Gi"
_VOLUME = {"driver", "driver_opts", "external", "labels", "name"}
_STORED = {"file", "content", "environment", "external", "name", "labels"}
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*(?:=\s*(.*))?")


@dataclass(slots=True)
class Known:
    """What may be mounted, by the name that the file gives it: the name that it has here."""

    volumes: dict[str, str] = field(default_factory=dict)
    configs: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    """Of configs and secrets, by the name here: what is in them."""
    objects: list[Object] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a file may refer to: variables, files (relative to its own folder), and that folder's absolute path."""

    variables: Mapping[str, str]
    read: Callable[[str], str]
    """A file's text. OSError."""
    folder: str
    key: bytes
    """What fingerprints of contents are made with: nobody knows it who may not read Secrets."""


def known(tree: Object, app: Application, around: Surroundings) -> Known:
    """Raises ComposeError."""
    found = Known()
    for name, entry in mapping(tree.get("volumes"), "volumes").items():
        _volume(found, app, name, mapping(entry, f"volumes.{name}"))
    for kind, names in (("configs", found.configs), ("secrets", found.secrets)):
        for name, entry in mapping(tree.get(kind), kind).items():
            where = f"{kind}.{name}"
            one = mapping(entry, where)
            _check(one, _STORED, where)
            here = text(one.get("name") or _own(app, name, kind.removesuffix("s")))
            names[name] = here
            if one.get("external") in (None, False):
                content = _content(one, where, around.read, around.variables)
                make = objects.config_map if kind == "configs" else objects.secret
                found.objects.append(make(app, here, {name: content}))
                found.fingerprints[here] = objects.fingerprint(around.key, content)
    return found


def pairs(value: Any, where: str, variables: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """An environment as a mapping or a list; what has no value takes it from the variables. Raises ComposeError."""
    found: list[tuple[str, str]] = []
    if isinstance(value, dict):
        entries = [(str(name), None if item is None else text(item)) for name, item in value.items()]
        if any(isinstance(item, dict | list) for item in value.values()):
            raise ComposeError(f"{where} must hold texts")
    else:
        parts = (item.partition("=") for item in texts(value, where))
        entries = [(name, item if mark else None) for name, mark, item in parts]
    for name, item in entries:
        if not name:
            raise ComposeError(f"{where}: a name is empty")
        if item is not None:
            found.append((name, item))
        elif variables is not None and name in variables:
            found.append((name, variables[name]))
    return found


def environment(content: str, where: str) -> list[tuple[str, str]]:
    """An env file: NAME=VALUE in lines, with comments and quotes. Raises ComposeError."""
    found = []
    for number, line in enumerate(content.removeprefix("\ufeff").splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if not match:
            raise ComposeError(f"{where}, line {number}: it must be NAME=VALUE")
        if match[2] is not None:
            found.append((match[1], _unquoted(match[2])))
    return found


def _unquoted(value: str) -> str:
    if value[:1] in ("'", '"'):
        end = value.find(value[0], 1)
        if end > 0:
            inner = value[1:end]
            return inner.replace("\\n", "\n").replace("\\t", "\t") if value[0] == '"' else inner
    return re.split(r"\s#", value, maxsplit=1)[0].rstrip()


def _volume(found: Known, app: Application, name: str, entry: Object) -> None:
    where = f"volumes.{name}"
    _check(entry, _VOLUME, where)
    if entry.get("driver") not in (None, "local") or entry.get("driver_opts"):
        raise ComposeError(
            f"{where}.driver: only the cluster's default class can be had; make a claim, and say external"
        )
    found.volumes[name] = text(entry.get("name") or _own(app, name, "volume"))
    if entry.get("external") in (None, False):
        found.objects.append(objects.claim(app, name_of(found.volumes[name], "volume"), CLAIM_SIZE))


def _own(app: Application, name: str, what: str) -> str:
    return f"{app.name}-{name_of(name, what)}"


def _content(entry: Object, where: str, read: Callable[[str], str], variables: Mapping[str, str]) -> str:
    if "content" in entry:
        return text(entry["content"])
    if "environment" in entry:
        name = text(entry["environment"])
        if name not in variables:
            raise ComposeError(f"{where}.environment: the variable {name} is not set")
        return variables[name]
    if "file" not in entry:
        raise ComposeError(f"{where} must have file, content, environment or external")
    return text_of(text(entry["file"]), f"{where}.file", read)


def text_of(path: str, where: str, read: Callable[[str], str]) -> str:
    """A file's text. Raises ComposeError."""
    try:
        return read(posixpath.normpath(path))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ComposeError(f"{where}: {path} can't be read: {why}") from error


def _check(entry: Object, keys: set[str], where: str) -> None:
    for key in entry:
        if key not in keys and not key.startswith("x-"):
            raise ComposeError(f"{where}.{key} is not supported")
