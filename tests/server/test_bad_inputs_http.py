"""HTTP that no honest client speaks (B1): refused, cut off or bounded, and the next client is served."""

import asyncio
import gzip
import itertools
import zlib

import pytest

from sampan.web import listener
from tests.server.conftest import ADMIN, Api, config_map
from tests.server.test_security import MAPS, NOBODY, https, raw

pytestmark = pytest.mark.parametrize("api", ["https-memory"], indirect=True)

HEAD = f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n".encode()
GET = b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"

REFUSED = {
    "length and chunks": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n",
    "two codings": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunked and identity": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "an unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a signed length": HEAD + b"Content-Length: +2\r\n\r\n{}",
    "a length in hex": HEAD + b"Content-Length: 0x2\r\n\r\n{}",
    "a list of lengths": HEAD + b"Content-Length: 2, 2\r\n\r\n{}",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length of many digits": HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "line feeds alone": b"GET /version HTTP/1.1\nHost: x\nConnection: close\n\n",
    "a folded header": GET + b"X: a\r\n b\r\n\r\n",
    "no host": b"GET /version HTTP/1.1\r\nConnection: close\r\n\r\n",
    "two hosts": GET + b"Host: y\r\n\r\n",
    "a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another server's protocol": b"GET ftp://evil.example/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "a trace": b"TRACE /api/v1/secrets HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "NUL in a header": GET + b"X: a\0b\r\n\r\n",
    "ten thousand headers": GET + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"\r\n",
    "a hundred thousand headers": GET + b"".join(b"X-%d: y\r\n" % n for n in range(100_000)) + b"\r\n",
    "a header of two megabytes": GET + b"X: " + b"y" * 2_000_000 + b"\r\n\r\n",
    "eight megabytes of headers": GET + b"".join(b"X-%d: " % n + b"y" * 64_000 + b"\r\n" for n in range(128)) + b"\r\n",
    "a path of a megabyte": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "ten thousand trailers": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"\r\n",
    "chunks of one byte": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 200_000 + b"0\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_request_is_refused_once(api: Api, name: str) -> None:
    """One refusal, and what follows on the same connection is no second request."""
    code, answer = await raw(api, REFUSED[name])
    assert code in (0, 400, 403, 404, 405, 413, 414, 431, 501), answer[:300]
    assert answer.count(b"HTTP/1.") <= 1, answer
    assert b"aiohttp" not in answer and b"Python" not in answer and b"Traceback" not in answer
    assert b'"gitVersion"' not in answer
    assert (await api.send("GET", "/version")).status == 200


async def test_a_packed_body_counts_unpacked(api: Api) -> None:
    """A gigabyte of blanks in a megabyte is too large, in whatever packing; few bytes of good JSON are taken."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(64)) + packer.flush()
    head = HEAD + b"Content-Encoding: gzip\r\n"
    code, _ = await raw(api, head + b"Content-Length: %d\r\n\r\n" % len(bomb) + bomb)
    assert code in (400, 413, 415)
    small = gzip.compress(b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"g"}}')
    assert (await raw(api, head + b"Content-Length: %d\r\n\r\n" % len(small) + small))[0] in (201, 415)
    for wrong in (b"br", b"zstd", b"x", b"gzip, gzip, gzip"):
        code, _ = await raw(api, HEAD + b"Content-Encoding: " + wrong + b"\r\nContent-Length: 2\r\n\r\n{]")
        assert code in (400, 415), wrong


async def test_who_says_nothing_is_cut_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that brings no whole request, or never its body, does not stay; one that asks does."""
    monkeypatch.setattr(listener, "FIRST_REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(listener, "BODY_SECONDS", 1.0)
    beginnings = (
        b"",
        b"GET /ver",
        b"GET /version HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        HEAD + b"Content-Length: 9\r\n\r\n{",
    )

    async def begin(beginning: bytes) -> bytes:
        reader, writer = await https(api).connect(NOBODY)
        writer.write(beginning)
        try:
            return await asyncio.wait_for(reader.readline(), 60)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    for answer in await asyncio.gather(*map(begin, beginnings)):
        assert answer == b"" or b" 400 " in answer[:20], answer
    reader, writer = await https(api).connect(NOBODY)
    ask = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
    writer.write(ask)
    assert b" 200 OK" in await asyncio.wait_for(reader.readuntil(b"}"), 60)
    await asyncio.sleep(1.5)  # longer than a first request may take
    writer.write(ask)
    assert b" 200 OK" in await asyncio.wait_for(reader.readuntil(b"}"), 60)
    writer.close()


async def test_watches_that_nobody_reads_or_ends_cost_others_nothing(api: Api) -> None:
    """Many clients that ask for a watch and go away, or never read: writes go on, and the watches end."""
    held = api.app._watching._open  # noqa: SLF001
    ask = f"GET {MAPS}?watch=1&resourceVersion=0 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    writers = []
    for _ in range(60):
        _, writer = await https(api).connect(ADMIN)
        writer.write(ask)
        writers.append(writer)
    async with asyncio.timeout(60):
        while len(held) < 60:
            await asyncio.sleep(0.01)
    for n in range(30):
        await api.create(MAPS, config_map(f"m{n}", k="x" * 50_000))
    assert (await api.send("GET", "/livez")).status == 200
    for writer in writers:
        writer.transport.abort()
    async with asyncio.timeout(60):
        for n in itertools.count():
            if not held:
                break
            await asyncio.sleep(0.01)
            await api.patch(f"{MAPS}/m0", {"data": {"n": str(n)}})


async def test_thousands_of_parameters_are_as_good_as_few(api: Api) -> None:
    """2020-8552: names that nobody knows cost no memory that stays, and no time series."""
    query = "&".join(f"a{n}=1" for n in range(8000))
    code, _ = await raw(api, f"GET {MAPS}?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert code == 200
    for n in range(50):
        await api.send("GET", f"/nothing-{n}")
        await api.send("GET", f"/api/v1/namespaces/default/nothing{n}")
    metrics = (await api.send("GET", "/metrics")).body
    assert b"nothing" not in metrics
    assert b"a7999" not in metrics
