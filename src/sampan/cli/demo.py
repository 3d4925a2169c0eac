"""A cluster, and a stock market's day on it in real containers: scaled, released, attacked, and reported on at the end.

`sampan demo guestbook` is the short one: a small application and its page.
"""

import argparse
from pathlib import Path

from sampan.cli import common, demo_guestbook
from sampan.cluster import escapes

DAY, GUESTBOOK = "trading-day", "guestbook"
MINUTES = 5.0
FEWEST_MINUTES, MOST_MINUTES = 1.0, 390.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which demo, on which cluster, and how long."""
    parser.add_argument("demo", nargs="?", choices=(DAY, GUESTBOOK), default=DAY, help=f"which one (default: {DAY})")
    parser.add_argument(
        "--minutes", type=_minutes, default=MINUTES, help=f"how long the trading day takes (default: {MINUTES:g})"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the day's report goes in JSON, too")
    common.cluster_arguments(parser)
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="where the context goes")
    parser.add_argument("--yes", action="store_true", help="do not ask before using sudo")
    parser.add_argument(escapes.OPTION, action="store_true", help="also with a runc that has known escapes")


def run(arguments: argparse.Namespace) -> int:
    """Raises CommandError."""
    if arguments.demo == GUESTBOOK:
        return demo_guestbook.show(arguments)
    from sampan.gateway import envoy_process

    try:
        envoy_process.find()
    except envoy_process.EnvoyMissing as error:
        print(f"The trading day needs Envoy, and {error}")
        print("Until then, the guestbook:\n")
        return demo_guestbook.show(arguments)
    from sampan.cli import demo_day

    return demo_day.show(arguments)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not FEWEST_MINUTES <= minutes <= MOST_MINUTES:
        raise argparse.ArgumentTypeError(f"{text} is not between {FEWEST_MINUTES:g} and {MOST_MINUTES:g}")
    return minutes
