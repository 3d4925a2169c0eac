"""An image's configuration document: what it says for us, and one made of what we say. Pure.

See https://github.com/opencontainers/image-spec/blob/main/config.md.
"""

from typing import Any

from sampan.node.images import archive
from sampan.node.images.model import ImageConfig, ImageError


def made(config: ImageConfig, diff_id: str) -> dict[str, Any]:
    """Of an image with one layer."""
    inner: dict[str, Any] = {
        "Entrypoint": list(config.entrypoint) or None,
        "Cmd": list(config.cmd) or None,
        "Env": [f"{key}={value}" for key, value in config.env],
        "WorkingDir": config.working_dir,
        "User": config.user,
        "ExposedPorts": {port: {} for port in config.exposed_ports},
        "StopSignal": config.stop_signal,
        "Volumes": {path: {} for path in config.volumes},
        "Labels": dict(config.labels),
    }
    return {
        "architecture": archive.architecture(),
        "os": "linux",
        "config": {key: value for key, value in inner.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }


def parsed(document: dict[str, Any]) -> ImageConfig:
    """What we want to know of it. ImageError."""
    inner = document.get("config") or {}
    pairs = (str(item).partition("=") for item in inner.get("Env") or ())
    return ImageConfig(
        entrypoint=_texts(inner, "Entrypoint"),
        cmd=_texts(inner, "Cmd"),
        env=tuple((key, value) for key, _, value in pairs if key),
        working_dir=str(inner.get("WorkingDir") or ""),
        user=str(inner.get("User") or ""),
        exposed_ports=tuple(sorted(map(str, inner.get("ExposedPorts") or {}))),
        stop_signal=str(inner.get("StopSignal") or ""),
        volumes=tuple(sorted(map(str, inner.get("Volumes") or {}))),
        labels=tuple(sorted((str(key), str(value)) for key, value in (inner.get("Labels") or {}).items())),
    )


def _texts(inner: dict[str, Any], key: str) -> tuple[str, ...]:
    value = inner.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
        raise ImageError(f"the configuration's {key} is not a list of texts")
    return tuple(value)


def diff_ids_of(document: dict[str, Any]) -> list[str]:
    """Of its layers, the lowest first. ImageError."""
    ids = (document.get("rootfs") or {}).get("diff_ids")
    if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
        raise ImageError("the configuration names no layers")
    return ids
