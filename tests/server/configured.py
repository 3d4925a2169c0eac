"""A server with a configuration, in process."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from sampan.kinds.builtin import KINDS
from sampan.kit.ids import SeededIds
from sampan.kit.tasks import Tasks
from sampan.server import bootstrap, config
from sampan.server.app import App, Parts
from sampan.store.memory import MemoryStore
from sampan.store.protocol import Store
from tests.server.conftest import SIGNING_KEY, Api, Clock, InProcess

RANGE = "10.96.0.0/16"


class Lines:
    """Where audit lines go."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)

    def close(self) -> None: ...


@contextlib.asynccontextmanager
async def configured(text: str = "", store: Store | None = None, **parts: Any) -> AsyncIterator[Api]:
    """A server configured by these documents; its store is left open when it was given."""
    tasks, clock, own = Tasks("test"), Clock(), MemoryStore()
    app = App(
        Parts(
            store=store or own, kinds=KINDS, ids=SeededIds(1), tasks=tasks,
            version="test", config=config.read(text.encode()),
            **{"token_key": SIGNING_KEY, "clock": clock, "service_cidr": RANGE, **parts},
        )
    )  # fmt: skip
    await app.start()
    where = bootstrap.Endpoints("10.96.0.1", "10.244.0.1", 6443, service_cidr=parts.get("service_cidr", RANGE))
    await bootstrap.ensure(app, where)
    yield Api(InProcess(app), app, clock)
    await app.close()
    await tasks.close()
    await own.close()
