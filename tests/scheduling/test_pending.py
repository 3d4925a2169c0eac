"""The order of pending pods and when they are tried again."""

from making import of, pod

from sampan.scheduling.pending import Pending


def names(pending: Pending, now: float) -> list[str]:
    found = []
    while (each := pending.pop(now)) is not None:
        found.append(each.uid.removeprefix("uid-"))
    return found


def test_by_priority_then_age() -> None:
    """Higher priority first; equals in the order they came; each once."""
    pending = Pending()
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        pending.add(of(pod(name, priority=priority)))
    pending.add(of(pod("a", priority=0)))
    assert names(pending, 0) == ["b", "d", "a", "c"]
    assert names(pending, 0) == []


def test_failed_pods_wait_for_a_change_and_their_back_off() -> None:
    """1 s, then doubling to 10 s after a change; without one, five minutes."""
    pending = Pending()
    pending.add(of(pod("a")))
    now, waits = 0.0, []
    for _ in range(6):
        assert names(pending, now) == ["a"]
        pending.fail("uid-a", now)
        pending.wake(now)
        due = pending.next_due()
        waits.append(due - now)
        now = due
    assert waits == [1, 2, 4, 8, 10, 10]
    assert names(pending, now) == ["a"]
    pending.fail("uid-a", now)
    assert names(pending, now + 299) == []
    assert names(pending, now + 300) == ["a"]


def test_removed_pods_are_not_tried() -> None:
    """A pod that is gone does not come up, ready or failed."""
    pending = Pending()
    for name in "ab":
        pending.add(of(pod(name)))
    pending.remove("uid-a")
    assert names(pending, 0) == ["b"]
    pending.fail("uid-b", 0)
    pending.remove("uid-b")
    assert (pending.next_due(), len(pending)) == (None, 0)
