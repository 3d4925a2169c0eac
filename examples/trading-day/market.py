"""The market: answers orders over HTTP, so many at once and each in its time; more than that have to queue.

So a pod takes SLOTS / SERVICE_SECONDS orders a second, and latency grows by waiting, not by computing: a whole trading day
fits on a small machine. A bad release is the same program that fails or dawdles for a share of its orders.
"""

import asyncio
import contextlib
import os
import random
import signal
from dataclasses import dataclass, field

PORT = int(os.environ.get("PORT", "8080"))
LONGEST_HEAD = 16384
DAWDLING = 5.0
REASONS = {200: "OK", 500: "Internal Server Error"}


@dataclass(frozen=True)
class Release:
    """What this version is like; its environment says it."""

    version: str = os.environ.get("VERSION", "v1")
    slots: int = int(os.environ.get("SLOTS", "2"))
    seconds: float = float(os.environ.get("SERVICE_SECONDS", "0.08"))
    fail_share: float = float(os.environ.get("FAIL_SHARE", "0"))
    slow_share: float = float(os.environ.get("SLOW_SHARE", "0"))
    drain_seconds: float = float(os.environ.get("DRAIN_SECONDS", "3"))
    pod: str = os.environ.get("POD_NAME", "here")


@dataclass
class Market:
    """The orders in work and in the queue."""

    release: Release = field(default_factory=Release)
    is_ending: bool = False
    in_flight: int = 0

    def __post_init__(self) -> None:
        self.free = asyncio.Semaphore(self.release.slots)

    async def order(self, reader: asyncio.StreamReader) -> int:
        """Waits its turn, then takes its time; returns the answer's code. Whoever has gone meanwhile gets none."""
        async with self.free:
            if reader.at_eof():
                raise ConnectionResetError
            seconds = self.release.seconds * random.uniform(0.75, 1.25)
            slowly = random.random() < self.release.slow_share
            await asyncio.sleep(seconds * (DAWDLING if slowly else 1.0))
        return 500 if random.random() < self.release.fail_share else 200

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side has enough of it."""
        with contextlib.suppress(ConnectionError, EOFError, ValueError, asyncio.LimitOverrunError):
            while await self.answer(reader, writer):
                pass
        writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; says whether there may be another. Whoever ends lets the other side go first."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        await reader.readexactly(int(headers.get("content-length") or 0))
        self.in_flight += 1
        try:
            code = 200 if first.split(" ")[1:2] == ["/healthz"] else await self.order(reader)
            goes_on = not self.is_ending and headers.get("connection", "").lower() != "close"
            body = f"market {self.release.version} {self.release.pod}\n".encode()
            said = [
                f"HTTP/1.1 {code} {REASONS[code]}",
                "content-type: text/plain",
                f"content-length: {len(body)}",
                f"x-version: {self.release.version}",
                f"connection: {'keep-alive' if goes_on else 'close'}",
            ]
            writer.write("\r\n".join([*said, "", ""]).encode("latin-1") + body)
            await writer.drain()
        finally:
            self.in_flight -= 1
        return goes_on

    async def end(self, server: asyncio.Server) -> None:
        """Serves until everybody knows that this pod goes, then finishes what was begun."""
        self.is_ending = True
        await asyncio.sleep(self.release.drain_seconds)
        server.close()
        while self.in_flight:
            await asyncio.sleep(0.05)


async def main() -> None:
    """Until SIGTERM."""
    market, ended = Market(), asyncio.Event()
    server = await asyncio.start_server(market.talk, "", PORT, limit=LONGEST_HEAD, backlog=1024)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print(f"market {market.release.version} serves on port {PORT}", flush=True)
    await ended.wait()
    await market.end(server)


if __name__ == "__main__":
    asyncio.run(main())
