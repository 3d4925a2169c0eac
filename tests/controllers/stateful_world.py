"""A world for the StatefulSet's rule: objects that its plans change, a node and users that do as they please.

The rule may be shown an older state than there is, and be killed between any two writes.
"""

from typing import Any

from sampan.control import revisions
from sampan.control.plan import Create, Delete, Plan, Update, Write
from sampan.control.view import Snapshot, View
from sampan.controllers import stateful_set
from sampan.kinds.apps.controller_revision import CONTROLLERREVISION
from sampan.kinds.apps.stateful_set import STATEFULSET
from sampan.kinds.core.persistent_volume_claim import PERSISTENTVOLUMECLAIM
from sampan.kinds.core.pod import POD
from sampan.kinds.kind import Kind
from sampan.kit.frozen import freeze
from sampan.meta import objects

Tree = dict[str, Any]
State = dict[str, dict[str, Tree]]
KINDS = (STATEFULSET, POD, CONTROLLERREVISION, PERSISTENTVOLUMECLAIM)
NOW = 1_767_225_600.0
STAMP = "2026-01-01T00:00:00Z"
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": STAMP}]}
UNREADY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": STAMP}]}
PENDING, FAILED = {"phase": "Pending"}, {"phase": "Failed"}


class World:
    """One set, web, and all that it has. `past` are the states that there have been, the present one last.

    `by_budget`: whether the rule is that of the open feature gate.
    """

    def __init__(self, *, by_budget: bool = False, **spec: Any) -> None:
        self.rule = (stateful_set.BY_BUDGET if by_budget else stateful_set.CONTROLLER).reconcile
        self.versions = 0
        self.state: State = {kind.resource: {} for kind in KINDS}
        self.past: list[State] = []
        template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "1"}]}}
        wanted = {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template,
            "serviceName": "web",
        }
        wanted |= {"revisionHistoryLimit": 2, "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]}
        self.put(STATEFULSET, {"metadata": {"name": "web"}, "spec": wanted | spec})

    # What there is

    @property
    def set(self) -> Tree:
        return self.state[STATEFULSET.resource]["web"]

    def all(self, kind: Kind) -> list[Tree]:
        """Objects by name."""
        return [obj for _, obj in sorted(self.state[kind.resource].items())]

    def pod(self, name: str) -> Tree | None:
        return self.state[POD.resource].get(name)

    def image(self, p: Tree) -> str:
        """That of the revision of which the pod says to be."""
        found = self.state[CONTROLLERREVISION.resource].get(objects.labels(p)[revisions.POD_LABEL])
        return str(revisions.template(found)["spec"]["containers"][0]["image"]) if found else ""

    # The rule

    def plan(self, age: int = 0) -> tuple[Plan, State]:
        """What the rule wants when it sees the state of so many changes ago, and that state."""
        seen = self.past[max(len(self.past) - 1 - age, 0)]
        view = View({kind.resource: Snapshot(seen[kind.resource].values()) for kind in KINDS})
        return self.rule(view, ("default", "web"), NOW), seen

    def carry_out(self, plan: Plan, most: int = 1000) -> int:
        """Does up to so many writes, stage by stage, until one has a refusal; returns how many were done."""
        done = 0
        for stage in plan.stages:
            for write in stage.writes:
                if done == most:
                    return done
                if not self._write(write):
                    return done
                done += 1
        return done

    def _write(self, write: Write) -> bool:
        there = self.state[write.kind.resource]
        match write:
            case Create():
                if objects.name(write.obj) in there:
                    return False
                extra = {"status": PENDING} if write.kind is POD else {}
                self.put(write.kind, {**write.obj, **extra})
            case Update():
                old = there.get(objects.name(write.obj))
                if old is None or objects.resource_version(old) != objects.resource_version(write.obj):
                    return False
                part = {"status": write.obj["status"]} if write.subresource else {}
                self.put(write.kind, {**old, **part} if part else write.obj)
            case Delete():
                self._delete(write.kind, write.key[1], write.uid)
            case _:
                raise AssertionError(write)
        return True

    def _delete(self, kind: Kind, name: str, uid: str) -> None:
        old = self.state[kind.resource].get(name)
        if old is None or objects.uid(old) != uid:
            return
        if kind is POD:
            self.put(kind, {**old, "metadata": {**old["metadata"], "deletionTimestamp": STAMP}})
        else:
            self.drop(kind, name)

    # Others

    def put(self, kind: Kind, obj: Tree) -> None:
        """Stores an object, with a new version."""
        self.versions += 1
        metadata = {
            "namespace": "default",
            "uid": f"uid-{self.versions}",
            "creationTimestamp": STAMP,
            **obj["metadata"],
        }
        metadata["resourceVersion"] = str(self.versions)
        there = {**self.state[kind.resource], metadata["name"]: freeze({**obj, "metadata": metadata})}
        self._keep({**self.state, kind.resource: there})

    def drop(self, kind: Kind, name: str) -> None:
        """An object is gone, and the claims that only it owned."""
        gone = self.state[kind.resource][name]
        self._keep({**self.state, kind.resource: {k: v for k, v in self.state[kind.resource].items() if k != name}})
        for claim in self.all(PERSISTENTVOLUMECLAIM):
            if [r["uid"] for r in objects.owner_references(claim)] == [objects.uid(gone)]:
                self.drop(PERSISTENTVOLUMECLAIM, objects.name(claim))

    def change(self, **spec: Any) -> None:
        """A user wants something else."""
        generation = objects.generation(self.set) + 1
        changed = {**self.set, "metadata": {**self.set["metadata"], "generation": generation}}
        self.put(STATEFULSET, {**changed, "spec": {**self.set["spec"], **spec}})

    def change_image(self, image: str) -> None:
        """A user wants another image."""
        template = self.set["spec"]["template"]
        spec = {"containers": [{"name": "main", "image": image}]}
        self.change(template={**template, "spec": spec})

    def report(self, name: str, status: Tree) -> None:
        """The node says how a pod is; one that has ended stays so."""
        p = self.pod(name)
        if p is not None and p["status"] != FAILED:
            self.put(POD, {**p, "status": status})

    def end(self, name: str) -> None:
        """A pod that is being deleted is gone."""
        p = self.pod(name)
        if p is not None and objects.is_deleting(p):
            self.drop(POD, name)

    def delete_pod(self, name: str) -> None:
        """A user deletes a pod."""
        p = self.pod(name)
        if p is not None:
            self._delete(POD, name, objects.uid(p))

    def breathe(self) -> None:
        """Nodes do their work: pods become ready, and those that are being deleted end."""
        for p in self.all(POD):
            if objects.is_deleting(p):
                self.end(objects.name(p))
            elif p["status"] in (PENDING, UNREADY):
                self.report(objects.name(p), READY)

    def settle(self) -> None:
        """Nothing goes wrong any more, until there is nothing left to do."""
        for _ in range(300):
            self.breathe()
            before = self.versions
            self.carry_out(self.plan()[0])
            if self.versions == before:
                return
        raise AssertionError("it never comes to rest")

    def _keep(self, state: State) -> None:
        self.state = state
        self.past.append(state)
