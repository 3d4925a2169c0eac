"""Plants each failure of the list in a simulated cluster and writes what was read, and said, to tests/cases/health.

python -m tests.platform.health.record [NAME ...]: to be reviewed like any other change.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from sampan.testing import Cluster
from tests.platform.health import cases, planting

FOLDER = Path(__file__).parents[2] / "cases" / "health"


class Dumper(yaml.SafeDumper):
    """Without anchors, which nobody reads."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def main(names: list[str]) -> None:
    """All of them, or those that are named."""
    with Cluster(nodes=2) as base:
        for plant in planting.load(planting.PLANTS):
            if names and plant["name"] not in names:
                continue
            with base.fork() as cluster:
                verdict, known = planting.plant(cluster, plant)
            assert verdict is not None
            given = cases.given(known)
            case = {"promise": plant["promise"], "given": given, "when": f"why {plant['why']}"}
            case["then"] = cases.said(verdict)
            text = yaml.dump(
                case, Dumper=Dumper, sort_keys=False, default_flow_style=None, width=150, allow_unicode=True
            )
            (FOLDER / f"{plant['name']}.yaml").write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
