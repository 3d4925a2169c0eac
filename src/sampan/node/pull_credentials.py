"""Whose credentials a pod has for an image, and whether they allow it an image that is here already.

https://kubernetes.io/docs/concepts/containers/images/#ensureimagepullcredentialverification
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.kit.threads import to_its_end
from sampan.meta import objects
from sampan.node.credential_providers import Account, Providers, fingerprint
from sampan.node.images import reference
from sampan.node.images.model import ImageError
from sampan.node.pull_records import OPEN, PullRecords
from sampan.node.registry import keyring
from sampan.node.registry.config import Login

Object = dict[str, Any]
log = logging.getLogger(__name__)

MOST_REMEMBERED = 100
"""Secrets of an image that are remembered without a pull of theirs."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When a pod has to have credentials for an image that is here; `allowed` are repositories without tags."""

    name: str = "NeverVerifyPreloadedImages"
    allowed: tuple[str, ...] = ()

    def is_asked(self, ref: str, *, is_pulled: bool) -> bool:
        """Whether credentials for the image are asked for."""
        if self.name in ("NeverVerify", "AlwaysVerify"):
            return self.name == "AlwaysVerify"
        if is_pulled or self.name == "NeverVerifyPreloadedImages":
            return is_pulled
        repository = _repository(ref)
        return not any(_is_listed(pattern, repository) for pattern in self.allowed)


DEFAULT = Policy()


@dataclass(frozen=True, slots=True)
class Credential:
    """A login, and the secrets (or the service account) that it comes from; nobody's is the node's own."""

    login: Login
    secrets: tuple[Object, ...] = ()
    account: Account | None = None

    @property
    def record(self) -> Object:
        """What is kept of it once it has let a pull in."""
        if self.secrets:
            return {"kubernetesSecrets": list(self.secrets)}
        if self.account is not None:
            return {"kubernetesServiceAccounts": [_coordinates(self.account)]}
        return OPEN


class PullCredentials:
    """One node's. Without records, every image that is here is for every pod."""

    def __init__(
        self,
        records: PullRecords | None = None,
        providers: Providers | None = None,
        policy: Policy = DEFAULT,
        is_loaded: Callable[[str], bool] = lambda ref: False,
    ) -> None:
        self.records, self._providers, self._policy, self._is_loaded = records, providers, policy, is_loaded

    async def of(self, pod: Object, ref: str, secrets: Sequence[Object]) -> tuple[Credential, ...]:
        """The pod's credentials for an image: those of its pull secrets, then what plugins give. Raises ImageError."""
        repository = _repository(ref)
        if not repository:
            raise ImageError("invalid reference format")
        domain, _, path = repository.partition("/")
        holders: dict[Login, list[Object]] = {}
        found = []
        for secret in secrets:
            try:
                logins = keyring.of_secret(secret)
            except keyring.KeyringError as error:
                log.warning("pull secret %s/%s: %s", objects.namespace(secret), objects.name(secret), error)
                continue
            found.append(logins)
            for login in dict.fromkeys(logins.values()):
                holders.setdefault(login, []).append({**_named(secret), "credentialHash": fingerprint(login)})
        credentials = {
            login: Credential(login, tuple(holders[login])) for login in keyring.matching(found, domain, path)
        }
        given = await self._providers.given(pod, repository) if self._providers is not None else []
        accounts = {login: each.account for each in reversed(given) for login in each.logins.values()}
        for login in keyring.matching([each.logins for each in given], domain, path):
            credentials.setdefault(login, Credential(login, account=accounts[login]))
        return tuple(credentials.values())

    async def may_use(
        self, pod: Object, ref: str, image: str, secrets: Callable[[], Awaitable[Sequence[Object]]]
    ) -> bool:
        """Whether the pod may use the image (its id) that is here, without asking the registry."""
        if self.records is None:
            return True
        known = self.records.find(image)
        is_pulled = not self._is_loaded(ref) and (known is not None or self._is_pulling(ref))
        if not self._policy.is_asked(ref, is_pulled=is_pulled):
            return True
        repository = _repository(ref)
        record = (known or {}).get(repository)
        if record is None:
            return False
        if record.get("nodePodsAccessible"):
            return True
        return await self._is_known(record, await self.of(pod, ref, await secrets()), (image, repository))

    def _is_pulling(self, ref: str) -> bool:
        assert self.records is not None, "only who keeps records asks"
        try:
            return self.records.is_pulling(str(reference.parse(ref)))
        except ValueError:
            return False

    async def _is_known(self, record: Object, credentials: Sequence[Credential], place: tuple[str, str]) -> bool:
        """Whether one of them was used before: by its content, by its secret's name, or by its account."""
        old, accounts = record.get("kubernetesSecrets") or [], record.get("kubernetesServiceAccounts") or []
        hashes = {entry["credentialHash"] for entry in old}
        places = {(entry["namespace"], entry["name"], entry["uid"]) for entry in old}
        for secret in (secret for credential in credentials for secret in credential.secrets):
            is_same = secret["credentialHash"] in hashes
            is_there = (secret["namespace"], secret["name"], secret["uid"]) in places
            if is_same or is_there:
                if not (is_same and is_there) and len(old) < MOST_REMEMBERED:
                    await self._remember(*place, {"kubernetesSecrets": [secret]})
                return True
        return any(c.account is not None and _coordinates(c.account) in accounts for c in credentials)

    async def begin(self, ref: str) -> None:
        """A pull begins; `failed` or `pulled` is to follow, whatever comes of this. Raises ImageError."""
        if self.records is None:
            return
        try:
            await to_its_end(self.records.begin, str(reference.parse(ref)))
        except OSError as error:
            raise ImageError(f"failed to record image pull intent: {error}") from error

    async def failed(self, ref: str) -> None:
        """The pull has ended without an image."""
        if self.records is not None:
            await to_its_end(self.records.failed, str(reference.parse(ref)))

    async def pulled(self, ref: str, image: str, login: Login | None, credentials: Sequence[Credential]) -> None:
        """The pull has ended with this image, which was had with one of the credentials, or without any."""
        records, repository, record = self.records, _repository(ref), _used(login, credentials)
        if records is None:
            return

        def end() -> None:
            _add(records, image, repository, record)
            records.pulled(str(reference.parse(ref)), image)

        await to_its_end(end)

    async def used(self, ref: str, image: str, login: Login | None, credentials: Sequence[Credential]) -> None:
        """The image was had with one of the credentials, or without any: also by whom another's pull served."""
        await self._remember(image, _repository(ref), _used(login, credentials))

    def forget(self, image: str) -> None:
        """The image is no longer there."""
        if self.records is not None:
            self.records.forget(image)

    async def _remember(self, image: str, repository: str, credentials: Object) -> None:
        if self.records is not None:
            await asyncio.to_thread(_add, self.records, image, repository, credentials)


def _add(records: PullRecords, image: str, repository: str, credentials: Object) -> None:
    try:
        records.add(image, repository, credentials)
    except OSError as error:
        log.warning("the record of image %s can't be written: %s", image, error)


def _used(login: Login | None, credentials: Sequence[Credential]) -> Object:
    mine = next((credential for credential in credentials if credential.login == login), None)
    return OPEN if mine is None else mine.record


def _named(secret: Object) -> Object:
    return {"uid": objects.uid(secret), "namespace": objects.namespace(secret), "name": objects.name(secret)}


def _coordinates(account: Account) -> Object:
    return {"uid": account.uid, "namespace": account.namespace, "name": account.name}


def _repository(ref: str) -> str:
    """The name without tag and digest; nothing for an image's id."""
    try:
        return reference.parse(ref).repository
    except ValueError:
        return ""


def _is_listed(pattern: str, repository: str) -> bool:
    if pattern.endswith("/*"):
        return repository.startswith(pattern[:-1])
    return repository == pattern
