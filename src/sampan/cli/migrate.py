"""Move a cluster that is down to another store: its objects, with their uids and the order of their revisions."""

import argparse
import asyncio
import dataclasses

from sampan.cli import common, etcd_options
from sampan.cli.main import CommandError
from sampan.cluster import host, migration, stores
from sampan.cluster.migration import MigrationError, Moved
from sampan.cluster.settings import Settings
from sampan.store.protocol import Store, StoreError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which cluster, and where to."""
    common.cluster_arguments(parser)
    parser.add_argument(
        "--to", required=True, type=etcd_options.store, metavar="sqlite|etcd://HOST:PORT,...", help="an empty store"
    )
    etcd_options.arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Raises CommandError."""
    cluster = common.existing(arguments)
    target = dataclasses.replace(cluster, store=etcd_options.chosen(arguments.to, arguments) or arguments.to)
    _check(cluster, target)
    try:
        moved = asyncio.run(_move(cluster, target))
    except (MigrationError, StoreError) as error:
        raise CommandError(f"nothing has changed for cluster {cluster.name}: {error}") from error
    except KeyboardInterrupt as error:
        raise CommandError(
            f"interrupted; nothing has changed for cluster {cluster.name}, and the same command goes on from here"
        ) from error
    target.save()
    before = f", {moved.found} of them by an attempt before this one" if moved.found else ""
    print(f"{moved.count} objects moved and compared{before} (sha256 {moved.checksum[:16]}...)")
    print(
        f"cluster {cluster.name} is in {etcd_options.shown(target.store)}; what was in {_where(cluster)} is still there"
    )
    print(
        f"resource versions go on above {moved.base}, in the same order: watches from before it get 410 and list anew"
    )
    return 0


async def _move(cluster: Settings, target: Settings) -> Moved:
    source, is_ours = await stores.opened(cluster), target.store == stores.SQLITE
    try:
        if is_ours and stores.file(target).exists():
            return await _finished(source, target)
        with stores.fresh(target) as place:
            written = await _opened(place, target)
            try:
                return await migration.move(source, written, _tell, is_ordered=is_ours, is_own=is_ours)
            finally:
                await written.close()
    finally:
        await source.close()


async def _finished(source: Store, target: Settings) -> Moved:
    """What an attempt before this one put into its place, and could only not say so. Raises MigrationError for any other."""
    refusal = f"{stores.file(target)} is there already, maybe from before; move it away first"
    try:
        written = await stores.opened(target)
    except StoreError as error:
        raise MigrationError(f"{refusal} ({error})") from error
    try:
        moved = await migration.done(source, written)
    finally:
        await written.close()
    if moved is None:
        raise MigrationError(refusal)
    stores.drop_fresh(target)
    return moved


async def _opened(place: Settings, target: Settings) -> Store:
    try:
        return await stores.opened(place)
    except StoreError as error:
        if target.store != stores.SQLITE:
            raise
        raise MigrationError(
            f"{error}; if no other migration is under way, delete what one before this left: {place.directory}"
        ) from error


def _check(cluster: Settings, target: Settings) -> None:
    """Raises CommandError."""
    named = f"cluster {cluster.name}"
    if cluster.joined_to:
        raise CommandError(f"{cluster.directory} is a node of {cluster.joined_to}, whose machine has the objects")
    if host.is_running(cluster):
        raise CommandError(f"{named} runs; stop it first: sampan down --name {cluster.name}")
    if stores.MEMORY in (cluster.store, target.store):
        raise CommandError("what is kept in memory ends with the cluster: there is nothing to move, and nowhere")
    if cluster.store == target.store:
        raise CommandError(f"{named} is in {etcd_options.shown(target.store)} already")
    if cluster.store == stores.SQLITE and not stores.file(cluster).exists():
        raise CommandError(f"{named} has no objects yet; start it there at once: sampan up --store ...")


def _where(cluster: Settings) -> str:
    return str(stores.file(cluster)) if cluster.store == stores.SQLITE else etcd_options.shown(cluster.store)


def _tell(done: int, count: int) -> None:
    print(f"  {done} of {count} objects", flush=True)
