"""A cluster's settings: what `sampan up` was asked for, and what it decided, kept in DIR/cluster.json.

Addresses follow from the cluster's index on this host: cluster 0 has services in 10.96.0.0/16 and
pods in 10.244.0.0/16, cluster 1 has 10.97.0.0/16 and 10.243.0.0/16, and so on.
"""

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from sampan.kinds import feature_gates
from sampan.kinds.feature_gates import Gates

DEFAULT_NAME = "sampan"
DEFAULT_PORT = 6443
MAX_CLUSTERS = 64
CLUSTER_FILE = "cluster.json"


class SettingsError(Exception):
    """A cluster's file can't be read: which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`nodes` counts agents on this host; `runtime` is oci, simulated or unix:///SOCKET; `store` sqlite, memory or etcd://HOST:PORT;
    `log_format` text or json. `feature_gates` are those that were asked to be open, or not to be. The last three are
    the terms on which control planes that share a store elect their leader.
    """

    name: str
    directory: Path
    index: int = 0
    api_port: int = DEFAULT_PORT
    listen: str = "127.0.0.1"
    nodes: int = 1
    runtime: str = "oci"
    store: str = "sqlite"
    kubeconfig: str = ""
    previous_context: str = ""
    log_format: str = "text"
    feature_gates: Mapping[str, bool] = field(default_factory=dict)
    lease_seconds: float = 15.0
    renew_seconds: float = 10.0
    retry_seconds: float = 2.0
    vulnerable_runtime: bool = False
    """Whether a runtime with known escapes will do."""

    @property
    def context(self) -> str:
        return context_name(self.name)

    @property
    def gates(self) -> Gates:
        """The feature gates that are open."""
        return feature_gates.opened(self.feature_gates)

    @property
    def server_url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.listen, self.listen)
        return f"https://[{host}]:{self.api_port}" if ":" in host else f"https://{host}:{self.api_port}"

    @property
    def service_cidr(self) -> str:
        return f"10.{96 + self.index}.0.0/16"

    @property
    def pod_cidr(self) -> str:
        return f"10.{244 - self.index}.0.0/16"

    @property
    def api_service_ip(self) -> str:
        return f"10.{96 + self.index}.0.1"

    @property
    def dns_service_ip(self) -> str:
        return f"10.{96 + self.index}.0.10"

    def node_names(self) -> list[str]:
        base = self.name if self.name == DEFAULT_NAME else f"{DEFAULT_NAME}-{self.name}"
        return [base, *(f"{base}-{n}" for n in range(2, self.nodes + 1))][: self.nodes]

    def gateway(self, node: int) -> str:
        """The bridge address of the node with this number (from 0), which is its InternalIP."""
        return f"10.{244 - self.index}.{node}.1"

    def node_pod_cidr(self, node: int) -> str:
        return f"10.{244 - self.index}.{node}.0/24"

    def path(self, *parts: str) -> Path:
        return self.directory.joinpath(*parts)

    def save(self) -> None:
        """Writes DIR/cluster.json so that a crash leaves the old or the new one."""
        values: dict[str, Any] = {**dataclasses.asdict(self), "directory": str(self.directory)}
        temporary = self.path(CLUSTER_FILE + ".new")
        temporary.write_bytes(orjson.dumps(values, option=orjson.OPT_INDENT_2))
        temporary.rename(self.path(CLUSTER_FILE))


def context_name(name: str) -> str:
    """The kubeconfig context of a cluster: sampan, or sampan-NAME."""
    return DEFAULT_NAME if name == DEFAULT_NAME else f"{DEFAULT_NAME}-{name}"


def load(directory: Path) -> Settings | None:
    """The settings of the cluster in a directory, or None when there is none. SettingsError when they are broken."""
    path = directory / CLUSTER_FILE
    try:
        values = orjson.loads(path.read_bytes())
        known = {f.name for f in dataclasses.fields(Settings)}
        return Settings(**{k: v for k, v in values.items() if k in known} | {"directory": directory})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except (orjson.JSONDecodeError, AttributeError, TypeError) as error:
        raise SettingsError(
            f"{path} is damaged ({error}); mend it by hand, or delete {directory} and start anew"
        ) from error


def known_clusters() -> list[Settings]:
    """Every cluster that `known_directories` finds and whose file can be read."""
    found = []
    for directory in known_directories():
        with contextlib.suppress(SettingsError):
            cluster = load(directory)
            if cluster is not None:
                found.append(cluster)
    return found


def home(user_home: Path | None = None) -> Path:
    """Where clusters live by default: ~/.local/share/sampan, or $XDG_DATA_HOME/sampan."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else (user_home or Path.home()) / ".local" / "share") / "sampan"


def known_directories() -> list[Path]:
    """Every data directory that `sampan ls` should look at: the default ones and those noted elsewhere."""
    root = home()
    found = sorted(path.parent for path in root.glob(f"*/{CLUSTER_FILE}")) if root.exists() else []
    noted = root / "elsewhere"
    others = [Path(line) for line in noted.read_text().splitlines()] if noted.exists() else []
    return [*found, *(p for p in others if os.path.exists(p / CLUSTER_FILE) and p not in found)]


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """While it is held, no other `sampan up` of this user chooses addresses and ports."""
    root = home()
    root.mkdir(parents=True, exist_ok=True)
    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def note(directory: Path) -> None:
    """Remembers a data directory that is not under the default root."""
    root = home()
    if directory.parent == root:
        return
    root.mkdir(parents=True, exist_ok=True)
    noted = root / "elsewhere"
    lines = noted.read_text().splitlines() if noted.exists() else []
    if str(directory) not in lines:
        noted.write_text("".join(f"{line}\n" for line in [*lines, str(directory)]))


def forget(directory: Path) -> None:
    """The opposite of `note`."""
    noted = home() / "elsewhere"
    if not noted.exists():
        return
    lines = [line for line in noted.read_text().splitlines() if line != str(directory)]
    if lines:
        noted.write_text("".join(f"{line}\n" for line in lines))
    else:
        noted.unlink()
