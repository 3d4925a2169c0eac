"""Builds an image of a Containerfile: stage by stage, each step taken from the cache or carried out.

What is to be done is decided in `stages.py`, `effects.py` and `orders.py`; doing it is for `steps.py`. A step that makes
files is known by the layers below it, what it says, and the digest of the files that it takes.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

from sampan.node.images import archive
from sampan.node.images.building import effects, orders, result, stages, steps
from sampan.node.images.building.containerfile import ContainerfileError, Instruction
from sampan.node.images.building.context import Context
from sampan.node.images.building.mounts import Workshop
from sampan.node.images.building.result import Made
from sampan.node.images.building.stages import Plan, Stage
from sampan.node.images.building.steps import Bench, Conditions
from sampan.node.images.model import Image, ImageError
from sampan.node.images.store import ImageStore

_WITH_FILES = ("RUN", "COPY", "ADD", "WORKDIR")


class Report(Protocol):
    """Who is told how it goes on."""

    def step(self, place: str, text: str) -> None:
        """A step begins; `place` is as `build 2/5`."""

    def end(self, *, cached: bool) -> None:
        """It has been done."""

    def output(self, data: bytes) -> None:
        """What a command prints."""


class Builder:
    """One build. `pull` gets an image that is not in the store, or raises ImageError."""

    def __init__(self, store: ImageStore, context: Context, report: Report, pull: Callable[[str], None]) -> None:
        self._store, self._context, self._report, self._pull = store, context, report, pull
        self._made: dict[int, Made] = {}

    def build(self, plan: Plan, tags: list[str], conditions: Conditions) -> Image:
        """Carries the plan out. ImageError says what failed, and where."""
        with Workshop(self._store.builds) as workshop:
            bench = Bench(
                self._store,
                workshop,
                self._context,
                lambda name: self._layers_of(name, plan, workshop),
                conditions,
                self._report.output,
            )
            for stage in plan.stages:
                self._made[stage.number] = self._stage(stage, plan, bench)
            made = self._made[plan.stages[-1].number]
            document = result.document(made, archive.architecture(), conditions.epoch)
            return self._store.add_built(document, [blob for blob, _ in made.layers], tags)

    def _stage(self, stage: Stage, plan: Plan, bench: Bench) -> Made:
        total = len(stage.instructions) + 1
        self._report.step(f"{stage.label} 1/{total}", f"FROM {stage.image}")
        try:
            made, is_known = self._base(stage)
            bench.workshop.hold(self._store.layer_directories(made.diff_ids))
            self._report.end(cached=is_known)
            inherited = effects.triggers(made.state.config) if stage.parent is None else []
            if inherited:
                made.state = made.state.with_config(OnBuild=None)
            for number, instruction in enumerate((*inherited, *stage.instructions), 2 - len(inherited)):
                self._report.step(f"{stage.label} {max(number, 1)}/{total}", str(instruction))
                self._instruct(made, instruction, plan, bench)
        except ContainerfileError as error:
            raise ImageError(f"{self._context.file}: {error}") from error
        return made

    def _instruct(self, made: Made, instruction: Instruction, plan: Plan, bench: Bench) -> None:
        try:
            diff_id, is_known = self._files(made, instruction, plan, bench)
        except ImageError as error:
            where = f"{self._context.file}:{instruction.line}: " if instruction.line else ""
            raise ImageError(f"{where}{instruction.name} failed: {error}") from error
        if diff_id:
            made.layers.append((diff_id, diff_id))
            bench.workshop.hold(self._store.layer_directories([diff_id]))
        made.state = effects.applied(made.state, instruction, plan)
        made.history.append(result.entry(str(instruction), bench.conditions.epoch, has_layer=bool(diff_id)))
        self._report.end(cached=is_known)

    def _files(self, made: Made, instruction: Instruction, plan: Plan, bench: Bench) -> tuple[str, bool]:
        """The layer that the instruction makes, empty if it makes none, and whether it was known."""
        if instruction.name not in _WITH_FILES:
            return "", False
        if instruction.name == "WORKDIR":
            after = effects.applied(made.state, instruction, plan)
            return steps.make_folder(bench, made, after.directory)
        if instruction.name == "RUN":
            return steps.run(bench, made, orders.run(instruction, _with_proxies(made, plan), plan.escape))
        return steps.copy(bench, made, orders.copy(instruction, made.state, plan.escape))

    def _base(self, stage: Stage) -> tuple[Made, bool]:
        if stage.parent is not None:
            return self._made[stage.parent].fork(), True
        if stage.image == stages.SCRATCH:
            return result.began({}, []), True
        image, is_known = self._image(stage.image)
        origin = self._store.origin(image)
        return result.began(origin.document, list(origin.layers)), is_known

    def _layers_of(self, name: str, plan: Plan, workshop: Workshop) -> tuple[str, ...]:
        stage = plan.find(name)
        if stage is not None:
            return self._store.layer_directories(self._made[stage.number].diff_ids)
        layers = self._image(name)[0].layer_dirs
        workshop.hold(layers)
        return layers

    def _image(self, name: str) -> tuple[Image, bool]:
        """The image, and whether it was here."""
        found = self._store.resolve(name)
        if found is not None:
            return found, True
        self._pull(name)
        found = self._store.resolve(name)
        if found is None:
            raise ImageError(f"{name} was pulled, and is gone again")
        return found, False


def _with_proxies(made: Made, plan: Plan) -> effects.State:
    """RUN sees the proxies that were given, though no ARG names them."""
    names = {name: value for name, value in plan.given.items() if name.upper() in stages.PREDEFINED}
    return dataclasses.replace(made.state, arguments={**names, **made.state.arguments})
