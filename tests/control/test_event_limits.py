"""Event limits: what is told one by one, what stands for others, and when an object has had its share."""

from sampan.control.event_limits import BURST, SECONDS_FOR_ONE, SIMILAR_SECONDS, SWEEP_SECONDS, TOLD_APART, Limits


def test_similar_texts_are_combined_until_it_is_quiet() -> None:
    """Nine apart, the rest together; known ones stay apart, and after ten quiet minutes it begins anew."""
    limits = Limits()
    texts = [f"Created pod: web-{number}" for number in range(TOLD_APART + 2)]
    assert [limits.told_as("web", text, 0.0) for text in texts] == [*texts[:TOLD_APART], "", ""]
    assert limits.told_as("web", texts[0], 1.0) == texts[0]
    assert limits.told_as("other", texts[-1], 1.0) == texts[-1]
    assert limits.told_as("web", texts[-1], 2.0 + SIMILAR_SECONDS) == texts[-1]


def test_an_object_has_its_share() -> None:
    """A burst, then one for each five minutes."""
    limits = Limits()
    told = [limits.may_tell("web", 0.0) for _ in range(int(BURST) + 1)]
    assert told == [True] * int(BURST) + [False]
    assert limits.may_tell("other", 0.0)
    assert limits.may_tell("web", SECONDS_FOR_ONE)
    assert not limits.may_tell("web", SECONDS_FOR_ONE)


def test_what_is_over_is_forgotten() -> None:
    """Kinds that are quiet for ten minutes, and objects whose share is whole again."""
    limits = Limits()
    for _ in range(3):
        limits.may_tell("often", 0.0)
    for number in range(100):
        limits.told_as(number, "text", 0.0)
        limits.may_tell(number, 0.0)
    limits.told_as("web", "text", SIMILAR_SECONDS + 1)
    limits.may_tell("web", SECONDS_FOR_ONE + SWEEP_SECONDS)
    assert list(limits._texts) == ["web"]
    assert list(limits._spent) == ["often", "web"]  # of which the first has not got all of it back
