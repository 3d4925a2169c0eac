"""Carries out the steps that make files: RUN, COPY, ADD and WORKDIR, each over the mounted layers below it."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sampan.node.images import rooted
from sampan.node.images.building import layer, result, running
from sampan.node.images.building.context import Context
from sampan.node.images.building.copying import Copying
from sampan.node.images.building.mounts import Workshop
from sampan.node.images.building.orders import Copy, Run, RunMount
from sampan.node.images.building.result import Made
from sampan.node.images.building.sources import Digest, Tree
from sampan.node.images.building.target import Target, Terms
from sampan.node.images.model import ImageError
from sampan.node.images.store import ImageStore


@dataclass(frozen=True, slots=True)
class Conditions:
    """How steps are carried out: may they be known already, what time files get, and what name server is asked."""

    cached: bool = True
    epoch: int = result.EPOCH
    resolver: str = ""


@dataclass(frozen=True, slots=True)
class Bench:
    """What steps work with. `layers_of` gives the unpacked layers of a stage or an image."""

    store: ImageStore
    workshop: Workshop
    context: Context
    layers_of: Callable[[str], Sequence[str]]
    conditions: Conditions
    output: running.Output


def make_folder(bench: Bench, made: Made, path: str) -> tuple[str, bool]:
    """WORKDIR: the layer with the folder (empty if it is there already), and whether it was known. ImageError."""

    def make(merged: str, upper: str) -> None:
        with Target(merged, Terms(bench.conditions.epoch)) as target:
            target.make_folder(path)

    return _kept(bench, made, result.key(made, path, "WORKDIR", bench.conditions.epoch), make)


def copy(bench: Bench, made: Made, order: Copy) -> tuple[str, bool]:
    """COPY and ADD, as `make_folder`."""
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(_origin(bench, order.origin))
        copying = stack.enter_context(Copying(order, origin, bench.workshop.new("copy")))
        digest = copying.digest
        key = result.key(made, order, digest, bench.conditions.epoch)
        return _kept(bench, made, key, lambda merged, _: copying.copy(merged, bench.conditions.epoch, digest))


def run(bench: Bench, made: Made, order: Run) -> tuple[str, bool]:
    """RUN, as `make_folder`."""
    with contextlib.ExitStack() as stack:
        digest, sources = Digest(), dict[str, str]()
        for mount in order.mounts:
            if mount.kind == "bind":
                tree, folder = stack.enter_context(_bound(bench, mount))
                found = tree.find(mount.source)
                if not found:
                    raise ImageError(f"{mount.source} is not there, of RUN --mount")
                tree.visit(found[0], digest)
                sources[mount.target] = _inside(folder, found[0])
            elif mount.kind == "cache":
                sources[mount.target] = _cache(bench, mount)

        def work(merged: str, upper: str) -> None:
            folder = bench.workshop.new("run")
            place = running.Place(
                f"sampan-build-{os.path.basename(bench.workshop.folder)[5:]}-{os.path.basename(folder)}",
                folder,
                merged,
                os.path.join(folder, "state"),
                sources,
                bench.conditions.resolver,
            )
            code = running.run(order, place, bench.output)
            if code:
                raise ImageError(f"the command ended with exit code {code}")

        return _kept(bench, made, result.key(made, order, digest.text, bench.conditions.epoch), work)


def _kept(bench: Bench, made: Made, key: str, work: Callable[[str, str], None]) -> tuple[str, bool]:
    """The step's layer, from the cache if it is there. ImageError."""
    known = bench.store.step(key) if bench.conditions.cached else None
    if known is not None:
        return known, True
    directories = bench.store.layer_directories(made.diff_ids)
    try:
        with bench.workshop.to_change(directories) as (merged, upper):
            before = _look(merged)
            work(merged, upper)
            has_root = _look(upper) != before
            with tempfile.TemporaryFile(dir=bench.workshop.folder) as file:
                count = layer.write(layer.Change(upper, directories, bench.conditions.epoch, has_root), file)
                file.flush()
                file.seek(0)
                return bench.store.add_step(key, file if count else None), False
    except (OSError, ValueError) as error:
        raise ImageError(str(error)) from error


def _look(path: str) -> tuple[int, int, int]:
    status = os.stat(path)
    return status.st_mode, status.st_uid, status.st_gid


@contextlib.contextmanager
def _origin(bench: Bench, name: str) -> Iterator[Tree]:
    if not name:
        with Tree(bench.context.folder, bench.context.rules) as tree:
            yield tree
        return
    with bench.workshop.to_read(bench.layers_of(name)) as folder, Tree(folder, keeps_owners=True) as tree:
        yield tree


@contextlib.contextmanager
def _bound(bench: Bench, mount: RunMount) -> Iterator[tuple[Tree, str]]:
    """The files of a bind mount: of the context those that are not left out of it, as a copy."""
    if mount.origin:
        with bench.workshop.to_read(bench.layers_of(mount.origin)) as folder, Tree(folder, keeps_owners=True) as tree:
            yield tree, folder
        return
    folder = bench.workshop.new("context")
    with (
        Tree(bench.context.folder, bench.context.rules) as whole,
        Target(folder, Terms(bench.conditions.epoch)) as into,
    ):
        whole.visit("", lambda item, pieces: into.put("", item, pieces) if item.path else None)
    with Tree(folder) as tree:
        yield tree, folder


def _inside(folder: str, path: str) -> str:
    """Where the path really is, below the folder."""
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = rooted.open_in(root, path, os.O_PATH)
    finally:
        os.close(root)
    try:
        return os.readlink(f"/proc/self/fd/{found}")
    finally:
        os.close(found)


def _cache(bench: Bench, mount: RunMount) -> str:
    """The folder that commands find again under this id."""
    name = hashlib.sha256(mount.id.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    path = Path(bench.store.builds, f"cache-{name}")
    path.mkdir(exist_ok=True, mode=0o755)
    return str(path)
