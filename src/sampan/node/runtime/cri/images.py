"""A node's images where a CRI runtime runs its containers: those of the node's own store, and the runtime's.

What was loaded by hand is found first. The runtime's list is kept, and read anew after every pull and once a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sampan.kit.clock import Clock
from sampan.node import podspec
from sampan.node.images import reference
from sampan.node.images.model import Image, ImageConfig, ImageError
from sampan.node.images.store import ImageStore
from sampan.node.pull_credentials import PullCredentials
from sampan.node.registry.config import Login
from sampan.node.rpc.service import RpcError
from sampan.node.runtime.cri import requests
from sampan.node.runtime.cri.link import Link

REFRESH_SECONDS = 60.0
PULL_SECONDS = 3600.0
PULLS_AT_ONCE = 4

Object = dict[str, Any]


class CriImages:
    """As `parts.Images` and `parts.Puller`."""

    def __init__(self, link: Link, store: ImageStore, clock: Clock) -> None:
        self._link, self._store, self._clock = link, store, clock
        self._slots = asyncio.Semaphore(PULLS_AT_ONCE)
        self._remote: dict[str, Image] = {}
        self._names: dict[str, Image] = {}
        self.credentials = PullCredentials()
        self.kept: set[str] = set()
        """Names of images that nobody removes: what pods' sandboxes are made of."""

    async def follow(self) -> None:
        """Reads the runtime's list for ever."""
        while True:
            await self._clock.pulse(REFRESH_SECONDS)
            await self.refresh()

    async def refresh(self, *, is_needed: bool = False) -> None:
        """Reads the runtime's list; the old one stays while it does not answer, unless it is needed. RpcError."""
        try:
            answer = await self._link.call("ListImages")
        except RpcError:
            if is_needed:
                raise
            return
        self._remote = {each["id"]: image(each) for each in answer["images"]}
        found = self._remote.values()
        self._names = {name: each for each in found for name in each.repo_tags + each.repo_digests}

    def resolve(self, ref: str) -> Image | None:
        """The image of a reference, or of an id. ImageError for what is none."""
        return self._store.resolve(ref) or self._of_runtime(ref)

    def _of_runtime(self, ref: str) -> Image | None:
        identity = reference.image_id(ref)
        if identity is not None:
            return self._remote.get(identity)
        wanted = reference.parse(ref)
        return self._names.get(f"{wanted.repository}@{wanted.digest}" if wanted.digest else str(wanted))

    def list(self) -> Sequence[Image]:
        """All, sorted by id."""
        found = dict(self._remote)
        for each in self._store.list():
            found[each.id] = _of_both(each, found[each.id]) if each.id in found else each
        return [found[identity] for identity in sorted(found)]

    async def remove(self, ref: str) -> bool:
        """Takes it from both; whether it was there. ImageError while the store's is in use, RpcError."""
        was_here = await asyncio.to_thread(self._store.remove, ref)
        remote = self._of_runtime(ref)
        if remote is None or self.kept.intersection(remote.repo_tags):
            return was_here
        await self._link.call("RemoveImage", {"image": {"image": remote.id}})
        self.credentials.forget(remote.id)
        await self.refresh()
        return True

    async def used(self) -> set[str]:
        """The images that the runtime's containers are made of, by id or digest. RpcError."""
        answer = await self._link.call("ListContainers")
        return {state.image_id for state in map(requests.state, answer["containers"]) if state.image_id}

    def is_needed(self, pod: Object, container: Object, attempt: int) -> bool:
        """Whether an image that is here is to be asked for again: always, unless it was loaded by hand."""
        is_always = container.get("imagePullPolicy") == "Always"
        return is_always and self._store.resolve(podspec.image(container)) is None

    async def pull(self, pod: Object, container: Object, number: tuple[int, int], secrets: Sequence[Object]) -> str:
        """Has the runtime pull the image, with each login that fits until one does; why it could not, or nothing."""
        ref = podspec.image(container)
        await self.refresh()

        async def given() -> Sequence[Object]:
            return secrets

        here = None if container.get("imagePullPolicy") == "Always" else self.resolve(ref)
        if here is not None and await self.credentials.may_use(pod, ref, here.id, given):
            return ""  # somebody else has pulled it
        try:
            credentials = await self.credentials.of(pod, ref, secrets)
            await self.credentials.begin(ref)
        except ImageError as error:
            return str(error)
        why, login = await self._fetch(ref, [credential.login for credential in credentials])
        image = self._of_runtime(ref) if not why else None
        if image is None:
            await self.credentials.failed(ref)
        else:
            await self.credentials.pulled(ref, image.id, login, credentials)
        return why

    def is_loaded(self, ref: str) -> bool:
        """Whether the image was loaded by hand."""
        return self._store.resolve(ref) is not None

    async def fetch(self, ref: str, logins: Sequence[Login]) -> str:
        """Has the runtime pull an image by name, whether it is here or not; why it could not, or nothing."""
        return (await self._fetch(ref, logins))[0]

    async def _fetch(self, ref: str, logins: Sequence[Login]) -> tuple[str, Login | None]:
        name, why = str(reference.parse(ref)), ""
        async with self._slots:
            for login in (*logins, None):
                request = {"image": {"image": name}, "auth": _auth(login)}
                try:
                    await self._link.call("PullImage", request, PULL_SECONDS)
                except RpcError as error:
                    why = why or str(error)
                else:
                    await self.refresh()
                    return "", login
        return why, None


def image(told: Mapping[str, Any]) -> Image:
    """What the runtime says of an image. It unpacks the layers itself."""
    user = told["username"] or (str(told["uid"]["value"]) if told["uid"] else "")
    tags, digests = tuple(told["repo_tags"]), tuple(told["repo_digests"])
    return Image(told["id"], tags, digests, told["size"], ImageConfig(user=user))


def _of_both(here: Image, there: Image) -> Image:
    tags = tuple(sorted({*here.repo_tags, *there.repo_tags}))
    return replace(here, repo_tags=tags, repo_digests=tuple(sorted({*here.repo_digests, *there.repo_digests})))


def _auth(login: Login | None) -> Object | None:
    if login is None:
        return None
    return {"username": login.username, "password": login.password, "identity_token": login.identity_token}
