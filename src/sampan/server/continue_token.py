"""Continue tokens: where a list's next page begins, signed, so that nobody makes up one.

https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
"""

import base64
import hashlib
import hmac
import string

import orjson

from sampan.meta import status

_ALPHABET = frozenset(string.ascii_letters + string.digits + "-_")
_BEGINS = frozenset(b' \t\r\n{["-0123456789tfn')
_SIGNATURE_BYTES = 16


def make(key: bytes, scope: str, revision: int, after: str) -> str:
    """For the page after this key, at a revision (-1: whatever is there then)."""
    body = orjson.dumps({"rv": revision, "after": after, "in": scope})
    return base64.urlsafe_b64encode(_sign(key, body) + body).decode().rstrip("=")


def read(key: bytes, scope: str, token: str) -> tuple[int, str]:
    """The revision, and the key after which to go on. Raises ApiError 400."""
    raw = _decoded(token)
    signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _sign(key, body)):
        raise _refusal(_misread(raw))
    content = orjson.loads(body)
    if content["in"] != scope:
        raise _refusal("it is another list's")
    return int(content["rv"]), str(content["after"])


def _sign(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, hashlib.sha256)[:_SIGNATURE_BYTES]


def _decoded(token: str) -> bytes:
    wrong = next((place for place, sign in enumerate(token) if sign not in _ALPHABET), None)
    if wrong is None and len(token) % 4 == 1:
        wrong = len(token) - 1
    if wrong is not None:
        raise _refusal(f"illegal base64 data at input byte {wrong}")
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


def _misread(raw: bytes) -> str:
    """What a reader of JSON says of it, as far as it is none."""
    if not raw:
        return "unexpected end of JSON input"
    if raw[0] in _BEGINS:
        return "it is not signed"
    sign = chr(raw[0])
    shown = sign if sign.isprintable() else f"\\u{raw[0]:04x}" if raw[0] > 0x7E else f"\\x{raw[0]:02x}"
    return f"invalid character '{shown}' looking for beginning of value"


def _refusal(why: str) -> status.ApiError:
    return status.bad_request(f"invalid continue token: continue key is not valid: {why}")
