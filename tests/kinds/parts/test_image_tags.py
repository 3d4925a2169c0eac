"""When an image is pulled if nobody says."""

import pytest

from sampan.kinds.parts import image_tags

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "image",
    ["a", "a:latest", "a/b", "localhost:5000/a", "example.com/a/b:latest", f"a:latest@{DIGEST}", "a__b/c-d"],
)
def test_the_latest_is_always_pulled(image: str) -> None:
    """With that tag, or with neither tag nor digest."""
    assert image_tags.pull_policy(image) == "Always"


@pytest.mark.parametrize(
    "image",
    ["a:1", f"a@{DIGEST}", f"a:1@{DIGEST}", "localhost:5000/a:1", "", "A", "a b", " a", "a:", "/a", "a//b", "0" * 64, "x" * 250],
)  # fmt: skip
def test_others_are_pulled_when_they_are_not_there(image: str) -> None:
    """With another tag or a digest; and what is no image's name at all has no tag either."""
    assert image_tags.pull_policy(image) == "IfNotPresent"
