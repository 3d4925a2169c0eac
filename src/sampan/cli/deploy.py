"""Deploy a folder, an image or a compose file: build it, apply plain Kubernetes objects, wait, print where it answers."""

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import yaml

from sampan.cli import app_sources, common
from sampan.cli.app_sources import App
from sampan.cli.main import CommandError
from sampan.cluster import host
from sampan.cluster.settings import Settings

if TYPE_CHECKING:
    from sampan.cluster.apps.deploying import Deploying

TIMEOUT_SECONDS = 300.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """What is deployed, as what, and where."""
    source_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the objects as YAML, and change nothing")
    parser.add_argument("--remove", action="store_true", help="take it away again (claims of volumes stay)")


def source_arguments(parser: argparse.ArgumentParser) -> None:
    """Those that `deploy` and `dev` share."""
    parser.add_argument("source", help="a folder with a Containerfile or compose.yaml, a compose file, or an image")
    common.cluster_arguments(parser)
    parser.add_argument("--app", default="", metavar="NAME", help="the application's name (default: the folder's)")
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument("-p", "--port", action="append", default=[], help="80 or 8080:80 (default: those of EXPOSE)")
    parser.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--replicas", type=int, default=None)
    parser.add_argument("-f", "--file", type=Path, default=None, help="the Containerfile")
    parser.add_argument(
        "--no-prune", action="store_true", help="leave what was deployed before and is asked for no more"
    )
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="also what another file, folder or image has deployed as this application",
    )
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT_SECONDS, metavar="SECONDS", help="default: %(default)s"
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises CommandError."""
    began = monotonic()
    cluster = the_cluster(arguments, must_run=not arguments.dry_run)
    app = app_sources.load(cluster, arguments)
    if arguments.dry_run:
        for note in app.notes:
            print(f"# {note}")
        objects = [obj for wave in app.waves for obj in wave]
        print(yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False), end="")
        return 0
    for note in app.notes:
        print(f"note: {note}")
    if arguments.remove:
        with_api(cluster, arguments, lambda deploying: take_away(deploying, app, arguments))
        return 0
    found = with_api(cluster, arguments, lambda deploying: bring_up(deploying, app, arguments))
    print(ending(app, found, monotonic() - began))
    return 0


async def bring_up(deploying: "Deploying", app: App, arguments: argparse.Namespace) -> list[str]:
    """Its addresses, once it is up; what belonged to it before is gone then, unless it is to stay."""
    found = await deploying.apply(app.waves)
    if not arguments.no_prune:
        await deploying.prune(app.identity, app.waves)
    return found


async def take_away(deploying: "Deploying", app: App, arguments: argparse.Namespace) -> None:
    """All of it, also what belonged to it before."""
    await deploying.remove(app.waves)
    if not arguments.no_prune:
        await deploying.prune(app.identity, app.waves)


class _Dumper(yaml.SafeDumper):
    """Writes out what stands twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def ending(app: App, addresses: list[str], seconds: float) -> str:
    """What is said when it is up."""
    where = " ".join(addresses) or "no port is published: use --port to reach it from outside"
    return f"{app.name} is up ({seconds:.1f} s): {where}"


def the_cluster(arguments: argparse.Namespace, *, must_run: bool) -> Settings:
    """Raises CommandError when there is none, or it does not run."""
    cluster = common.existing(arguments)
    if must_run and not host.is_running(cluster):
        raise CommandError(f"cluster {cluster.name} does not run; start it with: sampan up")
    return cluster


def sayer() -> Callable[[str], None]:
    """Prints what happens, with the time since now."""
    began = monotonic()

    def say(text: str) -> None:
        print(f"  {text:<60} {monotonic() - began:6.2f} s", flush=True)

    return say


def with_api(cluster: Settings, arguments: argparse.Namespace, work: "Callable[[Deploying], Any]") -> Any:
    """What comes of the work with the cluster's API. Raises CommandError."""
    from sampan.client.api import Client
    from sampan.client.http import HttpTransport
    from sampan.client.kubeconfig import load
    from sampan.client.transport import TransportError
    from sampan.cluster.apps.deploying import MANAGER, DeployError, Deploying
    from sampan.kit.clock import SystemClock
    from sampan.meta.status import ApiError

    async def done() -> Any:
        transport = HttpTransport(load(cluster.path("kubeconfig")))
        try:
            client = Client(transport, MANAGER)
            has_balancers = not cluster.rootless
            deploying = Deploying(client, SystemClock(), sayer(), arguments.timeout, has_balancers)
            deploying.takes_over = arguments.take_over
            return await work(deploying)
        finally:
            await transport.close()

    try:
        return asyncio.run(done())
    except (DeployError, ApiError, TransportError) as error:
        raise CommandError(str(error)) from error
