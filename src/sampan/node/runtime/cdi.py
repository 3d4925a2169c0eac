"""The Container Device Interface: what its files say that a container is to have for a device.

Files lie in /etc/cdi and, with more weight, in /var/run/cdi; drivers write them, and name devices as
`vendor.com/class=name`.

https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

log = logging.getLogger(__name__)

Tree = dict[str, Any]

FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))


class Unresolvable(ValueError):
    """No file describes these devices."""


def edits(names: Sequence[str], folders: Iterable[Path]) -> list[Tree]:
    """The containerEdits for the devices, in order; what a file says for all of its devices comes before, and once.

    Raises Unresolvable, naming all the devices that nobody describes, or that two files of equal weight do.
    """
    known = _devices(folders)
    missing = [name for name in names if known.get(name) is None]
    if missing:
        raise Unresolvable(f"CDI device injection failed: unresolvable CDI devices {', '.join(missing)}")
    found: list[Tree] = []
    told: list[Tree] = []
    for name in dict.fromkeys(names):
        device, spec = known[name] or ({}, {})
        common = spec.get("containerEdits")
        if common and not any(spec is other for other in told):
            told.append(spec)
            found.append(common)
        found.append(device.get("containerEdits") or {})
    return found


def _devices(folders: Iterable[Path]) -> dict[str, tuple[Tree, Tree] | None]:
    """Each device with its file's content, by name; None where two files of one folder describe it."""
    known: dict[str, tuple[Tree, Tree] | None] = {}
    for folder in folders:
        here: dict[str, tuple[Tree, Tree] | None] = {}
        for path in sorted(folder.glob("*")) if folder.is_dir() else ():
            for name, found in _described(path).items():
                here[name] = None if name in here else found
        known |= here
    return known


def _described(path: Path) -> dict[str, tuple[Tree, Tree]]:
    spec = _read(path)
    kind = spec.get("kind")
    devices = spec.get("devices")
    if not isinstance(kind, str) or not isinstance(devices, list):
        return {}
    return {f"{kind}={device['name']}": (device, spec) for device in devices if "name" in device}


def _read(path: Path) -> Tree:
    """A file's content; nothing for one that is no such file, of which it is said."""
    try:
        if path.suffix == ".json":
            found = orjson.loads(path.read_bytes())
        elif path.suffix in (".yaml", ".yml"):
            import yaml

            found = yaml.load(path.read_text(), yaml.CSafeLoader)
        else:
            return {}
    except (OSError, ValueError) as error:
        log.warning("%s: %s", path, error)
        return {}
    except Exception as error:  # noqa: BLE001 (PyYAML's errors have no base of Python's)
        log.warning("%s: %s", path, error)
        return {}
    return found if isinstance(found, dict) else {}
