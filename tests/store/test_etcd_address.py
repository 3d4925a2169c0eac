"""How an etcd is named: members, TLS, users."""

from pathlib import Path

import pytest

from sampan.store.etcd_address import Address, is_etcd


def test_members() -> None:
    """One or several, each with a port or the usual one."""
    assert Address.parse("etcd://127.0.0.1:2379").targets == ("127.0.0.1:2379",)
    assert Address.parse("etcd://[::1]").targets == ("[::1]:2379",)
    assert Address.parse("etcd://a:1,b:2,[::1]:3").targets == ("a:1", "b:2", "[::1]:3")
    assert Address.parse("https://a:1,https://b:2") == Address((("a", 1), ("b", 2)), is_secure=True)


def test_tls() -> None:
    """By the scheme or the files; files are kept with their whole paths."""
    assert Address.parse("etcd://e:1?ca=/a&cert=/b&key=/c") == Address((("e", 1),), True, "/a", "/b", "/c")
    assert Address.parse("etcds://e").is_secure
    assert not Address.parse("etcd://e").is_secure
    assert Address.parse("etcds://e?ca=ca.crt").ca == str(Path("ca.crt").absolute())
    given = Address.parse("etcd://e:1").with_files(ca="/a", cert="/b", key="/c")
    assert given == Address.parse("etcds://e:1?ca=/a&cert=/b&key=/c")


@pytest.mark.parametrize("url", ["etcd://a:1,b:2", "etcds://u%40:p%2F@a:1?ca=/x y&cert=/b&key=/c", "etcds://[::1]:5"])
def test_an_address_as_text(url: str) -> None:
    """What is kept in the settings is the same address; what people see has no password."""
    address = Address.parse(url)
    assert Address.parse(address.url) == address
    assert "p/" not in str(address)


@pytest.mark.parametrize(
    "url",
    ["ftp://e:1", "etcd://", "etcd://e:1/x", "etcd://e:1?who=1", "etcd://e:1?cert=/b", "etcd://a:1,,b:2", "etcd://a:x",
     "etcd://root@a:1", "etcd://a:1,https://b:2", "etcd://a:1?ca"],
)  # fmt: skip
def test_what_is_none(url: str) -> None:
    """It is refused with the reason."""
    with pytest.raises(ValueError, match="etcd|options|go together|all with TLS|password|port"):
        Address.parse(url)


@pytest.mark.parametrize(
    "url",
    ["ftp://root:secret@e:1", "etcd://root:secret@", "etcd://root:sec/ret@e:x", "etcd://root:secret@e:1?who=1",
     "etcd://root:secret@e?ca", "etcd://root:secret@a:1,https://b:2", "etcd://root:secret@a?cert=/b", "etcd://secret@a"],
)  # fmt: skip
def test_what_is_refused_is_told_without_the_password(url: str) -> None:
    """Whatever is wrong."""
    with pytest.raises(ValueError, match="://") as refusal:
        Address.parse(url)
    assert "sec" not in str(refusal.value)


def test_which_stores_are_shared() -> None:
    """Those that several control planes can have at once."""
    assert [is_etcd(store) for store in ("sqlite", "memory", "etcd://a", "etcds://a", "https://a")] == [
        False, False, True, True, True,
    ]  # fmt: skip
