"""CNI configuration: which plugins make a pod's network, in which order, and what each of them is told.

Of the folders that may have configuration the first that has any counts, and in it the first file by name. Files are
read when they are needed, so a change holds for the next pod.

https://www.cni.dev/docs/spec/#section-1-network-configuration-format
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

RECORDS = "cni"
"""Where, in the folder of the network's state, is noted what plugins have made."""
SUFFIXES = (".conflist", ".conf", ".json")
VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
_WITHOUT_CHECK = ("0.3.0", "0.3.1")
"""Nor are plugins of these versions told what was made when they are to take it away."""

Tree = dict[str, Any]


class CniError(Exception):
    """A configuration that can't be used, or what a plugin said when it failed."""


@dataclass(frozen=True, slots=True)
class NetworkList:
    """The plugins of one network; each is as its file has it."""

    name: str
    version: str
    plugins: tuple[Tree, ...]
    is_checked: bool = True

    @property
    def has_check(self) -> bool:
        """Whether plugins can be asked whether all is as they made it."""
        return self.is_checked and self.version not in _WITHOUT_CHECK

    @property
    def is_told_result(self) -> bool:
        """Whether plugins are told what was made when they are to take it away."""
        return self.version not in _WITHOUT_CHECK

    def told(self, plugin: Mapping[str, Any], capabilities: Mapping[str, Any], result: Tree | None) -> Tree:
        """What this plugin gets: its part of the configuration, what it is able to use, what those before it made."""
        able = plugin.get("capabilities") or {}
        given = {name: value for name, value in capabilities.items() if able.get(name)}
        found: Tree = {**plugin, "name": self.name, "cniVersion": self.version}
        if given:
            found["runtimeConfig"] = given
        if result is not None:
            found["prevResult"] = result
        return found


def find(folders: tuple[str, ...]) -> Path | None:
    """The file that counts; None when there is none."""
    for folder in folders:
        try:
            files = sorted(path for path in Path(folder).iterdir() if path.suffix in SUFFIXES and path.is_file())
        except OSError:
            continue
        if files:
            return files[0]
    return None


def is_used(folders: tuple[str, ...], state_dir: Path) -> bool:
    """Whether there is configuration for plugins, or something that they have made."""
    return find(folders) is not None or (state_dir / RECORDS).is_dir()


def load(path: Path) -> NetworkList:
    """Raises CniError."""
    try:
        given = orjson.loads(path.read_bytes())
        if not isinstance(given, dict):
            raise CniError("it is no JSON object")
        if path.suffix != ".conflist" and "plugins" not in given:
            given = {"name": given.get("name"), "cniVersion": given.get("cniVersion"), "plugins": [given]}
        return parse(given)
    except OSError as error:
        raise CniError(f"{path}: {error.strerror}") from error
    except (CniError, orjson.JSONDecodeError) as error:
        raise CniError(f"{path}: {error}") from error


def parse(given: Mapping[str, Any]) -> NetworkList:
    """Raises CniError."""
    name, version, plugins = given.get("name"), given.get("cniVersion"), given.get("plugins")
    if not isinstance(name, str) or not name:
        raise CniError("no network name")
    if version not in VERSIONS:
        raise CniError(f"cniVersion {version!r} is none of {', '.join(VERSIONS)}")
    if not isinstance(plugins, list) or not plugins:
        raise CniError("no plugins in list")
    for plugin in plugins:
        if not isinstance(plugin, dict) or not isinstance(plugin.get("type"), str) or not plugin["type"]:
            raise CniError("a plugin without a type")
        if "/" in plugin["type"]:
            raise CniError(f"invalid plugin name: {plugin['type']}")
    return NetworkList(name, str(version), tuple(plugins), not _is_true(given.get("disableCheck")))


def _is_true(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")
