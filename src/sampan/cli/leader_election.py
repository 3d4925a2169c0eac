"""The options of `sampan up` that say how control planes that share an etcd elect their leader, as upstream's components have them."""

import argparse
from typing import Any

from sampan.cli.main import CommandError
from sampan.cluster.settings import Settings

OPTIONS = {
    "lease_seconds": ("--leader-elect-lease-duration", "how long others wait for a leader that is not heard of"),
    "renew_seconds": ("--leader-elect-renew-deadline", "how long a leader works that can't renew its lease"),
    "retry_seconds": ("--leader-elect-retry-period", "how often all of them try"),
}
JITTER = 1.2
"""Upstream's components try that much later than said, at most."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """One for each of the settings."""
    for field, (option, text) in OPTIONS.items():
        usual = Settings.__dataclass_fields__[field].default
        shown = f"{text}, where control planes share an etcd (default: {usual:g}s)"
        parser.add_argument(option, dest=field, type=seconds, metavar="DURATION", help=shown)


def asked(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that were asked for, None for those that were not."""
    return {field: getattr(arguments, field) for field in OPTIONS}


def check(wanted: Settings) -> None:
    """Refuses terms on which two could lead at once, in upstream's words. CommandError."""
    lease, renew, retry = (option for option, _ in OPTIONS.values())
    if wanted.lease_seconds < 1 or wanted.lease_seconds % 1:
        raise CommandError(f"{lease} is in whole seconds, and at least one: that is how a lease tells it")
    if wanted.lease_seconds <= wanted.renew_seconds:
        raise CommandError(f"leaseDuration must be greater than renewDeadline: choose another {lease} or {renew}")
    if wanted.renew_seconds <= JITTER * wanted.retry_seconds:
        text = "renewDeadline must be greater than retryPeriod*JitterFactor"
        raise CommandError(f"{text}: choose another {renew} or {retry}")


def seconds(text: str) -> float:
    """A duration as upstream's options take it, such as 15s or 1m30s."""
    from sampan.cel import times

    try:
        found = times.parse_duration(text).nanos / times.SECOND
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is not a duration such as 15s") from error
    if found <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not greater than zero")
    return found
