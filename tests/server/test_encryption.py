"""Encryption at rest: what is stored, what is read, and what happens when keys change."""

import base64

import pytest

from sampan.server.config import ConfigError, read
from sampan.server.encryption import secretbox
from sampan.store.memory import MemoryStore
from sampan.store.protocol import StoreError
from tests.server.configured import configured
from tests.server.conftest import config_map

SECRETS = "/api/v1/namespaces/default/secrets"
MAPS = "/api/v1/namespaces/default/configmaps"
KEY = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
OTHER = base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()


def configuration(*providers: str, resources: str = "secrets") -> str:
    listed = "\n".join(f"  - {provider}" for provider in providers)
    return (
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
        f"- resources: [{resources}]\n  providers:\n{listed}\n"
    )


def provider(name: str, *keys: tuple[str, str]) -> str:
    listed = ", ".join(f"{{name: {key}, secret: {secret}}}" for key, secret in keys)
    return f"{name}: {{keys: [{listed}]}}"


def secret(name: str) -> dict[str, object]:
    return {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name}, "stringData": {"p": "CANARY"}}


async def stored(store: MemoryStore, kind: str, name: str) -> bytes:
    record = await store.get(f"/registry/core/{kind}/default/{name}")
    assert record is not None
    return record.value


@pytest.mark.parametrize("name", ["aescbc", "aesgcm", "secretbox"])
async def test_a_stored_secret_shows_nothing(name: str) -> None:
    """Its bytes begin with the provider's mark and hold no value; reads, watches and a new start show it."""
    store, text = MemoryStore(), configuration(provider(name, ("one", KEY)), "identity: {}")
    async with configured(text, store) as api:
        await api.create(SECRETS, secret("s"))
        await api.create(MAPS, config_map("m", p="CANARY"))
        held = await stored(store, "secrets", "s")
        assert held.startswith(f"k8s:enc:{name}:v1:one:".encode())
        assert b"Q0FOQVJZ" not in held
        assert (await stored(store, "configmaps", "m")).startswith(b"{")
        assert (await api.get(f"{SECRETS}/s"))["data"] == {"p": "Q0FOQVJZ"}
        await api.patch(f"{SECRETS}/s", {"metadata": {"labels": {"a": "b"}}})
        watched = await api.send("GET", f"{SECRETS}?watch=1&timeoutSeconds=1&resourceVersion=0")
        assert watched.body.count(b"Q0FOQVJZ") >= 1
    async with configured(text, store) as api:
        assert (await api.get(f"{SECRETS}/s"))["data"] == {"p": "Q0FOQVJZ"}
        assert (await api.get(f"{SECRETS}?limit=1"))["items"]
        await api.delete(f"{SECRETS}/s")


async def test_keys_rotate() -> None:
    """A new first key writes, the old one still reads; afterwards the old one can go, and encryption can end."""
    store = MemoryStore()
    async with configured("", store) as api:
        await api.create(SECRETS, secret("plain"))
    async with configured(configuration(provider("aesgcm", ("one", KEY)), "identity: {}"), store) as api:
        await api.create(SECRETS, secret("old"))
    both = configuration(provider("secretbox", ("two", OTHER)), provider("aesgcm", ("one", KEY)), "identity: {}")
    async with configured(both, store) as api:
        assert len((await api.get(SECRETS))["items"]) == 2
        await api.app.rewrite()
        for name in ("plain", "old"):
            assert (await stored(store, "secrets", name)).startswith(b"k8s:enc:secretbox:v1:two:")
    async with configured(configuration(provider("secretbox", ("two", OTHER))), store) as api:
        assert {item["data"]["p"] for item in (await api.get(SECRETS))["items"]} == {"Q0FOQVJZ"}
    async with configured(configuration("identity: {}", provider("secretbox", ("two", OTHER))), store) as api:
        await api.app.rewrite()
        assert (await stored(store, "secrets", "old")).startswith(b"{")


async def test_a_missing_key_is_named() -> None:
    """The server does not start without it, and says which object and what to do, but no value."""
    store = MemoryStore()
    async with configured(configuration(provider("aesgcm", ("one", KEY))), store) as api:
        await api.create(SECRETS, secret("s"))
    with pytest.raises(StoreError, match=r"secrets/default/s cannot be decrypted.*add the key"):
        async with configured(configuration(provider("aesgcm", ("two", OTHER)), "identity: {}"), store):
            pass


async def test_a_value_in_anothers_place_is_refused() -> None:
    """aesgcm binds a value to its key."""
    from sampan.server.encryption.providers import AesGcm, DecryptionError, Transformer

    made = Transformer((AesGcm("k", b"0" * 32),))
    sealed = made.seal("/registry/core/secrets/a/x", b"value")
    assert made.open("/registry/core/secrets/a/x", sealed) == b"value"
    with pytest.raises(DecryptionError):
        made.open("/registry/core/secrets/a/y", sealed)
    with pytest.raises(DecryptionError):
        made.open("/registry/core/secrets/a/x", sealed[:-1] + bytes([sealed[-1] ^ 1]))


def test_resources_by_group_and_wildcard() -> None:
    """*.apps is a group, *. the core group, *.* everything; the first rule that covers a resource holds."""
    text = configuration("identity: {}", resources='"*.apps", "*.", widgets.example.com')
    rules = read(text.encode()).encryption
    assert rules is not None
    covered = [("apps", "deployments"), ("", "secrets"), ("example.com", "widgets")]
    assert all(rules.transformer(*each) is not None for each in covered)
    assert rules.transformer("batch", "jobs") is None
    everything = read(configuration("identity: {}", resources='"*.*"').encode()).encryption
    assert everything is not None
    assert everything.transformer("batch", "jobs") is not None


@pytest.mark.parametrize(
    ("providers", "why"),
    [
        (("aescbc: {keys: [{name: a, secret: c2hvcnQ=}]}",), "has 5 bytes: write 16 or 24 or 32"),
        (("aescbc: {keys: [{name: a, secret: '%%'}]}",), "is not base64"),
        (("kms: {name: x}",), "key service is not available"),
        (("rot13: {}",), "rot13 is not known here"),
        ((provider("aesgcm", ("a", KEY), ("a", OTHER)),), "one key name twice"),
    ],
)
def test_what_is_wrong_is_said_with_its_mend(providers: tuple[str, ...], why: str) -> None:
    """A configuration that cannot be meant is refused before anything starts."""
    with pytest.raises(ConfigError, match=why):
        read(configuration(*providers).encode())


def test_secretbox_is_nacls() -> None:
    """The vector of NaCl's own tests, and lengths around a block."""
    key = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
    nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
    message = bytes.fromhex(
        "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561"
        "f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60"
        "902e52f0a089bc76897040e082f937763848645e0705"
    )
    sealed = secretbox.seal(key, nonce, message)
    assert sealed[:32].hex() == "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce"
    for length in (0, 1, 31, 32, 33, 64, 96, 97, 1000):
        assert (
            secretbox.open_sealed(key, nonce, secretbox.seal(key, nonce, message[:1] * length)) == message[:1] * length
        )
    with pytest.raises(ValueError, match="changed"):
        secretbox.open_sealed(key, nonce, sealed[:-1] + b"\0")
