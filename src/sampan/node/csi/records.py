"""Records: what is on the node of CSI volumes, on disk before it is done, so that the next agent can undo it.

A device is a volume on this node, a place is a volume in a pod. Both are kept as vol_data.json, in the folders that
a kubelet has for them; each has the boot during which it was made ready, "" while it is not.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from sampan.kit import files

T = TypeVar("T")

DATA = "vol_data.json"
_OF_POD = Path("volumes") / "kubernetes.io~csi"


@dataclass(frozen=True, slots=True)
class Device:
    """A volume on this node. `staging` is where its driver stages it; `staged` the boot at which it did."""

    driver: str
    handle: str
    name: str
    is_block: bool = False
    is_attachable: bool = False
    staging: str = ""
    staged: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Which volume it is."""
        return self.driver, self.handle

    @property
    def status_name(self) -> str:
        """As a node's status names it."""
        return f"kubernetes.io/csi/{self.driver}^{self.handle}"


@dataclass(frozen=True, slots=True)
class Place:
    """A volume in a pod, at `target`."""

    pod_uid: str
    volume: str
    name: str
    driver: str
    handle: str
    target: str
    is_block: bool = False
    published: str = ""
    is_fresh: bool = False
    """The driver was not asked yet to publish it here."""

    @property
    def key(self) -> tuple[str, str]:
        """Which volume it is."""
        return self.driver, self.handle


class Records:
    """Those of one node. `root` is the node's own folder, `pods` has a folder for each pod's volumes."""

    def __init__(self, root: Path, pods: Path) -> None:
        self._plugins, self._pods = root / "plugins" / "kubernetes.io" / "csi", pods

    def new_device(self, key: tuple[str, str], name: str, *, is_block: bool, is_attachable: bool) -> Device:
        """One that is not staged yet."""
        folder = self._folder(key)
        staging = self._plugins / "volumeDevices" / "staging" / name if is_block else folder / "globalmount"
        return Device(*key, name, is_block, is_attachable, str(staging))

    def new_place(self, pod_uid: str, volume: str, name: str, key: tuple[str, str], *, is_block: bool) -> Place:
        """One at which nothing is yet."""
        target = self._pods / pod_uid / _OF_POD / name / "mount"
        if is_block:
            target = self._plugins / "volumeDevices" / "publish" / name / pod_uid
        return Place(pod_uid, volume, name, *key, str(target), is_block, is_fresh=True)

    def device(self, key: tuple[str, str]) -> Device | None:
        """What is known of the volume here."""
        return _read(self._folder(key) / DATA, Device)

    def place(self, pod_uid: str, name: str) -> Place | None:
        """What is known of the volume in the pod."""
        return _read(self._pods / pod_uid / _OF_POD / name / DATA, Place)

    def devices(self) -> list[Device]:
        """All volumes that are here."""
        found = (_read(path, Device) for path in sorted(self._plugins.glob(f"*/*/{DATA}")))
        return [device for device in found if device is not None]

    def places(self, pod_uid: str) -> list[Place]:
        """The pod's volumes."""
        return list(_places(self._pods / pod_uid))

    def pods(self) -> set[str]:
        """The uids of the pods that have volumes here."""
        return {path.parent.parent.name for path in self._pods.glob(f"*/{_OF_POD}")}

    def users(self, key: tuple[str, str]) -> list[Place]:
        """The places of a volume, in all pods."""
        pods = sorted(self._pods.iterdir()) if self._pods.is_dir() else ()
        return [place for pod in pods for place in _places(pod) if place.key == key]

    def save_device(self, device: Device) -> Device:
        """Writes it down."""
        _write(self._folder(device.key) / DATA, device)
        return device

    def save_place(self, place: Place) -> Place:
        """Writes it down."""
        _write(self._pods / place.pod_uid / _OF_POD / place.name / DATA, place)
        return place

    def make_room(self, record: Device | Place) -> None:
        """Makes the folder where a driver stages, or the one in which it publishes."""
        folder = Path(record.staging) if isinstance(record, Device) else Path(record.target).parent
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)

    def was_begun(self, device: Device) -> bool:
        """Whether the driver may have something staged."""
        return bool(device.staged) or Path(device.staging).exists()

    def drop_device(self, device: Device) -> None:
        """It is no longer here: its folders go, as far as they are empty."""
        _remove(Path(device.staging))
        folder = self._folder(device.key)
        files.remove(folder / DATA)
        _remove(folder)

    def drop_place(self, place: Place) -> None:
        """It is no longer in the pod."""
        target = Path(place.target)
        _remove(target)
        if place.is_block:
            _remove(target.parent)
        folder = self._pods / place.pod_uid / _OF_POD / place.name
        files.remove(folder / DATA)
        _remove(folder)

    def _folder(self, key: tuple[str, str]) -> Path:
        return self._plugins / key[0] / hashlib.sha256(key[1].encode()).hexdigest()


def _places(pod: Path) -> Iterator[Place]:
    for path in sorted((pod / _OF_POD).glob(f"*/{DATA}")):
        place = _read(path, Place)
        if place is not None:
            yield place


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        tree: dict[str, Any] = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in tree.items() if name in names})


def _write(path: Path, record: Device | Place) -> None:
    """In one step: there is the old one or the new one. It survives the machine's failure."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    known = {"driverName": record.driver, "volumeHandle": record.handle, "specVolID": record.name}
    files.write_whole(path, orjson.dumps({**known, **dataclasses.asdict(record)}), 0o644)


def _remove(path: Path) -> None:
    """What a driver has left empty; anything else stays, for nobody knows whose it is."""
    try:
        path.rmdir()
    except NotADirectoryError:
        path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    except OSError:
        if path.is_dir() and not path.is_mount():
            return
        raise
