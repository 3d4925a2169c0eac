"""Asking a container over HTTP, for a probe or a hook: one GET, with redirects as upstream follows them.

Redirects to the same host are followed; one that leads elsewhere counts as an answer, with a warning.

https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/#http-probes
"""

from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from sampan.node.outcome import Outcome, dialled

Object = dict[str, Any]

BODY_BYTES = 10 * 1024
MOST_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)


async def ask(session: aiohttp.ClientSession, url: str, headers: CIMultiDict[str], timeout_seconds: float) -> Outcome:
    """The outcome of a GET; `headers` has them all."""
    where, host, number = url, urlsplit(url).hostname or "", urlsplit(url).port or 0
    options: dict[str, Any] = {"headers": headers, "timeout": aiohttp.ClientTimeout(total=timeout_seconds)}
    options |= {"skip_auto_headers": ("User-Agent", "Accept"), "allow_redirects": False}
    try:
        for _ in range(MOST_REDIRECTS):
            encoded = URL(where, encoded=True)
            async with session.get(encoded, **options) as answer:
                body = (await answer.content.read(BODY_BYTES)).decode("utf-8", "replace")
            target = answer.headers.get("Location") if answer.status in _REDIRECTS else None
            if not target or urlsplit(urljoin(where, target)).hostname != host:
                return _judged(answer.status, body)
            where = urljoin(where, target)
    except TimeoutError:
        why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return Outcome(False, f'Get "{where}": {why}')
    except aiohttp.ClientConnectorError as error:
        return Outcome(False, f'Get "{where}": {dialled(host, number, error.os_error)}')
    except (aiohttp.ClientError, OSError):
        return Outcome(False, f'Get "{where}": EOF')
    return Outcome(False, f'Get "{where}": stopped after {MOST_REDIRECTS} redirects')


def headers(asked: list[Object], agent: str) -> CIMultiDict[str]:
    """Those that are asked for, each as often as it is; what is not asked for is upstream's. An empty one isn't sent."""
    found: CIMultiDict[str] = CIMultiDict((header["name"], header.get("value") or "") for header in asked)
    for name, usual in (("User-Agent", agent), ("Accept", "*/*")):
        if name not in found:
            found[name] = usual
        elif not any(found.getall(name)):
            del found[name]
    found["Connection"] = "close"
    return found


def _judged(status: int, body: str) -> Outcome:
    if not 200 <= status < 400:
        return Outcome(False, f"HTTP probe failed with statuscode: {status}", answered=True)
    if status >= 300:
        return Outcome(True, f"Probe terminated redirects, Response body: {body}", warned=True)
    return Outcome(True)
