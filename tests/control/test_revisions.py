"""Revisions: the one of the present template is found, renumbered or made; surplus ones are named."""

from typing import Any

from sampan.control import revisions
from sampan.control.plan import Create, Update
from sampan.control.revisions import Style
from sampan.control.view import Snapshot, View
from sampan.kinds.apps.controller_revision import CONTROLLERREVISION
from sampan.kinds.apps.daemon_set import DAEMONSET
from sampan.kinds.apps.stateful_set import STATEFULSET
from sampan.kinds.parts import pod_template
from sampan.kit.frozen import freeze
from sampan.meta import objects

Tree = dict[str, Any]
STYLE = Style(STATEFULSET)


def owner(image: str = "web:1") -> Tree:
    spec = {"containers": [{"name": "main", "image": image}]}
    template: Tree = {"metadata": {"labels": {"app": "web"}}, "spec": spec}
    pod_template.default(template)
    metadata = {"name": "web", "namespace": "default", "uid": "u", "annotations": {"why": "so"}}
    return {"metadata": metadata, "spec": {"template": template}}


def revision(image: str, number: int) -> Tree:
    made = revisions.new(STYLE, owner(image), number, 0)
    return {**made, "metadata": {**made["metadata"], "creationTimestamp": "2026-01-01T00:00:00Z", "uid": image}}


def settle(image: str, *owned: Tree, others: tuple[Tree, ...] = (), collisions: int | None = None) -> revisions.Settled:
    view = View({CONTROLLERREVISION.resource: Snapshot([freeze(r) for r in (*owned, *others)])})
    return revisions.settle(view, STYLE, freeze(owner(image)), [freeze(r) for r in owned], collisions)


def test_the_first_is_made() -> None:
    """With the number 1, the template's labels, the owner's annotations and a hash that its name ends in."""
    made = settle("web:1")
    (write,) = made.writes
    assert isinstance(write, Create)
    assert write.obj == made.revision
    code = objects.labels(made.revision)["controller.kubernetes.io/hash"]
    assert (objects.name(made.revision), made.revision["revision"], made.collisions) == (f"web-{code}", 1, 0)
    assert objects.labels(made.revision)["app"] == "web"
    assert objects.annotations(made.revision) == {"why": "so"}
    assert objects.owner_references(made.revision)[0]["kind"] == "StatefulSet"
    assert revisions.template(made.revision) == owner()["spec"]["template"]


def test_the_latest_stays() -> None:
    """Nothing is written while the template is the same."""
    last = revision("web:2", 2)
    assert settle("web:2", revision("web:1", 1), last) == revisions.Settled(last, 0)


def test_an_older_one_becomes_the_latest() -> None:
    """By a higher number, with its version as a condition."""
    made = settle("web:1", revision("web:1", 1), revision("web:2", 7), collisions=3)
    (write,) = made.writes
    assert isinstance(write, Update)
    assert (write.obj["revision"], objects.name(write.obj)) == (8, objects.name(revision("web:1", 1)))
    assert made.collisions == 3


def test_defaults_that_came_later_make_no_revision() -> None:
    """One that was written before a field had a default is the same."""
    older = objects.copy(revision("web:1", 1))
    del older["data"]["spec"]["template"]["spec"]["schedulerName"]
    assert settle("web:1", older).writes == ()
    older["data"]["spec"]["template"]["spec"]["schedulerName"] = "other"
    assert len(settle("web:1", older).writes) == 1


def test_a_taken_name_is_a_collision_unless_it_holds_the_same() -> None:
    """Then it is somebody's who made the same, and serves as well."""
    taken = revision("web:1", 5)
    assert settle("web:1", others=(taken,)) == revisions.Settled(taken, 0)
    made = settle("web:1", others=({**taken, "data": {}},), collisions=None)
    assert (made.collisions, len(made.writes)) == (1, 1)
    assert objects.name(made.revision) != objects.name(taken)


def test_the_style_names_the_label() -> None:
    """DaemonSets put the pods' label on the revision too."""
    made = revisions.new(Style(DAEMONSET, revisions.POD_LABEL), owner(), 1, 0)
    assert objects.name(made) == f"web-{objects.labels(made)['controller-revision-hash']}"
    assert objects.owner_references(made)[0]["kind"] == "DaemonSet"


def test_long_names_are_cut() -> None:
    """So that the hash fits."""
    assert revisions.name({"metadata": {"name": "w" * 250}}, "abc") == "w" * 223 + "-abc"


def test_surplus_is_the_oldest_that_nobody_uses() -> None:
    """Beyond the limit; a negative one keeps all."""
    history = [revision(f"web:{n}", n) for n in (3, 1, 2, 4)]

    def numbers(limit: int) -> list[int]:
        return [r["revision"] for r in revisions.surplus(history, lambda r: r["revision"] == 1, limit)]

    assert (numbers(0), numbers(2), numbers(5), numbers(-1)) == ([2, 3, 4], [2], [], [])
