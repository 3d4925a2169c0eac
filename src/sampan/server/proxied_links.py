"""Links of a proxied page that lead to the same server are made to lead through the proxy again.

Only absolute paths of the same host are touched, in the attributes that hold URLs, and the Location of a
redirect. Pages are rewritten as they pass, never held as a whole.
"""

import posixpath
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html import escape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sampan.server import forwarding
from sampan.web.message import Response

_CORS = (
    "Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods",
    "Access-Control-Allow-Origin",
)  # fmt: skip
_URLS = {
    "a": ("href",), "applet": ("codebase",), "area": ("href",), "audio": ("src",), "base": ("href",),
    "blockquote": ("cite",), "body": ("background",), "button": ("formaction",), "command": ("icon",),
    "del": ("cite",), "embed": ("src",), "form": ("action",), "frame": ("longdesc", "src"), "head": ("profile",),
    "html": ("manifest",), "iframe": ("longdesc", "src"), "img": ("longdesc", "src", "usemap"),
    "input": ("src", "usemap", "formaction"), "ins": ("cite",), "link": ("href",),
    "object": ("classid", "codebase", "data", "usemap"), "q": ("cite",), "script": ("src",), "source": ("src",),
    "video": ("poster", "src"),
}  # fmt: skip
_CHUNK_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Rewriter:
    """`prefix` is the proxy's own path, `hosts` the names under which the page may speak of its own server.

    `host` is this server as the caller named it: what leads there by its whole name goes on doing so.
    """

    prefix: str
    hosts: tuple[str, ...]
    host: str = ""

    def url(self, url: str) -> str:
        """The URL as it leads through the proxy; unchanged when it leads elsewhere, or relative to the page."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return url
        if (parts.netloc and parts.netloc not in (*self.hosts, self.host)) or not parts.path.startswith("/"):
            return url
        path = parts.path
        if not path.startswith(self.prefix):
            path = join(self.prefix, path)
        where = parts[:2] if parts.netloc and parts.netloc == self.host else ("", "")
        return urlunsplit((*where, path, parts.query, parts.fragment))

    def response(self, answer: Response) -> Response:
        """An answer with its links rewritten, and without the other server's CORS headers."""
        headers = answer.headers
        forwarding.drop(headers, _CORS)
        location = headers.get("Location", "")
        if location:
            headers["Location"] = self.url(location)
            return answer
        if headers.get("Content-Type", "").partition(";")[0].strip() != "text/html":
            return answer
        encoding = headers.get("Content-Encoding", "").lower()
        if encoding not in ("", "gzip", "deflate") or isinstance(answer.body, bytes | dict):
            return answer
        forwarding.drop(headers, ("Content-Length", "Content-Encoding"))
        answer.body = _Rewritten(self, answer.body, encoding)
        return answer


class _Rewritten:
    """A page's bytes, rewritten as they pass."""

    def __init__(self, rewriter: Rewriter, body: AsyncIterator[Any], encoding: str) -> None:
        self._body = body
        self._chunks = _rewritten(_Page(rewriter), _unpacked(body, encoding))

    def __aiter__(self) -> "_Rewritten":
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        close = getattr(self._body, "aclose", None)
        if close is not None:
            await close()


async def _rewritten(page: "_Page", chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        page.feed(chunk.decode("latin-1"))  # each byte stays what it is, in whatever encoding the page is
        if page.written:
            yield page.take()
    page.close()
    yield page.take()


def join(prefix: str, path: str) -> str:
    """Both as one clean path, which ends in a slash when `path` does."""
    joined = clean(f"{prefix}/{path}")
    return joined + "/" if path.endswith("/") and not joined.endswith("/") else joined


def clean(path: str) -> str:
    """Without empty and dot segments."""
    return posixpath.normpath("/" + path.lstrip("/"))


async def _unpacked(body: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    if not encoding:
        async for chunk in body:
            yield chunk
        return
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16 if encoding == "gzip" else -zlib.MAX_WBITS)
    try:
        async for chunk in body:
            rest = chunk
            while rest:
                yield inflate.decompress(rest, _CHUNK_BYTES)
                rest = inflate.unconsumed_tail
        yield inflate.flush()
    except zlib.error as error:
        raise ConnectionResetError("the page is not compressed as it says") from error


class _Page(HTMLParser):
    """Writes a page again as it was read, but for the URLs of its own server."""

    def __init__(self, rewriter: Rewriter) -> None:
        super().__init__(convert_charrefs=False)
        self._rewriter = rewriter
        self.written: list[str] = []

    def take(self) -> bytes:
        text = "".join(self.written)
        self.written = []
        return text.encode("latin-1")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        text = self.get_starttag_text() or ""
        wanted = _URLS.get(tag, ())
        changed = {name: self._rewriter.url(value) for name, value in attrs if value and name in wanted}
        if any(changed.get(name, value) != value for name, value in attrs):
            listed = "".join(_attribute(name, changed.get(name, value)) for name, value in attrs)
            text = f"<{tag}{listed}{'/' if text.endswith('/>') else ''}>"
        self.written.append(text)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        self.written.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.written.append(data)

    def handle_entityref(self, name: str) -> None:
        self.written.append(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.written.append(f"&#{name};")

    def handle_comment(self, data: str) -> None:
        self.written.append(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        self.written.append(f"<!{decl}>")

    def unknown_decl(self, data: str) -> None:
        self.written.append(f"<![{data}]>")

    def handle_pi(self, data: str) -> None:
        self.written.append(f"<?{data}>")


def _attribute(name: str, value: str | None) -> str:
    """Characters above latin-1 (from an entity) are written as references again."""
    if value is None:
        return f" {name}"
    escaped = escape(value).encode("latin-1", "xmlcharrefreplace").decode("latin-1")
    return f' {name}="{escaped}"'
