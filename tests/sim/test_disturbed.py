"""Every controller, disturbed in every way: whatever befalls it, what is left in the end is the same.

Each pattern is played with one seed here; SAMPAN_STORY_SEEDS=1..50 plays it with more.
"""

import re
from pathlib import Path

import pytest

from sampan.cluster import workers
from sampan.controllers import registry
from sampan.controllers.legacy_token import Sign
from sampan.controllers.registry import Options
from sampan.kinds.feature_gates import Gates
from tests.sim import disturbed

TABLE = Path(__file__).parents[2] / "docs" / "reliability.md"
ROW = re.compile(r"^\| `([a-z-]+)` \| ([^|]+) \| [^|]+ \|$", re.MULTILINE)
SCHEDULER = "scheduler"
FOR_NODES_ONLY = "node-serving-approving-controller"


def covered() -> dict[str, list[str]]:
    """Story -> the controllers that it is about, as the table says."""
    return {name: told.replace("`", "").split(", ") for name, told in ROW.findall(TABLE.read_text())}


def test_every_controller_has_a_story() -> None:
    """The table names each controller, and none that there isn't; each story has a row."""
    rules = registry.controllers("", lambda account, secret: "")
    assert {name for told in covered().values() for name in told} | {FOR_NODES_ONLY} == {
        rule.name for rule in rules
    } | {SCHEDULER}
    assert sorted(covered()) == disturbed.names()
    text = TABLE.read_text()
    assert all(f"`{pattern}`" in text for pattern in disturbed.PATTERNS)


@pytest.mark.slow
@pytest.mark.parametrize("name", disturbed.names())
def test_a_story_needs_its_controllers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one of those that it is about, it ends otherwise, or not at all."""
    assert disturbed.undisturbed(name).failure is None
    for controller in covered()[name]:
        if controller == SCHEDULER:
            continue

        def others(ca: str, sign: Sign | None, gates: Gates, options: Options, left: str = controller) -> object:
            return tuple(rule for rule in registry.controllers(ca, sign, gates, options) if rule.name != left)

        with monkeypatch.context() as patched:
            patched.setattr(workers, "controllers", others)
            assert disturbed.ends_otherwise(name), f"{name} ends as ever without {controller}"


@pytest.mark.slow
@pytest.mark.parametrize("pattern", disturbed.PATTERNS)
@pytest.mark.parametrize("name", disturbed.names())
def test_a_story_ends_as_if_nothing_had_happened(name: str, pattern: str) -> None:
    """All invariants hold on the way, and what is left is what is left without the disturbance."""
    for seed in disturbed.seeds():
        assert disturbed.disturbed(name, pattern, seed) == ""
