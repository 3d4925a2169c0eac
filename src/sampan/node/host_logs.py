"""The host's own logs at /logs/: files below /var/log, and what is in its folders; nothing outside, whatever links say.

https://kubernetes.io/docs/concepts/cluster-administration/system-logs/
"""

import html
import os
import stat
from collections.abc import AsyncIterator
from io import FileIO
from urllib.parse import quote

from sampan.node.images import rooted
from sampan.web.message import Response

FOLDER = "/var/log"
_PIECE = 64 << 10


class NoSuchFile(Exception):
    """There is none of that name, or none that may be read."""


def serve(path: str, folder: str = FOLDER) -> Response:
    """The file, or a page that lists the folder; `path` is relative. Raises NoSuchFile."""
    if "\0" in path:
        raise NoSuchFile
    try:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = rooted.open_in(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        finally:
            os.close(root)
    except OSError as error:
        raise NoSuchFile from error
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return Response(200, _content(os.fdopen(fd, "rb", buffering=0)), content_type="text/plain; charset=utf-8")
    try:
        if not stat.S_ISDIR(mode):
            raise NoSuchFile
        return Response(200, _page(fd), content_type="text/html; charset=utf-8")
    finally:
        os.close(fd)


async def _content(file: FileIO) -> AsyncIterator[bytes]:
    with file:
        left = os.fstat(file.fileno()).st_size  # what is written meanwhile is for the next request
        while left > 0 and (piece := file.read(min(_PIECE, left))):
            left -= len(piece)
            yield piece


def _page(fd: int) -> bytes:
    with os.scandir(fd) as entries:
        names = sorted(entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "") for entry in entries)
    lines = [f'<a href="{html.escape(quote(os.fsencode(name)))}">{html.escape(name)}</a>' for name in names]
    return ("<pre>\n" + "".join(line + "\n" for line in lines) + "</pre>\n").encode("utf-8", "surrogateescape")
