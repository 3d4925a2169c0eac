"""When the fuse blows, for whom, and when it is whole again."""

from collections.abc import Iterable
from typing import Any

import pytest

from sampan.control.plan import Ask
from sampan.control.view import View
from sampan.kinds.core.config_map import CONFIGMAP
from sampan.platform.protection.fuse import CONFIG, MAIN, REVIEWER, review
from sampan.platform.review import ALLOWED, Review
from tests.platform.protection.world import NOW, attempt, obj

ASKED = Ask(CONFIGMAP, CONFIG)


class Fuse:
    """A fuse with what it remembers of each user."""

    def __init__(self, **data: str) -> None:
        self.config = {"data": data} if data else None
        self.memory: dict[Any, Any] = {}

    def delete(self, name: str, at: float = 0.0, what: str = "", about: Any = None, **fields: Any) -> Review:
        given = {"user": "alice", "old": obj("Deployment", name, **(about or {})), **fields}
        tried = attempt("DELETE", what or "deployments.apps", given.pop("old"), now=NOW + at, **given)
        term = REVIEWER.term(tried)
        found = review(tried, View({}, answers={ASKED: self.config}, memory=self.memory.get(term, {})))
        if found.memory is not None:
            self.memory[term] = found.memory
        return found

    def refused(self, names: Iterable[Any], at: float = 0.0, **fields: Any) -> list[bool]:
        return [self.delete(f"d{name}", at, **fields).refusal is not None for name in names]


def test_a_loop_is_stopped_and_told_why() -> None:
    """Thirty objects go, the next is refused, with who, how many, which and until when."""
    fuse = Fuse()
    assert fuse.refused(range(30)) == [False] * 30
    refusal = fuse.delete("one-more", 1.5).refusal
    assert refusal is not None
    assert refusal.code == 403
    for word in ('"alice"', "more than 30", "60 seconds", "deployments.apps shop/one-more", "12:05:01Z", "sampan-fuse"):
        assert word in refusal.message


def test_it_recovers_after_its_pause() -> None:
    """Five minutes later the same user deletes again, though it tried now and then meanwhile."""
    fuse = Fuse()
    fuse.refused(range(31))
    assert fuse.refused(["x", "y"], 200.0) == [True, True]
    assert fuse.refused(["x"], 299.0) == [True]
    assert fuse.refused(["x"], 301.0) == [False]


def test_who_goes_on_at_that_pace_stays_cut_off() -> None:
    """A loop that never stops is refused after the pause as well, and let through once it has slowed down."""
    fuse = Fuse()
    fuse.refused(range(31))
    assert all(fuse.refused(range(100, 140), 280.0))
    assert fuse.refused(["x"], 301.0) == [True]
    assert fuse.refused(["x"], 602.0) == [False]


def test_the_same_object_counts_once_and_the_past_not_at_all() -> None:
    """Trying one object again, or thirty a minute, is no loop."""
    fuse = Fuse()
    assert not any(fuse.refused([1] * 100))
    assert not any(
        flag for minute in range(5) for flag in fuse.refused(range(minute * 30, minute * 30 + 30), minute * 61)
    )


def test_users_are_counted_apart() -> None:
    """One user's loop doesn't cut off another."""
    fuse = Fuse()
    assert fuse.refused(range(31))[-1]
    assert fuse.refused(range(30), user="bob") == [False] * 30


@pytest.mark.parametrize(
    "user",
    [
        "system:serviceaccount:kube-system:generic-garbage-collector",
        "system:node:n1",
        "system:kube-controller-manager",
        "system:sampan-rollouts",
        "system:apiserver",
    ],
)
def test_components_are_exempt(user: str) -> None:
    """What the cluster itself deletes is not counted, and nothing is read for it."""
    found = review(attempt("DELETE", "services", obj("Service", "a"), user=user), View({}))
    assert found == ALLOWED


def test_the_config_map_says_how_much_is_too_much() -> None:
    """Limit, window and pause; a value that is no number above zero is as if it weren't there."""
    fuse = Fuse(limit="2", windowSeconds="10", pauseSeconds="20")
    assert fuse.refused(range(3)) == [False, False, True]
    assert fuse.refused([9], 19.0) == [True]
    assert fuse.refused([9], 21.0) == [False]
    assert Fuse(limit="-5", windowSeconds="no").refused(range(31))[-2:] == [False, True]


def test_exempt_users_are_let_through_at_once() -> None:
    """A user who is named, by a pattern, deletes on though the fuse has blown."""
    fuse = Fuse(limit="1")
    assert fuse.refused(range(2)) == [False, True]
    fuse.config = {"data": {"limit": "1", "exempt": "bob, ali*"}}
    assert fuse.refused(range(2, 20)) == [False] * 18


def test_dry_runs_are_free() -> None:
    """They neither count nor are refused."""
    fuse = Fuse(limit="1")
    assert fuse.refused(range(9), is_dry_run=True) == [False] * 9
    assert fuse.memory == {}


def test_what_is_remembered_is_bounded() -> None:
    """However long the loop, no more than the limit is kept."""
    fuse = Fuse(limit="5")
    fuse.refused(range(500))
    fuse.refused(range(500), what="configmaps")
    assert [len(fuse.memory["alice"]["tried"][tally]) for tally in (MAIN, "otherLimit")] == [6, 201]


@pytest.mark.parametrize(
    ("what", "limit"),
    [
        ("pods", 100),
        ("configmaps", 200),
        ("jobs.batch", 200),
        ("roles.rbac.authorization.k8s.io", 200),
        ("widgets.example.com", 200),
    ],
)
def test_lesser_kinds_have_limits_of_their_own(what: str, limit: int) -> None:
    """A loop over them is stopped as well, later; what blew it, and the field that would have helped, is told."""
    fuse = Fuse()
    assert not any(fuse.refused(range(limit), what=what))
    refusal = fuse.delete("one-more", what=what).refusal
    assert refusal is not None
    assert f"more than {limit} different" in refusal.message
    assert f"raise data.{'podLimit' if what == 'pods' else 'otherLimit'}" in refusal.message
    assert fuse.refused(["web"]) == [True]
    assert fuse.refused(["web"], 301.0) == [False]
    assert any(rule["resources"] == ["*"] and rule["apiGroups"] == ["*"] for rule in REVIEWER.rules)


def test_the_tallies_are_set_apart() -> None:
    """Each by its field of the ConfigMap."""
    fuse = Fuse(podLimit="2", otherLimit="3")
    assert not any([*fuse.refused(range(2), what="pods"), *fuse.refused(range(3), what="configmaps")])
    assert not any(fuse.refused(range(30)))
    assert fuse.refused([9], what="configmaps") == [True]


def test_ordinary_work_is_let_through() -> None:
    """A large application is uninstalled, a namespace's pods are deleted at once, a name comes and goes, an operator
    clears up after itself, and what comes and goes by itself is nobody's loss.
    """
    fuse = Fuse()
    release = {"type": "helm.sh/release.v1"}
    assert not any([*fuse.refused(range(25)), *fuse.refused(range(150), what="configmaps")])
    assert not any([*fuse.refused(range(40), what="secrets", about=release), *fuse.refused(range(100), what="pods")])
    for what in ("events", "leases.coordination.k8s.io", "endpointslices.discovery.k8s.io"):
        assert not any(fuse.refused(range(500), what=what))
    again = ({"metadata": {"uid": str(number)}} for number in range(50))
    assert not any(fuse.delete("web", 61.0, about=about).refusal for about in again)
    owned = {"metadata": {"ownerReferences": [{"kind": "Flow", "name": "f", "uid": "f", "controller": True}]}}
    operator = "system:serviceaccount:flows:operator"
    assert not any(fuse.refused(range(500), what="pods", about=owned, user=operator))
    assert any(fuse.refused(range(500), what="pods", user=operator))
