"""The options of `sampan up` that are about nodes on other machines."""

import argparse
import dataclasses
from typing import Any

from sampan.cli import leader_election
from sampan.cli.main import CommandError
from sampan.cluster import addresses
from sampan.cluster.settings import DEFAULT_NAME, YEAR_SECONDS, Settings

OVERLAYS = ("vxlan", "direct")
LEAST_SECONDS = 600


def arguments(parser: argparse.ArgumentParser) -> None:
    """How pods of other machines are reached, and how long nodes' certificates hold."""
    parser.add_argument(
        "--overlay",
        choices=OVERLAYS,
        default=None,
        help="how pods of other machines are reached, with --listen (default: vxlan; direct: all are on one segment)",
    )
    parser.add_argument(
        "--cluster-signing-duration",
        dest="signing_seconds",
        type=_duration,
        default=None,
        metavar="DURATION",
        help="how long certificates hold that the cluster signs, such as nodes' (default: 8760h)",
    )


def asked(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that were asked for, None for those that were not."""
    return {"overlay": arguments.overlay, "signing_seconds": arguments.signing_seconds}


def settled(wanted: Settings, *, is_asked: bool) -> Settings:
    """With the node's address as other machines see it, where they can. `is_asked`: an overlay was. CommandError."""
    if wanted.joined_to:
        raise CommandError(f"{wanted.directory} is a node of {wanted.joined_to}; start it with: sampan node start")
    can_be_joined = wanted.nodes == 1 and wanted.runtime != "simulated"
    node_ip = addresses.reachable_at(wanted.listen) if can_be_joined else ""
    if is_asked and not node_ip:
        raise CommandError(
            "--overlay is for other machines' pods: it needs one real node here, and --listen with an IPv4 address "
            "at which other machines reach this one"
        )
    return dataclasses.replace(wanted, node_ip=node_ip, overlay=(wanted.overlay or OVERLAYS[0]) if node_ip else "")


def check_guests(known: Settings, wanted: Settings) -> None:
    """What other machines' nodes go by stays while there are some: one node here, and its address. CommandError."""
    is_as_it_was = (known.nodes, known.listen, known.runtime) == (wanted.nodes, wanted.listen, wanted.runtime)
    is_there = wanted.node_ip and wanted.listen == known.listen
    if not known.node_ip or is_as_it_was or is_there:
        return
    from sampan.cluster import guests
    from sampan.store.protocol import StoreError

    try:
        found = guests.names(known)
    except StoreError as error:
        raise CommandError(f"whether other machines are nodes of {known.name} can't be found out: {error}") from error
    if found:
        named = "" if known.name == DEFAULT_NAME else f" --name {known.name}"
        raise CommandError(
            f"other machines are nodes of {known.name} ({', '.join(found)}), so it keeps its one node here and "
            f"--listen {known.listen}; first start it as it was, have them leave (sampan node leave, there), and "
            f"sampan node{named} remove each; or delete its data too: sampan down{named} --purge"
        )


def _duration(text: str) -> int:
    found = leader_election.seconds(text)
    if not LEAST_SECONDS <= found <= 10 * YEAR_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is not between 10m and 87600h")
    return int(found)
