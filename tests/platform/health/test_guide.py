"""What docs/guide/why.md shows is what is printed."""

import re
from pathlib import Path

from sampan.platform.health import text
from sampan.testing import Cluster
from tests.platform.health import planting

GUIDE = (Path(__file__).parents[3] / "docs" / "guide" / "why.md").read_text()
MANIFEST = re.search(r"^```yaml\n# shop.yaml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
SHOWN = re.search(r"^```text\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
RANDOM = re.compile(r"shop-[0-9a-z]+-[0-9a-z]+")


def test_the_example() -> None:
    """Word for word, but for the pod's name."""
    assert MANIFEST is not None
    assert SHOWN is not None
    with Cluster() as cluster:
        cluster.behave("shop", {"run": 2, "exit": 1, "log": ["lookup databse on 10.96.0.10:53: no such host"]})
        cluster.apply(MANIFEST[1])
        cluster.advance(120)
        verdict, _ = planting.ask(cluster, "deployment/shop")
    assert verdict is not None
    assert RANDOM.sub("POD", text.one(verdict)) == RANDOM.sub("POD", SHOWN[1].rstrip())
