"""/healthz, /livez, /readyz and /version: whether the server is alive and able, and which one it is.

https://kubernetes.io/docs/reference/using-api/health-checks/
"""

import platform
from collections.abc import Callable
from typing import Any

from sampan.web.message import Request, Response

API_VERSION = "v1.36.0"
PATHS = ("/healthz", "/livez", "/readyz")

Check = Callable[[], str]


class Health:
    """Named checks: each returns "" when all is well, else why not."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {"ping": lambda: ""}

    def add(self, name: str, check: Check) -> None:
        self._checks[name] = check

    def answer(self, request: Request) -> Response:
        """/readyz, /readyz?verbose, /readyz/NAME; ?exclude=NAME leaves one out."""
        root, _, name = request.path.strip("/").partition("/")
        excluded = {value for key, value in request.query if key == "exclude"}
        chosen = {n: c for n, c in self._checks.items() if n not in excluded and name in ("", n)}
        if name and not chosen:
            return Response(404, f"404: no check named {name}\n".encode(), content_type="text/plain; charset=utf-8")
        results = {n: check() for n, check in chosen.items()}
        lines = [f"[-]{n} failed: {why}" if why else f"[+]{n} ok" for n, why in results.items()]
        if any(results.values()):
            text = "\n".join([*lines, f"{root} check failed", ""])
            return Response(500, text.encode(), content_type="text/plain; charset=utf-8")
        verbose = any(key == "verbose" for key, _ in request.query)
        text = "\n".join([*lines, f"{root} check passed", ""]) if verbose else "ok"
        return Response(200, text.encode(), content_type="text/plain; charset=utf-8")


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
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{platform.system().lower()}/{machine}",
    }
