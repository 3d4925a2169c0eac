"""xDS: Envoy asks for its configuration here, over a unix socket, in JSON. A question is held until there is news.

Changes go out so that nothing refers to what is not there yet: clusters and their endpoints, then routes and
listeners, and what is needed no more goes last. Each step waits until Envoy has taken the one before.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#rest-json-polling-subscriptions
"""

import asyncio
import contextlib
import hashlib
import logging
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import orjson
from aiohttp import web

from sampan.gateway import envoy_process
from sampan.gateway.envoy_resources import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SECRETS, TYPES, Resources
from sampan.gateway.refusals import Subject
from sampan.kit.tasks import Tasks

log = logging.getLogger(__name__)

HOLD_SECONDS = 300.0
STEP_SECONDS = 5.0
REFUSED_SECONDS = 5.0
_BACKLOG = 4096
_PATHS = {"clusters": CLUSTERS, "endpoints": ENDPOINTS, "listeners": LISTENERS, "routes": ROUTES, "secrets": SECRETS}
_WHOLE = (CLUSTERS, LISTENERS)


class Server:
    """`publish` says what is to be; `settled` returns when Envoy has it. Before the first, every question is held.

    An Envoy that outlived its last server goes on with what it has meanwhile.
    """

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._wanted: Resources = {type_: {} for type_ in TYPES}
        self._shown: Resources = {type_: {} for type_ in TYPES}
        self._versions: dict[Subject, str] = {}
        self._sent: dict[Subject, str] = {}
        self._taken: dict[Subject, str] = {}
        self._news: dict[Subject, asyncio.Event] = {}
        self._changed = asyncio.Event()
        self._is_known = asyncio.Event()
        self._progress = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.refused: set[Subject] = set()
        """What Envoy asks for again without having taken it. One that has just been started has nothing yet, either."""
        self.on_refusal: Callable[[], None] | None = None
        self.was_asked = False
        """Whether an Envoy has come here at all."""

    async def start(self, path: Path) -> None:
        """Listens. Only the socket's owner may connect, since keys go over it."""
        app = web.Application()
        app.router.add_post("/v3/discovery:{kind}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await listen(self._runner, path)
        self._tasks.spawn(self._carry_out_for_ever(), "steps")

    async def stop(self) -> None:
        """Questions that are held end without an answer."""
        if self._runner is not None:
            await self._runner.cleanup()

    def publish(self, resources: Resources) -> None:
        """What Envoy is to have from now on. Endpoints of clusters that it has go out at once."""
        if resources != self._wanted or not self._is_known.is_set():
            self._wanted = resources
            self._show(self._shown)
            self._changed.set()

    async def settled(self) -> None:
        """Returns when Envoy has all that was published and is shown. Bound it from outside."""
        while self._shown != self._wanted or not self._are_taken(self._subjects()):
            self._progress.clear()
            await self._progress.wait()

    async def wait_has(self, type_: str, name: str) -> None:
        """Returns when Envoy has this one as it is shown. Bound it from outside."""
        while not self._are_taken([(type_, name)]):
            self._progress.clear()
            await self._progress.wait()

    # What is shown when

    async def _carry_out_for_ever(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._carry_out(self._wanted)

    async def _carry_out(self, wanted: Resources) -> None:
        before, is_serving = self._shown, bool(self._shown[ROUTES])
        first = {type_: {**before[type_], **wanted[type_]} for type_ in (CLUSTERS, ENDPOINTS, SECRETS)}
        added = wanted[CLUSTERS].keys() - before[CLUSTERS].keys()
        self._show({**before, **first})
        if added and is_serving:
            await self._wait_taken([(CLUSTERS, ""), *((ENDPOINTS, name) for name in sorted(added))])
        self._show({**self._shown, ROUTES: {**before[ROUTES], **wanted[ROUTES]}, LISTENERS: wanted[LISTENERS]})
        gone = any(before[type_].keys() - wanted[type_].keys() for type_ in TYPES)
        if gone and is_serving:
            await self._wait_taken([(LISTENERS, ""), *((ROUTES, name) for name in sorted(wanted[ROUTES]))])
        self._show(wanted)
        self._is_known.set()

    async def _wait_taken(self, subjects: list[Subject]) -> None:
        """Until Envoy has them; not for ever, since it may refuse, or be gone."""
        try:
            async with asyncio.timeout(STEP_SECONDS):
                while not self._are_taken(subjects):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            log.warning("Envoy has not taken its last configuration in time; going on")

    def _subjects(self) -> list[Subject]:
        """What Envoy asks for."""
        named = ((type_, name) for type_ in (ENDPOINTS, ROUTES, SECRETS) for name in self._shown[type_])
        return [(CLUSTERS, ""), (LISTENERS, ""), *named]

    def _are_taken(self, subjects: Iterable[Subject]) -> bool:
        return all(self._taken.get(subject) == self._versions.get(subject, _version([])) for subject in subjects)

    def _show(self, resources: Resources) -> None:
        newest = self._wanted[ENDPOINTS]
        current = {name: newest.get(name, old) for name, old in resources[ENDPOINTS].items()}
        before, self._shown = self._shown, {**resources, ENDPOINTS: current}
        after = self._shown
        for type_ in TYPES:
            old, new = before[type_], after[type_]
            changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
            for name in changed:
                subject = (type_, name)
                if name in new:
                    self._versions[subject] = _version([orjson.dumps(new[name])])
                else:
                    self._versions.pop(subject, None)
                    self._taken.pop(subject, None)
                    self._sent.pop(subject, None)
                    self.refused.discard(subject)
                self._tell(subject)
            if changed and type_ in _WHOLE:
                named = sorted(new)
                self._versions[type_, ""] = _version(self._versions[type_, name].encode() for name in named)
                self._tell((type_, ""))
        for subject in sorted(self.refused):  # what was refused is not wanted any more
            if self._are_taken([subject]):
                self._note_refusal(subject, is_refused=False)
        self._progress.set()

    def _tell(self, subject: Subject) -> None:
        news = self._news.pop(subject, None)
        if news is not None:
            news.set()

    # Questions

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        type_ = _PATHS.get(request.match_info["kind"])
        if type_ is None:
            raise web.HTTPNotFound
        asked = await request.json(loads=orjson.loads)
        self.was_asked = True
        names = asked.get("resource_names") or []
        subject = (type_, "" if type_ in _WHOLE else "".join(names[:1]))
        has = asked.get("version_info", "")
        self._note(subject, has, asked.get("error_detail"))
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                return await self._news_of(subject, has)
        except TimeoutError:
            return web.Response(status=304)

    def _note(self, subject: Subject, has: str, error: object) -> None:
        sent = self._sent.get(subject)
        if error or (has and sent is not None and has != sent):
            log.error("Envoy refuses %s %s: %s", *subject, error or "see its log")
        is_other = sent is not None and has not in (sent, self._versions.get(subject))
        self._note_refusal(subject, is_refused=bool(error) or is_other)
        if has:
            self._taken[subject] = has
            self._progress.set()

    def _note_refusal(self, subject: Subject, *, is_refused: bool) -> None:
        is_news = is_refused or subject in self.refused
        (self.refused.add if is_refused else self.refused.discard)(subject)
        if is_news and self.on_refusal is not None:
            self.on_refusal()

    async def _news_of(self, subject: Subject, has: str) -> web.Response:
        await self._is_known.wait()
        type_, name = subject
        if has and has != self._sent.get(subject, has) == self._versions.get(subject):
            with contextlib.suppress(TimeoutError):  # it will hardly take the same now
                await asyncio.wait_for(self._news.setdefault(subject, asyncio.Event()).wait(), REFUSED_SECONDS)
        while True:
            version = self._versions.get(subject, _version([]))
            if version != has and (type_ in _WHOLE or name in self._shown[type_]):
                break
            await self._news.setdefault(subject, asyncio.Event()).wait()
        self._sent[subject] = version
        found = self._shown[type_] if type_ in _WHOLE else {name: self._shown[type_][name]}
        answer = {"version_info": version, "type_url": type_, "resources": [found[each] for each in sorted(found)]}
        return web.Response(body=orjson.dumps(answer), content_type="application/json")


async def listen(runner: web.AppRunner, path: Path) -> None:
    """Serves at a unix socket there that only its owner may connect to.

    So many may connect before we look: whoever finds that queue full is refused at once, unlike with TCP.
    """
    await web.SockSite(runner, _bound(path), backlog=_BACKLOG).start()


def _bound(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(envoy_process.reachable(path))
    path.chmod(0o600)
    made.setblocking(False)
    return made


def _version(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
