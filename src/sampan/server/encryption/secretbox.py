"""Secretbox: XSalsa20 and Poly1305, as NaCl has it.

The cipher runs over all blocks of a message at once: each of its sixteen words is one large integer that
holds that word of every block, 64 bits apart, so that a long message costs few operations.

https://cr.yp.to/highspeed/naclcrypto-20090310.pdf
"""

import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.poly1305 import Poly1305

KEY_BYTES = 32
NONCE_BYTES = 24
TAG_BYTES = 16

_SIGMA = struct.unpack("<4I", b"expand 32-byte k")
_BLOCK = 64
_MASK = 0xFFFFFFFF
_ROUNDS = 10
# (target, first, second, rotation) of a double round: columns, then rows.
_STEPS = tuple(
    (line[(step + 1) % 4], line[step % 4], line[(step + 3) % 4], rotation)
    for lines in (
        ((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11)),
        ((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)),
    )
    for line in lines
    for step, rotation in enumerate((7, 9, 13, 18))
)


def seal(key: bytes, nonce: bytes, message: bytes) -> bytes:
    """Tag and ciphertext."""
    stream = _stream(key, nonce, 32 + len(message))
    sealed = _xor(message, stream[32:])
    return Poly1305.generate_tag(stream[:32], sealed) + sealed


def open_sealed(key: bytes, nonce: bytes, sealed: bytes) -> bytes:
    """The message. ValueError when the tag does not fit."""
    tag, text = sealed[:TAG_BYTES], sealed[TAG_BYTES:]
    stream = _stream(key, nonce, 32 + len(text))
    try:
        Poly1305.verify_tag(stream[:32], text, tag)
    except InvalidSignature as error:
        raise ValueError("the message was changed, or sealed with another key") from error
    return _xor(text, stream[32:])


def _stream(key: bytes, nonce: bytes, length: int) -> bytes:
    """So many bytes of the key stream."""
    words = _words(_state(struct.unpack("<8I", key), struct.unpack("<4I", nonce[:16])), 1)
    derived = tuple(words[i] for i in (0, 5, 10, 15, 6, 7, 8, 9))
    count = -(-length // _BLOCK)
    ones = int.from_bytes((1).to_bytes(8, "little") * count, "little")
    counter = int.from_bytes(b"".join(struct.pack("<II", n & _MASK, 0) for n in range(count)), "little")
    first, second = struct.unpack("<2I", nonce[16:])
    state = [word * ones for word in _state(derived, (first, second, 0, 0))]
    state[8] = counter
    mixed = _words(state, count)
    mask = _MASK * ones
    lanes = [
        memoryview(((a + b) & mask).to_bytes(8 * count, "little")).cast("I")[::2]
        for a, b in zip(mixed, state, strict=True)
    ]
    return b"".join(struct.pack("<16I", *block) for block in zip(*lanes, strict=True))[:length]


def _state(key: tuple[int, ...], middle: tuple[int, ...]) -> list[int]:
    return [_SIGMA[0], *key[:4], _SIGMA[1], *middle, _SIGMA[2], *key[4:], _SIGMA[3]]


def _words(state: list[int], count: int) -> list[int]:
    """The state after twenty rounds, without the last addition."""
    x = list(state)
    mask = _MASK * int.from_bytes((1).to_bytes(8, "little") * count, "little")
    for _ in range(_ROUNDS):
        for target, first, second, rotation in _STEPS:
            total = ((x[first] + x[second]) & mask) << rotation
            x[target] ^= (total & mask) | ((total >> 32) & mask)
    return x


def _xor(left: bytes, right: bytes) -> bytes:
    size = len(left)
    return (int.from_bytes(left, "little") ^ int.from_bytes(right[:size], "little")).to_bytes(size, "little")
