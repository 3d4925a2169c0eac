"""A table counts as removed only when the kernel says so."""

import errno

import pytest

from sampan.node.network import netlink_tables, nft


@pytest.mark.parametrize(
    ("number", "is_there"),
    [
        (errno.ENOENT, False),
        (errno.EINVAL, False),
        (errno.EOPNOTSUPP, False),
        (errno.EPROTONOSUPPORT, False),
        (errno.EINTR, True),
        (errno.ENOBUFS, True),
        (errno.EMFILE, True),
        (errno.EBUSY, True),
    ],
)
def test_what_the_kernel_answers(monkeypatch: pytest.MonkeyPatch, number: int, is_there: bool) -> None:
    """Without nftables there is none; on a busy host nobody knows, and nothing is written anew for that."""

    def refuse() -> set[tuple[int, str]]:
        raise OSError(number, "refused")

    monkeypatch.setattr(netlink_tables, "rule_tables", refuse)
    assert nft.has_table("mine") == is_there


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another's table is none of ours, nor is one of netdev."""
    monkeypatch.setattr(netlink_tables, "rule_tables", lambda: {(1, "mine"), (5, "apart")})
    assert [nft.has_table(name) for name in ("mine", "apart", "other")] == [True, False, False]
