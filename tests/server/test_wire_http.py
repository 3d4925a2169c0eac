"""HTTP itself: what is no request is refused in Go's words, what is one is served, and nobody says what serves it."""

import asyncio

import pytest

from tests.server.conftest import ADMIN, Api, config_map
from tests.server.test_security import MAPS, NOBODY, https

pytestmark = pytest.mark.parametrize("api", ["https-memory"], indirect=True)

VERSION = b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
MEGABYTE = b"y" * (1 << 20)
TOO_LARGE = b"431 Request Header Fields Too Large"


async def talk(api: Api, data: bytes) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers (lower case) and the rest of the answer to these bytes, up to the connection's end."""
    reader, writer = await https(api).connect(NOBODY)
    answer = b""
    try:
        for start in range(0, len(data), 65536):
            writer.write(data[start : start + 65536])
            await writer.drain()
    except ConnectionError:
        pass  # refused before its end
    try:
        while part := await asyncio.wait_for(reader.read(65536), 60):
            answer += part
    except ConnectionError:
        pass
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}, body


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"nonsense\r\n\r\n", "400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400 Bad Request"),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", "400 Bad Request"),
        (VERSION + b"no colon\r\n\r\n", "400 Bad Request"),
        (VERSION + b"X: a\0b\r\n\r\n", "400 Bad Request"),
        (VERSION + b"Content-Length: -1\r\n\r\n", "400 Bad Request"),
        (b"GET /version HTTP/1.1\r\nConnection: close\r\n\r\n", "400 Bad Request: missing required Host header"),
        (VERSION + b"Host: y\r\n\r\n", "400 Bad Request: too many Host headers"),
    ],
)  # fmt: skip
async def test_what_is_no_request_is_told_so_in_one_line(api: Api, data: bytes, text: str) -> None:
    """Plain text, and the connection is closed."""
    first, headers, body = await talk(api, data)
    assert (first, body.decode()) == (f"HTTP/1.1 {text}", text)
    assert headers == {"content-type": "text/plain; charset=utf-8", "connection": "close"}


async def test_a_head_may_have_a_megabyte(api: Api) -> None:
    """In one header, in many, or in the path; what is larger is refused however it is cut, and the next one served."""
    almost = VERSION + b"X: " + MEGABYTE[:-100] + b"\r\n\r\n"
    assert (await talk(api, almost))[0] == "HTTP/1.1 200 OK"
    many = b"".join(b"X-%d: " % n + MEGABYTE[:60_000] + b"\r\n" for n in range(16))
    assert (await talk(api, VERSION + many + b"\r\n"))[0] == "HTTP/1.1 200 OK"
    for head in (
        VERSION + b"X: " + MEGABYTE + MEGABYTE,
        VERSION + many * 8,
        b"GET /" + MEGABYTE + MEGABYTE,
        VERSION + b"".join(b"X-%d: y\r\n" % n for n in range(20_000)) + b"\r\n",
    ):
        first, _, body = await talk(api, head)
        assert (first.encode(), body) in ((b"HTTP/1.1 " + TOO_LARGE, TOO_LARGE), (b"", b"")), first
    assert (await api.send("GET", "/version")).status == 200


async def test_large_bodies_are_no_heads(api: Api) -> None:
    """A body of more than a megabyte, in as many pieces as it likes, and another request behind it."""
    reader, writer = await https(api).connect(ADMIN)
    body = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"b"},"data":{"k":"' + MEGABYTE + MEGABYTE + b'"}}'
    ask = f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(2):
        writer.write(ask.encode() + body)
        await writer.drain()
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        assert head.startswith(b"HTTP/1.1 422"), head
        length = next(int(line[16:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length: "))
        await reader.readexactly(length)
    writer.close()


async def test_other_forms_of_a_request_are_served(api: Api) -> None:
    """HTTP/1.0, also for a stream, and a URL as proxies get it."""
    first, headers, body = await talk(api, b"GET /version HTTP/1.0\r\n\r\n")
    assert first == "HTTP/1.0 200 OK" and b'"gitVersion"' in body
    assert "transfer-encoding" not in headers
    first, _, body = await talk(api, b"GET https://x:6443/version?a=b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert first == "HTTP/1.1 200 OK" and b'"gitVersion"' in body
    reader, writer = await https(api).connect(ADMIN)
    writer.write(f"GET {MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=1 HTTP/1.0\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 60)
    assert answer.startswith(b"HTTP/1.0 200 OK") and answer.endswith(b"}\n"), answer
    assert b"chunked" not in answer
    writer.close()


async def test_a_client_that_waits_is_told_to_go_on(api: Api) -> None:
    """Expect: 100-continue."""
    reader, writer = await https(api).connect(ADMIN)
    body = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"e"}}'
    ask = f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    writer.write(ask.encode() + b"Expect: 100-continue\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await asyncio.wait_for(reader.readline(), 60)).startswith(b"HTTP/1.1 201")
    writer.close()


async def test_a_body_that_is_not_as_announced(api: Api) -> None:
    """Chunks that are none, and more bytes than announced: one refusal, and the rest is no second request's body."""
    head = f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
    first, _, _ = await talk(api, head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")
    assert first == "HTTP/1.1 400 Bad Request"
    first, _, body = await talk(api, head + b"Content-Length: 2\r\n\r\n{}more\r\n\r\n")
    assert first in ("HTTP/1.1 400 Bad Request", "HTTP/1.1 403 Forbidden") and body.endswith(b"400 Bad Request")


async def test_nobody_says_what_serves(api: Api) -> None:
    """No Server header: not for objects, streams, refusals or pages; each answer has the headers of every answer."""
    await api.create(MAPS, config_map("a"))
    for path in (
        f"{MAPS}/a",
        MAPS,
        f"{MAPS}?watch=1&timeoutSeconds=1",
        "/nope",
        "/healthz",
        f"{MAPS}/b",
        "/openapi/v2",
    ):
        answer = await api.send("GET", path)
        assert "server" not in answer.headers, path
        assert {"audit-id", "date", "content-type"} <= answer.headers.keys()
        assert answer.headers["cache-control"] == "no-cache, private"
        assert {"x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"} <= answer.headers.keys()
