"""Load: clients that ask a server again and again, each time by a connection of its own, and count what goes wrong."""

import socket
import threading
import time
from collections import Counter
from types import TracebackType

CLIENTS = 2
PAUSE_SECONDS = 0.01
PATIENCE_SECONDS = 30.0

Place = tuple[str, int]


class Load:
    """`answers` has the bodies of what each place answered, `failures` what did not come or was no answer."""

    def __init__(self, path: str, *places: Place) -> None:
        self.answers: dict[Place, Counter[str]] = {place: Counter() for place in places}
        self.failures: list[str] = []
        self._asked = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        self._ended = threading.Event()
        self._clients = [threading.Thread(target=self._ask, args=(place,)) for place in places for _ in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for client in self._clients:
            client.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for client in self._clients:
            client.join()

    def have_answered(self, names: set[str]) -> bool:
        """Whether each of these has answered under each address."""
        return all(names <= seen.keys() for seen in self.answers.values())

    def _ask(self, place: Place) -> None:
        while not self._ended.wait(PAUSE_SECONDS):
            try:
                self.answers[place][self._once(place)] += 1
            except (OSError, ValueError) as error:
                self.failures.append(f"{time.monotonic():.3f} {place}: {error!r}")

    def _once(self, place: Place) -> str:
        with socket.create_connection(place, PATIENCE_SECONDS) as connection, connection.makefile("rb") as answer:
            connection.sendall(self._asked)
            head, _, body = answer.read().partition(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0] or not body:
            raise ValueError(head + body)
        return body.decode().strip()
