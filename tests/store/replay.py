"""A store's files as a kill, or a loss of power, leaves them at every system call: each state held to what was told until then.

One run of the child is taped (`tests.store.tape`); from that come all states (`tests.store.disk`), with no further process.

    python -m tests.store.replay [SCENARIO]... [--states N]     # every kill; N losses of power at every call
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sampan.store.protocol import StoreError
from tests.store import fire, history, tape
from tests.store.disk import Disk, Files, is_torn
from tests.store.fire import Driver, Fire, Line

NAME = "s.db"
AGAIN = "again"


@dataclass
class Moment:
    """The next call, and what was told before it."""

    place: int
    disk: Disk
    lines: list[Line]
    call: tape.Call | None


@dataclass
class Taped:
    """A scenario's run."""

    scenario: str
    tape: tape.Tape
    before: list[Line] = field(default_factory=list)

    def moments(self) -> Iterator[Moment]:
        """Before each call that changed something, and at the end. Each is to be used before the next is asked for."""
        disk, lines, part = Disk(self.tape.before), [*self.before], b""
        for place, call in enumerate(self.tape.calls):
            if call.kind == "tell":
                *whole, part = (part + call.data).split(b"\n")
                lines += [json.loads(line) for line in whole]
                continue
            yield Moment(place, disk, lines, call)
            disk.play(call)
        yield Moment(len(self.tape.calls), disk, lines, None)

    @property
    def count(self) -> int:
        """How many calls changed something."""
        return sum(call.kind != "tell" for call in self.tape.calls)


def run(scenario: str) -> Taped:
    """Tapes one life of the child; "again": one that begins with what a kill amid a checkpoint left."""
    with tempfile.TemporaryDirectory() as place:
        trial = Fire(Path(place) / NAME, "upkeep" if scenario == AGAIN else scenario)
        if scenario == AGAIN:
            files, trial.lines = _cut_short(run(trial.scenario))
            lay_out(files, Path(place))
        else:
            trial.prepare()
        command = [sys.executable, "-m", "tests.store.fire", "drive", str(trial.path), trial.scenario]
        made = tape.record(Path(place), command)
        assert made.status == 0, made.stderr
        return Taped(trial.scenario, made, trial.lines)


def _cut_short(taped: Taped) -> tuple[Files, list[Line]]:
    """The files after a kill half-way, and all that was told and found then."""
    for moment in taped.moments():
        call = moment.call
        if call is not None and moment.place > len(taped.tape.calls) // 2 and (call.kind, call.name) == ("write", NAME):
            files, lines = moment.disk.killed(), [*moment.lines, {"op": "dead"}]
            with tempfile.TemporaryDirectory(dir=memory()) as place:
                lay_out(files, Path(place))
                asyncio.run(_judged(Path(place) / NAME, lines))
            return files, lines
    raise AssertionError("there was no checkpoint")


def check(files: Files, lines: Sequence[Line], scenario: str, *, goes_on: bool) -> None:
    """What is left holds all that was told; with `goes_on` so does a further life on it. AssertionError."""
    with tempfile.TemporaryDirectory(dir=memory()) as place:
        lay_out(files, Path(place))
        path, told = Path(place) / NAME, [*lines, {"op": "dead"}]
        asyncio.run(_judged(path, told))
        if goes_on:
            with fire.small():
                asyncio.run(Driver(path, scenario, "later", told.append).run())
            asyncio.run(_judged(path, told))


async def _judged(path: Path, lines: list[Line]) -> None:
    try:
        await history.check(path, lines)
    except StoreError as error:
        raise AssertionError(f"refused: {error}") from error


def lay_out(files: Files, folder: Path) -> None:
    """Puts them there."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def memory() -> str | None:
    """Where files are no work for a disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@dataclass
class Sweep:
    """Goes through the moments of a run: `every` of so many, with this many losses of power at each."""

    taped: Taped
    every: int = 1
    states: int = 0
    goes_on: int = 1  # a further life at each so many
    failures: list[str] = field(default_factory=list)
    kills: int = 0
    losses: int = 0

    def go(self, seed: int = 0) -> None:
        for index, moment in enumerate(self.taped.moments()):
            if (index + seed) % self.every:
                continue
            goes_on = (index + seed) // self.every % self.goes_on == 0
            self._kill(moment, goes_on=goes_on)
            for number in range(self.states):
                dice = random.Random(f"{self.taped.scenario} {seed} {moment.place} {number}")
                self.losses += 1
                label = f"power lost before call {moment.place} {_told(moment.call)}, state {number} of seed {seed}"
                self._try(moment.disk.unpowered(dice), moment.lines, label, goes_on=goes_on and number == 0)

    def _kill(self, moment: Moment, *, goes_on: bool) -> None:
        call = moment.call
        self.kills += 1
        self._try(
            moment.disk.killed(), moment.lines, f"killed before call {moment.place} {_told(call)}", goes_on=goes_on
        )
        if call is not None and is_torn(call):
            self.kills += 1
            files = moment.disk.killed(call)
            self._try(files, moment.lines, f"killed amid call {moment.place} {_told(call)}", goes_on=False)

    def _try(self, files: Files, lines: list[Line], label: str, *, goes_on: bool) -> None:
        try:
            check(files, lines, self.taped.scenario, goes_on=goes_on)
        except Exception as error:  # noqa: BLE001 (told, and the next state is tried)
            self.failures.append(f"{self.taped.scenario}: {label}: {type(error).__name__}: {error}")


def _told(call: tape.Call | None) -> str:
    return "(the end)" if call is None else f"({call.kind} {call.name})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="*", default=(*fire.SCENARIOS, AGAIN))
    parser.add_argument("--states", type=int, default=5, help="losses of power at each call (5)")
    parser.add_argument("--every", type=int, default=1, help="only each so many calls (1)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    failed = 0
    for scenario in arguments.scenario:
        start = time.monotonic()
        sweep = Sweep(run(scenario), arguments.every, arguments.states)
        sweep.go(arguments.seed)
        for failure in sweep.failures:
            print(f"  {failure}", flush=True)
        failed += len(sweep.failures)
        print(
            f"{scenario}: {sweep.taped.count} calls, {sweep.kills} kills, {sweep.losses} losses of power, "
            f"{len(sweep.failures)} failed, {time.monotonic() - start:.0f} s",
            flush=True,
        )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
