"""Run a layer beside any cluster that a kubeconfig leads to, until it is interrupted; or print the rights that it needs there."""

import argparse
import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sampan.cli import asking
from sampan.cli.main import CommandError

if TYPE_CHECKING:
    from sampan.platform.layer import Layer


_OF_RUNNING = ("kubeconfig", "context", "webhook_address", "open_services", "data_dir")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("layer", metavar="LAYER", help="see: sampan layers")
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="(default: the first file of $KUBECONFIG, or ~/.kube/config)"
    )
    parser.add_argument("--context", default="", metavar="NAME", help="one of its contexts (default: the current one)")
    parser.add_argument(
        "--webhook-address",
        default="",
        metavar="HOST[:PORT]",
        help="where the cluster's API server reaches this process, for a layer with admission rules",
    )
    parser.add_argument(
        "--open-services",
        action="append",
        default=[],
        metavar="NAMESPACE",
        help="have analyses of every namespace also reach the Services of this one ('*': of all); may be repeated",
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where a layer's service keeps its files")
    parser.add_argument(
        "--rbac",
        action="store_true",
        help="run nothing: print a ServiceAccount with the rights that the layer needs, to be applied to the cluster;"
        " goes with no other option",
    )


def run(arguments: argparse.Namespace) -> int:
    """Until SIGINT or SIGTERM. Raises CommandError."""
    from sampan.client.transport import TransportError
    from sampan.cluster import layer_process, layers, log_format, settings
    from sampan.meta.status import ApiError

    try:
        layer = layers.load(arguments.layer)
    except LookupError as error:
        raise CommandError(str(error.args[0])) from error
    if arguments.rbac:
        _refuse_others(arguments)
        return _print_rights(layer)
    host, port = _address(arguments.webhook_address)
    if layer.reviewers and not host:
        raise CommandError(f"{layer.name} has admission rules: say where they are asked, with --webhook-address")
    where = arguments.data_dir or settings.home() / "layers" / layer.name
    access = asking.access(arguments.kubeconfig or _default(), arguments.context)
    place = layer_process.Place(where, host, port, tuple(arguments.open_services))
    log_format.configure(log_format.TEXT, is_own=False)
    try:
        asyncio.run(layer_process.run(layer, access, place))
    except layer_process.Taken as error:
        raise CommandError(str(error)) from error
    except (ApiError, TransportError) as error:
        raise CommandError(f"the API refuses, or does not answer: {error}") from error
    return 0


def _refuse_others(arguments: argparse.Namespace) -> None:
    """What would have no effect. Raises CommandError."""
    given = [name for name in _OF_RUNNING if getattr(arguments, name)]
    if given:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise CommandError(f"--rbac asks no cluster and runs nothing: leave out {named}, and give it to the run itself")


def _print_rights(layer: "Layer") -> int:
    import yaml

    from sampan.cluster import layer_rights

    print(yaml.safe_dump_all(layer_rights.manifest(layer), sort_keys=False), end="")
    return 0


def _default() -> Path:
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(named) if named else Path.home() / ".kube" / "config"


def _address(text: str) -> tuple[str, int]:
    """Host and port (0: any) of HOST, HOST:PORT or [HOST]:PORT. Raises CommandError."""
    host, colon, port = text.rpartition(":")
    if text.startswith("["):
        host, colon, port = (text, "", "0") if text.endswith("]") else (host, colon, port)
    elif text.count(":") != 1:
        host, port = text, "0"
    if not port.isdecimal() or int(port) > 65535:
        raise CommandError(f"{text!r} is no address: use HOST, HOST:PORT or [HOST]:PORT")
    return host.strip("[]"), int(port)
