"""Print the version of Sampan and the Kubernetes API level that it serves."""

import argparse
from importlib import metadata


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(arguments: argparse.Namespace) -> int:
    """Prints both versions."""
    print(f"sampan {metadata.version('sampan')} (Kubernetes API v1.36)")
    return 0
