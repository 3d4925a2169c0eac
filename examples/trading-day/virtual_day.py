"""A whole trading day in virtual time: simulated nodes and pods, modelled orders, everything else as it runs anywhere.

python examples/trading-day/virtual_day.py [--seconds 23400] [--seed 0] [--without-schedule] [--json]
"""

import argparse
import json
import sys
from pathlib import Path

from sampan.cluster.trading_day import curve, figures, report
from sampan.testing.trading_day import virtual_day


def main() -> int:
    """Prints the report; 0 when all that was promised was kept."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seconds", type=float, default=curve.FULL_SECONDS, help="how long the day takes")
    options.add_argument("--seed", type=int, default=0, help="what decides about chance")
    options.add_argument("--without-schedule", action="store_true", help="leave the CronHorizontalPodAutoscaler out")
    options.add_argument("--json", action="store_true", help="the figures for programs")
    given = options.parse_args()
    record = virtual_day(
        Path(__file__).parent, seconds=given.seconds, seed=given.seed, is_scheduled=not given.without_schedule
    )
    print(json.dumps(report.tree(record), indent=2) if given.json else report.text(record))
    return 0 if figures.is_success(record) else 1


if __name__ == "__main__":
    sys.exit(main())
