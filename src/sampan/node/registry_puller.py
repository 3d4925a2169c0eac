"""The agent's way to registries: who is let in, who shares a pull, and how many run at once."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.meta import objects
from sampan.node import podspec
from sampan.node.images import reference
from sampan.node.images.model import Image, ImageError
from sampan.node.images.store import ImageStore
from sampan.node.registry import config, keyring
from sampan.node.registry.config import Login, Registries

Object = dict[str, Any]
log = logging.getLogger(__name__)

PULLS_AT_ONCE = 4


class RegistryPuller:
    """As `parts.Puller`. Containers that want the same image with the same logins share one pull."""

    def __init__(self, store: ImageStore, registries: Callable[[], Registries], clock: Clock, tasks: Tasks) -> None:
        from sampan.node.registry.pull import Pulls

        self._store, self._tasks = store, tasks
        self._pulls = Pulls(store, registries, clock)
        self._running: dict[tuple[str, tuple[Login, ...]], asyncio.Task[Image]] = {}
        self._slots = asyncio.Semaphore(PULLS_AT_ONCE)

    def is_needed(self, pod: Object, container: Object, attempt: int) -> bool:
        """Whether an image that is here is to be asked for again: always, unless it was loaded by hand."""
        return container.get("imagePullPolicy") == "Always" and self._store.is_pulled(podspec.image(container))

    async def pull(self, pod: Object, container: Object, number: tuple[int, int], secrets: Sequence[Object]) -> str:
        """Gets the image; why it could not be had, or nothing."""
        ref = podspec.image(container)
        key = (ref, _logins(ref, secrets))
        running = self._running.get(key)
        if running is None:
            running = self._tasks.spawn(self._pull(*key), f"pull of {ref}", critical=False)
            self._running[key] = running
            running.add_done_callback(lambda _: self._running.pop(key, None))
        await asyncio.wait((running,))
        if running.cancelled():
            return "the pull was cancelled"
        error = running.exception()
        if error is None:
            return ""
        if not isinstance(error, ImageError):
            raise error
        return str(error)

    async def _pull(self, ref: str, logins: tuple[Login, ...]) -> Image:
        async with self._slots:
            return await self._pulls.pull(ref, logins)


def _logins(ref: str, secrets: Sequence[Object]) -> tuple[Login, ...]:
    """The secrets' logins for the image. What can't be read is left out and said in the log."""
    found = []
    for secret in secrets:
        try:
            found.append(keyring.of_secret(secret))
        except keyring.KeyringError as error:
            log.warning("pull secret %s/%s: %s", objects.namespace(secret), objects.name(secret), error)
    domain, _, path = reference.parse(ref).repository.partition("/")
    return keyring.matching(found, domain, path)


def registries(files: Sequence[str]) -> Registries:
    """What the first of the files that is there says. Raises ImageError for one that can't be read."""
    for name in files:
        try:
            text = Path(name).read_text()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ImageError(f"{name}: {error.strerror}") from error
        import yaml

        try:
            return config.parse(yaml.safe_load(text))
        except (config.RegistriesError, yaml.YAMLError) as error:
            raise ImageError(f"{name}: {error}") from error
    return config.NONE
