"""List the layers above the core, which of them a cluster has enabled, and how those are."""

import argparse

from sampan.cli import asking, common
from sampan.cluster import host


def arguments(parser: argparse.ArgumentParser) -> None:
    common.cluster_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints one line a layer; what is enabled is only known of a cluster that runs."""
    from sampan.cluster import layers

    cluster = common.load(common.directory(arguments))
    enabled = None
    if cluster is not None and host.is_running(cluster):
        enabled = asking.ask(cluster.path("kubeconfig"), layers.read)
    rows = [("NAME", "ENABLED", "STATE", "SUMMARY")]
    for name in layers.names():
        shown = "-" if enabled is None else "yes" if name in enabled else "no"
        state = (enabled or {}).get(name)
        rows.append((name, shown, "-" if state is None else state or "begins", layers.load(name).summary))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0
