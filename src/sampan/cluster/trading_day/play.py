"""Play: a trading day from its first order to its last, over a client, a clock and whatever makes the traffic.

In virtual time and in real time alike: orders are offered as the curve says, scenes are played when they are due, and what is
seen goes into the record, which can be reported on at any time, also after a cancellation.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sampan.client.transport import TransportError
from sampan.cluster.trading_day import curve, manifests, scenes, staging
from sampan.cluster.trading_day.figures import BAD, GOOD, NORMAL, Happening, Outcome, Record, Sample, Taken
from sampan.cluster.trading_day.manifests import CANARY, NAME, NAMESPACE, Object
from sampan.cluster.trading_day.scenes import DeleteNamespace, Scene
from sampan.cluster.trading_day.staging import Stage
from sampan.kinds.autoscaling.horizontal_pod_autoscaler import HORIZONTALPODAUTOSCALER
from sampan.kinds.core.namespace import NAMESPACE as NAMESPACE_KIND
from sampan.kinds.core.pod import POD
from sampan.meta.status import ApiError
from sampan.platform.rollouts.kinds import HTTPROUTE, ROLLOUT

TICKS, SAMPLES = 4680, 780
CLOSE_SECONDS = 5.0
"""While a scene goes on nobody looks away for longer."""
LAST_SECONDS = 2.0
"""What the last orders may take."""
PATIENCE_SECONDS = 180.0
"""What scenes may go on after the day."""


class Traffic(Protocol):
    """Orders on their way through the gateway."""

    def offer(self, per_second: float) -> None:
        """So many from now on."""
        ...

    def take(self) -> Taken:
        """What came to an end since the last time."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """The market as the API has it."""

    rollout: Object
    scaler: Object
    route: Object
    pods: int

    @property
    def weight(self) -> int:
        """The canary's share, in percent."""
        refs = [ref for rule in self.route["spec"].get("rules") or () for ref in rule.get("backendRefs") or ()]
        return sum(ref.get("weight", 1) for ref in refs if ref["name"] == CANARY)

    @property
    def version(self) -> str:
        return manifests.version(self.rollout["spec"]["template"])

    @property
    def hash(self) -> str:
        """That of the newest version the rollout has begun with."""
        return str((self.rollout.get("status") or {}).get("currentPodHash") or "")


@dataclass(frozen=True, slots=True)
class Open:
    """A scene that goes on; `hash` is that of the version before."""

    scene: Scene
    version: str
    hash: str


async def play(
    stage: Stage, traffic: Traffic, record: Record, show: Callable[[Record], None] = lambda record: None
) -> None:
    """The record's day; `show` is called after each sample. Raises StagingError, ApiError, TransportError.

    Once the day has begun, an API that fails or refuses is written down, and asked again.
    """
    day = record.day
    await staging.apply(stage, manifests.schedule(stage.objects, day))
    director = _Director(stage, traffic, record)
    tick, every = between(day.seconds / TICKS, 0.5, 5.0), between(day.seconds / SAMPLES, 1.0, 30.0)
    due = stage.clock.monotonic() + every
    try:
        while not director.is_over():
            traffic.offer(curve.rate(director.share, record.peak))
            await stage.clock.sleep(tick)
            if stage.clock.monotonic() >= due:
                await director.look()
                show(record)
                due = stage.clock.monotonic() + (every if director.open is None else min(every, CLOSE_SECONDS))
    finally:
        traffic.offer(0.0)
    await stage.clock.sleep(LAST_SECONDS)
    await director.look()
    show(record)


def between(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)


@dataclass(slots=True)
class _Director:
    """Plays the scenes and writes down what it sees."""

    stage: Stage
    traffic: Traffic
    record: Record
    coming: list[Scene] = field(default_factory=lambda: list(scenes.SCENES))
    open: Open | None = None
    seen: Seen | None = None
    looked: float = 0.0
    asked: Open | None = None
    """A scene that the API has not taken yet, so that it is told only once, and with the version from before."""

    def __post_init__(self) -> None:
        self.looked = self.stage.clock.monotonic()

    @property
    def share(self) -> float:
        return self.record.day.share(self.stage.clock.now())

    def is_over(self) -> bool:
        """The day, and everything that was begun in it."""
        late = (self.share - 1) * self.record.day.seconds
        return late >= 0 and ((not self.coming and self.open is None) or late > PATIENCE_SECONDS)

    async def look(self) -> None:
        """One sample, and whatever is due."""
        try:
            seen = await self._see()
        except (ApiError, TransportError) as error:
            self._trouble(error)
            return
        self._sample(seen)
        if seen is None:
            return
        self._note(seen)
        self.seen = seen
        if self.open is not None:
            self._follow(self.open, seen)
        if self.open is None and self.coming and self.share >= self.coming[0].at:
            await self._begin(self.coming.pop(0), seen)

    async def _see(self) -> Seen | None:
        """None where it is no more."""
        client = self.stage.client
        try:
            rollout = await client.get(ROLLOUT, NAME, NAMESPACE)
            scaler = await client.get(HORIZONTALPODAUTOSCALER, NAME, NAMESPACE)
            route = await client.get(HTTPROUTE, NAME, NAMESPACE)
            pods = await client.list(POD, NAMESPACE, labels=f"app={NAME}")
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        alive = [pod for pod in pods.items if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
        return Seen(rollout, scaler, route, len(alive))

    def _sample(self, seen: Seen | None) -> None:
        now, record = self.stage.clock.monotonic(), self.record
        seconds, self.looked = now - self.looked, now
        offered, taken, share = curve.rate(self.share, record.peak), self.traffic.take(), self.share
        if seen is None:
            record.samples.append(Sample(share, seconds, offered, taken))
            return
        status, spec = seen.rollout.get("status") or {}, seen.scaler["spec"]
        made = Sample(
            share,
            seconds,
            offered,
            taken,
            pods=seen.pods,
            ready=int(status.get("readyReplicas") or 0),
            wanted=int(seen.rollout["spec"].get("replicas", 1)),
            weight=seen.weight,
            least=int(spec.get("minReplicas") or 1),
            most=int(spec["maxReplicas"]),
        )
        record.samples.append(made)

    def _note(self, seen: Seen) -> None:
        """What is different from the last time."""
        before = self.record.samples[-2] if len(self.record.samples) > 1 else None
        now = self.record.samples[-1]
        if before is None or self.seen is None:
            return
        if now.least > before.least:
            self._tell(f"the clock: at least {now.least} pods from now on")
        elif now.least < before.least:
            self._tell(f"the clock lets go: at least {now.least} pods, as the load asks for")
        if now.weight > before.weight and self.open is not None:
            self._tell(f"{self.open.version} gets {now.weight} % of the orders")

    # Scenes

    async def _begin(self, scene: Scene, seen: Seen) -> None:
        """What the API does not take now is begun again at the next look."""
        if self.asked is None:
            self._tell(scene.title)
            self.asked = Open(scene, "", seen.hash)
        try:
            if isinstance(scene.act, DeleteNamespace):
                await self._delete(scene)
            else:
                environment = seen.rollout["spec"]["template"]["spec"]["containers"][0].get("env") or []
                patch = manifests.released(environment, scene.act.version)
                await self.stage.client.patch(ROLLOUT, (NAMESPACE, NAME), patch, type="json")
                self.open = Open(scene, scene.act.version.name, self.asked.hash)
        except (ApiError, TransportError) as error:
            self._trouble(error)
            self.coming.insert(0, scene)
        else:
            self.asked = None

    async def _delete(self, scene: Scene) -> None:
        """Raises TransportError, and ApiError where that is no answer to the question."""
        try:
            await self.stage.client.delete(NAMESPACE_KIND, ("", NAMESPACE))
        except ApiError as error:
            if error.code == 429 or error.code >= 500:
                raise
            came = scenes.REFUSED if error.code == 403 else error.reason
            self._end(scene, came, str(error))
        else:
            self._end(scene, "deleted", f"namespace {NAMESPACE} is deleted")

    def _follow(self, going: Open, seen: Seen) -> None:
        """Whether it came to an end: back at the old version without traffic, or all of it the new one."""
        status = seen.rollout.get("status") or {}
        if seen.hash == going.hash:
            return
        if status.get("abort") and seen.weight == 0:
            self._end(going.scene, scenes.ROLLED_BACK, f"{going.version} is rolled back: {_reason(status)}")
        elif status.get("phase") == "Healthy" and status.get("stableRS") == seen.hash and seen.weight == 0:
            self._end(going.scene, scenes.RELEASED, f"{going.version} gets all orders, and stays")

    def _end(self, scene: Scene, came: str, text: str) -> None:
        outcome = Outcome(scene.title, scene.expected, came)
        self.record.outcomes.append(outcome)
        self._tell(text, GOOD if outcome.is_right else BAD)
        self.open = None

    def _trouble(self, error: ApiError | TransportError) -> None:
        """Written down once, however often it comes in a row."""
        what = "the API does not answer" if isinstance(error, TransportError) else "the API refuses"
        text, happenings = f"{what}: {error}", self.record.happenings
        if not happenings or happenings[-1].text != text:
            self._tell(text, BAD)

    def _tell(self, text: str, mark: str = NORMAL) -> None:
        self.record.happenings.append(Happening(self.share, text, mark))


def _reason(status: Object) -> str:
    """Why a rollout was aborted, without all that led there."""
    return str(status.get("message") or "for no reason that it tells").rpartition(": ")[2]
