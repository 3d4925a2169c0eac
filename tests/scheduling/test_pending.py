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


def failed(*uids: str, at: float = 0, refusers: frozenset[str] = frozenset(("NodeResourcesFit",))) -> Pending:
    pending = Pending()
    for name in uids:
        pending.add(of(pod(name)))
    names(pending, at)
    for name in uids:
        pending.fail(f"uid-{name}", at, refusers)
    return pending


def test_only_those_are_woken_that_it_helps() -> None:
    """The pods of one sort are asked about once; those that were refused by others sleep on."""
    pending = failed("a", "b")
    asked = []

    def helps(waiting, refusers):
        asked.append(waiting.uid)
        return "NodeAffinity" in refusers

    assert not pending.wake(1, helps)
    assert len(asked) == 1
    assert names(pending, 1) == []
    assert pending.wake(1, lambda waiting, refusers: "NodeResourcesFit" in refusers)
    assert names(pending, 1) == ["a", "b"]


def test_nobody_waits_for_a_back_off_while_there_is_nobody_else() -> None:
    """A woken pod is tried at once when no other one is ready, and after the others when some are."""
    pending = failed("a")
    pending.wake(0.1)
    pending.add(of(pod("b")))
    assert names(pending, 0.1) == ["b", "a"]


def test_after_an_error_the_back_off_is_waited_for() -> None:
    """No change wakes it earlier."""
    pending = Pending()
    pending.add(of(pod("a")))
    assert names(pending, 0) == ["a"]
    pending.err("uid-a", 0)
    pending.wake(0.5)
    assert (names(pending, 0.5), pending.next_due()) == ([], 1)
    assert names(pending, 1) == ["a"]


def test_a_held_pod_is_not_tried() -> None:
    """Neither woken nor due, until it is let go."""
    pending = failed("a")
    pending.hold("uid-a", held=True)
    pending.wake(0.1)
    assert names(pending, 0.2) == []
    assert names(pending, 5) == []
    pending.hold("uid-a", held=False)
    assert names(pending, 5) == ["a"]


def test_an_activated_pod_is_tried_at_once() -> None:
    """Whatever it waits for."""
    pending = failed("a")
    pending.activate("uid-a")
    assert names(pending, 0) == ["a"]


def test_one_of_a_sort_speaks_for_the_others() -> None:
    """After a change one is tried early; if in vain, the others wait for their back-off or the next change."""
    pending = failed("a", "b", "c")
    pending.wake(0.1)
    first = pending.pop(0.1)
    assert first is not None
    pending.fail(first.uid, 0.1, frozenset(("NodeResourcesFit",)))
    assert names(pending, 0.2) == []
    pending.wake(0.3)
    assert len(names(pending, 0.3)) == 3


def test_the_others_come_after_their_back_off() -> None:
    """Without a further change."""
    pending = failed("a", "b")
    pending.wake(0.1)
    first = pending.pop(0.1)
    assert first is not None
    pending.fail(first.uid, 0.1)
    assert [f"uid-{name}" for name in names(pending, 1)] == [{"uid-a": "uid-b", "uid-b": "uid-a"}[first.uid]]
