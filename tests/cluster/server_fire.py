"""A whole control plane under fire: killed, or its disk fails, at chosen system calls, while clients write, read and watch over HTTPS.

It is judged by what its clients were told (`tests.store.history`), in all its lives on one directory: what was acknowledged
is there, revisions grow, reads are of one order with the writes, and a watch goes on where it was cut off, without a gap,
or is told 410.

    python -m tests.cluster.server_fire [--lives N] [--seed S]      # faults by chance, a new directory now and then
"""

import argparse
import asyncio
import collections
import contextlib
import itertools
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampan.client.api import Client
from sampan.client.http import HttpTransport
from sampan.client.kubeconfig import load
from sampan.client.transport import TransportError
from sampan.cluster.settings import Settings
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.kinds.core.namespace import NAMESPACE
from sampan.meta.status import ApiError
from sampan.web.message import Request
from tests.ports import free_port
from tests.store import history

KEPT, GONE = "kept", "gone"  # namespaces: what is changed, and what is made and deleted
WAL, DB = "state.db-wal", "state.db"
PATIENCE_SECONDS = 60.0
COMMITS, WRITES_OF_COMMIT, ANSWERS = 30, 8, 150  # about as many as there are in a life, and no more
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """What strace does at these calls: only those on the given files, if any are."""

    what: str
    files: tuple[str, ...] = ()

    def command(self, folder: Path) -> list[str]:
        paths = [part for name in self.files for part in ("-P", str(folder / name))]
        call = self.what.partition(":")[0]
        traced = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", *paths]
        if "signal=" not in self.what:
            traced.append("--seccomp-bpf")  # quicker; but with it no signal is ever sent
        return [*traced, "-e", f"trace={call}", "-e", f"inject={self.what}"]


@dataclass
class ServerFire:
    """One directory, and what was told in the lives of its control plane."""

    folder: Path
    workers: int = 5
    rounds: int = 6
    lines: list[Line] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    position: int = 0  # up to where the watch has seen all
    expired: int = 0

    def __post_init__(self) -> None:
        self._ids = itertools.count()
        self.settings = Settings("fire", self.folder, runtime="simulated", nodes=0, api_port=free_port())
        self.folder.mkdir(parents=True)
        self.settings.save()

    async def live(self, fault: Fault | None = None) -> int | None:
        """One life of the control plane, ended by the fault or, when all work is done, by a kill; what the fault made of it."""
        command = [sys.executable, "-m", "sampan.cluster.control_plane_process", str(self.folder)]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*(fault.command(self.folder) if fault else ()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            with contextlib.suppress(Dead):
                async with self._clients(process) as clients:
                    await _Life(self, process, clients).run()
            return process.poll()
        finally:
            process.kill()
            process.wait()
            self.lines.append({"op": "dead"})

    @contextlib.asynccontextmanager
    async def _clients(self, process: "subprocess.Popen[bytes]") -> AsyncIterator[list[Client]]:
        """For each worker its own, and one more, as soon as the server is ready."""
        transports: list[HttpTransport] = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        try:
            while True:
                with contextlib.suppress(OSError, ValueError, ApiError, TransportError):
                    access = load(self.folder / "kubeconfig")
                    transports += [HttpTransport(access) for _ in range(self.workers + 1 - len(transports))]
                    answer = await transports[0].request(Request("GET", "/readyz"))
                    if answer.status == 200:
                        break
                _check_alive(process)
                assert time.monotonic() < deadline, "the server is not ready"
                await asyncio.sleep(0.1)
            yield [Client(transport, "fire") for transport in transports]
        finally:
            for transport in transports:
                await transport.close()

    def number(self) -> int:
        return next(self._ids)

    def tell(self, **line: Any) -> None:
        self.lines.append(line)


class Dead(Exception):
    """The server was killed."""


def _check_alive(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        raise Dead


class _Life:
    """What the clients do in one life: first they check what the one before has left."""

    def __init__(self, fire: ServerFire, process: "subprocess.Popen[bytes]", clients: Sequence[Client]) -> None:
        self._fire, self._process = fire, process
        self._own, self._clients = clients[0], clients[1:]

    async def run(self) -> None:
        if not self._fire.position:
            await self._prepare()
        else:
            await self._check()
        watching = asyncio.ensure_future(self._watch())
        try:
            await asyncio.gather(*(self._work(task, client) for task, client in enumerate(self._clients)))
            await self._check()
            await self._seen_all(watching)
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError, TransportError, ApiError):
                await watching

    async def _prepare(self) -> None:
        for name in (KEPT, GONE):
            await self._own.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self._fire.position = int((await self._own.list(CONFIGMAP, KEPT)).resource_version)

    async def _check(self) -> None:
        """All that was told against what is there."""
        try:
            listing = await self._own.list(CONFIGMAP, KEPT)
            gone = {item["metadata"]["name"] for item in (await self._own.list(CONFIGMAP, GONE)).items}
        except (TransportError, ApiError):
            await self._lost()
            return
        left = {
            item["metadata"]["name"]: (int(item["metadata"]["resourceVersion"]), str(item["data"]["value"]))
            for item in listing.items
            if "value" in item["data"]
        }
        history.judge([*self._fire.lines], dict(left), int(listing.resource_version))
        self._fire.tell(op="left", records=left)
        back = gone & self._fire.deleted
        assert not back, f"{sorted(back)} were deleted, and are there"

    async def _work(self, task: int, client: Client) -> None:
        for _ in range(self._fire.rounds):
            for name in (f"own-{task}", "shared"):
                _check_alive(self._process)
                await self._change(client, name)
            await self._new(client)
            await self._delete(client)

    async def _change(self, client: Client, name: str) -> None:
        """Read, and put in the place of what was read."""
        number = f"r{self._fire.number()}"
        self._fire.tell(op="ask", id=number, key=name)
        found: Line | None = None
        try:
            found = await client.get(CONFIGMAP, name, KEPT)
        except ApiError as error:
            if error.code != 404:
                return
        except TransportError:
            await self._lost()
            return
        revision = int(found["metadata"]["resourceVersion"]) if found else 0
        self._fire.tell(op="got", id=number, record=[found["data"]["value"], revision] if found else None)
        await self._write(client, name, revision)

    async def _new(self, client: Client) -> None:
        await self._write(client, f"new-{self._fire.number()}", 0)

    async def _write(self, client: Client, name: str, revision: int) -> None:
        number = f"w{self._fire.number()}"
        value = f"{number}-".ljust(400, "x")
        self._fire.tell(op="begin", id=number, compares=[(name, revision)], writes=[(name, value)])
        metadata = {"name": name, "namespace": KEPT} | ({"resourceVersion": str(revision)} if revision else {})
        wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}}
        try:
            made = await (client.update(CONFIGMAP, wanted) if revision else client.create(CONFIGMAP, wanted))
            self._fire.tell(op="end", id=number, ok=True, revision=int(made["metadata"]["resourceVersion"]))
        except ApiError as error:
            self._fire.tell(op="conflict" if error.code == 409 else "refused", id=number, why=error.message)
        except TransportError:
            await self._lost()

    async def _delete(self, client: Client) -> None:
        """Something made for that."""
        name = f"gone-{self._fire.number()}"
        metadata = {"name": name, "namespace": GONE}
        try:
            await client.create(CONFIGMAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
            await client.delete(CONFIGMAP, (GONE, name))
            self._fire.deleted.add(name)
        except ApiError as error:
            self._fire.tell(op="refused", id=name, why=error.message)
        except TransportError:
            await self._lost()

    async def _lost(self) -> None:
        """Nobody knows what became of it. Raises Dead, if that is why; it takes a moment until a killed process is gone."""
        await asyncio.sleep(0.05)
        _check_alive(self._process)

    async def _watch(self) -> None:
        """From where it was cut off, also when that was in another life."""
        fire, is_expired = self._fire, False
        while True:
            try:
                if is_expired:
                    fire.position = int((await self._own.list(CONFIGMAP, KEPT)).resource_version)
                    is_expired = False
                async for event in self._own.watch(CONFIGMAP, KEPT, resource_version=str(fire.position)):
                    self._see(event.type, event.object)
            except ApiError as error:
                if error.code == 410:
                    fire.expired += 1
                    is_expired = True
                await asyncio.sleep(0.05)
            except TransportError:
                if self._process.poll() is not None:
                    return
                await asyncio.sleep(0.05)

    def _see(self, kind: str, item: Line) -> None:
        revision, name = int(item["metadata"]["resourceVersion"]), item["metadata"].get("name", "")
        assert revision > self._fire.position or kind == "BOOKMARK", "a watch went back"
        events = [] if kind == "BOOKMARK" or "value" not in item["data"] else [[name, revision, item["data"]["value"]]]
        self._fire.tell(op="seen", after=self._fire.position, upto=revision, events=events)
        self._fire.position = revision

    async def _seen_all(self, watching: "asyncio.Future[None]") -> None:
        """The watch hears of the last write."""
        last = max((line["revision"] for line in self._fire.lines if line["op"] == "end"), default=0)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._fire.position < last:
            _check_alive(self._process)
            assert not watching.done(), f"the watch has ended: {watching.exception()!r}"
            assert time.monotonic() < deadline, f"the watch is at {self._fire.position}, and not at {last}"
            await asyncio.sleep(0.02)


def by_chance(dice: random.Random) -> Fault:
    """A kill at some call, on some file or on the way to a client; or a disk that fails for a while, or is full."""
    kind = dice.choice(("kill", "kill", "kill", "answer", "failing", "full"))
    call = dice.choice(("pwrite64", "fdatasync"))
    n = dice.randrange(1, COMMITS * (WRITES_OF_COMMIT if call == "pwrite64" else 1))
    if kind == "kill" and dice.random() < 0.3:  # of any file: keys, kubeconfig, reserve
        return Fault(f"{dice.choice(('unlink', 'rename', 'fsync'))}:signal=SIGKILL:when={dice.randrange(1, 6)}")
    if kind == "kill":
        return Fault(f"{call}:signal=SIGKILL:when={n}", (WAL, DB, f"{DB}.mark"))
    if kind == "answer":
        return Fault(f"{dice.choice(('write', 'read'))}:signal=SIGKILL:when={dice.randrange(1, ANSWERS)}")
    if kind == "failing":
        return Fault(f"{call}:error=EIO:when={n}..{n + dice.randrange(3)}", (WAL, DB))
    return Fault(f"pwrite64:error=ENOSPC:when={n}..{n + dice.randrange(4)}", (WAL, DB))


async def _many(lives: int, seed: int) -> int:
    dice, start = random.Random(seed), time.monotonic()
    made, killed, refused, acknowledged, failed = 0, 0, 0, 0, 0
    reasons: collections.Counter[str] = collections.Counter()
    while made < lives:
        with tempfile.TemporaryDirectory(prefix="sampan-fire-") as place:
            fire, faults = ServerFire(Path(place) / "cluster"), []
            try:
                await fire.live()
                for _ in range(min(8, lives - made)):
                    faults.append(by_chance(dice))
                    killed += await fire.live(faults[-1]) == -9
                    made += 1
                await fire.live()
            except Exception as error:  # noqa: BLE001 (told, and another directory is begun)
                failed += 1
                made += 1
                print(f"  {[fault.what for fault in faults]}: {type(error).__name__}: {error}", flush=True)
                kept = Path(tempfile.gettempdir(), f"server-fire-{seed}-{failed}.log")
                shutil.copy(f"{fire.folder}.log", kept)
                print(f"  its log: {kept}", flush=True)
            acknowledged += sum(line["op"] == "end" for line in fire.lines)
            refusals = [line["why"] for line in fire.lines if line["op"] == "refused"]
            refused += len(refusals)
            reasons.update(refusals)
    print(
        f"{made} lives, {killed} ended by the fault, {acknowledged} writes acknowledged, {refused} refused, {failed} failed, "
        f"{time.monotonic() - start:.0f} s"
    )
    for reason, count in reasons.most_common(5):
        print(f"  {count} x {reason}")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    return bool(asyncio.run(_many(arguments.lives, arguments.seed)))


if __name__ == "__main__":
    sys.exit(main())
