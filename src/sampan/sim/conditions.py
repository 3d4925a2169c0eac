"""Conditions: what a scenario waits for or expects of one object or of several.

{object: deployment/web, is: Available}          a condition of the status, "exists" or "deleted"
{object: deployment/web, cel: object.status.readyReplicas == 3}
{objects: pods, labels: app=web, count: 3, cel: "objects.all(p, p.status.phase == 'Running')"}
"""

from dataclasses import dataclass, replace
from typing import Any

from sampan.cel import types
from sampan.cel.environment import CompileError, Environment
from sampan.cel.program import EvaluationError, Program
from sampan.cluster import naming
from sampan.cluster.naming import Named
from sampan.cluster.simulated import SimulatedCluster
from sampan.kinds.kind import Kind
from sampan.meta import conditions, objects, selectors
from sampan.meta.selectors import Selector
from sampan.meta.status import ApiError
from sampan.sim.reading import Value

Object = dict[str, Any]

FIELDS = ("object", "objects", "namespace", "labels", "is", "count", "cel")
GONE = ("deleted", "gone")
MAX_NAMES = 10
ABSENT = "it does not exist"
_LANGUAGE = Environment({"object": types.DYN, "objects": types.DYN})


@dataclass(frozen=True, slots=True)
class Condition:
    """`object` (KIND/NAME) or `objects` (KIND) says of what; what is given of the rest must all hold."""

    object: str = ""
    objects: str = ""
    namespace: str = "default"
    labels: Selector | None = None
    state: str = ""
    count: int | None = None
    program: Program | None = None

    def holds(self, cluster: SimulatedCluster) -> bool:
        """Whether it is so now; what nobody can ask for does not hold."""
        return not self.lack(cluster)

    def lack(self, cluster: SimulatedCluster) -> str:
        """Why it is not so; "" when it is."""
        try:
            kinds = cluster.app.served.all()
            if self.object:
                found = naming.named(self.object, kinds, self.namespace)
                return self._lack_of_one(cluster.get(found.kind, found.name, found.namespace))
            return self._lack_of_all(self._chosen(cluster, naming.kind_of(self.objects, kinds)))
        except (RuntimeError, LookupError) as error:
            return str(error)

    def __str__(self) -> str:
        wanted = [self.state] if self.state else []
        wanted += [f"number {self.count}"] if self.count is not None else []
        wanted += [self.program.source] if self.program is not None else []
        labels = f" ({self.labels})" if self.labels is not None else ""
        return f"{self.object or self.objects}{labels}: {' and '.join(wanted)}"

    def resource(self, cluster: SimulatedCluster) -> str:
        """Whose changes matter; "" while that is not known."""
        word = self.objects or self.object.rpartition("/")[0]
        try:
            return naming.kind_of(word, cluster.app.served.all()).resource
        except LookupError:
            return ""

    def named(self, cluster: SimulatedCluster) -> list[Named]:
        """The objects of which it speaks. Raises LookupError for a kind that is not served."""
        kinds = cluster.app.served.all()
        if self.object:
            return [naming.named(self.object, kinds, self.namespace)]
        kind = naming.kind_of(self.objects, kinds)
        return [Named(kind, objects.name(obj), objects.namespace(obj)) for obj in self._chosen(cluster, kind)]

    def _chosen(self, cluster: SimulatedCluster, kind: Kind) -> list[Object]:
        namespace = self.namespace if kind.namespaced and self.namespace != "*" else ""
        items = cluster.list(kind, namespace)
        return [obj for obj in items if self.labels is None or self.labels.matches(objects.labels(obj))]

    def _lack_of_one(self, obj: Object | None) -> str:
        if self.state in GONE:
            return "" if obj is None else "it is there"
        if obj is None:
            return ABSENT
        if self.state and self.state != "exists":
            type, _, wanted = self.state.partition("=")
            found = conditions.get(obj, type)
            if found is None or found.get("status") != (wanted or "True"):
                return f"{type} is {found.get('status') if found else 'not told'}"
        return self._lack_of_program({"object": obj})

    def _lack_of_all(self, chosen: list[Object]) -> str:
        if self.count is not None and len(chosen) != self.count:
            return f"there are {len(chosen)}: {_names(chosen)}"
        return self._lack_of_program({"objects": chosen})

    def _lack_of_program(self, variables: dict[str, Any]) -> str:
        if self.program is None:
            return ""
        try:
            holds = self.program.evaluate(variables)
            return "" if holds is True else "it does not hold" + _for(variables)
        except EvaluationError as error:
            return f"it fails: {error}" + _for(variables)


def read(value: Value, more: tuple[str, ...] = ()) -> Condition:
    """The condition in this mapping, which may have more fields. Raises Wrong."""
    value.only((*FIELDS, *more))
    found = choice(value)
    if found.object and value.has("count"):
        value.field("count").wrong("is for objects, not for one object")
    if found.objects and value.has("is"):
        value.field("is").wrong("is for one object, not for objects")
    count = value.field("count").number() if value.has("count") else None
    if found.objects and count is None and not value.has("cel"):
        value.wrong("say count, cel or both")
    state = value.field("is").text("exists" if found.object and not value.has("cel") else "")
    return replace(found, state=state, count=count, program=_program(value.field("cel")))


def choice(value: Value) -> Condition:
    """Of what it speaks, without any demand. Raises Wrong."""
    one, all = value.field("object").text(), value.field("objects").text()
    if bool(one) == bool(all):
        value.wrong("say either object (KIND/NAME) or objects (KIND)")
    if one and "/" not in one:
        value.field("object").wrong(f"{one!r} is not KIND/NAME")
    if one and value.has("labels"):
        value.field("labels").wrong("is for objects, not for one object")
    return Condition(one, all, value.field("namespace").text("default"), _labels(value.field("labels")))


def _program(value: Value) -> Program | None:
    """The CEL expression, over `object` or `objects`. Raises Wrong."""
    source = value.text().strip()
    if not source:
        return None
    try:
        return _LANGUAGE.compile(source, (types.BOOL,))
    except CompileError as error:
        value.wrong(str(error))


def _for(variables: dict[str, Any]) -> str:
    return f" for {_names(variables['objects'])}" if "objects" in variables else ""


def _names(items: list[Object]) -> str:
    names = [objects.name(obj) for obj in items[:MAX_NAMES]] + (["..."] if len(items) > MAX_NAMES else [])
    return ", ".join(names) or "none"


def _labels(value: Value) -> Selector | None:
    if value.tree is None:
        return None
    try:
        return selectors.parse_labels(value.text())
    except (ApiError, ValueError) as error:
        value.wrong(str(error))
