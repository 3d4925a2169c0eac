"""What is kept of pulls: which credentials an image was had with, so that only who has them uses it from here on.

One file for an image (ImagePulledRecord, as upstream's), and one for each pull that has begun and not ended: an image
that such a pull left behind is not taken for one that was loaded by hand.

https://kubernetes.io/docs/concepts/containers/images/#ensureimagepullcredentialverification
"""

import contextlib
import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from sampan.kit import files
from sampan.kit.clock import Clock
from sampan.meta import timestamps
from sampan.node.images.model import Image

Object = dict[str, Any]
log = logging.getLogger(__name__)

API_VERSION = "kubelet.config.k8s.io/v1beta1"
OPEN: Object = {"nodePodsAccessible": True}
"""Pulled without credentials, or with the node's own: for every pod."""


class PullRecords:
    """The records in one folder, which nodes with the same images share. Writing waits for the disk."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._pulled, self._pulling, self._clock = folder / "image_pulled", folder / "image_pulling", clock
        self._running: dict[str, int] = {}
        self._counting = threading.Lock()

    def begin(self, name: str) -> None:
        """A pull of this full name begins."""
        with self._counting:
            self._running[name] = self._running.get(name, 0) + 1
            _write(_file(self._pulling, name), {"apiVersion": API_VERSION, "kind": "ImagePullIntent", "image": name})

    def failed(self, name: str) -> None:
        """It has ended, without an image."""
        with self._counting:
            left = self._running.pop(name, 0) - 1
            if left > 0:
                self._running[name] = left
            else:
                _file(self._pulling, name).unlink(missing_ok=True)

    def pulled(self, name: str, image: str) -> None:
        """It has ended, and what is known of the image's credentials is written: see `add`."""
        if self.find(image) is not None:
            self.failed(name)

    def is_pulling(self, name: str) -> bool:
        """Whether a pull has begun, perhaps before a restart, and nothing is known of its end."""
        return _file(self._pulling, name).exists()

    def find(self, image: str) -> Object | None:
        """The credentials by repository, for an image's id; None if it was never pulled here."""
        try:
            tree = orjson.loads(_file(self._pulled, image).read_bytes())
            return dict(tree["credentialMapping"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, LookupError) as error:
            log.warning("the record of image %s can't be read: %s", image, error)
            return {}

    def add(self, image: str, repository: str, credentials: Object | None) -> None:
        """One more way to have the image; None says only that it was pulled."""
        with _locked(self._pulled):
            known = self.find(image)
            mapping = dict(known or {})
            if credentials is not None:
                mapping[repository] = _merged(mapping.get(repository), credentials)
            if mapping == known:
                return
            now = timestamps.format(self._clock.now())
            tree = {"apiVersion": API_VERSION, "kind": "ImagePulledRecord", "lastUpdatedTime": now, "imageRef": image}
            _write(_file(self._pulled, image), {**tree, "credentialMapping": mapping})

    def forget(self, image: str) -> None:
        """The image is no longer there."""
        _file(self._pulled, image).unlink(missing_ok=True)

    def settle(self, resolve: Callable[[str], Image | None], known: Callable[[], Iterable[Image]]) -> None:
        """After a start: images of pulls whose end nobody saw are marked, records of images that are gone go."""
        for path in self._pulling.glob("*"):
            try:
                name = str(orjson.loads(path.read_bytes())["image"])
            except (OSError, ValueError, TypeError, LookupError):
                continue
            with contextlib.suppress(OSError):  # then the pull stays as one that has not ended
                if (image := resolve(name)) is not None:
                    self.add(image.id, "", None)
                    path.unlink(missing_ok=True)
        records = [path for path in self._pulled.glob("*") if not files.is_unfinished(path)]
        if records:
            kept = {_file(self._pulled, image.id) for image in known()}
            for path in records:
                if path not in kept:
                    path.unlink(missing_ok=True)


def _merged(known: Object | None, new: Object) -> Object:
    if known is None or new == OPEN or known.get("nodePodsAccessible"):
        return new if known is None or new == OPEN else known
    merged = dict(known)
    for kind, entries in new.items():
        old = merged.get(kind) or []
        places = {_place(entry) for entry in entries}
        merged[kind] = [*(entry for entry in old if _place(entry) not in places), *entries]
        if sorted(merged[kind], key=repr) == sorted(old, key=repr):
            merged[kind] = old
    return merged


def _place(entry: Object) -> tuple[str, str, str]:
    return entry["namespace"], entry["name"], entry["uid"]


def _file(folder: Path, name: str) -> Path:
    return folder / f"sha256-{hashlib.sha256(name.encode()).hexdigest()}"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """While it is held, no other agent and no other thread changes what is in a record of the folder."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with files.alone(folder):
        yield


def _write(path: Path, tree: Object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    files.write_whole(path, orjson.dumps(tree))
