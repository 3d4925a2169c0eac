"""Layer: what is added to a cluster as one: definitions, objects, controllers, admission rules and a service.

The same value works in a control plane's process, in a process of its own beside any cluster, and in virtual time.
"""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.client.api import Client
from sampan.control.controller import Controller
from sampan.control.everywhere import Everywhere
from sampan.control.worker import Fetch
from sampan.kinds.kind import Object
from sampan.kit.clock import Clock
from sampan.kit.ids import Ids
from sampan.kit.tasks import Tasks
from sampan.platform.review import Reviewer
from sampan.platform.rights import Rights
from sampan.web.message import Request, Response

Handler = Callable[[Request], Awaitable[Response]]
Listen = Callable[[str, Handler], None]


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Around:
    """What a service is handed. Its tasks end with the layer.

    `directory` is where it may keep files and sockets; None where there is no host, as in a simulated cluster.
    `address` is where pods and nodes reach what it listens on. `fetch` asks others over HTTP. Where there is no host,
    `listen(name, handler)` makes a handler reachable as the host of that name: NAME.NAMESPACE.svc for a Service.

    `is_coming_back` says of a service that is cancelled whether the same will soon go on here, as when the control plane
    is started anew: what serves without us may go on meanwhile.
    """

    client: Client
    clock: Clock
    ids: Ids
    tasks: Tasks
    directory: Path | None = None
    address: str = "127.0.0.1"
    fetch: Fetch | None = None
    listen: Listen | None = None
    is_coming_back: Callable[[], bool] = _never


Service = Callable[[Around], Coroutine[Any, Any, None]]
NO_RIGHTS = Rights()


@dataclass(frozen=True, slots=True)
class Layer:
    """`definitions` are CustomResourceDefinitions as trees; `objects` are applied after them, in their order.

    `service` runs until it is cancelled; its failure is that of the layer. `summary` is one line for people. `rights` are
    those that it needs beside what follows from all this, where it runs as somebody who has no others.
    """

    name: str
    summary: str
    definitions: tuple[Object, ...] = ()
    controllers: tuple[Controller | Everywhere, ...] = ()
    objects: tuple[Object, ...] = ()
    reviewers: tuple[Reviewer, ...] = ()
    service: Service | None = None
    rights: Rights = NO_RIGHTS
