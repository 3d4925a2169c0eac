"""/healthz, /livez, /readyz and /version: whether the server is alive and able, and which one it is.

https://kubernetes.io/docs/reference/using-api/health-checks/
"""

import platform
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from sampan.kit.commit import commit
from sampan.server.metrics import Metrics
from sampan.server.refusals import no_page
from sampan.web.message import Request, Response

API_VERSION = "v1.36.0"
PATHS = ("/healthz", "/livez", "/readyz")
_TEXT = "text/plain; charset=utf-8"

Check = Callable[[], Awaitable[str]]


class Health:
    """Named checks: each returns "" when all is well, else why not.

    Every check is part of /readyz; /healthz and /livez leave out those that only say whether it is ready.
    Why a check fails is in the log, and is not told to whoever asks. `metrics` are those of /metrics/slis: what came of
    each check whenever all were asked for.
    """

    def __init__(self) -> None:
        self.metrics, self._last = Metrics(), dict[tuple[str, ...], int]()
        help = "This metric records the result of a single healthcheck."
        self.metrics.read("kubernetes_healthcheck", help, lambda: list(self._last.items()), ("name", "type"))
        help, labels = "This metric records the results of all healthcheck.", ("name", "status", "type")
        self._results = self.metrics.counter("kubernetes_healthchecks_total", help, labels)
        self._checks: dict[str, Check] = {"ping": _ping}
        self._only_ready: set[str] = set()
        self._pending: dict[str, None] = {}

    def expect(self, *names: str) -> None:
        """Steps of the start: each fails until it is `done`."""
        for name in names:
            self._pending[f"poststarthook/{name}"] = None
            self.add(f"poststarthook/{name}", partial(self._is_pending, f"poststarthook/{name}"))

    def done(self, *names: str) -> None:
        """Steps of the start that are behind us."""
        for name in names:
            self._pending.pop(f"poststarthook/{name}", None)

    async def _is_pending(self, name: str) -> str:
        return "not finished" if name in self._pending else ""

    def add(self, name: str, check: Check, *, only_ready: bool = False) -> None:
        """A further check, after those that are there."""
        self._checks[name] = check
        if only_ready:
            self._only_ready.add(name)

    async def answer(self, request: Request) -> Response:
        """/readyz, /readyz?verbose, /readyz/NAME; ?exclude=NAME leaves one out."""
        root, _, name = request.path.strip("/").partition("/")
        checks = {n: c for n, c in self._checks.items() if root == "readyz" or n not in self._only_ready}
        if name:
            return await _one(checks[name]) if name in checks else no_page()
        excluded = {value for key, value in request.query if key == "exclude"}
        lines, failed = [], []
        for each, check in checks.items():
            if each in excluded:
                lines.append(f"[+]{each} excluded: ok")
                continue
            is_well = not await check()
            self._record(each, root, is_well=is_well)
            if is_well:
                lines.append(f"[+]{each} ok")
            else:
                lines.append(f"[-]{each} failed: reason withheld")
                failed.append(each)
        unknown = sorted(excluded - checks.keys())
        if unknown:
            quoted = ", ".join(f'"{each}"' for each in unknown)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
        if failed:
            text = "\n".join([*lines, f"{root} check failed", ""])
            return Response(500, text.encode(), {"X-Content-Type-Options": "nosniff"}, _TEXT)
        verbose = any(key == "verbose" for key, _ in request.query)
        text = "\n".join([*lines, f"{root} check passed", ""]) if verbose else "ok"
        return Response(200, text.encode(), {"X-Content-Type-Options": "nosniff"}, _TEXT)

    def _record(self, name: str, root: str, *, is_well: bool) -> None:
        self._last[name, root] = int(is_well)
        self._results.add(name, "success" if is_well else "error", root)


async def _ping() -> str:
    return ""


async def _one(check: Check) -> Response:
    why = await check()
    if why:
        return Response(500, f"internal server error: {why}\n".encode(), {"X-Content-Type-Options": "nosniff"}, _TEXT)
    return Response(200, b"ok", {}, _TEXT)


def version(sampan_version: str) -> dict[str, Any]:
    """The answer to /version: the API level, and that this is Sampan."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": f"{API_VERSION}+sampan.{sampan_version}",
        "gitCommit": commit(),
        "gitTreeState": "archive",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{platform.system().lower()}/{machine}",
    }
