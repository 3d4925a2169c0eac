"""EncryptionConfiguration: which resources are encrypted in the store, with which keys.

https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/#apiserver-config-k8s-io-v1-EncryptionConfiguration
"""

import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sampan.server.config_reader import ConfigError, Reader
from sampan.server.encryption.providers import AesCbc, AesGcm, Identity, Provider, Secretbox, Transformer

KIND = "EncryptionConfiguration"
_PROVIDERS: dict[str, tuple[Callable[[str, bytes], Provider], tuple[int, ...]]] = {
    "aescbc": (AesCbc, (16, 24, 32)),
    "aesgcm": (AesGcm, (16, 24, 32)),
    "secretbox": (Secretbox, (32,)),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of the resources that it names: secrets, deployments.apps, *.apps, *.*"""

    resources: tuple[str, ...]
    transformer: Transformer

    def covers(self, group: str, resource: str) -> bool:
        """Whether a resource is one of them."""
        name = f"{resource}.{group}" if group else resource
        wide = f"*.{group}" if group else "*."
        return any(given.rstrip(".") == name or given in (wide, "*.*") for given in self.resources)


@dataclass(frozen=True, slots=True)
class Encryption:
    """The rules in their order: the first that covers a resource holds."""

    rules: tuple[Rule, ...] = ()

    def transformer(self, group: str, resource: str) -> Transformer | None:
        """The resource's, None when its values are stored as they are."""
        return next((rule.transformer for rule in self.rules if rule.covers(group, resource)), None)


def read(reader: Reader) -> Encryption:
    """Raises ConfigError."""
    rules = tuple(_rule(each) for each in reader.each("resources"))
    reader.done()
    if not rules:
        raise ConfigError(f"{reader.at('resources')} is empty: name at least one resource, such as secrets")
    return Encryption(rules)


def _rule(reader: Reader) -> Rule:
    resources = reader.texts("resources")
    providers = tuple(provider for each in reader.each("providers") for provider in _keys(each))
    reader.done()
    if not resources or not providers:
        raise ConfigError(f"{reader.path} needs resources and providers")
    if len({provider.prefix for provider in providers}) < len(providers):
        raise ConfigError(f"{reader.at('providers')} has one provider with one key name twice: rename the key")
    return Rule(resources, Transformer(providers))


def _keys(reader: Reader) -> Iterator[Provider]:
    """One provider for each key that an entry lists."""
    if reader.has("kms"):
        raise ConfigError(f"{reader.at('kms')}: a key service is not available; use secretbox, aesgcm or aescbc")
    found = reader.tree("identity") is not None
    if found:
        yield Identity()
    for name, (provider, sizes) in _PROVIDERS.items():
        inner = reader.inner(name)
        if inner is not None:
            found = True
            for key in inner.each("keys"):
                yield provider(key.text("name"), _secret(key, sizes))
                key.done()
            inner.done()
    reader.done()
    if not found:
        raise ConfigError(f"{reader.path} names no provider: one of aescbc, aesgcm, secretbox, identity")


def _secret(reader: Reader, sizes: tuple[int, ...]) -> bytes:
    where = reader.at("secret")
    wanted = " or ".join(map(str, sizes))
    mend = f"write {wanted} random bytes in base64, such as: head -c {sizes[-1]} /dev/urandom | base64"
    try:
        key = base64.b64decode(reader.text("secret"), validate=True)
    except binascii.Error as error:
        raise ConfigError(f"{where} is not base64: {mend}") from error
    if len(key) not in sizes:
        raise ConfigError(f"{where} has {len(key)} bytes: {mend}")
    return key
