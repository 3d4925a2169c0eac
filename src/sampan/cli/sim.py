"""Play scenarios in a simulated cluster: from one seed, or from many, until one breaks a rule."""

import argparse
import logging
import os
import re
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sampan.sim.outcome import Failure
    from sampan.sim.scenario import Scenario
    from sampan.sim.search import Found

LINES = 200
_SEEDS = re.compile(r"(\d+)\.\.(\d+)")


def arguments(parser: argparse.ArgumentParser) -> None:
    """One verb so far."""
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser(
        "run",
        help="play a scenario",
        description="Plays a scenario. Exit codes: 0 every rule held, 1 one was broken, 2 wrong usage.",
    )
    run.add_argument("scenario", type=Path, metavar="SCENARIO", help="a YAML file; see docs/guide/simulation.md")
    seeds = run.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=_seed, default="1", help="play this one and print what happens (default: 1)")
    seeds.add_argument("--seeds", type=_seeds, metavar="A..B", help="play all of them until one breaks a rule")
    run.add_argument("--all", action="store_true", help="with --seeds: go on after a failure, and count them")
    run.add_argument("--jobs", type=_jobs, metavar="N", help="with --seeds: processes (default: one for each core)")
    run.add_argument("--no-shrink", action="store_true", help="with --seeds: leave a failing scenario as it is")
    run.add_argument("--write", type=Path, metavar="FILE", help="with --seeds: where the shrunken scenario goes")
    run.add_argument(
        "--lines", type=int, default=LINES, metavar="N", help=f"of the timeline (default: {LINES}; 0: all)"
    )


def run(arguments: argparse.Namespace) -> int:
    """The exit code."""
    from sampan.sim import scenario

    logging.getLogger().addHandler(logging.NullHandler())
    try:
        wanted = scenario.load(arguments.scenario)
    except OSError as error:
        return _refuse(f"{arguments.scenario}: {error.strerror}")
    except scenario.ScenarioError as error:
        return _refuse(str(error))
    if arguments.write is not None and not arguments.write.parent.is_dir():
        return _refuse(f"{arguments.write.parent}: there is no such folder")
    if arguments.seeds is None:
        return _one(wanted, arguments)
    return _many(wanted, arguments)


def _refuse(why: str) -> int:
    print(f"sampan sim: {why}", file=sys.stderr)
    return 2


def _one(wanted: "Scenario", arguments: argparse.Namespace) -> int:
    from sampan.sim import play, timeline
    from sampan.sim.reading import duration

    began = time.perf_counter()
    played = play.play(wanted, arguments.seed)
    took = time.perf_counter() - began
    for line in timeline.lines(played, arguments.lines):
        print(line)
    if played.failure is not None:
        print()
        _tell(arguments.seed, played.failure)
    virtual = duration(round(played.seconds, 3))
    print(f"\nseed {arguments.seed}: {'held' if played.failure is None else 'VIOLATED'}; ", end="")
    print(
        f"{len(played.changes) - played.first} changes in {virtual} of virtual time ({took:.2f} s), history {played.digest[:16]}"
    )
    return 0 if played.failure is None else 1


def _many(wanted: "Scenario", arguments: argparse.Namespace) -> int:
    from sampan.sim.search import search

    jobs = min(arguments.jobs or os.cpu_count() or 1, len(arguments.seeds))
    began, count, failed = time.perf_counter(), 0, list["Found"]()
    with closing(search(wanted, arguments.seeds, jobs)) as results:  # type: ignore[type-var]
        for found in results:
            count += 1
            if found.failure is not None:
                failed.append(found)
                _progress("")
                print(f"seed {found.seed} violates {found.failure.rule}")
                if not arguments.all:
                    break
            _progress(f"{count} of {len(arguments.seeds)} seeds")
    _progress("")
    speed = count / max(time.perf_counter() - began, 1e-9)
    print(f"{count - len(failed)} of {count} seeds held; {speed:.1f} seeds a second")
    if not failed:
        return 0
    first = failed[0]
    assert first.failure is not None  # it failed
    print()
    _tell(first.seed, first.failure)
    if not arguments.no_shrink:
        _shrink(wanted, first.seed, first.failure, arguments)
    print(f"\nsee it happen: sampan sim run {arguments.write or wanted.file} --seed {first.seed}")
    return 1


def _shrink(wanted: "Scenario", seed: int, failure: "Failure", arguments: argparse.Namespace) -> None:
    from sampan.sim import play, scenario, timeline
    from sampan.sim.shrink import shrink

    file: Path | None = arguments.write
    found = shrink(wanted, seed, failure, lambda plays: _progress(f"shrinking: {plays} plays"))
    _progress("")
    text = scenario.written(found.scenario, file.parent if file is not None else None)
    print(f"\nthe smallest scenario that still breaks it with this seed ({found.plays} plays):\n")
    print("\n".join(f"    {line}" for line in text.splitlines()))
    print("\nand what happens in it:\n")
    print("\n".join(timeline.lines(play.play(found.scenario, seed), arguments.lines)))
    if file is not None:
        file.write_text(f"# Breaks with seed {seed}: {failure.rule}.\n{text}")
        print(f"\nwritten to {file}")


def _tell(seed: int, failure: "Failure") -> None:
    print(f"seed {seed} violates {failure.rule}:")
    print("\n".join(f"    {line}" for line in failure.text.splitlines()))
    if failure.story:
        print("\nthe story of " + failure.story.partition("\n")[0] + ":")
        print("\n".join(f"    {line}" for line in failure.story.splitlines()[1:]))


def _progress(text: str) -> None:
    """On a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no seed: use a whole number from 0 on")
    return int(text)


def _seeds(text: str) -> range:
    matched = _SEEDS.fullmatch(text)
    if matched is None or int(matched[1]) > int(matched[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no range of seeds: use for example 1..1000")
    return range(int(matched[1]), int(matched[2]) + 1)


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 4 * (os.cpu_count() or 1):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes")
    return int(text)
