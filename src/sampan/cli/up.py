"""Start a cluster in the background, or take one up where it was; return when every node is Ready."""

import argparse
import dataclasses
import ipaddress
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sampan.cli import common, dry_run, etcd_options, leader_election, other_machines
from sampan.cli.main import CommandError
from sampan.cluster import (
    agents,
    api_port,
    balancer_pools,
    container_runtime,
    doctor,
    escapes,
    further_plane,
    host,
    kubeconfig,
    log_format,
    retired,
    scheduler_config,
    server_config,
    settings,
)
from sampan.cluster.settings import Settings
from sampan.kinds import feature_gates
from sampan.store.etcd_address import is_etcd

FIXED = (
    "rootless",
    *("api_port", "listen", "nodes", "runtime", "store", "log_format", "feature_gates", "node_grace_seconds"),
    "load_balancer",
    *leader_election.OPTIONS,
    "overlay",
    "signing_seconds",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The contract's options."""
    common.cluster_arguments(parser)
    parser.add_argument(
        "--api-port", type=_port, help=f"the API's port (default: {settings.DEFAULT_PORT}, or the next free one)"
    )
    parser.add_argument(
        "--listen",
        type=_address,
        default=None,
        metavar="ADDR",
        help="the address the API binds to (default: 127.0.0.1)",
    )
    parser.add_argument(
        "--rootless",
        action="store_true",
        help="real containers without root or sudo, in a user namespace; sampan doctor says whether it is possible, and what is less then",
    )
    parser.add_argument("--nodes", type=_nodes, default=None, help="how many nodes (default: 1)")
    parser.add_argument(
        "--runtime",
        type=_runtime,
        default="auto",
        metavar="auto|oci|simulated|cri|unix:///SOCKET",
        help="what runs containers (cri: containerd at its usual socket)",
    )
    parser.add_argument(
        "--store",
        type=etcd_options.store,
        metavar=etcd_options.METAVAR,
        help="where objects are kept (default: sqlite)",
    )
    etcd_options.arguments(parser)
    parser.add_argument(
        "--control-plane-of",
        type=Path,
        metavar="DIR",
        help="a further control plane of the cluster in DIR, or a copy of it, on the same etcd; it has no nodes itself",
    )
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        metavar="FILE",
        help="where the context goes (default: $KUBECONFIG, else ~/.kube/config)",
    )
    _of_the_cluster(parser)
    parser.add_argument("--no-node", action="store_true", help="the control plane only")
    parser.add_argument("--no-switch", action="store_true", help="do not make the cluster the current context")
    parser.add_argument("--yes", action="store_true", help="do not ask before using sudo")
    parser.add_argument(
        escapes.OPTION, action="store_true", help="also with a runc that has known escapes; kept for this cluster"
    )
    parser.add_argument("--dry-run", action="store_true", help="show every change to this host, and make none")


def _of_the_cluster(parser: argparse.ArgumentParser) -> None:
    """What makes the cluster such as it is, whatever its nodes."""
    parser.add_argument(
        "--server-config",
        type=Path,
        metavar="FILE",
        help="authentication, encryption, admission and audit of the API server, in YAML; kept as DIR/server.yaml",
    )
    parser.add_argument(
        "--scheduler-config",
        type=Path,
        metavar="FILE",
        help="profiles and plugins of the scheduler (KubeSchedulerConfiguration, YAML); kept as DIR/scheduler.yaml",
    )
    parser.add_argument(
        "--feature-gates",
        type=_gates,
        metavar="NAME=true,...",
        help=f"parts of Kubernetes to open or close: {', '.join(gate.name for gate in feature_gates.GATES)}",
    )
    parser.add_argument(
        "--ip-families",
        choices=(settings.IPV4, settings.BOTH_FAMILIES),
        help="of pods' and Services' addresses; chosen when the cluster is made (default: IPv4)",
    )
    parser.add_argument("--log-format", choices=log_format.FORMATS, help="of all processes' own logs (default: text)")
    leader_election.arguments(parser)
    other_machines.arguments(parser)
    parser.add_argument(
        "--node-monitor-grace-period",
        dest="node_grace_seconds",
        type=leader_election.seconds,
        metavar="DURATION",
        help="how long a node may be silent before it is given up (default: 50s)",
    )
    parser.add_argument(
        "--load-balancer",
        type=_balancer,
        metavar="pool|node|none|CIDR,...",
        help="where Services of type LoadBalancer get addresses (default: pool, a range of this cluster's own)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Raises CommandError."""
    try:
        if arguments.dry_run:
            return dry_run.show(_chosen(arguments))
        with settings.locked():
            return _up(arguments)
    except (
        agents.AgentConfigError,
        container_runtime.ContainerRuntimeError,
        escapes.VulnerableRuntimeError,
        further_plane.FurtherPlaneError,
        host.HostError,
        kubeconfig.KubeconfigError,
        scheduler_config.SchedulerConfigError,
        server_config.ServerConfigError,
    ) as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt as error:
        raise CommandError(
            "interrupted; what has started goes on: sampan up waits for it, sampan down stops it"
        ) from error


def _chosen(arguments: argparse.Namespace) -> Settings:
    """The settings to start with, with a port that is free."""
    where = common.directory(arguments)
    known = common.load(where)
    wanted = _wanted(arguments, where, known)
    kubeconfig.read(Path(wanted.kubeconfig))  # a broken one is found before anything starts
    if known is not None and host.is_running(known):
        _refuse_change(known, wanted)
        return wanted
    if known is not None and host.is_left(known):
        _refuse_change(known, wanted, ("nodes", "runtime"))
    if known is not None:
        other_machines.check_guests(known, wanted)
    _refuse_twin(wanted)
    return api_port.with_free_port(wanted, asked=arguments.api_port is not None, report=print)


def _up(arguments: argparse.Namespace) -> int:
    configured = server_config.check(arguments.server_config) if arguments.server_config else b""
    placing = scheduler_config.check(arguments.scheduler_config) if arguments.scheduler_config else b""
    wanted = _chosen(arguments)
    before = common.load(wanted.directory)
    if before is not None and host.is_ready(before):
        _refuse_config(wanted, configured, placing)
        wanted.save()
        _merge(wanted, before, switch=not arguments.no_switch)
        print(f"cluster {wanted.name} is already running at {wanted.server_url}")
        return 0
    if arguments.control_plane_of:
        further_plane.take_over(arguments.control_plane_of.expanduser(), wanted)
    agents.check_kubelet_files(wanted)
    _check_host(wanted, ask=not arguments.yes)
    if configured:
        server_config.keep(wanted, configured)
    if placing:
        scheduler_config.keep(wanted, placing)
    wanted = api_port.start(wanted, _show, asked=arguments.api_port is not None, tell=print)
    _merge(wanted, before, switch=not arguments.no_switch)
    for name in retired.forget(wanted):
        print(
            f"node {name} is no more: its pods are made anew elsewhere, its files stay in {wanted.path(f'node-{name}')}"
        )
    simulated = " with simulated nodes: containers are only pretended" if wanted.runtime == "simulated" else ""
    print(f"cluster {wanted.name} is ready{simulated}; context {wanted.context} in {wanted.kubeconfig}")
    return 0


def _show(step: host.Step) -> None:
    print(f"  {step.text:<48} {step.seconds:6.2f} s", flush=True)


def _wanted(arguments: argparse.Namespace, where: Path, known: Settings | None) -> Settings:
    """The settings to start with: what is known already, changed by what was asked for."""
    runtime = arguments.runtime
    if runtime == "auto":
        runtime = known.runtime if known else "oci"
    config = arguments.kubeconfig or (
        Path(known.kubeconfig) if known and known.kubeconfig else kubeconfig.default_path()
    )
    base = _known_again(arguments, known) if known else _new(arguments, where)
    asked = {
        "api_port": arguments.api_port,
        "listen": arguments.listen,
        "store": etcd_options.chosen(arguments.store, arguments, base.store),
        "log_format": arguments.log_format,
        "feature_gates": arguments.feature_gates,
        "node_grace_seconds": arguments.node_grace_seconds,
        "ip_families": arguments.ip_families,
        "load_balancer": arguments.load_balancer,
        "rootless": arguments.rootless or None,
        **leader_election.asked(arguments),
        **other_machines.asked(arguments),
        "vulnerable_runtime": arguments.allow_vulnerable_runtime or None,
        "nodes": 0 if arguments.no_node else arguments.nodes,
    }
    if known is not None and arguments.ip_families not in (None, known.ip_families):
        raise CommandError(
            f"cluster {known.name} was made with {known.ip_families} addresses; "
            f"to make it anew with {arguments.ip_families}: sampan down{_named(known)} --purge, then this command again"
        )
    if known is not None and arguments.rootless and not known.rootless:
        raise CommandError(
            f"cluster {known.name} was made with root's rights; "
            f"to make it anew without: sampan down{_named(known)} --purge, then this command again"
        )
    changed = {key: value for key, value in asked.items() if value is not None}
    wanted = dataclasses.replace(base, runtime=runtime, kubeconfig=str(config.expanduser().absolute()), **changed)
    leader_election.check(wanted)
    wanted = other_machines.settled(wanted, is_asked=arguments.overlay is not None)
    if wanted.is_dual_stack and wanted.runtime == "simulated":
        raise CommandError(f"--ip-families {wanted.ip_families} is for real containers, not for simulated nodes")
    if wanted.rootless and wanted.runtime != "oci":
        raise CommandError(f"--rootless is for containers of our own, not for --runtime {wanted.runtime}")
    if clash := balancer_pools.clash(wanted):
        raise CommandError(f"--load-balancer: {clash}")
    return wanted


def _known_again(arguments: argparse.Namespace, known: Settings) -> Settings:
    first: Path | None = arguments.control_plane_of
    return further_plane.again(known, first.expanduser().absolute()) if first is not None else known


def _new(arguments: argparse.Namespace, where: Path) -> Settings:
    """Those of a cluster that is not there yet; or of a further control plane of one."""
    first: Path | None = arguments.control_plane_of
    if first is None:
        return Settings(arguments.name, where, index=host.free_index(where))
    if arguments.nodes:
        raise CommandError("a further control plane has no nodes: let machines join by sampan node join")
    return further_plane.of(first.expanduser().absolute(), arguments.name, where)


def _refuse_twin(wanted: Settings) -> None:
    """Two clusters of one name would share a context, and their nodes would have the same name."""
    for other in settings.known_clusters():
        if other.name == wanted.name and other.directory != wanted.directory and host.is_running(other):
            raise CommandError(
                f"a cluster named {wanted.name} already runs in {other.directory}; choose another name with --name"
            )


def _refuse_change(known: Settings, wanted: Settings, fields: Sequence[str] = FIXED) -> None:
    """What a cluster is made of that runs, or of which something does, stays as it is."""
    for field in fields:
        has, asked = _shown(getattr(known, field)), _shown(getattr(wanted, field))
        if has != asked and not (field == "feature_gates" and known.gates == wanted.gates):
            raise CommandError(
                f"cluster {known.name} runs with {field.replace('_', ' ')} {has}; "
                f"to change it to {asked}: sampan down{_named(known)}, then this command again"
            )


def _shown(value: Any) -> Any:
    """Feature gates as they are written, an etcd without its password."""
    if isinstance(value, str) and is_etcd(value):
        return etcd_options.shown(value)
    if not isinstance(value, dict):
        return value
    return (
        ",".join(f"{name}={str(is_open).lower()}" for name, is_open in sorted(value.items())) or "as they are usually"
    )


def _refuse_config(running: Settings, configured: bytes, placing: bytes) -> None:
    """The configuration of a running API server and scheduler stays as it is."""
    other = "server" if configured and not server_config.is_kept(running, configured) else ""
    other = other or ("scheduler" if placing and not scheduler_config.is_kept(running, placing) else "")
    if other:
        raise CommandError(
            f"cluster {running.name} runs with another {other} configuration; "
            f"to change it: sampan down{_named(running)}, then this command again"
        )


def _named(cluster: Settings) -> str:
    return "" if cluster.name == settings.DEFAULT_NAME else f" --name {cluster.name}"


def _check_host(wanted: Settings, *, ask: bool) -> None:
    """Refuses with the mend when a part is missing; asks before sudo is used."""
    if wanted.runtime == "simulated" or not wanted.nodes:
        return
    host.check_links(wanted)
    container_runtime.check(wanted)
    missing = doctor.missing_parts(container_runtime.parts(wanted))
    if missing:
        raise CommandError(
            f"this machine lacks {', '.join(part.name for part in missing)} for real containers; "
            f"install with: {doctor.install_command(missing)}  (or try: sampan up --runtime simulated)"
        )
    escapes.check(wanted)
    if wanted.rootless:
        _check_sandbox()
        return
    if os.geteuid() == 0:
        return
    if shutil.which("sudo") is None:
        raise CommandError(
            "containers and their network need root, and there is no sudo here: "
            "run this as root, or try: sampan up --rootless, or sampan up --runtime simulated"
        )
    if not ask:
        host.check_elevation(wanted)
        return
    print("The node agent needs root for containers and their network; it will be started with sudo:")
    print(f"  sudo {sys.executable} -m sampan.cluster.agent_process ...")
    if not _agrees():
        raise CommandError("not started; without root: sampan up --rootless, or sampan up --runtime simulated")
    host.check_elevation(wanted)


def _check_sandbox() -> None:
    """Whether this user can have containers without root."""
    from sampan.cluster import sandbox_checks

    if os.geteuid() == 0:
        raise CommandError("--rootless is for ordinary users, and this is root: leave it out")
    if missing := sandbox_checks.missing():
        raise CommandError(
            f"this machine lacks {', '.join(part.name for part in missing)} for containers without root; "
            f"install with: {doctor.install_command(missing)}"
        )
    if hindrances := sandbox_checks.hindrances():
        raise CommandError(f"no containers without root: {hindrances[0].what}; {hindrances[0].mend}")


def _agrees() -> bool:
    """What the user answers; nobody there to answer is a no."""
    try:
        return input("Go on? [Y/n] ").strip().lower() in ("", "y", "yes")
    except EOFError:
        print()
        return False


def _merge(cluster: Settings, before: Settings | None, *, switch: bool) -> None:
    """Puts the context where it is wanted, and takes it away from where it was."""
    path = Path(cluster.kubeconfig)
    if before is not None and before.kubeconfig not in ("", cluster.kubeconfig):
        kubeconfig.remove(Path(before.kubeconfig), cluster.context, before.previous_context)
    content = kubeconfig.build(cluster)
    if not cluster.path("kubeconfig").exists():
        kubeconfig.write(cluster.path("kubeconfig"), content, is_ours=True)
    previous = kubeconfig.merge(path, content, switch=switch)
    if previous != cluster.context:
        dataclasses.replace(cluster, previous_context=previous).save()


def _port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return int(text)


def _nodes(text: str) -> int:
    if not (text.isdecimal() and int(text) <= 250):
        raise argparse.ArgumentTypeError("between 0 and 250 nodes")
    return int(text)


def _gates(text: str) -> dict[str, bool]:
    try:
        return feature_gates.read(text)
    except feature_gates.GateError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is not an IP address") from error


def _balancer(text: str) -> str:
    try:
        return balancer_pools.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; one of pool, node, none, or CIDRs such as 10.40.0.0/24") from error


def _runtime(text: str) -> str:
    try:
        return container_runtime.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
