"""List the clusters on this machine."""

import argparse
import sys

from sampan.cluster import host, settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(arguments: argparse.Namespace) -> int:
    """Prints one line a cluster."""
    found = settings.known_clusters()
    broken = _broken()
    for text in broken:
        print(f"sampan ls: {text}", file=sys.stderr)
    if not found:
        print("no clusters; start one with: sampan up")
        return 1 if broken else 0
    rows = [("NAME", "STATE", "NODES", "RUNTIME", "SERVER", "DIRECTORY")]
    for cluster in found:
        state = "running" if host.is_running(cluster) else "stopped"
        nodes = str(cluster.nodes)
        rows.append((cluster.name, state, nodes, cluster.runtime, cluster.server_url, str(cluster.directory)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 1 if broken else 0


def _broken() -> list[str]:
    """What is wrong with clusters that cannot be shown."""
    texts = []
    for directory in settings.known_directories():
        try:
            settings.load(directory)
        except settings.SettingsError as error:
            texts.append(str(error))
    return texts
