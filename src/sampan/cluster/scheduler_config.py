"""The scheduler's configuration file: checked when it is given, kept as DIR/scheduler.yaml, read at each start.

https://kubernetes.io/docs/reference/scheduling/config/
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sampan.cluster.settings import Settings
from sampan.kit import files

if TYPE_CHECKING:
    from sampan.scheduling.config import Configuration

FILE = "scheduler.yaml"


class SchedulerConfigError(Exception):
    """A file that cannot be used: where and why."""


def check(path: Path) -> bytes:
    """The file's content, which is right. Raises SchedulerConfigError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SchedulerConfigError(f"{path} cannot be read: {error.strerror}") from error
    _read(path, data)
    return data


def is_kept(settings: Settings, data: bytes) -> bool:
    """Whether the cluster has this configuration already."""
    path = settings.path(FILE)
    return path.exists() and path.read_bytes() == data


def keep(settings: Settings, data: bytes) -> None:
    """The cluster has this configuration from its next start on. Where the user made a link of it, it stays one."""
    settings.directory.mkdir(parents=True, exist_ok=True)
    files.write_whole(settings.path(FILE).resolve(), data, 0o644)


def load(settings: Settings) -> "Configuration":
    """The cluster's configuration; upstream's defaults when there is none. Raises SchedulerConfigError."""
    from sampan.scheduling.config import DEFAULTS

    path = settings.path(FILE)
    return _read(path, path.read_bytes()) if path.exists() else DEFAULTS


def _read(path: Path, data: bytes) -> "Configuration":
    import yaml

    from sampan.scheduling import config

    try:
        return config.read(yaml.safe_load(data))
    except (yaml.YAMLError, config.ConfigError) as error:
        raise SchedulerConfigError(f"{path}: {error}") from error
