"""Kubeconfig files: the cluster's own in DIR, and its context merged into the user's.

https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

import base64
import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sampan.cluster import key_files
from sampan.cluster.settings import Settings
from sampan.kit import files

Tree = dict[str, Any]


SECTIONS = ("clusters", "users", "contexts")
_ESCAPED = re.compile("[^ -~]")


class KubeconfigError(Exception):
    """The user's kubeconfig is not one: what, and where."""


def build(settings: Settings) -> Tree:
    """A kubeconfig with this one cluster, its admin and its context."""
    directory = settings.path("pki")

    def data(name: str) -> str:
        return base64.b64encode((directory / name).read_bytes()).decode()

    cluster = {"server": settings.server_url, "certificate-authority-data": data(f"{key_files.AUTHORITY}.crt")}
    user = {
        "client-certificate-data": data(f"{key_files.ADMIN}.crt"),
        "client-key-data": data(f"{key_files.ADMIN}.key"),
    }
    name = settings.context
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def default_path() -> Path:
    """$KUBECONFIG's first file, else ~/.kube/config."""
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(named) if named else Path.home() / ".kube" / "config"


def merge(path: Path, addition: Tree, *, switch: bool) -> str:
    """Puts the cluster's entries into the user's file; returns the context that was current before."""
    is_new, config = not path.exists(), read(path)
    previous = str(config.get("current-context") or "")
    chosen = {e.get("name"): (e.get("context") or {}).get("namespace") for e in config.get("contexts") or []}
    for section in SECTIONS:
        added = addition[section]
        if section == "contexts":  # the namespace that the user set in it stays
            added = [
                {**e, "context": {**e["context"], "namespace": n}} if (n := chosen.get(e["name"])) else e for e in added
            ]
        names = {entry["name"] for entry in added}
        config[section] = [e for e in config.get(section) or [] if e.get("name") not in names] + added
    if switch or not previous:
        config["current-context"] = addition["current-context"]
    write(path, config, is_ours=is_new)
    return previous


def renew(path: Path, fresh: Tree) -> bool:
    """Gives the cluster's user the fresh certificate, where the file has this cluster; whether it had to.

    All else in the file stays as it is, and so does an entry of that name that is another cluster's.
    """
    if not path.exists():
        return False
    config = read(path)
    (cluster,), (user,) = fresh["clusters"], fresh["users"]
    if cluster["cluster"] not in [
        e.get("cluster") for e in config.get("clusters") or [] if e.get("name") == cluster["name"]
    ]:
        return False
    found = next((e for e in config.get("users") or [] if e.get("name") == user["name"]), None)
    if found is None or "client-certificate-data" not in (found.get("user") or {}) or found["user"] == user["user"]:
        return False
    found["user"] = {**found["user"], **user["user"]}
    write(path, config, path.stat().st_mode & 0o660)
    return True


def remove(path: Path, context: str, previous: str) -> None:
    """Takes the cluster's entries out again, and makes the context current that was so before."""
    if not path.exists():
        return
    config = read(path)
    for section in SECTIONS:
        config[section] = [e for e in config.get(section) or [] if e.get("name") != context]
    if config.get("current-context") == context:
        known = {e.get("name") for e in config["contexts"]}
        config["current-context"] = previous if previous in known else ""
    if not any(config[section] for section in SECTIONS):
        path.unlink()
    else:
        write(path, config)


def read(path: Path) -> Tree:
    """The file's content, or an empty configuration. Raises KubeconfigError."""
    if not path.exists():
        return _empty()
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise KubeconfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return _empty()
    if not isinstance(content, dict):
        raise KubeconfigError(f"{path} is not a kubeconfig")
    for section in SECTIONS:
        entries = content.get(section) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise KubeconfigError(f"{path} is not a kubeconfig: its {section} are no list of entries")
    return content


def _empty() -> Tree:
    return {"apiVersion": "v1", "kind": "Config", "preferences": {}}


def write(path: Path, config: Tree, mode: int = 0o600, *, is_ours: bool = False) -> None:
    """Replaces the file in one step. Its owner stays, and a link stays a link.

    What `is_ours` alone has nothing but texts in it, and needs no library to be written: that takes long to load.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.sampan")
    temporary.unlink(missing_ok=True)
    text = "".join(f"{line}\n" for line in _lines(config)) if is_ours else _dumped(config)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        with contextlib.suppress(FileNotFoundError, PermissionError):  # it is new, or another user's: ours alone then
            old = path.stat()
            os.fchown(file.fileno(), old.st_uid, old.st_gid)
            os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    files.put_in_place(temporary, path)


def _dumped(config: Tree) -> str:
    import yaml

    text: str = yaml.dump(config, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
    return text


def _lines(value: Tree | list[Tree]) -> Iterator[str]:
    """The YAML of mappings and lists of texts, which are written nearly as in JSON."""
    if isinstance(value, list):
        for entry in value:
            first, *rest = _lines(entry)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
        return
    for key, below in value.items():
        if not below or isinstance(below, str):
            yield f"{key}: {_ESCAPED.sub(_escape, json.dumps(below, ensure_ascii=False))}"
        else:
            yield f"{key}:"
            yield from (f"  {line}" for line in _lines(below))


def _escape(found: re.Match[str]) -> str:
    """JSON would have two escapes for what is beyond U+FFFF, and YAML has one."""
    number = ord(found[0])
    return f"\\U{number:08x}" if number > 0xFFFF else f"\\u{number:04x}"
