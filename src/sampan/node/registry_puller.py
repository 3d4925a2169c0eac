"""The agent's way to registries: who is let in, who shares a pull, and how many run at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from sampan.kit.clock import Clock
from sampan.kit.tasks import Tasks
from sampan.node import podspec
from sampan.node.images import reference
from sampan.node.images.model import Image, ImageError
from sampan.node.images.store import ImageStore
from sampan.node.pull_credentials import Credential, PullCredentials
from sampan.node.registry import config
from sampan.node.registry.config import Login, Registries

Object = dict[str, Any]

PULLS_AT_ONCE = 4
"""From one registry: one that hangs holds up no other."""


@dataclass(slots=True)
class _Pull:
    """One that is under way, and how many wait for it."""

    task: asyncio.Task[tuple[Image, Login | None]]
    waiting: int = 0


class RegistryPuller:
    """As `parts.Puller`. Containers that want the same image with the same logins share one pull.

    It ends when nobody wants it any more; what is here of it by then need not be got again.
    """

    def __init__(self, store: ImageStore, registries: Callable[[], Registries], clock: Clock, tasks: Tasks) -> None:
        from sampan.node.registry.pull import Pulls

        self._store, self._tasks = store, tasks
        self._pulls = Pulls(store, registries, clock)
        self.credentials = PullCredentials()
        self._running: dict[tuple[str, tuple[Login, ...]], _Pull] = {}
        self._slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def pull_elsewhere(self, namespace: int) -> None:
        """From now on as in the network namespace of this descriptor."""
        from sampan.node.registry import elsewhere

        self._pulls.connector = lambda: elsewhere.connector(namespace)

    def is_needed(self, pod: Object, container: Object, attempt: int) -> bool:
        """Whether an image that is here is to be asked for again: always, unless it was loaded by hand."""
        return container.get("imagePullPolicy") == "Always" and self._store.is_pulled(podspec.image(container))

    async def pull(self, pod: Object, container: Object, number: tuple[int, int], secrets: Sequence[Object]) -> str:
        """Gets the image; why it could not be had, or nothing."""
        ref = podspec.image(container)
        try:
            credentials = await self.credentials.of(pod, ref, secrets)
        except ImageError as refused:
            return str(refused)
        async with self._shared(ref, credentials) as running:
            await asyncio.wait((running,))
        if running.cancelled():
            return "the pull was cancelled"
        error = running.exception()
        if error is None:
            image, login = running.result()
            await self.credentials.used(ref, image.id, login, credentials)
            return ""
        if not isinstance(error, ImageError):
            raise error
        return str(error)

    @contextlib.asynccontextmanager
    async def _shared(
        self, ref: str, credentials: Sequence[Credential]
    ) -> AsyncIterator[asyncio.Task[tuple[Image, Login | None]]]:
        """The pull, as long as somebody waits for it."""
        key = (ref, tuple(credential.login for credential in credentials))
        shared = self._running.get(key)
        if shared is None:
            shared = _Pull(self._tasks.spawn(self._pull(ref, credentials), f"pull of {ref}", critical=False))
            self._running[key] = shared
        shared.waiting += 1
        try:
            yield shared.task
        finally:
            shared.waiting -= 1
            if not shared.waiting:
                shared.task.cancel()
                if self._running.get(key) is shared:
                    del self._running[key]

    async def _pull(self, ref: str, credentials: Sequence[Credential]) -> tuple[Image, Login | None]:
        """The image is never in the store without a word of whose credentials it was had with."""
        registry = reference.parse(ref).repository.partition("/")[0]
        async with self._slots.setdefault(registry, asyncio.Semaphore(PULLS_AT_ONCE)):
            before = self._store.resolve(ref)
            try:
                await self.credentials.begin(ref)
                found = await self._pulls.pull_as(ref, tuple(credential.login for credential in credentials))
            except ImageError:
                await self.credentials.failed(ref)
                raise
            except asyncio.CancelledError:
                if self._store.resolve(ref) == before:  # else it came all the same, and nobody knows for whom
                    await self.credentials.failed(ref)
                raise
            image, login = found
            await self.credentials.pulled(ref, image.id, login, credentials)
            return found


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
