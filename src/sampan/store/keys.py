"""Keys: the order and the prefixes of a store's keys, and what a transaction may say. Pure.

Keys are ordered by code point, which is also the order of their UTF-8 bytes, so that every store
lists in the same order.
"""

from collections.abc import Sequence

from sampan.store.protocol import Compare, Delete, Put, Write

MAX_WRITES = 10_000
_LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)


def prefix_end(prefix: str) -> str | None:
    """The smallest key that is greater than every key with the prefix; None if there is no such key."""
    while prefix:
        last = ord(prefix[-1])
        if last < _LAST:
            following = last + 1
            if _SURROGATES[0] <= following <= _SURROGATES[1]:
                following = _SURROGATES[1] + 1
            return prefix[:-1] + chr(following)
        prefix = prefix[:-1]
    return None


def check_txn(compares: Sequence[Compare], writes: Sequence[Write]) -> None:
    """Raises ValueError for what no store may be asked: an odd key or value, one key written twice."""
    if len(writes) > MAX_WRITES:
        raise ValueError(f"a transaction has at most {MAX_WRITES} writes, not {len(writes)}")
    for compare in compares:
        if not compare.key or not compare.key.isascii():  # no call for what nearly all are
            check_key(compare.key)
    if len(writes) > 1 and len({write.key for write in writes}) != len(writes):
        raise ValueError("a transaction writes a key at most once")
    for write in writes:
        if not write.key or not write.key.isascii():
            check_key(write.key)
        if isinstance(write, Put):
            if not isinstance(write.value, bytes):
                raise ValueError(f"the value of {write.key} is not bytes")  # noqa: TRY004 (one kind of refusal)
        elif not isinstance(write, Delete):
            raise ValueError(f"neither a put nor a delete: {write!r}")  # noqa: TRY004


def check_key(key: str) -> None:
    """Raises ValueError for an empty key or one that has no UTF-8 form."""
    if not key:
        raise ValueError("a key is not empty")
    if not key.isascii():
        key.encode()
