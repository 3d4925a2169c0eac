"""What must hold for every object, whatever its kind."""

from typing import Any

from sampan.cluster.history import Change
from sampan.cluster.rules.rule import Rule
from sampan.cluster.rules.world import World
from sampan.meta import objects, timestamps

Object = dict[str, Any]

_STAYS = ("uid", "creationTimestamp", "name", "namespace")
_OF_DELETION = ("foregroundDeletion", "orphan")  # which a deletion itself brings along


class ObjectsAreWhole(Rule):
    """What is stored is a whole object of one kind, with a uid, under its own name."""

    def judge(self, change: Change, old: Object | None) -> str:
        tree, key = change.tree, "/".join(filter(None, objects.key(change.tree)))
        lacking = [name for name in ("apiVersion", "kind") if not tree.get(name)]
        if lacking or not objects.uid(tree):
            return f"it has no {(*lacking, 'uid')[0]}"
        return f"it calls itself {key}" if key != change.key else ""


class VersionsGrow(Rule):
    """A change's resourceVersion is never smaller than one before, and larger than the object's last one."""

    def judge(self, change: Change, old: Object | None) -> str:
        now = int(objects.resource_version(change.tree))
        if now < self.world.revision:
            return f"resourceVersion {now} came after {self.world.revision}"
        if old is not None and now <= int(objects.resource_version(old)):
            return f"resourceVersion {now} is not larger than the object's last one, {objects.resource_version(old)}"
        return ""


class TimeDoesNotGoBack(Rule):
    """Changes are told in the order of their (virtual) time."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._last = 0.0

    def judge(self, change: Change, old: Object | None) -> str:
        before, self._last = self._last, change.time
        return f"it is of {change.time} s, after {before} s" if change.time < before else ""


class IdentityStays(Rule):
    """An object's uid, creationTimestamp, name and namespace never change."""

    def judge(self, change: Change, old: Object | None) -> str:
        if old is None:
            return ""
        was, now = old["metadata"], change.tree["metadata"]
        changed = [name for name in _STAYS if was.get(name) != now.get(name)]
        return f"{changed[0]} was {was.get(changed[0])} and is {now.get(changed[0])}" if changed else ""


class UidsAreUnique(Rule):
    """No two objects ever have the same uid."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._known = {objects.uid(obj): name for name in world.resources() for obj in world.all(name)}

    def judge(self, change: Change, old: Object | None) -> str:
        if change.type != "ADDED":
            return ""
        uid, place = objects.uid(change.tree), f"{change.resource} {change.key}"
        first = self._known.setdefault(uid, place)
        return f"its uid {uid} is that of {first}" if first is not place else ""


class OneOfEachName(Rule):
    """An object is made only where there is none of that name, and changed or deleted only where there is one."""

    def judge(self, change: Change, old: Object | None) -> str:
        if (change.type == "ADDED") == (old is None):
            return ""
        return "it was made though there is one" if old is not None else f"it was {change.type} though there is none"


class GenerationFollowsTheSpec(Rule):
    """metadata.generation never falls, and grows only with what is wanted or with the wish to delete."""

    def judge(self, change: Change, old: Object | None) -> str:
        if old is None or change.type == "DELETED":
            return ""
        was, now = objects.generation(old), objects.generation(change.tree)
        if now < was:
            return f"generation fell from {was} to {now}"
        if now > was > 0 and not _is_wanted_otherwise(old, change.tree):
            return f"generation grew from {was} to {now}, but nothing that is wanted changed"
        return ""


class ObservedGenerationIsReal(Rule):
    """status.observedGeneration is a generation that there was."""

    def judge(self, change: Change, old: Object | None) -> str:
        status = change.tree.get("status")
        if not isinstance(status, dict) or change.type == "DELETED":
            return ""
        seen = status.get("observedGeneration") or 0
        last = objects.generation(change.tree)
        return f"status.observedGeneration {seen} is beyond generation {last}" if last and seen > last else ""


class FinalizersHold(Rule):
    """An object with finalizers is not gone before its deletion was asked for; then none is added any more."""

    def judge(self, change: Change, old: Object | None) -> str:
        if old is None:
            return ""
        held = objects.finalizers(old)
        if change.type == "DELETED":
            return f"it went at once, in spite of {', '.join(held)}" if held and not objects.is_deleting(old) else ""
        if not objects.is_deleting(old):
            return ""
        known = {*held, *_OF_DELETION}
        added = [name for name in objects.finalizers(change.tree) if name not in known]
        return f"finalizer {added[0]} was added while it is being deleted" if added else ""


class DeletionIsFinal(Rule):
    """Once asked for, a deletion is not taken back, and not put off."""

    def judge(self, change: Change, old: Object | None) -> str:
        was = objects.metadata(old or {}).get("deletionTimestamp")
        if not was or change.type == "DELETED":
            return ""
        now = objects.metadata(change.tree).get("deletionTimestamp")
        if not now:
            return "its deletionTimestamp is gone"
        is_later = timestamps.parse(now) > timestamps.parse(was)
        return f"its deletion was put off from {was} to {now}" if is_later else ""


class ConditionsTellOfTransitions(Rule):
    """A condition's lastTransitionTime changes only with its status, as whoever writes it may have seen it."""

    def judge(self, change: Change, old: Object | None) -> str:
        before = {c.get("type"): c for c in _conditions(old or {})}
        for now in _conditions(change.tree) if before else ():
            was = before.get(now.get("type"), {}) if now.get("type") else {}
            if not was or was.get("status") != now.get("status"):
                continue
            first, last = was.get("lastTransitionTime"), now.get("lastTransitionTime")
            if first and first != last and not self._was_otherwise(change, now):
                return f"condition {now['type']} is {now['status']} as before, but turned so at {last}, not {first}"
        return ""

    def _was_otherwise(self, change: Change, now: Object) -> bool:
        """Two who see the same at the same time may both write it, each with its own time."""
        known = self.world.versions(change.resource, change.key)
        told = ({c.get("type"): c.get("status") for c in _conditions(version)} for version in known)
        return any(statuses.get(now.get("type")) != now.get("status") for statuses in told)


RULES: tuple[type[Rule], ...] = (
    ObjectsAreWhole,
    VersionsGrow,
    TimeDoesNotGoBack,
    OneOfEachName,
    IdentityStays,
    UidsAreUnique,
    GenerationFollowsTheSpec,
    ObservedGenerationIsReal,
    FinalizersHold,
    DeletionIsFinal,
    ConditionsTellOfTransitions,
)


def _is_wanted_otherwise(old: Object, new: Object) -> bool:
    """Whether anything but metadata and status differs; deletion and a Deployment's annotations count too."""
    if objects.is_deleting(new) and not objects.is_deleting(old):
        return True
    if new.get("kind") == "Deployment" and objects.annotations(old) != objects.annotations(new):
        return True
    apart = ("metadata", "status")
    return {k: v for k, v in old.items() if k not in apart} != {k: v for k, v in new.items() if k not in apart}


def _conditions(obj: Object) -> list[Object]:
    status = obj.get("status")
    found = status.get("conditions") if isinstance(status, dict) else None
    return [c for c in found if isinstance(c, dict)] if isinstance(found, list) else []
