"""Deploy a folder or compose file, and again on each save, with the pods' logs, until Ctrl-C."""

import argparse
import asyncio
import contextlib
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from sampan.cli import app_sources, deploy
from sampan.cli.app_sources import App
from sampan.cli.main import CommandError
from sampan.cluster.settings import Settings

if TYPE_CHECKING:
    from sampan.cluster.apps.deploying import Deploying
    from sampan.cluster.apps.following import Following
    from sampan.cluster.apps.watching import Stamp
    from sampan.kit.clock import Clock
    from sampan.kit.tasks import Tasks

LOOK_SECONDS = 0.3


def arguments(parser: argparse.ArgumentParser) -> None:
    """As `deploy`, and what is left in the end."""
    deploy.source_arguments(parser)
    parser.add_argument("--rm", action="store_true", help="take it away at Ctrl-C (else it goes on running)")
    parser.set_defaults(dry_run=False, remove=False)


def run(arguments: argparse.Namespace) -> int:
    """Raises CommandError."""
    cluster = deploy.the_cluster(arguments, must_run=True)
    if cluster.runtime == "simulated":
        raise CommandError(
            f"cluster {cluster.name} has simulated nodes: nothing is built or logged there; see: sampan up"
        )
    app_sources.folders(arguments)
    work = _Work(cluster, arguments)
    with contextlib.suppress(KeyboardInterrupt):
        deploy.with_api(cluster, arguments, work.run)
    if work.app is None:
        return 1
    if arguments.rm:
        app = work.app
        print("\ntaking it away", flush=True)
        deploy.with_api(cluster, arguments, lambda deploying: deploy.take_away(deploying, app, arguments))
    else:
        print(f"\n{work.app.name} goes on running; take it away with: sampan deploy {arguments.source} --remove")
    return 0


class _Work:
    """Built and applied once, and again for each change."""

    def __init__(self, cluster: Settings, arguments: argparse.Namespace) -> None:
        self._cluster, self._arguments = cluster, arguments
        self.app: App | None = None

    async def run(self, deploying: "Deploying") -> None:
        """Until it is cancelled."""
        from sampan.cluster.apps.following import Following
        from sampan.kit.tasks import Tasks

        tasks = Tasks("dev")
        following = Following(deploying.client, deploying.clock, tasks, _show)
        try:
            seen = await asyncio.to_thread(self._stamps)
            while True:
                await self._deploy(deploying, lambda app: self._began(app, tasks, following))
                seen = await self._next(seen, deploying.clock)
        finally:
            await tasks.close()

    def _began(self, app: App, tasks: "Tasks", following: "Following") -> None:
        """What is deployed is known: from now on its logs are shown."""
        if self.app is None:
            for note in app.notes:
                print(f"note: {note}")
            tasks.spawn(following.run(app.identity), "logs", critical=False)
        self.app = app

    async def _next(self, seen: "dict[str, Stamp]", clock: "Clock") -> "dict[str, Stamp]":
        """The files once they have changed, and then have been left alone for a moment."""
        from sampan.cluster.apps import watching

        last = seen
        while True:
            await clock.sleep(LOOK_SECONDS)
            now = await asyncio.to_thread(self._stamps)
            if now == last and now != seen:
                paths = watching.changed(seen, now)
                more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
                print(f"--- {paths[0]}{more} changed", flush=True)
                return now
            last = now

    async def _deploy(self, deploying: "Deploying", began: Callable[[App], None]) -> None:
        """Says what went wrong, and leaves it to the next save."""
        from sampan.client.transport import TransportError
        from sampan.cluster.apps.deploying import DeployError
        from sampan.meta.status import ApiError

        start = monotonic()
        try:
            app = await asyncio.to_thread(app_sources.load, self._cluster, self._arguments)
            began(app)
            deploying.say = deploy.sayer()
            found = await deploy.bring_up(deploying, app, self._arguments)
            print(deploy.ending(app, found, monotonic() - start), flush=True)
        except (CommandError, DeployError, ApiError, TransportError) as error:
            print(f"failed: {error}; it is tried again after the next save", flush=True)

    def _stamps(self) -> "dict[str, Stamp]":
        from sampan.cluster.apps import watching
        from sampan.node.images.building import context
        from sampan.node.images.model import ImageError

        try:
            folders, files = app_sources.folders(self._arguments)
            found = watching.of_files(files)
            for folder in folders:
                own = [folder.file, *(folder.path / name for name in context.IGNORE_NAMES)]
                found |= watching.stamps(folder.path, context.rules(folder.path, folder.file)) | watching.of_files(own)
            return found
        except (CommandError, ImageError):  # in the middle of being written: the next save mends it
            return watching.of_files([self._arguments.source])
        except watching.TooManyFiles as error:
            raise CommandError(str(error)) from error


def _show(container: str, line: str) -> None:
    print(f"{container} | {line}", flush=True)
