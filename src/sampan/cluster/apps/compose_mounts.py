"""What a compose service's containers see of volumes, folders of the host, configs and secrets. Pure."""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sampan.cluster.apps import compose_values
from sampan.cluster.apps.compose_files import Known
from sampan.cluster.apps.compose_values import ComposeError, mapping, name_of, text, texts
from sampan.cluster.apps.objects import Application, Object

_LONG = {"type", "source", "target", "read_only", "bind", "volume", "tmpfs", "consistency"}
_STORED = {"source", "target", "uid", "gid", "mode"}
_MODES = {"ro", "rw", "z", "Z", "cached", "delegated", "consistent"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where names and relative paths belong."""

    app: Application
    known: Known
    folder: str


@dataclass(slots=True)
class Mounted:
    """A pod's volumes and its container's mounts; fingerprints of what is in them; whether two pods would share a claim."""

    volumes: list[Object] = field(default_factory=list)
    mounts: list[Object] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)
    is_shared: bool = False

    def add(self, volume: Object, mount: Object) -> None:
        """One more; a volume that is there already is mounted once more."""
        same = next((each["name"] for each in self.volumes if {**each, "name": ""} == {**volume, "name": ""}), "")
        name = same if same and "emptyDir" not in volume else f"v{len(self.volumes)}"
        if name != same:
            self.volumes.append({"name": name, **volume})
        self.mounts.append({"name": name, **mount})


def mounted(entry: Object, where: str, place: Place) -> Mounted:
    """Raises ComposeError."""
    found = Mounted()
    for item in _list(entry.get("volumes"), f"{where}.volumes"):
        one = mapping(item, f"{where}.volumes") if isinstance(item, dict) else _short(text(item), f"{where}.volumes")
        _volume(found, one, f"{where}.volumes", place)
    for item in texts(entry.get("tmpfs"), f"{where}.tmpfs"):
        _memory(found, item.partition(":")[0], "", f"{where}.tmpfs")
    if entry.get("shm_size") is not None:
        _memory(found, "/dev/shm", compose_values.size(entry["shm_size"], f"{where}.shm_size"), where)
    for kind, known in (("configs", place.known.configs), ("secrets", place.known.secrets)):
        for item in _list(entry.get(kind), f"{where}.{kind}"):
            one = item if isinstance(item, dict) else {"source": item}
            _stored(found, one, (kind, f"{where}.{kind}"), known, place)
    for number, mount in enumerate(found.mounts):
        if any(mount["mountPath"] == other["mountPath"] for other in found.mounts[:number]):
            raise ComposeError(f"{where}: two things are mounted at {mount['mountPath']}")
    return found


def _short(item: str, where: str) -> Object:
    """`source:/target:ro`, or `/target` alone."""
    parts = item.split(":")
    if len(parts) == 1:
        return {"type": "volume", "target": item}
    if len(parts) > 3 or not all(parts):
        raise ComposeError(f"{where}: {item!r} must be SOURCE:TARGET or SOURCE:TARGET:MODE")
    modes = parts[2].split(",") if len(parts) == 3 else []
    unknown = [mode for mode in modes if mode not in _MODES]
    if unknown:
        raise ComposeError(f"{where}: {item}: the mode {unknown[0]} is not supported")
    kind = "bind" if parts[0].startswith((".", "/", "~")) else "volume"
    return {"type": kind, "source": parts[0], "target": parts[1], "read_only": "ro" in modes}


def _volume(found: Mounted, one: Object, where: str, place: Place) -> None:
    for key in one:
        if key not in _LONG and not key.startswith("x-"):
            raise ComposeError(f"{where}.{key} is not supported")
    kind, target = text(one.get("type", "volume")), text(one.get("target", ""))
    source = text(one.get("source") or "")
    mount: Object = {"mountPath": _absolute(target, where)}
    if one.get("read_only") is not None and compose_values.flag(one["read_only"], where):
        mount["readOnly"] = True
    if kind == "bind":
        if source.startswith("~") or not source:
            raise ComposeError(f"{where}: {source or 'a bind without source'}: give the folder's path")
        found.add({"hostPath": {"path": posixpath.normpath(posixpath.join(place.folder, source))}}, mount)
    elif kind == "tmpfs":
        size = mapping(one.get("tmpfs"), f"{where}.tmpfs").get("size")
        _memory(found, target, "" if size is None else compose_values.size(size, f"{where}.tmpfs.size"), where)
    elif kind != "volume":
        raise ComposeError(f"{where}: the type {kind} is not supported")
    elif not source:
        found.add({"emptyDir": {}}, mount)
    elif source not in place.known.volumes:
        raise ComposeError(f"{where}: there is no volume {source!r} below volumes")
    else:
        if sub := mapping(one.get("volume"), f"{where}.volume").get("subpath"):
            mount["subPath"] = text(sub)
        claim = name_of(place.known.volumes[source], "volume")
        found.add({"persistentVolumeClaim": {"claimName": claim}}, mount)
        found.is_shared = True


def _memory(found: Mounted, target: str, size: str, where: str) -> None:
    volume: Object = {"emptyDir": {"medium": "Memory", **({"sizeLimit": size} if size else {})}}
    found.add(volume, {"mountPath": _absolute(target, where)})


def _stored(found: Mounted, one: Object, kind: tuple[str, str], known: dict[str, str], place: Place) -> None:
    what, where = kind
    for key in one:
        if key not in _STORED and not key.startswith("x-"):
            raise ComposeError(f"{where}.{key} is not supported")
    name = text(one.get("source") or "")
    if name not in known:
        raise ComposeError(f"{where}: there is no {what.removesuffix('s')} {name!r} below {what}")
    usual = f"/{name}" if what == "configs" else f"/run/secrets/{name}"
    target = text(one.get("target") or usual)
    path = target if target.startswith("/") else posixpath.join(posixpath.dirname(usual), target)
    item: Object = {"key": name, "path": name}
    if one.get("mode") is not None:
        item["mode"] = _mode(one["mode"], where)
    here = known[name]
    source = {"configMap": {"name": here, "items": [item]}}
    if what == "secrets":
        source = {"secret": {"secretName": here, "items": [item]}}
    found.add(source, {"mountPath": _absolute(path, where), "subPath": name, "readOnly": True})
    if here in place.known.fingerprints:
        found.fingerprints.append(place.known.fingerprints[here])


def _mode(value: Any, where: str) -> int:
    """YAML has read 0444 as octal already; a text is octal."""
    try:
        mode = value if isinstance(value, int) else int(text(value), 8)
    except ValueError as error:
        raise ComposeError(f"{where}: the mode {value!r} is not octal") from error
    if not 0 <= mode <= 0o777:
        raise ComposeError(f"{where}: the mode {value!r} is out of range")
    return mode


def _absolute(path: str, where: str) -> str:
    if not path.startswith("/") or path == "/" or ":" in path:
        raise ComposeError(f"{where}: {path!r} must be an absolute path below /")
    return posixpath.normpath(path)


def _list(value: Any, where: str) -> Iterator[Any]:
    if value is not None and not isinstance(value, list):
        raise ComposeError(f"{where} must be a list")
    yield from value or ()
