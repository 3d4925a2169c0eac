"""Outsiders: programs of others that are asked for something, such as network plugins and `mount`.

Each has so long to answer, and so much to say. One that is given up is killed with all that it has started, and nobody
waits for what it started and left behind.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sampan.node import spawn
from sampan.node.runtime import pipes

MOST_BYTES = 1 << 20
LATE_SECONDS = 1.0
"""In which the rest of what a program has said is read, once it has ended: others may keep its streams open."""


class NoAnswer(Exception):
    """It was given up; the text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a program ended, and what it printed."""

    code: int
    output: bytes
    errors: bytes


async def ask(
    command: Sequence[str], seconds: float, told: bytes = b"", variables: Mapping[str, str] | None = None
) -> Answer:
    """Runs it to its end. `told` is its input, `variables` its own if not the agent's. Raises NoAnswer; OSError: no start."""
    with _streams() as (ours, theirs):
        stdin, stdout, stderr = theirs
        around = spawn.Surroundings(None, (), variables, stdin, stdout, stderr, own_session=True)
        child = spawn.start(list(command), around)
        for each in theirs:
            os.close(each)
        theirs.clear()
        output, errors = bytearray(), bytearray()
        exchange = {
            asyncio.ensure_future(_tell(ours.pop(0), told)),
            asyncio.ensure_future(_take(ours[0], output, child)),
            asyncio.ensure_future(_take(ours[1], errors, child)),
        }
        try:
            async with asyncio.timeout(seconds):
                code = await child.wait()
            await asyncio.wait(exchange, timeout=LATE_SECONDS)
        except TimeoutError:
            raise NoAnswer(f"no answer within {seconds:.0f} seconds") from None
        finally:
            child.kill_group()
            for task in exchange:
                task.cancel()
            await asyncio.wait(exchange)
    if max(len(output), len(errors)) > MOST_BYTES:
        raise NoAnswer(f"it says more than {MOST_BYTES >> 20} MiB")
    return Answer(code, bytes(output), bytes(errors))


@contextlib.contextmanager
def _streams() -> Iterator[tuple[list[int], list[int]]]:
    """Pipes for stdin, stdout and stderr: our ends, which do not block, and the program's. What is still in them is closed."""
    ours, theirs = list[int](), list[int]()
    try:
        for is_input in (True, False, False):
            source, sink = os.pipe()
            mine, other = (sink, source) if is_input else (source, sink)
            ours.append(mine)
            theirs.append(other)
            os.set_blocking(mine, False)
        yield ours, theirs
    finally:
        for each in (*ours, *theirs):
            os.close(each)


async def _tell(sink: int, told: bytes) -> None:
    """A program need not read it. The pipe is closed in any case."""
    try:
        with contextlib.suppress(OSError):
            await pipes.write(sink, told)
    finally:
        os.close(sink)


async def _take(source: int, kept: bytearray, child: spawn.Child) -> None:
    """Until the end; one that does not stop talking is ended."""
    while data := await pipes.read(source):
        kept += data
        if len(kept) > MOST_BYTES:
            child.kill_group()
            return
