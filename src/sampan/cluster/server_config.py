"""The API server's configuration file: checked when it is given, kept as DIR/server.yaml, read at each start.

It may hold keys, so that only its owner may read it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sampan.cluster.settings import Settings

if TYPE_CHECKING:
    from sampan.server.config import ServerConfig

FILE = "server.yaml"
AUDIT_LOG = "audit.log"


class ServerConfigError(Exception):
    """A file that cannot be used: where, why, and the mend."""


def check(path: Path) -> bytes:
    """The file's content, which is right. Raises ServerConfigError."""
    from sampan.server import config

    try:
        config.load(path)
    except config.ConfigError as error:
        raise ServerConfigError(str(error)) from error
    return path.read_bytes()


def is_kept(settings: Settings, data: bytes) -> bool:
    """Whether the cluster has this configuration already."""
    path = settings.path(FILE)
    return path.exists() and path.read_bytes() == data


def keep(settings: Settings, data: bytes) -> None:
    """The cluster has this configuration from its next start on."""
    from sampan.web import certificates

    settings.directory.mkdir(parents=True, exist_ok=True)
    certificates.write_private(settings.path(FILE), data)


def load(settings: Settings) -> "ServerConfig":
    """The cluster's configuration; upstream's defaults when there is none. Raises ConfigError."""
    from sampan.server import config
    from sampan.server.config import ServerConfig

    path = settings.path(FILE)
    return config.load(path) if path.exists() else ServerConfig()


def audit_log(settings: Settings) -> Path:
    """Where the audit log is."""
    return settings.path(AUDIT_LOG)
