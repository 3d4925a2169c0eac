"""ServerConfig: what an administrator has configured of the API server, from one file of several YAML documents.

AuthenticationConfiguration, EncryptionConfiguration, AdmissionConfiguration and an audit Policy, each in
upstream's form and at most once; what is not there has upstream's default.

https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sampan.meta import status
from sampan.meta.wire import yaml
from sampan.server.audit import policy
from sampan.server.audit.policy import Policy
from sampan.server.config_reader import ConfigError, Reader

if TYPE_CHECKING:
    from sampan.server.encryption.settings import Encryption

__all__ = ["Admission", "Authentication", "ConfigError", "ServerConfig", "load", "read"]

MAX_BYTES = 1 << 20
_SEPARATOR = re.compile(r"^---(?:[ \t].*)?$", re.MULTILINE)
_PLUGINS = {
    "PodSecurity": ("PodSecurityConfiguration", ("pod-security.admission.config.k8s.io/v1",)),
    "ResourceQuota": (
        "ResourceQuotaConfiguration",
        ("apiserver.config.k8s.io/v1", "resourcequota.admission.k8s.io/v1"),
    ),
}

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Admission:
    """The configuration of single plugins, as trees of upstream's form, by the plugin's name."""

    plugins: Mapping[str, Tree] = field(default_factory=dict)

    def of(self, plugin: str) -> Tree:
        """A plugin's configuration, {} when there is none."""
        return self.plugins.get(plugin, {})


Authentication = Any  # server.oidc.settings.Authentication: loaded only where it is configured


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """`authentication` and `audit` are None when they are not configured."""

    authentication: Authentication | None = None
    encryption: "Encryption | None" = None
    admission: Admission = Admission()
    audit: Policy | None = None


def load(path: Path) -> ServerConfig:
    """Raises ConfigError, which names the file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return read(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def read(data: bytes) -> ServerConfig:
    """Raises ConfigError."""
    if len(data) > MAX_BYTES:
        raise ConfigError(f"it has more than {MAX_BYTES} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError("it is not UTF-8") from error
    found: dict[str, Any] = {}
    for number, document in enumerate(_SEPARATOR.split(text), 1):
        tree = _tree(document, number)
        if tree is None:
            continue
        name, value = _document(tree, number)
        if name in found:
            raise ConfigError(f"document {number}: there is a second {tree['kind']}: make one of them")
        found[name] = value
    return ServerConfig(**found)


def _tree(document: str, number: int) -> Any:
    try:
        return yaml.decode(document.encode())
    except status.ApiError as error:
        raise ConfigError(f"document {number} is no YAML: {error.message}") from error


def _document(tree: Any, number: int) -> tuple[str, Any]:
    if not isinstance(tree, dict):
        raise ConfigError(f"document {number} is no mapping")
    kind = tree.get("kind")
    known = _KINDS.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise ConfigError(f"document {number} has kind {kind!r}: use one of {', '.join(_KINDS)}")
    versions, name, read_document = known
    if tree.get("apiVersion") not in versions:
        raise ConfigError(f"document {number}: {kind} has apiVersion {tree.get('apiVersion')!r}: use {versions[0]}")
    reader = Reader(tree, "")
    reader.skip("kind", "apiVersion")
    try:
        return name, read_document(reader)
    except ConfigError as error:
        raise ConfigError(f"{kind}: {error}") from error


def _authentication(reader: Reader) -> Authentication:
    return _module("sampan.server.oidc.settings").read(reader)


def _encryption(reader: Reader) -> "Encryption":
    found: Encryption = _module("sampan.server.encryption.settings").read(reader)
    return found


def _module(name: str) -> ModuleType:
    from importlib import import_module

    return import_module(name)


def _admission(reader: Reader) -> Admission:
    plugins: dict[str, Tree] = {}
    for each in reader.each("plugins"):
        name, given = each.text("name"), each.tree("configuration")
        if each.text("path", ""):
            raise ConfigError(f"{each.at('path')}: write the plugin's configuration into this file")
        each.done()
        if name not in _PLUGINS:
            raise ConfigError(f"{each.at('name')} is {name!r}: only {', '.join(_PLUGINS)} take a configuration")
        kind, versions = _PLUGINS[name]
        inner = Reader(given, each.at("configuration"))
        if inner.text("kind") != kind or inner.text("apiVersion") not in versions:
            raise ConfigError(f"{inner.path} has to be a {kind} of {versions[0]}")
        if name in plugins:
            raise ConfigError(f"{each.path} is a second one for {name}: make one of them")
        (_pod_security if name == "PodSecurity" else _quota)(inner)
        plugins[name] = given
    reader.done()
    return Admission(plugins)


_LEVELS = ("privileged", "baseline", "restricted")
_MODES = ("enforce", "audit", "warn")
_VERSION = re.compile(r"latest|v1\.\d+")


def _pod_security(reader: Reader) -> None:
    """Checks the form; admission reads the tree."""
    defaults = reader.inner("defaults")
    if defaults is not None:
        for mode in _MODES:
            defaults.choice(mode, _LEVELS, "privileged")
            version = defaults.text(f"{mode}-version", "latest")
            if not _VERSION.fullmatch(version):
                raise ConfigError(f"{defaults.at(f'{mode}-version')} is {version!r}: use latest or v1.36")
        defaults.done()
    exemptions = reader.inner("exemptions")
    if exemptions is not None:
        for name in ("usernames", "runtimeClasses", "namespaces"):
            exemptions.texts(name)
        exemptions.done()
    reader.done()


def _quota(reader: Reader) -> None:
    """Checks the form; admission reads the tree."""
    for limited in reader.each("limitedResources"):
        limited.text("apiGroup", "")
        limited.text("resource")
        limited.texts("matchContains")
        for scope in limited.each("matchScopes"):
            scope.text("scopeName")
            scope.choice("operator", ("In", "NotIn", "Exists", "DoesNotExist"))
            scope.texts("values")
            scope.done()
        limited.done()
    reader.done()


def _audit(reader: Reader) -> Policy:
    return policy.read(reader)


_Read = Callable[[Reader], Any]
_CONFIG = ("apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1")
_KINDS: dict[str, tuple[tuple[str, ...], str, _Read]] = {
    "AuthenticationConfiguration": (_CONFIG, "authentication", _authentication),
    "EncryptionConfiguration": (("apiserver.config.k8s.io/v1",), "encryption", _encryption),
    "AdmissionConfiguration": (("apiserver.config.k8s.io/v1",), "admission", _admission),
    "Policy": (("audit.k8s.io/v1",), "audit", _audit),
}
