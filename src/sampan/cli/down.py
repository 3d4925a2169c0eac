"""Stop a cluster: no process, mount, namespace, rule or link stays behind. --purge deletes its data too."""

import argparse
import dataclasses
import sys
from pathlib import Path

from sampan.cli import common
from sampan.cli.main import CommandError
from sampan.cluster import host, kubeconfig, settings
from sampan.cluster.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """The contract's options."""
    common.cluster_arguments(parser)
    parser.add_argument("--purge", action="store_true", help="delete the cluster's data as well")


def run(arguments: argparse.Namespace) -> int:
    """Raises CommandError."""
    for cluster in _meant(arguments):
        _stop(cluster, purge=arguments.purge)
    return 0


def _meant(arguments: argparse.Namespace) -> list[Settings]:
    """The cluster; where there is none and none was named, the nodes of other machines' clusters that are here."""
    is_unnamed = arguments.data_dir is None and arguments.name == settings.DEFAULT_NAME
    joined = [known for known in settings.known_clusters() if known.joined_to] if is_unnamed else []
    if joined and common.load(common.directory(arguments)) is None:
        return joined
    return [common.existing(arguments)]


def _stop(cluster: Settings, *, purge: bool) -> None:
    left: list[str] = []
    try:
        host.stop(cluster, _show, left if purge else None)
        if cluster.kubeconfig:
            kubeconfig.remove(Path(cluster.kubeconfig), cluster.context, cluster.previous_context)
            _hand_on(cluster)
        if purge:
            host.purge(cluster)
    except (host.HostError, kubeconfig.KubeconfigError) as error:
        raise CommandError(str(error)) from error
    kept = "its data are deleted" if purge else f"its data stay in {cluster.directory}"
    what = f"node {cluster.joined_as} of {cluster.joined_to}" if cluster.joined_to else f"cluster {cluster.name}"
    for each in left:
        print(f"sampan down: {each}", file=sys.stderr)
    print(f"{what} is down; {kept}")


def _show(step: host.Step) -> None:
    print(f"  {step.text:<48} {step.seconds:6.2f} s", flush=True)


def _hand_on(cluster: Settings) -> None:
    """Clusters that would bring back this one's context bring back the one before it instead."""
    for other in settings.known_clusters():
        if other.previous_context == cluster.context and other.kubeconfig == cluster.kubeconfig:
            dataclasses.replace(other, previous_context=cluster.previous_context).save()
