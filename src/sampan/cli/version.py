"""Print the version of Sampan and the Kubernetes API level that it serves."""

import argparse

from sampan.kit.version import VERSION


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(arguments: argparse.Namespace) -> int:
    """Prints both versions."""
    print(f"sampan {VERSION} (Kubernetes API v1.36)")
    return 0
