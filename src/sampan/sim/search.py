"""Search: plays a scenario with one seed after the other, in as many processes as there are to be."""

import gc
import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sampan.sim import play, scenario
from sampan.sim.outcome import Failure
from sampan.sim.scenario import Scenario

AT_ONCE = 4  # seeds that a process is handed together
OBJECTS_WITHIN = (20_000, 50, 50)  # so many new objects make Python look for garbage


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one seed."""

    seed: int
    failure: Failure | None
    digest: str
    seconds: float


def search(wanted: Scenario, seeds: Sequence[int], jobs: int = 1) -> Iterator[Found]:
    """In the order of the seeds, as they come. Whoever has seen enough closes the iterator."""
    if jobs <= 1:
        with _few_collections():
            for seed in seeds:
                yield _found(wanted, seed)
        return
    context = multiprocessing.get_context("spawn")  # as new: nothing of this process decides what happens there
    pool = ProcessPoolExecutor(jobs, context, _prepare, (wanted.file,))
    try:
        yield from pool.map(_play, seeds, chunksize=AT_ONCE)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _found(wanted: Scenario, seed: int) -> Found:
    played = play.play(wanted, seed)
    found = Found(seed, played.failure, played.digest, played.seconds)
    del played
    gc.collect()
    return found


@contextmanager
def _few_collections() -> Iterator[None]:
    """Garbage is collected after each play rather than within; what was there before is not looked at again."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*OBJECTS_WITHIN)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


_given: list[Scenario] = []  # of a process that plays


def _prepare(file: Path) -> None:
    logging.getLogger().addHandler(logging.NullHandler())
    gc.set_threshold(*OBJECTS_WITHIN)
    _given.append(scenario.load(file))


def _play(seed: int) -> Found:
    return _found(_given[0], seed)
