"""Virtual time for whatever runs in the process of the test."""

import asyncio
import datetime as dt
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from time import time as wall

import pytest

from sampan.cluster.simulated import SimulatedCluster
from sampan.kit.simloop import Stuck
from sampan.testing import linked_loop, virtual_time
from sampan.testing.linked_loop import LinkedLoop
from sampan.testing.virtual_time import Standstill, VirtualTime

DAY = 86400


@pytest.fixture
def sim() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(nodes=0) as made:
        yield made


@pytest.fixture
def virtual(sim: SimulatedCluster) -> Iterator[VirtualTime]:
    with VirtualTime(sim) as made:
        yield made


def test_clocks(sim: SimulatedCluster) -> None:
    """Every clock of the test shows the cluster's time, and real time again afterwards."""
    real = dt.datetime.now(dt.UTC)
    before = monotonic()
    with VirtualTime(sim):
        assert wall() == time.time() == sim.clock.now()
        assert time.time_ns() == round(sim.clock.now() * 1e9)
        assert dt.datetime.now(dt.UTC) == dt.datetime.fromtimestamp(sim.clock.now(), dt.UTC)
        assert dt.datetime.now().astimezone(dt.UTC) == dt.datetime.now(dt.UTC)
        assert type(dt.datetime.now(dt.UTC)) is dt.datetime
        assert dt.date.today() == dt.datetime.now().date()  # noqa: DTZ005, DTZ011
        began = monotonic()
        sleep(DAY)
        assert monotonic() - began == pytest.approx(DAY)
        assert dt.datetime.now(dt.UTC).date() == dt.date(2026, 1, 2)
        assert began >= before
    assert real <= dt.datetime.now(dt.UTC) < real + dt.timedelta(minutes=10)
    assert monotonic() - before < 600


def test_an_event_loop(virtual: VirtualTime) -> None:
    """Timers fire in their order, each at its time, and a day takes no time."""
    seen: list[tuple[str, float]] = []

    async def tick(name: str, seconds: float) -> None:
        for _ in range(3):
            await asyncio.sleep(seconds)
            seen.append((name, virtual.time() - began))

    async def story() -> None:
        await asyncio.gather(tick("day", DAY), tick("hour", 3600))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), DAY)
        assert await asyncio.to_thread(waited, 600) is None

    def waited(seconds: float) -> None:
        time.sleep(seconds)

    began = virtual.time()
    asyncio.run(story())
    hours = [("hour", 3600), ("hour", 7200), ("hour", 10800)]
    assert [(name, round(when)) for name, when in seen] == [*hours, ("day", DAY), ("day", 2 * DAY), ("day", 3 * DAY)]
    assert virtual.time() - began == pytest.approx(4 * DAY + 600)


def test_threads(virtual: VirtualTime) -> None:
    """Sleeping threads take turns by virtual time, exactly."""
    seen: list[tuple[int, int]] = []

    def tick(seconds: int) -> None:
        for number in range(1, 4):
            time.sleep(seconds)
            seen.append((seconds * number, seconds))

    threads = [threading.Thread(target=tick, args=(seconds,)) for seconds in (70, 50, 30)]
    for thread in threads:
        thread.start()
    virtual.advance(100)
    assert seen == [(30, 30), (50, 50), (60, 30), (70, 70), (90, 30), (100, 50)]
    for thread in threads:
        thread.join()
    assert seen[6:] == [(140, 70), (150, 50), (210, 70)]
    assert virtual.time() == pytest.approx(210)


def test_waits_for_each_other(virtual: VirtualTime) -> None:
    """What is given between threads comes at once; what does not come is given up after virtual time."""
    things: queue.Queue[int] = queue.Queue()
    asked = threading.Event()

    def serve() -> None:
        asked.wait()
        time.sleep(10)
        things.put(1)

    began = virtual.time()
    server = threading.Thread(target=serve)
    server.start()
    assert not asked.wait(30)
    with pytest.raises(queue.Empty):
        things.get(timeout=30)
    asked.set()
    assert things.get(timeout=3600) == 1
    assert virtual.time() - began == pytest.approx(70)
    server.join(5)
    with ThreadPoolExecutor() as pool:
        list(pool.map(time.sleep, (100, 200, 300)))
        with pytest.raises(TimeoutError):
            pool.submit(time.sleep, 100).result(50)
        assert virtual.time() - began == pytest.approx(70 + 300 + 50)


def test_a_join_gives_up(virtual: VirtualTime) -> None:
    """Thread.join with a timeout."""
    sleeper = threading.Thread(target=time.sleep, args=(100,))
    sleeper.start()
    sleeper.join(60)
    assert sleeper.is_alive()
    assert virtual.time() == pytest.approx(60)
    sleeper.join()
    assert not sleeper.is_alive()


def test_run_until(virtual: VirtualTime) -> None:
    """Ends at the moment at which the condition holds, or says that it never did."""
    done = threading.Event()

    def work() -> None:
        time.sleep(40)
        done.set()

    threading.Thread(target=work).start()
    virtual.run_until(done.is_set, within=60)
    assert virtual.time() == pytest.approx(40)
    with pytest.raises(Stuck, match="still not so after 60 s"):
        virtual.run_until(lambda: False, within=60)
    assert virtual.time() == pytest.approx(100)


def test_a_thread_that_never_waits(virtual: VirtualTime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time does not pass behind the back of one that works: in the end an error says who, and where."""
    monkeypatch.setattr(virtual_time, "GUARD_SECONDS", 0.05)
    lock = threading.Lock()
    lock.acquire()
    worker = threading.Thread(target=lock.acquire, name="busy")
    worker.start()
    with pytest.raises(Standstill, match=r"at 0 s .* at work: busy at threading.py:\d+ in run"):
        virtual.advance(1)
    lock.release()
    worker.join()
    virtual.advance(1)


def test_a_loop_from_before(sim: SimulatedCluster) -> None:
    """A linked loop that ran already goes on in virtual time, and after it in real time."""
    loop = LinkedLoop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    soon = asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01, "real"), loop)
    assert soon.result(20) == "real"
    later = asyncio.run_coroutine_threadsafe(asyncio.sleep(DAY, "virtual"), loop)
    with VirtualTime(sim) as virtual:
        virtual.advance(DAY)
        assert later.result(20) == "virtual"
        never = asyncio.run_coroutine_threadsafe(asyncio.sleep(DAY, "never"), loop)
        virtual.advance(1)
    assert asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01, "real"), loop).result(20) == "real"
    assert not never.done()
    with VirtualTime(sim) as virtual:
        never.cancel()
        virtual.advance(1)
        loop.call_soon_threadsafe(loop.stop)
        virtual.advance(DAY)
    thread.join()
    loop.close()


def test_what_waits_at_the_end(sim: SimulatedCluster) -> None:
    """A thread that still waits when virtual time ends goes on in real time; and lives in the next one again."""
    things: queue.Queue[int] = queue.Queue()
    seen: list[int] = []

    def serve() -> None:
        while thing := things.get():
            time.sleep(thing)
            seen.append(thing)

    with VirtualTime(sim) as virtual:
        server = threading.Thread(target=serve)
        server.start()
        virtual.advance(1)
    with VirtualTime(sim) as virtual:
        things.put(DAY)
        virtual.advance(DAY + 1)
        assert seen == [DAY]
        things.put(0)
        server.join()
        virtual.advance(1)
    assert not server.is_alive()


def test_only_one(sim: SimulatedCluster, virtual: VirtualTime) -> None:
    """A process has one virtual time, and a foreign event loop none."""
    with pytest.raises(RuntimeError, match="only one cluster"), VirtualTime(sim):
        pass
    virtual.advance(1)


async def test_a_foreign_loop(sim: SimulatedCluster) -> None:
    """An event loop that knows nothing of virtual time is refused."""
    with pytest.raises(RuntimeError, match="event loop that runs here cannot"), VirtualTime(sim):
        pass
    assert all(thread is not threading.current_thread() for _, thread in linked_loop.running())
