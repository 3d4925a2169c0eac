"""Logins of pull secrets: which of them are for an image. Pure.

As a kubelet matches them
(https://kubernetes.io/docs/concepts/containers/images/#config-json): a key is a host, perhaps with a port, with
globs in its labels, and perhaps with the beginning of a path; the most specific one comes first.
"""

import base64
import binascii
import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from sampan.node.registry import config
from sampan.node.registry.config import Login

DOCKER_HUB = {"index.docker.io", "docker.io", "registry-1.docker.io", "registry.hub.docker.com"}
_KEYS = ((".dockerconfigjson", True), (".dockercfg", False))


class KeyringError(ValueError):
    """A secret that holds no logins; the text says why."""


def of_secret(secret: Mapping[str, Any]) -> dict[str, Login]:
    """The logins of one Secret, by key. Raises KeyringError."""
    data = secret.get("data") or {}
    for key, has_auths in _KEYS:
        if key not in data:
            continue
        try:
            tree = orjson.loads(base64.b64decode(data[key]))
        except (binascii.Error, ValueError) as error:
            raise KeyringError(f"{key} is not JSON: {error}") from error
        return of_document(tree, has_auths=has_auths)
    raise KeyringError("it has neither .dockerconfigjson nor .dockercfg")


def of_document(tree: Any, *, has_auths: bool = True) -> dict[str, Login]:
    """The logins of a Docker configuration file, by key. Raises KeyringError."""
    entries = tree.get("auths") if has_auths and isinstance(tree, dict) else tree
    if entries is None:
        return {}
    if not isinstance(entries, dict):
        raise KeyringError("its logins are not a mapping")
    found = {}
    for key, entry in entries.items():
        if not isinstance(entry, dict):
            raise KeyringError(f"the login of {key} is not a mapping")
        try:
            found[key] = config.login(entry, key)
        except config.RegistriesError as error:
            raise KeyringError(str(error)) from error
    return found


def matching(logins: Iterable[Mapping[str, Login]], domain: str, path: str) -> tuple[Login, ...]:
    """The logins for a repository (`docker.io`, `library/busybox`), the most specific first, each once."""
    entries = [(key, login) for each in logins for key, login in each.items() if _is_for(key, domain, path)]
    entries.sort(key=lambda entry: _place(entry[0]), reverse=True)
    return tuple(dict.fromkeys(login for _, login in entries))


def _place(key: str) -> tuple[int, str]:
    return len(_parts(key)[1]), key


def _is_for(key: str, domain: str, path: str) -> bool:
    host, prefix = _parts(key)
    if not (_is_same_host(host, domain) or (host in DOCKER_HUB and domain in DOCKER_HUB)):
        return False
    return not prefix or path == prefix or path.startswith(f"{prefix}/")


def _parts(key: str) -> tuple[str, str]:
    """Host with port, and the path below it; what Docker adds for its own (`/v1/`) is left out."""
    parts = urlsplit(key if "://" in key else f"//{key}")
    path = parts.path.strip("/")
    return parts.netloc, "" if path in ("v1", "v2") else path.removeprefix("v1/").removeprefix("v2/")


def _is_same_host(pattern: str, host: str) -> bool:
    """Label by label: `*.example.com` is for a.example.com and not for a.b.example.com."""
    wanted, _, port = pattern.partition(":")
    given, _, real_port = host.partition(":")
    if port != real_port:
        return False
    left, right = wanted.split("."), given.split(".")
    pairs = zip(left, right, strict=False)
    return len(left) == len(right) and all(fnmatch.fnmatchcase(label, glob) for glob, label in pairs)
