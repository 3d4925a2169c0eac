"""Providers: the ways in which a stored value is encrypted, and the form in which it says so.

An encrypted value starts with k8s:enc:PROVIDER:v1:KEYNAME: as upstream writes it. aesgcm binds the value
to its key in the store, so that nobody can put one Secret's value in another's place.

https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/#providers
"""

import os
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.padding import PKCS7

from sampan.server.encryption import secretbox

ENCRYPTED = b"k8s:enc:"
_BLOCK_BYTES = 16
_NONCE_BYTES = 12


class DecryptionError(Exception):
    """A stored value that no configured key opens."""


class Provider(Protocol):
    """One key of one kind of encryption; `prefix` marks the values that it wrote."""

    @property
    def prefix(self) -> bytes: ...

    def seal(self, value: bytes, context: bytes) -> bytes:
        """The value as it is stored, without the prefix; `context` is its key in the store."""
        ...

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """The opposite. Raises ValueError."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """No encryption."""

    prefix: bytes = b""

    def seal(self, value: bytes, context: bytes) -> bytes:
        return value

    def open(self, sealed: bytes, context: bytes) -> bytes:
        if sealed.startswith(ENCRYPTED):
            raise ValueError("no configured key is the one that it was encrypted with")
        return sealed


class AesCbc:
    """AES in CBC mode with PKCS#7 padding. Not authenticated: offered since upstream offers it."""

    def __init__(self, name: str, key: bytes) -> None:
        self.prefix = _prefix("aescbc", name)
        self._key = algorithms.AES(key)

    def seal(self, value: bytes, context: bytes) -> bytes:
        vector = os.urandom(_BLOCK_BYTES)
        pad = PKCS7(_BLOCK_BYTES * 8).padder()
        encryptor = Cipher(self._key, modes.CBC(vector)).encryptor()
        padded = pad.update(value) + pad.finalize()
        return vector + encryptor.update(padded) + encryptor.finalize()

    def open(self, sealed: bytes, context: bytes) -> bytes:
        decryptor = Cipher(self._key, modes.CBC(sealed[:_BLOCK_BYTES])).decryptor()
        padded = decryptor.update(sealed[_BLOCK_BYTES:]) + decryptor.finalize()
        unpad = PKCS7(_BLOCK_BYTES * 8).unpadder()
        return unpad.update(padded) + unpad.finalize()


class AesGcm:
    """AES in GCM mode, with a random nonce."""

    def __init__(self, name: str, key: bytes) -> None:
        self.prefix = _prefix("aesgcm", name)
        self._key = AESGCM(key)

    def seal(self, value: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._key.encrypt(nonce, value, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        try:
            return self._key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
        except InvalidTag as error:
            raise ValueError("the value was changed, moved, or encrypted with another key") from error


class Secretbox:
    """XSalsa20 and Poly1305."""

    def __init__(self, name: str, key: bytes) -> None:
        self.prefix = _prefix("secretbox", name)
        self._key = key

    def seal(self, value: bytes, context: bytes) -> bytes:
        nonce = os.urandom(secretbox.NONCE_BYTES)
        return nonce + secretbox.seal(self._key, nonce, value)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        nonce = sealed[: secretbox.NONCE_BYTES]
        if len(nonce) < secretbox.NONCE_BYTES:
            raise ValueError("the value is too short")
        return secretbox.open_sealed(self._key, nonce, sealed[secretbox.NONCE_BYTES :])


class Transformer:
    """What becomes of one resource's values: the first provider writes, any of them reads."""

    def __init__(self, providers: tuple[Provider, ...]) -> None:
        self._providers = providers
        self._writer = providers[0]

    def seal(self, key: str, value: bytes) -> bytes:
        """The bytes to store under the key."""
        return self._writer.prefix + self._writer.seal(value, key.encode())

    def open(self, key: str, stored: bytes) -> bytes:
        """The value. Raises DecryptionError, which names the key but no value."""
        why = "no configured provider reads it"
        for provider in self._providers:
            if stored.startswith(provider.prefix):
                try:
                    return provider.open(stored[len(provider.prefix) :], key.encode())
                except ValueError as error:
                    why = str(error)
        raise DecryptionError(
            f"{key} cannot be decrypted: {why}; add the key it was written with to the EncryptionConfiguration"
        )

    def is_stale(self, stored: bytes) -> bool:
        """Whether the value would be written in another way now."""
        if not self._writer.prefix:
            return stored.startswith(ENCRYPTED)
        return not stored.startswith(self._writer.prefix)


def _prefix(provider: str, name: str) -> bytes:
    return ENCRYPTED + f"{provider}:v1:{name}:".encode()
