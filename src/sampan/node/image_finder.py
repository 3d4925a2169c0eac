"""Finding a container's image: here already, or got from elsewhere, as its pull policy has it; with what is said of it.

https://kubernetes.io/docs/concepts/containers/images/#image-pull-policy
"""

import asyncio
from collections.abc import Callable
from typing import Any

from sampan.client.transport import TransportError
from sampan.kinds.core.secret import SECRET
from sampan.kit.tasks import Tasks
from sampan.meta.status import ApiError
from sampan.node import backoff, podspec
from sampan.node.events import Recorder
from sampan.node.fetch import Fetcher
from sampan.node.images.model import Image, ImageError
from sampan.node.observed import Emit, Failure
from sampan.node.parts import Parts
from sampan.node.record import PodRecord, PullError

Object = dict[str, Any]

RETRY_SECONDS = 10.0
NO_PULL = "this node gets no images from registries; load it with: sampan image load"


class NoImage(Exception):
    """The image is not there; the record says so already."""


class ImageFinder:
    """One node's images, as its pods ask for them. `wake(uid, seconds)` has the pod looked at again."""

    def __init__(
        self, parts: Parts, recorder: Recorder, fetcher: Fetcher, tasks: Tasks, wake: Callable[[str, float], None]
    ) -> None:
        self._parts, self._recorder, self._fetcher = parts, recorder, fetcher
        self._tasks, self._wake = tasks, wake

    async def find(self, record: PodRecord, container: Object, attempt: int) -> Image:
        """The container's image; says why not and raises NoImage."""
        ref, name = podspec.image(container), container["name"]
        path = podspec.field_path(record.pod, name)
        image = self._here(record, container)
        puller, is_never = self._parts.puller, container.get("imagePullPolicy") == "Never"
        is_barred = image is not None and not await self._may_use(record, container, image)
        text = f'Container image "{ref}" already present on machine and can be accessed by the pod'
        if puller is not None and (image is None or is_barred or puller.is_needed(record.pod, container, attempt)):
            was_here, image = image is not None, None
            if not is_never:
                number = (attempt, self._count(record, name))
                image, text = await self._pull(record, container, number, is_remote=was_here)
        if image is not None:
            record.pull_errors.pop(name, None)
            record.pull_backoffs.pop(name, None)
            self._recorder.emit(record.pod, Emit("Normal", "Pulled", text, path))
            return image
        if is_never:
            text = f'Container image "{ref}" is not present with pull policy of Never'
            record.failures[name] = Failure("ErrImageNeverPull", text, self._parts.clock.now() + RETRY_SECONDS)
            self._recorder.emit(record.pod, Emit("Warning", "ErrImageNeverPull", text, path))
            self._recorder.emit(record.pod, Emit("Warning", "Failed", "Error: ErrImageNeverPull", path))
            raise NoImage
        self._failed(record, container, NO_PULL)
        raise NoImage

    def let_go(self, record: PodRecord) -> None:
        """Gives up getting images for a pod that is to go."""
        for task in record.pulling.values():
            task.cancel()

    def _here(self, record: PodRecord, container: Object) -> Image | None:
        ref, name = podspec.image(container), container["name"]
        try:
            return self._parts.images.resolve(ref)
        except ImageError as error:
            text = f'Failed to apply default image tag "{ref}": {error}'
            record.failures[name] = Failure("InvalidImageName", text, self._parts.clock.now() + RETRY_SECONDS)
            path = podspec.field_path(record.pod, name)
            self._recorder.emit(record.pod, Emit("Warning", "InspectFailed", text, path))
            raise NoImage from error

    async def _may_use(self, record: PodRecord, container: Object, image: Image) -> bool:
        """Whether the pod's credentials (if any are needed) are known to be good for the image."""
        if self._parts.credentials is None or container.get("imagePullPolicy") == "Always":
            return True
        ref = podspec.image(container)
        return await self._parts.credentials.may_use(record.pod, ref, image.id, lambda: self._secrets(record))

    def _count(self, record: PodRecord, name: str) -> int:
        number = record.pulls_begun[name] = record.pulls_begun.get(name, 0) + 1
        return number

    async def _pull(
        self, record: PodRecord, container: Object, number: tuple[int, int], *, is_remote: bool
    ) -> tuple[Image, str]:
        """Gets the image; with what is to be said. Raises NoImage, also when the pod is to go meanwhile."""
        puller = self._parts.puller
        assert puller is not None, "only who has a puller pulls"
        ref, name = podspec.image(container), container["name"]
        secrets = await self._secrets(record)
        if record.beginnings.is_over:
            raise NoImage
        text = f'Pulling image "{ref}"'
        self._recorder.emit(record.pod, Emit("Normal", "Pulling", text, podspec.field_path(record.pod, name)))
        began = self._parts.clock.monotonic()
        task = self._tasks.spawn(puller.pull(record.pod, container, number, secrets), "pull", critical=False)
        record.pulling[name] = task
        try:
            await asyncio.wait((task,))
        finally:
            record.pulling.pop(name, None)
            task.cancel()
        if task.cancelled():
            raise NoImage
        image = None if task.result() else self._here(record, container)
        if image is None:
            self._failed(record, container, task.result() or "it was removed again", is_remote=is_remote)
            raise NoImage
        took = backoff.text(self._parts.clock.monotonic() - began)
        size = f"Image size: {image.size} bytes."
        return image, f'Successfully pulled image "{ref}" in {took} ({took} including waiting). {size}'

    async def _secrets(self, record: PodRecord) -> tuple[Object, ...]:
        """The pod's pull secrets that are there; says which are not."""
        names = [named["name"] for named in record.pod["spec"].get("imagePullSecrets") or () if named.get("name")]
        if not names:
            return ()
        try:
            found = await self._fetcher.named(SECRET, record.pod, names)
        except (ApiError, TransportError):
            found = {}
        missing = ", ".join(name for name in names if name not in found)
        if missing:
            text = (
                f"Unable to retrieve some image pull secrets ({missing}); attempting to pull the image may not succeed."
            )
            self._recorder.emit(record.pod, Emit("Warning", "FailedToRetrieveImagePullSecret", text))
        return tuple(found[name] for name in names if name in found)

    def _failed(self, record: PodRecord, container: Object, why: str, *, is_remote: bool = False) -> None:
        ref, name = podspec.image(container), container["name"]
        path = podspec.field_path(record.pod, name)
        message = f'failed to pull image "{ref}": {why}'
        was_known = name in record.pull_errors
        record.pull_failed(name, PullError(ref, message, self._parts.clock.now(), is_remote=is_remote))
        told = [Emit("Warning", "Failed", f'Failed to pull image "{ref}": {why}', path)]
        told.append(Emit("Warning", "Failed", "Error: ErrImagePull", path))
        if was_known:
            told.append(Emit("Normal", "BackOff", f'Back-off pulling image "{ref}"', path))
            told.append(Emit("Warning", "Failed", "Error: ImagePullBackOff", path))
        for each in told:
            self._recorder.emit(record.pod, each)
        self._wake(record.uid, 1.0)
